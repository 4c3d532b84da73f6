//! TaskManager: slots and the supervision of worker processes. It runs no user code.
//!
//! What it decides is in [`supervision`], a pure state machine over [`slots`]; [`TaskManager`] is the process around
//! it: the connection to the JobManager, the artifact cache and the worker processes.

mod error;
mod failure;
mod link;
pub mod slots;
pub mod supervision;
mod task_manager;

pub use error::{Exit, TaskManagerError};
pub use flink_process::{ENV_PARENT_PID, ENV_ROLE, ENV_TAG};
pub use task_manager::{REGISTRATION_TIMEOUT, TaskManager};

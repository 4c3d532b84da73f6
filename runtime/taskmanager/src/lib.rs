//! TaskManager: slots and the supervision of worker processes. It runs no user code.
//!
//! What it decides is in [`supervision`], a pure state machine over [`slots`]; [`TaskManager`] is the process around
//! it: the connection to the JobManager, the artifact cache ([`blobs`]) and the worker processes.

pub mod blobs;
mod error;
mod failure;
mod link;
pub mod slots;
pub mod supervision;
mod task_manager;
mod work_dir;
mod worker_process;

pub use error::{Exit, TaskManagerError};
pub use task_manager::{READY_TIMEOUT, REGISTRATION_TIMEOUT, SHUTDOWN_PATIENCE, TaskManager};
pub use worker_process::{ENV_PARENT_PID, ENV_ROLE, ENV_TAG};

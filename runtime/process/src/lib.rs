//! Processes of job programs on this host, for those who start them: a TaskManager its workers, a JobManager the
//! coordinators of its jobs.
//!
//! A program's file comes from the [artifact cache](blobs), which vouches for it; a process has [directories of its
//! own](dirs), is started and talked to by a task of its [parent](child), and how it is asked to end is decided by a
//! pure [state machine](life).

pub mod blobs;
mod busy;
pub mod child;
pub mod dirs;
pub mod life;

pub use busy::unless_busy;
pub use child::{
    ChildCommand, ChildEvent, ChildHandle, ChildProcess, Death, ENV_PARENT_PID, ENV_ROLE, ENV_TAG, StopSignal,
};

//! What a driver asks of whoever runs its jobs: local clusters, or the launcher behind a socket.
//!
//! The driver is ordinary blocking code on the program's main thread. Whoever runs the jobs is an event loop on another
//! one. Calls go through a bounded channel; the state of each job comes back through a channel that keeps the last
//! value.

use flink_graph::{JobId, JobStatus};
use flink_rpc::messages::{Fault, JobTermination};
use flink_worker::JobProgram;
use tokio::sync::{mpsc, oneshot, watch};

/// Calls that may wait to be taken; the driver waits beyond that.
const CAPACITY: usize = 16;

/// What a driver asks.
pub(crate) enum Call {
    /// Run this job.
    Submit {
        /// The job as it was declared here.
        program: Box<JobProgram>,
        /// What workers need to declare it again.
        args: Vec<u8>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Accepted, Fault>>,
    },
    /// Cancel this job; nothing happens when it has ended.
    Cancel(JobId),
}

/// A job that was taken.
pub(crate) struct Accepted {
    pub(crate) job: JobId,
    pub(crate) state: watch::Receiver<JobState>,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobState {
    /// It has not ended, as far as is known here.
    Active(JobStatus),
    /// It has ended; nothing follows.
    Ended(JobTermination),
}

impl JobState {
    pub(crate) const fn status(&self) -> JobStatus {
        match self {
            Self::Active(status) | Self::Ended(JobTermination { status, .. }) => *status,
        }
    }
}

/// The channel for the calls of a driver.
pub(crate) fn channel() -> (mpsc::Sender<Call>, mpsc::Receiver<Call>) {
    mpsc::channel(CAPACITY)
}

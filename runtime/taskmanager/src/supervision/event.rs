//! What the supervision hears, what it has done, and the times it keeps.

use std::{path::PathBuf, sync::Arc, time::Duration};

use flink_graph::JobId;
use flink_process::{Death, StopSignal, life::LifeLimits};
use flink_rpc::messages::{BlobDigest, Fault, FromTaskManager, FromWorker, JobSpec, ToTaskManager, ToWorker};

/// One worker process, from the request for its first slot to its end. Never used again: a job whose worker died gets
/// a worker of another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u64);

impl std::fmt::Display for WorkerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Something happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// There is a connection to a JobManager; nothing was said on it yet.
    Reached,
    /// An attempt to reach the JobManager failed.
    Unreachable {
        /// Why, for people.
        reason: String,
    },
    /// The JobManager took the registration.
    Registered {
        /// Its leader epoch.
        epoch: u64,
    },
    /// The JobManager refused the registration.
    Refused(Fault),
    /// The connection to the JobManager is gone.
    Disconnected {
        /// Why, for people.
        reason: String,
        /// For how long it had been silent already when this was noticed.
        silent_for: Duration,
    },
    /// The JobManager said something.
    Ordered(ToTaskManager),
    /// A fetch ended.
    Fetched {
        /// Which artifact.
        artifact: BlobDigest,
        /// The verified program file, or why there is none.
        result: Result<PathBuf, String>,
    },
    /// A worker's process could not be started.
    SpawnFailed {
        /// The worker.
        worker: WorkerId,
        /// Why.
        reason: String,
    },
    /// A worker said something.
    Told {
        /// The worker.
        worker: WorkerId,
        /// What.
        message: FromWorker,
    },
    /// A worker's control socket is of no use any more, though its process may live.
    Broken {
        /// The worker.
        worker: WorkerId,
        /// Why.
        reason: String,
    },
    /// A worker's process has ended; everything that it said before was delivered.
    Exited {
        /// The worker.
        worker: WorkerId,
        /// How it ended.
        death: Death,
    },
    /// The TaskManager's own host asks it to end.
    Terminate {
        /// Why, for people.
        reason: String,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done, in order.
#[derive(Debug, Clone)]
pub enum Action {
    /// Register on the connection that was reached.
    Register {
        /// Epoch of the last JobManager; 0 if there was none.
        last_epoch: u64,
    },
    /// Give the present connection up and look for a JobManager again.
    Reconnect,
    /// Tell the JobManager.
    Report(FromTaskManager),
    /// Get an artifact; answered by [`Event::Fetched`].
    Fetch(BlobDigest),
    /// Nobody wants this artifact any more.
    CancelFetch(BlobDigest),
    /// Start a worker process. Answered by [`Event::SpawnFailed`], or in the end by [`Event::Exited`].
    Spawn {
        /// The worker.
        worker: WorkerId,
        /// Its job.
        job: JobId,
        /// The file to execute.
        program: PathBuf,
        /// What it is told first.
        spec: Arc<JobSpec>,
    },
    /// Tell a worker.
    Send {
        /// The worker.
        worker: WorkerId,
        /// What.
        message: ToWorker,
    },
    /// Send a signal to a worker's process group.
    Signal {
        /// The worker.
        worker: WorkerId,
        /// Which.
        signal: StopSignal,
    },
    /// It is over. The last action.
    End(Outcome),
}

/// Why a TaskManager ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The JobManager told it to.
    ShutDown,
    /// Its host told it to ([`Event::Terminate`]).
    Terminated,
    /// It was without a JobManager for the death timeout.
    Orphaned,
    /// The JobManager refused it.
    Refused(Fault),
    /// It never got to register.
    Unregistered {
        /// The last thing that went wrong.
        reason: String,
    },
}

/// Times and sizes of the supervision.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Number of slots.
    pub slots: u32,
    /// Name of the host, for failures.
    pub host: String,
    /// From its start, a TaskManager has this long to register for the first time.
    pub registration_timeout: Duration,
    /// A registered TaskManager ends itself when it has been without its JobManager for this long.
    pub death_timeout: Duration,
    /// The times of its workers.
    pub workers: LifeLimits,
}

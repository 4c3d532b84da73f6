//! Where one worker is in its life.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Instant};

use flink_graph::JobId;
use flink_rpc::messages::{BlobDigest, JobSpec};

/// A worker of a job.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) job: JobId,
    pub(super) phase: Phase,
}

/// ```text
///  Fetching ──► Fetched ──► Starting ──► Ready
///      │           │           │   ╲       │ ╲
///      ▼           ▼           │    ╲      │  ► Failing (socket broken, or never ready)
///   (gone: no process yet)     ▼     ► ────┼──►    │
///                            Ending ◄──────┘       │   on exit: WorkerLost or SlotsRefused
///                              │                   ▼
///                              └── on exit ──►  (gone)
/// ```
/// An exit in `Starting` or `Ready` is reported at once; one in `Ending` was asked for and is not reported.
#[derive(Debug)]
pub(super) enum Phase {
    /// Its program is being fetched.
    Fetching { spec: Arc<JobSpec> },
    /// It has its program and waits until the job's previous worker is gone.
    Fetched { spec: Arc<JobSpec>, program: PathBuf },
    /// Its process runs and builds the graph.
    Starting { ready_by: Instant },
    /// It takes tasks.
    Ready { data_address: SocketAddr },
    /// It is of no use any more; its failure is reported with its exit. `next` is when it is killed or, after
    /// that (`killed`), when its exit is no longer waited for.
    Failing {
        was_ready: bool,
        why: String,
        killed: bool,
        next: Instant,
    },
    /// Its end was asked for.
    Ending { step: Step, next: Instant },
}

/// How hard a worker was asked to end. `next` of [`Phase::Ending`] is when the next step is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// By message.
    Asked,
    /// By SIGTERM.
    Terminated,
    /// By SIGKILL: the next step is to wait no longer.
    Killed,
}

impl Worker {
    /// True while new slots of the job go to this worker.
    pub(super) fn is_current(&self) -> bool {
        !matches!(self.phase, Phase::Failing { .. } | Phase::Ending { .. })
    }

    /// True when there is a process, or may be one.
    pub(super) fn has_process(&self) -> bool {
        !matches!(self.phase, Phase::Fetching { .. } | Phase::Fetched { .. })
    }

    /// True when it waits for this artifact.
    pub(super) fn fetches(&self, artifact: BlobDigest) -> bool {
        matches!(&self.phase, Phase::Fetching { spec } if spec.artifact == artifact)
    }

    /// When something about it is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Fetching { .. } | Phase::Fetched { .. } | Phase::Ready { .. } => None,
            Phase::Starting { ready_by } => Some(*ready_by),
            Phase::Failing { next, .. } | Phase::Ending { next, .. } => Some(*next),
        }
    }
}

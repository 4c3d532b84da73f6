//! Where one worker is in its life.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Instant};

use flink_graph::JobId;
use flink_process::life::ProcessLife;
use flink_rpc::messages::{BlobDigest, JobSpec};

/// A worker of a job.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) job: JobId,
    pub(super) phase: Phase,
}

/// ```text
///  Fetching ──► Fetched ──► Process
///      │           │           │
///      ▼           ▼           ▼
///   (gone: no process yet)   (gone)
/// ```
/// An exit that was not asked for is reported: `WorkerLost` or `SlotsRefused`. One that was is not.
#[derive(Debug)]
pub(super) enum Phase {
    /// Its program is being fetched.
    Fetching { spec: Arc<JobSpec> },
    /// It has its program and waits until the job's previous worker is gone.
    Fetched { spec: Arc<JobSpec>, program: PathBuf },
    /// It has a process. Tasks can run in it once that is ready; `data_address` is set then.
    Process {
        life: ProcessLife,
        data_address: Option<SocketAddr>,
    },
}

impl Worker {
    /// True while new slots of the job go to this worker.
    pub(super) fn is_current(&self) -> bool {
        self.life().is_none_or(ProcessLife::is_current)
    }

    /// True when there is a process, or may be one.
    pub(super) fn has_process(&self) -> bool {
        self.life().is_some()
    }

    /// True when it waits for this artifact.
    pub(super) fn fetches(&self, artifact: BlobDigest) -> bool {
        matches!(&self.phase, Phase::Fetching { spec } if spec.artifact == artifact)
    }

    /// When something about it is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.life().and_then(ProcessLife::deadline)
    }

    /// Of its process, if it has one.
    pub(super) fn life(&self) -> Option<&ProcessLife> {
        match &self.phase {
            Phase::Process { life, .. } => Some(life),
            Phase::Fetching { .. } | Phase::Fetched { .. } => None,
        }
    }

    /// Of its process, if it has one.
    pub(super) fn life_mut(&mut self) -> Option<&mut ProcessLife> {
        match &mut self.phase {
            Phase::Process { life, .. } => Some(life),
            Phase::Fetching { .. } | Phase::Fetched { .. } => None,
        }
    }
}

//! TaskManager <-> JobManager.
//!
//! A TaskManager opens one connection and on it one bidirectional stream: it sends its [`Registration`], gets
//! [`Registered`], and from then on each side sends its messages on that stream, in order, waiting for no reply.
//! Artifacts are fetched on streams of their own.

use std::{net::SocketAddr, sync::Arc};

use flink_graph::{
    AllocationId, ClusterId, ExecutionAttemptId, ExecutionState, JobGraph, JobId, Placement, TaskFailure, TaskManagerId,
};
use serde::{Deserialize, Serialize};

use super::{BlobDigest, EventsHandled, OperatorEvent, WorkerMetrics};
use crate::Identity;

/// The first frame of every stream that a TaskManager opens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum TaskManagerRequest {
    /// The one control stream. Reply: `Result<Registered, Fault>`.
    Register(Registration),
    /// Fetch an artifact. Reply: `Result<BlobHeader, Fault>`, then the bytes in raw frames.
    FetchBlob(BlobRequest),
}

/// Who a TaskManager is and what it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION) of the TaskManager.
    pub protocol: u32,
    /// Its id: given to it at its start, or made by itself when standalone.
    pub id: TaskManagerId,
    /// Its host's name in the inventory.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// How many slots it offers.
    pub slots: u32,
    /// Leader epoch of the JobManager it was registered with before; 0 at first.
    pub last_epoch: u64,
}

/// The JobManager's answer to a registration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    /// The cluster.
    pub cluster: ClusterId,
    /// Leader epoch: a message of a lower one is refused.
    pub epoch: u64,
}

/// JobManager -> TaskManager.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToTaskManager {
    /// Give a slot to a job: start the job's worker if there is none, then offer the slot
    /// ([`FromTaskManager::SlotsOffered`]).
    RequestSlots(SlotRequest),
    /// Take slots back from their job. With its last slot the job's worker is ended.
    FreeSlots(Vec<AllocationId>),
    /// Start these tasks in the job's worker.
    Deploy {
        /// The job.
        job: JobId,
        /// Where all of the job's tasks are.
        placement: Arc<Placement>,
        /// The tasks for this TaskManager.
        tasks: Vec<ExecutionAttemptId>,
    },
    /// Cancel these tasks.
    CancelTasks(Vec<ExecutionAttemptId>),
    /// End: workers first, then the process.
    Shutdown,
    /// An operator's coordinator says something to a task.
    OperatorEvent(OperatorEvent),
    /// An operator's coordinator has handled events of a task.
    EventsHandled(EventsHandled),
}

/// Slots for one job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SlotRequest {
    /// The job.
    pub job: JobId,
    /// One id per slot.
    pub allocations: Vec<AllocationId>,
    /// What a worker of the job needs; the same in each request for one job.
    pub spec: Arc<JobSpec>,
}

/// What it takes to start a worker of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobSpec {
    /// The job's graph, for comparison with the one that the worker builds.
    pub graph: JobGraph,
    /// The program.
    pub artifact: BlobDigest,
    /// The program's encoded arguments.
    pub args: Vec<u8>,
    /// Certificate of the job's workers.
    pub identity: Identity,
}

/// TaskManager -> JobManager.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromTaskManager {
    /// The slots are the job's and its worker is ready for tasks.
    SlotsOffered {
        /// The job.
        job: JobId,
        /// The slots.
        allocations: Vec<AllocationId>,
        /// Where the worker takes data connections.
        data_address: SocketAddr,
    },
    /// The slots could not be prepared: no artifact, no worker. They are free again.
    SlotsRefused {
        /// The job.
        job: JobId,
        /// The slots.
        allocations: Vec<AllocationId>,
        /// Why.
        failure: TaskFailure,
    },
    /// A task changed its state.
    TaskStateChanged {
        /// The task.
        attempt: ExecutionAttemptId,
        /// Its new state.
        state: ExecutionState,
        /// Why, when it failed.
        failure: Option<TaskFailure>,
    },
    /// A job's worker process ended unasked; its slots are free again.
    WorkerLost {
        /// The job.
        job: JobId,
        /// Status or signal, and the last lines of its standard error.
        failure: TaskFailure,
        /// The slots that it had, free again; none of the job's other slots here is lost (one that was requested
        /// while this message travelled gets a new worker).
        allocations: Vec<AllocationId>,
    },
    /// Counters of a job's worker.
    Metrics {
        /// The job.
        job: JobId,
        /// The counters.
        metrics: WorkerMetrics,
    },
    /// The TaskManager ends by itself (asked by a signal on its host); it takes no more slots.
    Leaving {
        /// Why, for people.
        reason: String,
    },
    /// A task says something to the coordinator of one of its operators.
    OperatorEvent(OperatorEvent),
    /// So many messages of a job's coordinators have arrived in its worker.
    EventsArrived {
        /// The job.
        job: JobId,
        /// How many.
        messages: u32,
    },
}

/// Which artifact to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRequest {
    /// Its digest.
    pub digest: BlobDigest,
}

/// What precedes an artifact's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobHeader {
    /// Number of bytes that follow.
    pub size: u64,
}

//! What reaches the Dispatcher from the connections. Its queue is bounded; whoever sends waits.

use flink_graph::{ExecutionAttemptId, JobId, TaskManagerId};
use flink_rpc::messages::{
    AttachMode, ClusterStatus, Fault, FromTaskManager, JobDetails, JobSubmission, JobSummary, Registered, Registration,
    ToTaskManager,
};
use quinn::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::provisioning::ProvisioningBoard;
use crate::job_master::{
    Attachment,
    output::{OutputSender, OutputSource},
};

/// Events that wait for the Dispatcher.
pub(crate) const EVENT_QUEUE: usize = 1024;

/// Messages that wait for one TaskManager. One that lets as many pile up is taken for dead. Large enough for a burst
/// over all jobs of a session, which the Dispatcher makes without letting the connection's task run in between.
pub(crate) const TASK_MANAGER_QUEUE: usize = 1024;

/// Where the answer to a request goes. A caller that is gone does not get it.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Fault>>;

/// Something that happened on a connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// A TaskManager wants to join.
    Register {
        registration: Registration,
        link: TaskManagerLink,
        reply: Reply<Registered>,
    },
    /// A registered TaskManager says something, on the connection of this stable id.
    Told {
        id: TaskManagerId,
        connection: usize,
        message: FromTaskManager,
    },
    /// The connection of a registered TaskManager is gone.
    Disconnected {
        id: TaskManagerId,
        connection: usize,
        end: ConnectionEnd,
    },
    /// A worker has something to print.
    Collect {
        attempt: ExecutionAttemptId,
        reply: Reply<OutputSender>,
    },
    /// A client asks for something.
    Client(ClientCall),
}

/// What a client asks for.
#[derive(Debug)]
pub(crate) enum ClientCall {
    /// Run a job whose graph is valid and whose artifact is there.
    Submit {
        submission: Box<JobSubmission>,
        reply: Reply<JobId>,
    },
    ListJobs {
        reply: Reply<Vec<JobSummary>>,
    },
    DescribeJob {
        job: JobId,
        reply: Reply<JobDetails>,
    },
    Watch {
        job: JobId,
        mode: AttachMode,
        reply: Reply<Watch>,
    },
    /// The call that had a job's lease is over.
    LeaseEnded {
        job: JobId,
    },
    CancelJob {
        job: JobId,
        reply: Reply<()>,
    },
    JobOutput {
        job: JobId,
        reply: Reply<OutputSource>,
    },
    ClusterStatus {
        reply: Reply<ClusterStatus>,
    },
    StopCluster {
        reply: Reply<()>,
    },
    Hold {
        reply: Reply<ClusterEnd>,
    },
    /// The call that held the cluster is over.
    HoldEnded,
}

/// How the end of the cluster is told: `Ok` when nothing is left of it.
pub(crate) type ClusterEnd = oneshot::Receiver<Result<(), Fault>>;

/// What it takes to watch a job.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) attachment: Attachment,
    pub(crate) provisioning: watch::Receiver<ProvisioningBoard>,
}

/// The Dispatcher's end of a TaskManager's connection.
#[derive(Debug)]
pub(crate) struct TaskManagerLink {
    /// Bounded by [`TASK_MANAGER_QUEUE`].
    pub(crate) outgoing: mpsc::Sender<ToTaskManager>,
    /// To be closed when the TaskManager is given up.
    pub(crate) connection: Connection,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConnectionEnd {
    /// The peer closed it: its process ends.
    Closed { reason: String },
    /// Nothing was heard for the heartbeat timeout.
    Silent,
    /// It broke off in some other way, or we closed it.
    Broken { reason: String },
}

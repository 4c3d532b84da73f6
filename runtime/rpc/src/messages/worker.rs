//! TaskManager <-> worker, over a socket that the worker is given as its standard input; and worker -> JobManager,
//! for what a job prints.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use std::net::SocketAddr;

use flink_graph::{
    Accumulators, Double, ExecutionAttemptId, ExecutionState, JobGraph, JobId, Placement, TaskFailure, TaskManagerId,
};
use serde::{Deserialize, Serialize};

use super::{EventsHandled, OperatorEvent};
use crate::Identity;

/// Name of the environment variable with the user's own umask, octal. Our processes run with 077; workers write the user's
/// files, and go back to it.
pub const UMASK_VARIABLE: &str = "FLINKCTL_UMASK";

/// TaskManager -> worker. The first is [`ToWorker::Start`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToWorker {
    /// Build the graph and get ready.
    Start(Box<WorkerStartup>),
    /// Start these tasks.
    Deploy {
        /// Where all of the job's tasks are.
        placement: Arc<Placement>,
        /// This worker's tasks.
        tasks: Vec<ExecutionAttemptId>,
    },
    /// Cancel these tasks.
    CancelTasks(Vec<ExecutionAttemptId>),
    /// End with exit code 0. A closed socket means the same (the TaskManager is gone).
    Shutdown,
    /// An operator's coordinator says something to a task. Answered by [`FromWorker::EventsArrived`].
    OperatorEvent(OperatorEvent),
    /// An operator's coordinator has handled events of a task. Answered by [`FromWorker::EventsArrived`].
    EventsHandled(EventsHandled),
}

/// What a worker needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerStartup {
    /// [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION) of the TaskManager.
    pub protocol: u32,
    /// The job.
    pub job: JobId,
    /// The graph that the client's process built.
    pub graph: JobGraph,
    /// The program's encoded arguments.
    pub args: Vec<u8>,
    /// What the worker proves itself with.
    pub identity: Identity,
    /// Its TaskManager.
    pub task_manager: TaskManagerId,
    /// Its host's name in the inventory.
    pub host: String,
    /// Where the JobManager takes connections.
    pub job_manager: SocketAddr,
    /// Address to take data connections on, and to be reached at.
    pub data_address: IpAddr,
    /// UDP ports to choose from, first and last; `(0, 0)` = any.
    pub data_ports: (u16, u16),
    /// Largest IP packet of the data network, bytes: 1500 or 9000.
    pub mtu: u16,
    /// A peer that is silent for this long is gone, ms.
    pub heartbeat_timeout_ms: u64,
    /// Directory for temporary files of this worker; removed by the TaskManager.
    pub tmp_dir: PathBuf,
}

/// Worker -> TaskManager.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromWorker {
    /// The graph is built and equal to the client's.
    Ready {
        /// Where the worker takes data connections.
        data_address: SocketAddr,
    },
    /// The worker cannot run tasks of this job; it ends.
    StartFailed(TaskFailure),
    /// A task changed its state.
    TaskStateChanged {
        /// The task.
        attempt: ExecutionAttemptId,
        /// Its new state.
        state: ExecutionState,
        /// Why, when it failed.
        failure: Option<TaskFailure>,
    },
    /// Counters: every 250 ms while they change, and before a task's last state.
    Metrics(WorkerMetrics),
    /// A task says something to the coordinator of one of its operators.
    OperatorEvent(OperatorEvent),
    /// So many messages of the job's coordinators have arrived, be there still a task for them or not.
    EventsArrived(u32),
}

/// Counters of one worker, from its start.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct WorkerMetrics {
    /// Per task.
    pub tasks: Vec<TaskMetrics>,
    /// Per outgoing channel.
    pub channels: Vec<ChannelMetrics>,
}

/// Counters of one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskMetrics {
    /// The task.
    pub attempt: ExecutionAttemptId,
    /// Records received from other vertices (of a source: records it made).
    pub records_in: u64,
    /// Records sent to other vertices (of a sink: records it took).
    pub records_out: u64,
    /// Records left out because they could not be read, as the job asked for.
    pub records_skipped: u64,
    /// Records left out because they came too late for their windows, or for an interval join.
    pub late_records_dropped: u64,
    /// Bytes received over the network.
    pub bytes_in: u64,
    /// Bytes sent over the network.
    pub bytes_out: u64,
    /// What its functions have added up.
    pub accumulators: Accumulators,
    /// What its functions measure.
    pub metrics: Vec<OperatorMetric>,
}

/// What a function measures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorMetric {
    /// The function's operator.
    pub operator: String,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: MetricValue,
}

/// The value of a metric, of one subtask or of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricValue {
    /// What was counted.
    Counter(u64),
    /// What was measured last: the smallest and the largest of the subtasks'.
    Gauge {
        /// The smallest.
        min: Double,
        /// The largest.
        max: Double,
    },
}

/// Counters of one logical channel, producer's side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelMetrics {
    /// Index of the edge in [`JobGraph::edges`].
    pub edge: u32,
    /// Producing subtask.
    pub producer: u32,
    /// Consuming subtask.
    pub consumer: u32,
    /// How the records travel.
    pub transport: Transport,
    /// Records sent.
    pub records: u64,
    /// Encoded bytes sent; 0 in-process.
    pub bytes: u64,
}

/// How records get from one subtask to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// A QUIC stream between two workers.
    Quic,
    /// A queue inside one worker.
    InProcess,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Quic => "quic",
            Self::InProcess => "in-process",
        })
    }
}

/// The first frame of a stream that a worker opens to the JobManager.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum WorkerRequest {
    /// Records of a `print` or `collect` sink: frames of [`OutputChunk`](super::OutputChunk) follow, then the end of
    /// the stream. Reply: `Result<CollectAck, Fault>`, once all of it is with the client or in the job's output file.
    /// A reply that comes before the end of the stream is a fault: nothing more is taken.
    Collect(CollectHeader),
}

/// Whose records follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectHeader {
    /// The sink's task.
    pub attempt: ExecutionAttemptId,
}

/// All records of a collect stream have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectAck;

//! Client -> JobManager: submitting, watching and ending jobs. One request per call; the reply is one frame or a
//! stream of them, each a `Result<_, Fault>`.

use std::sync::Arc;

use flink_graph::{Accumulators, ClusterId, ExecutionState, JobGraph, JobId, JobOutcome, JobStatus, TaskManagerId};
use serde::{Deserialize, Serialize};

use super::{BlobDigest, OperatorMetric, Transport};

/// What a client may ask.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ClientRequest {
    /// Run a job. Reply: its [`JobId`].
    Submit(Box<JobSubmission>),
    /// Reply: `Vec<JobSummary>`, newest first.
    ListJobs,
    /// Reply: [`JobDetails`].
    DescribeJob(JobId),
    /// Reply: a stream of [`JobEvent`] from the job's present state to its end.
    WatchJob {
        /// The job.
        job: JobId,
        /// Whether the job's life hangs on this call.
        mode: AttachMode,
    },
    /// Cancel a job. Reply: `()` once the job is cancelling; its end is seen by watching it.
    CancelJob(JobId),
    /// What a detached job printed so far. Reply: a stream of [`OutputChunk`].
    JobOutput {
        /// The job.
        job: JobId,
        /// Go on until the job has ended.
        follow: bool,
    },
    /// Reply: [`ClusterStatus`].
    ClusterStatus,
    /// Cancel all jobs, end all TaskManagers, then the JobManager. Reply: `()` when only the JobManager is left; a
    /// fault `cluster.left-behind` with a line per TaskManager that may still be there otherwise. The JobManager ends
    /// either way.
    StopCluster,
    /// Tie the cluster's life to this call. Reply: `()` at once; then nothing until the cluster ends, which ends the
    /// stream, with the fault `cluster.left-behind` as for `StopCluster`. When the call breaks off before, an attached session stops, and so does a per-job cluster to which no
    /// job was submitted yet (from then on its life is the job's).
    HoldCluster,
}

/// A job to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobSubmission {
    /// The graph that the program built in role `client`.
    pub graph: JobGraph,
    /// The program's file, already in the JobManager host's blob store.
    pub artifact: BlobDigest,
    /// The program's encoded arguments.
    pub args: Vec<u8>,
    /// When true, the job is cancelled unless a client attaches to it (see [`AttachMode::Lease`]) and stays.
    pub attached: bool,
    /// How long the job may wait for its slots, ms.
    pub slot_timeout_ms: u64,
}

/// How a watching client is bound to its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttachMode {
    /// Only looks.
    Watch,
    /// Receives what the job prints, and the job is cancelled when this call breaks off.
    Lease,
}

/// One line of `job list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSummary {
    /// The job.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Its state.
    pub status: JobStatus,
    /// Submission, ms since the epoch.
    pub start_ms: u64,
    /// End, ms since the epoch, when it has ended.
    pub end_ms: Option<u64>,
    /// Subtasks by state.
    pub tasks: Vec<(ExecutionState, u32)>,
}

/// All there is to say about one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobDetails {
    /// The job, as `job list` shows it.
    pub summary: JobSummary,
    /// How it ended.
    pub outcome: Option<JobOutcome>,
    /// Its vertices, in topological order.
    pub vertices: Vec<VertexDetails>,
    /// Its logical channels as last reported, producers' side: in the answer to [`ClientRequest::DescribeJob`] and in
    /// [`JobReport`], not in [`JobEvent::Progress`]. At most the first 16,384 by edge, producer and consumer.
    pub channels: Vec<ChannelDetails>,
    /// What the functions of all its tasks have added up so far, merged by name.
    pub accumulators: Accumulators,
}

/// One vertex of a running job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VertexDetails {
    /// Its name: the chained operators'.
    pub name: String,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Its subtasks, by index.
    pub subtasks: Vec<SubtaskDetails>,
    /// What its functions measure, all subtasks' in one, by operator and name.
    pub metrics: Vec<OperatorMetric>,
}

/// One subtask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubtaskDetails {
    /// State of its current attempt.
    pub state: ExecutionState,
    /// Number of its current attempt, 0-based.
    pub attempt: u32,
    /// The host it is assigned to.
    pub host: Option<String>,
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
}

/// One logical channel between two subtasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelDetails {
    /// Name of the producing vertex.
    pub source: String,
    /// Producing subtask.
    pub producer: u32,
    /// Host of the producer.
    pub source_host: String,
    /// Name of the consuming vertex.
    pub target: String,
    /// Consuming subtask.
    pub consumer: u32,
    /// Host of the consumer.
    pub target_host: String,
    /// How the records travel.
    pub transport: Transport,
    /// Records sent.
    pub records: u64,
    /// Encoded bytes sent; 0 in-process.
    pub bytes: u64,
}

/// What happens to a watched job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum JobEvent {
    /// On the way to slots: what TaskManagers are doing.
    Provisioning(ProvisioningEvent),
    /// The job as it now is: at first, at each change (changes that come faster than a client takes them, or within
    /// 20 ms, are told as one), and every 250 ms while its counters change.
    Progress(Arc<JobDetails>),
    /// The job printed this (to the client with the lease only).
    Output(OutputChunk),
    /// The job has ended; nothing follows.
    Terminated(JobReport),
}

/// The last word about a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobReport {
    /// The job as it was at its end.
    pub details: Arc<JobDetails>,
    /// How it ended.
    pub outcome: JobOutcome,
    /// The failure in the form the command line shows, when there is more to say than `outcome` does: of a job that
    /// did not get its slots (`slots.insufficient`, or the code of the hosts' failures).
    pub fault: Option<Fault>,
}

/// A piece of what a job printed: whole lines, each ended by a line feed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputChunk {
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What one TaskManager-to-be is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProvisioningEvent {
    /// The host.
    pub host: String,
    /// How far it is.
    pub stage: ProvisioningStage,
}

/// How far a TaskManager's start has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ProvisioningStage {
    /// The host is being reached.
    Connecting,
    /// The program is being uploaded.
    Uploading {
        /// Bytes sent so far.
        sent: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The process has been started.
    Starting,
    /// Its slots are there.
    Registered {
        /// How many slots.
        slots: u32,
    },
    /// It could not be started, or has ended.
    Failed(HostFault),
}

/// The cluster as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The cluster.
    pub cluster: ClusterId,
    /// Start of the JobManager, ms since the epoch.
    pub start_ms: u64,
    /// Registered TaskManagers.
    pub task_managers: Vec<TaskManagerDetails>,
    /// TaskManagers that are being started.
    pub pending_task_managers: u32,
    /// Slots that the hosts not yet started could add.
    pub startable_slots: u32,
    /// Jobs, newest first.
    pub jobs: Vec<JobSummary>,
}

/// One registered TaskManager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskManagerDetails {
    /// The TaskManager.
    pub id: TaskManagerId,
    /// Its host's name in the inventory.
    pub host: String,
    /// Process id on its host.
    pub pid: u32,
    /// Slots it has.
    pub slots: u32,
    /// Slots that are free.
    pub free_slots: u32,
    /// Registration, ms since the epoch.
    pub since_ms: u64,
}

/// Why a request failed, in the form the command line shows (`error[code]: message`, a line per host, `help:`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Stable code, such as `slots.insufficient` or `job.not-found`.
    pub code: String,
    /// What happened, lower case, no full stop.
    pub message: String,
    /// The hosts it happened on, if it did on hosts.
    pub hosts: Vec<HostFault>,
    /// What to do.
    pub help: Option<String>,
    /// Lines between the message and the help: the numbers and circumstances behind it.
    pub notes: Vec<String>,
}

impl Fault {
    /// A fault with neither hosts nor help.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            hosts: Vec::new(),
            help: None,
            notes: Vec::new(),
        }
    }

    /// The same, with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What went wrong on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFault {
    /// The host's name in the inventory.
    pub host: String,
    /// Stable code, such as `ssh.auth`.
    pub code: String,
    /// The cause, verbatim.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

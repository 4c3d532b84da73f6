//! What an operator's coordinator and its subtasks say to one another, and the coordinator's process and the
//! JobManager: over a socket that the process is given as its standard input.
//!
//! # The way of an event
//! ```text
//! task --> worker --> TaskManager --> JobManager --> coordinator
//! task <-- worker <-- TaskManager <-- JobManager <-- coordinator
//! ```
//! Each step keeps the order, so that of one subtask the events of each direction arrive in the order in which they
//! were sent. What is sent to an attempt that is over, or comes from one, is dropped on the way.
//!
//! # Bounds
//! Nothing on the way waits for room; two windows see to it that there is some.
//!
//! - A subtask has at most [`SUBTASK_WINDOW`] events, of [`MAX_OPERATOR_EVENT`] bytes together, on the way to its
//!   coordinator: until the coordinator has handled them ([`EventsHandled`]). More wait in the task.
//! - A coordinator process has at most [`COORDINATOR_WINDOW`] messages on the way to tasks, of all operators
//!   together: until they have arrived in the task's worker. It spends credit that it is given
//!   ([`ToCoordinator::Grant`]); more wait in the process, up to [`MAX_WAITING_EVENTS`] for one subtask. One that spends
//!   more than it has is ended.

use std::path::PathBuf;

use flink_graph::{ExecutionAttemptId, JobGraph, JobId, TaskFailure};
use serde::{Deserialize, Serialize, Serializer};

/// Longest payload of an event, bytes.
pub const MAX_OPERATOR_EVENT: usize = 1 << 20;

/// Events of one subtask of one operator that may be on the way to the coordinator.
pub const SUBTASK_WINDOW: usize = 8;

/// Messages of one coordinator process that may be on the way to tasks.
pub const COORDINATOR_WINDOW: u32 = 16;

/// Events that may wait for one subtask of one operator: in the coordinator until there is credit, in the worker until the task
/// takes them. A coordinator that gets further ahead of a task fails the job.
pub const MAX_WAITING_EVENTS: usize = 1024;

/// Bytes that may wait there.
pub const MAX_WAITING_BYTES: usize = 8 << 20;

/// What is said: known to the operator and its coordinator alone. Never longer than [`MAX_OPERATOR_EVENT`], whoever sends it: a
/// frame with a longer one is no such message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<u8>")]
pub struct EventPayload(Vec<u8>);

impl Serialize for EventPayload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// An event is longer than [`MAX_OPERATOR_EVENT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of {length} bytes is longer than {MAX_OPERATOR_EVENT}")]
pub struct EventTooLong {
    /// Its length, bytes.
    pub length: usize,
}

impl TryFrom<Vec<u8>> for EventPayload {
    type Error = EventTooLong;

    fn try_from(bytes: Vec<u8>) -> Result<Self, EventTooLong> {
        let length = bytes.len();
        if length > MAX_OPERATOR_EVENT {
            return Err(EventTooLong { length });
        }
        Ok(Self(bytes))
    }
}

impl From<EventPayload> for Vec<u8> {
    fn from(payload: EventPayload) -> Self {
        payload.0
    }
}

impl EventPayload {
    /// Its length, bytes.
    #[expect(clippy::len_without_is_empty, reason = "an event without payload is an event")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// An event between a subtask and the coordinator of one of its operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorEvent {
    /// The task that it is from, or for.
    pub attempt: ExecutionAttemptId,
    /// The operator: its node in the StreamGraph.
    pub operator: u32,
    /// What is said.
    pub payload: EventPayload,
}

/// The coordinator has handled the oldest events of a subtask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsHandled {
    /// The task.
    pub attempt: ExecutionAttemptId,
    /// The operator.
    pub operator: u32,
    /// How many.
    pub events: u32,
}

/// JobManager -> coordinator process. The first is [`ToCoordinator::Start`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToCoordinator {
    /// Build the graph and start the coordinators.
    Start(Box<CoordinatorStartup>),
    /// So many more messages may be sent to tasks. The first are granted when the tasks are deployed.
    Grant(u32),
    /// A subtask says something.
    OperatorEvent(OperatorEvent),
    /// A task has finished.
    SubtaskEnded(ExecutionAttemptId),
    /// A task has failed.
    SubtaskFailed(ExecutionAttemptId),
    /// All tasks have finished. End when everything that was said before is handled.
    Finish,
    /// End with what is being done, exit code 0. A closed socket means the same (the JobManager is gone).
    Shutdown,
}

/// What a coordinator process needs to know. It is given no certificate: its socket is all it talks on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CoordinatorStartup {
    /// [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION) of the JobManager.
    pub protocol: u32,
    /// The job.
    pub job: JobId,
    /// The graph that the client's process built.
    pub graph: JobGraph,
    /// The program's encoded arguments.
    pub args: Vec<u8>,
    /// Its host's name in the inventory.
    pub host: String,
    /// Directory for its temporary files; removed by the JobManager.
    pub tmp_dir: PathBuf,
}

/// Coordinator process -> JobManager.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromCoordinator {
    /// The graph is built and equal to the client's; all coordinators are started.
    Ready,
    /// The coordinators cannot be started, or one of them has failed; the process ends.
    Failed(TaskFailure),
    /// Something for a task. Spends credit.
    OperatorEvent(OperatorEvent),
    /// A task's events are handled. Spends credit.
    EventsHandled(EventsHandled),
    /// The answer to [`ToCoordinator::Finish`]: the process ends.
    Done,
}

/// How many messages may have to wait for the coordinator process of this graph's job when all windows are used up:
/// the length of its queues.
pub fn coordinator_queue(graph: &JobGraph) -> usize {
    /// Its end, or its failure, of each attempt; and some room.
    const OTHERS: usize = 2;
    let subtasks: usize = graph
        .coordinated_operators()
        .map(|operator| operator.parallelism as usize)
        .sum();
    subtasks * (SUBTASK_WINDOW + OTHERS) + COORDINATOR_WINDOW as usize + 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_longer_payload_can_be_made_or_decoded() {
        let longest = EventPayload::try_from(vec![7; MAX_OPERATOR_EVENT]).unwrap();
        let bytes = postcard::to_stdvec(&longest).unwrap();
        assert_eq!(postcard::from_bytes::<EventPayload>(&bytes).unwrap(), longest);
        let longer = vec![7_u8; MAX_OPERATOR_EVENT + 1];
        assert!(EventPayload::try_from(longer.clone()).is_err());
        let bytes = postcard::to_stdvec(&longer).unwrap();
        assert!(postcard::from_bytes::<EventPayload>(&bytes).is_err());
    }
}

//! Races, written down one by one; and at random.

mod coordination;
mod random;
mod scenarios;

use std::{net::SocketAddr, sync::Arc};

use super::*;
use crate::{AllocationId, ExecutionAttemptId, JobGraph, JobId, StreamGraph, TaskManagerId};

/// An ExecutionGraph with short words for what happens to it.
struct Run {
    graph: ExecutionGraph,
    now_ms: u64,
    /// Number of slots offered so far: their ids.
    offered: u32,
}

fn task_manager(number: u8) -> TaskManagerId {
    TaskManagerId::from_bytes([number; 16])
}

fn host(number: u8) -> String {
    format!("tm{number}")
}

fn allocation(number: u32) -> AllocationId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    AllocationId::from_bytes(bytes)
}

fn failure(kind: TaskFailureKind) -> TaskFailure {
    TaskFailure::new(kind, format!("{kind:?}"))
}

impl Run {
    fn new(graph: &StreamGraph) -> Self {
        Self::of(JobGraph::from_stream_graph(graph).unwrap())
    }

    /// With a coordinator for the operator of this node.
    fn coordinated(graph: &StreamGraph, node: u32) -> Self {
        let mut graph = JobGraph::from_stream_graph(graph).unwrap();
        graph.set_coordinated(|other| other == node);
        Self::of(graph)
    }

    fn of(graph: JobGraph) -> Self {
        Self {
            graph: ExecutionGraph::new(JobId::from_bytes([7; 16]), Arc::new(graph), 0),
            now_ms: 0,
            offered: 0,
        }
    }

    fn handle(&mut self, event: ExecutionGraphEvent) -> Vec<ExecutionGraphAction> {
        self.now_ms += 1;
        self.graph.handle(self.now_ms, event)
    }

    /// Fresh slots of one TaskManager.
    fn slots(&mut self, number: u8, count: u32) -> Vec<SlotOffer> {
        let first = self.offered;
        self.offered += count;
        let offer = |index| SlotOffer {
            allocation: allocation(index),
            task_manager: task_manager(number),
            host: host(number),
            data_address: SocketAddr::from(([10, 0, 0, number], 4000)),
        };
        (first..self.offered).map(offer).collect()
    }

    fn offer(&mut self, number: u8, count: u32) -> Vec<ExecutionGraphAction> {
        let slots = self.slots(number, count);
        self.handle(ExecutionGraphEvent::SlotsOffered(slots))
    }

    fn attempt(&self, vertex: u32, subtask: u32) -> ExecutionAttemptId {
        ExecutionAttemptId {
            job: self.graph.job(),
            vertex,
            subtask,
            attempt: 0,
        }
    }

    fn report(&mut self, vertex: u32, subtask: u32, state: ExecutionState) -> Vec<ExecutionGraphAction> {
        let attempt = self.attempt(vertex, subtask);
        self.handle(ExecutionGraphEvent::TaskStateChanged {
            attempt,
            state,
            failure: None,
        })
    }

    fn fail(&mut self, vertex: u32, subtask: u32, kind: TaskFailureKind) -> Vec<ExecutionGraphAction> {
        let (attempt, failure) = (self.attempt(vertex, subtask), Some(failure(kind)));
        self.handle(ExecutionGraphEvent::TaskStateChanged {
            attempt,
            state: ExecutionState::Failed,
            failure,
        })
    }

    fn lose_worker(&mut self, number: u8, kind: TaskFailureKind) -> Vec<ExecutionGraphAction> {
        let (task_manager, host, failure) = (task_manager(number), host(number), failure(kind));
        self.handle(ExecutionGraphEvent::WorkerLost {
            task_manager,
            host,
            failure,
        })
    }

    fn fail_coordinator(&mut self, kind: TaskFailureKind) -> Vec<ExecutionGraphAction> {
        let (host, failure) = ("jm".to_owned(), failure(kind));
        self.handle(ExecutionGraphEvent::CoordinatorFailed { host, failure })
    }

    fn lose_task_manager(&mut self, number: u8) -> Vec<ExecutionGraphAction> {
        let (task_manager, host, reason) = (
            task_manager(number),
            host(number),
            failure(TaskFailureKind::TaskManagerLost),
        );
        self.handle(ExecutionGraphEvent::TaskManagerLost {
            task_manager,
            host,
            reason,
        })
    }

    fn state(&self, vertex: usize, subtask: usize) -> ExecutionState {
        self.graph.executions()[vertex][subtask].state
    }

    /// Kind of the failure that is the job's.
    fn cause(&self) -> Option<TaskFailureKind> {
        self.graph.failure().map(|failure| failure.failure.kind)
    }
}

/// Actions as short lines, executions' changes left out.
fn brief(actions: &[ExecutionGraphAction]) -> Vec<String> {
    let tasks = |tasks: &[ExecutionAttemptId]| {
        let tasks: Vec<String> = tasks
            .iter()
            .map(|task| format!("{}.{}", task.vertex, task.subtask))
            .collect();
        tasks.join(" ")
    };
    let number = |task_manager: &TaskManagerId| task_manager.as_bytes()[0];
    let line = |action: &ExecutionGraphAction| match action {
        ExecutionGraphAction::DeclareRequirements { slots } => Some(format!("declare {slots}")),
        ExecutionGraphAction::StartCoordinator => Some("start coordinator".to_owned()),
        ExecutionGraphAction::FinishCoordinator => Some("finish coordinator".to_owned()),
        ExecutionGraphAction::StopCoordinator => Some("stop coordinator".to_owned()),
        ExecutionGraphAction::Deploy {
            task_manager,
            tasks: deployed,
            ..
        } => Some(format!("deploy tm{}: {}", number(task_manager), tasks(deployed))),
        ExecutionGraphAction::CancelTasks {
            task_manager,
            tasks: cancelled,
        } => Some(format!("cancel tm{}: {}", number(task_manager), tasks(cancelled))),
        ExecutionGraphAction::FreeSlots(slots) => Some(format!("free {}", slots.len())),
        ExecutionGraphAction::JobStatusChanged { from, to } => Some(format!("{from} -> {to}")),
        ExecutionGraphAction::ExecutionChanged { .. } => None,
        ExecutionGraphAction::JobTerminated(outcome) => Some(format!("terminated {}", outcome.status)),
    };
    actions.iter().filter_map(line).collect()
}

//! What an ExecutionGraph is told, and what it wants done.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ExecutionState, JobFailure, JobStatus, Placement, SlotOffer, TaskFailure};
use crate::{AllocationId, ExecutionAttemptId, TaskManagerId};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum ExecutionGraphEvent {
    /// The job is to run.
    Start,
    /// TaskManagers hold these slots ready for the job.
    SlotsOffered(Vec<SlotOffer>),
    /// A task says that it changed its state.
    TaskStateChanged {
        /// The task.
        attempt: ExecutionAttemptId,
        /// Its new state.
        state: ExecutionState,
        /// Why, when it failed.
        failure: Option<TaskFailure>,
    },
    /// A TaskManager is gone, its slots and the job's worker there with it.
    TaskManagerLost {
        /// The TaskManager.
        task_manager: TaskManagerId,
        /// Its host's name.
        host: String,
        /// Why.
        reason: TaskFailure,
    },
    /// The job's worker on a TaskManager is gone, or could not be started; the TaskManager is still there.
    WorkerLost {
        /// The TaskManager.
        task_manager: TaskManagerId,
        /// Its host's name.
        host: String,
        /// Why.
        failure: TaskFailure,
    },
    /// The slots that the job waits for cannot be had.
    SlotsUnavailable {
        /// Why, for people.
        message: String,
    },
    /// The coordinator is ready for the job's tasks.
    CoordinatorReady,
    /// The coordinator could not be started, has reported an error, or is gone unasked.
    CoordinatorFailed {
        /// The JobManager's host.
        host: String,
        /// Why.
        failure: TaskFailure,
    },
    /// The coordinator's process is gone. When it had not been asked to end, [`Self::CoordinatorFailed`] came before.
    CoordinatorEnded,
    /// A user wants the job to end.
    Cancel,
}

/// Something to do. Actions are to be carried out in their order.
#[derive(Debug, Clone, PartialEq)]
pub enum ExecutionGraphAction {
    /// Tell the ResourceManager how many slots the job needs in all.
    DeclareRequirements {
        /// The number, in place of the one declared before.
        slots: u32,
    },
    /// Start the job's coordinator; answered by [`ExecutionGraphEvent::CoordinatorReady`].
    StartCoordinator,
    /// All tasks have finished: have the coordinator end when it has nothing left to do; answered by
    /// [`ExecutionGraphEvent::CoordinatorEnded`].
    FinishCoordinator,
    /// End the coordinator, whatever it is doing; answered by [`ExecutionGraphEvent::CoordinatorEnded`].
    StopCoordinator,
    /// Start tasks on a TaskManager.
    Deploy {
        /// The TaskManager.
        task_manager: TaskManagerId,
        /// Where all tasks of the job are.
        placement: Arc<Placement>,
        /// The tasks to start there.
        tasks: Vec<ExecutionAttemptId>,
    },
    /// Cancel tasks on a TaskManager.
    CancelTasks {
        /// The TaskManager.
        task_manager: TaskManagerId,
        /// The tasks.
        tasks: Vec<ExecutionAttemptId>,
    },
    /// Give slots back. Slots of a lost TaskManager are not: they are gone.
    FreeSlots(Vec<AllocationId>),
    /// For the record: the job changed its state.
    JobStatusChanged {
        /// The state before.
        from: JobStatus,
        /// The state now.
        to: JobStatus,
    },
    /// For the record: an execution changed its state.
    ExecutionChanged {
        /// The execution.
        attempt: ExecutionAttemptId,
        /// The state before.
        from: ExecutionState,
        /// The state now.
        to: ExecutionState,
        /// The host it is assigned to.
        host: Option<String>,
    },
    /// The job has ended. Nothing follows it.
    JobTerminated(JobOutcome),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOutcome {
    /// A globally terminal state.
    pub status: JobStatus,
    /// Why it failed. Also set when it was cancelled while it was failing.
    pub failure: Option<JobFailure>,
}

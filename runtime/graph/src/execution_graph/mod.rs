//! The run of a job: an execution attempt per subtask, from the slots it needs to its last state.
//!
//! [`ExecutionGraph`] decides, and does nothing else: it is fed [`ExecutionGraphEvent`]s with the time at which they
//! happened, and answers with [`ExecutionGraphAction`]s for its owner to carry out in their order. Invariants, for
//! any sequence of events:
//!
//! - states change along the tables of [`JobStatus`] and [`ExecutionState`] only, and terminal ones never;
//! - tasks are deployed when all slots of the job are there and its coordinator, if it has one, is ready, not before:
//!   a streaming job is one pipelined region, in which no task gets on without the others;
//! - the job ends when its last execution has ended and its coordinator is gone, not before: what ends it stays
//!   visible, no slot is given away under a running task, and what the coordinator does at the end can still fail it;
//! - each slot that was offered is freed once, unless it is lost with its TaskManager; [`JobOutcome`] is told once.
//!
//! What a task reports late, twice, or of an attempt that is over is ignored.

mod coordinator;
mod events;
mod execution;
mod failure;
mod machine;
mod placement;
mod slots;
mod states;
#[cfg(test)]
mod tests;

pub use events::{ExecutionGraphAction, ExecutionGraphEvent, JobOutcome};
pub use execution::Execution;
pub use failure::{FailedTask, JobFailure, TaskFailure, TaskFailureKind, WorkerExit};
pub use machine::ExecutionGraph;
pub use placement::{Placement, SlotOffer, WorkerAddress};
pub use states::{ExecutionState, JobStatus};

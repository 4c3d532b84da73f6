//! What of an operator runs once for all of its subtasks: its coordinator (Flink's `OperatorCoordinator`).
//!
//! A coordinator hands out the parts of an input to the subtasks that read it, commits what they have written, aligns
//! their watermarks. It and each subtask send one another events, whose payload is theirs alone; of one subtask, those
//! of each direction arrive in order. All coordinators of a job run on one thread, in a process of the job program
//! beside the JobManager (role `coordinator`), or inside the program in a local cluster: [`CoordinatorThread`] is the
//! same in both. What it runs is [`Coordinators`], without clock and queues, so that it can be tested.
//!
//! Tasks are deployed only when every coordinator has started. When all tasks have finished, the coordinators handle
//! what was sent to them, and only then has the job finished: what a coordinator does at the last
//! [`subtask_ended`](OperatorCoordinator::subtask_ended) belongs to the job, and fails it when it fails.
//!
//! # Bounds
//! A task that outruns its coordinator waits in [`SubtaskGateway::send`] for the coordinator to have handled what it sent
//! before. A coordinator never waits, for that would hold up all others: one that gets too far ahead of a task fails
//! the job. The numbers are those of [`flink_rpc::messages`].

mod coordinators;
mod gateway;
mod operator_coordinator;
mod thread;

use coordinators::{Coordinators, Flow};
pub use gateway::SubtaskGateway;
pub use operator_coordinator::{CoordinatorContext, OperatorCoordinator};
pub use thread::CoordinatorThread;
pub(crate) use thread::no_thread;

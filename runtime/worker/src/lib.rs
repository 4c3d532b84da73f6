//! Runs tasks: operator chains, the threads they run on, and the worker process around them.
//!
//! A job program links this crate through `flink`. [`JobProgram`] is the job, as the program declared it; a
//! [`TaskExecutor`] runs tasks of it, in a worker process ([`run_worker`]) as in the local cluster inside a program.

mod boundary;
mod chain;
mod coordination;
mod counters;
mod error;
mod executor;
pub mod functions;
mod job_output;
mod operator;
pub mod operators;
mod panics;
mod process;
mod program;
mod task;
#[cfg(test)]
mod testing;
mod time;
mod wait;
pub mod windows;

pub use boundary::{Availability, Counter, Polled, SinkOperator, SourceOperator};
pub use coordination::{CoordinatorContext, CoordinatorThread, OperatorCoordinator, SubtaskGateway};
pub use error::{Cause, TaskError, with_causes};
pub use executor::{ExecutorEvent, TASK_EVENT_CAPACITY, TaskExecutor};
pub use job_output::{JobOutput, OutputStream};
pub use operator::{BoxedOutput, Either, Operator, Output, Outputs, SideOutputs};
pub use process::{PARENT_PID_VARIABLE, run_coordinator, run_worker};
pub use program::{EdgeFactory, ExecutionConfig, JobProgram, NodeFactory, OperatorContext};
pub use task::TaskEvent;
pub use time::{
    EventTime, ProcessingTimeService, WatermarkAlignment, WatermarkGenerator, WatermarkOutput, WatermarkStrategy,
};

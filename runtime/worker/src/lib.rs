//! Runs tasks: operator chains, the threads they run on, and the worker process around them.
//!
//! A job program links this crate through `flink`. [`JobProgram`] is the job, as the program declared it; a
//! [`TaskExecutor`] runs tasks of it, in a worker process ([`run_worker`]) as in the local cluster inside a program.

mod boundary;
mod chain;
mod counters;
mod error;
mod executor;
mod job_output;
mod operator;
pub mod operators;
mod panics;
mod process;
mod program;
mod task;
#[cfg(test)]
mod testing;
mod wait;

pub use boundary::{Polled, SinkWriter, SourceReader};
pub use error::{Cause, TaskError, with_causes};
pub use executor::{TASK_EVENT_CAPACITY, TaskExecutor};
pub use job_output::{JobOutput, OutputStream};
pub use operator::{BoxedOutput, Operator, Output};
pub use process::{PARENT_PID_VARIABLE, run_worker};
pub use program::{EdgeFactory, JobProgram, NodeFactory, OperatorContext};
pub use task::TaskEvent;

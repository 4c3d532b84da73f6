//! StreamGraph -> JobGraph -> ExecutionGraph: data and rules, no IO.
//!
//! A job program declares a [`StreamGraph`], an operator per node. [`JobGraph`] is what remains after chaining: a
//! vertex per chain, which a task thread runs. [`ExecutionGraph`] runs a JobGraph: a state machine over an execution
//! attempt per subtask, fed with events by a JobMaster or by the local cluster inside a program.

mod accumulators;
mod chaining;
mod error;
mod execution_graph;
mod fingerprint;
mod ids;
mod job_graph;
mod key_groups;
mod operator_id;
mod stream_graph;
#[cfg(test)]
mod testing;

pub use accumulators::{
    AccumulatorConflict, AccumulatorKind, AccumulatorNumber, AccumulatorValue, Accumulators, Double,
};
pub use error::GraphError;
pub use execution_graph::{
    Execution, ExecutionGraph, ExecutionGraphAction, ExecutionGraphEvent, ExecutionState, FailedTask, JobFailure,
    JobOutcome, JobStatus, Placement, SlotOffer, TaskFailure, TaskFailureKind, WorkerAddress, WorkerExit,
};
pub use ids::{AllocationId, ClusterId, ExecutionAttemptId, JobId, OperatorId, ParseIdError, TaskManagerId, VertexId};
pub use job_graph::{CoordinatedOperator, JobEdge, JobGraph, JobVertex, OperatorInfo};
pub use key_groups::{MAX_PARALLELISM_LIMIT, default_max_parallelism, key_group, key_group_range, operator_index};
pub use stream_graph::{
    ChainingStrategy, DEFAULT_SLOT_SHARING_GROUP, OperatorKind, Partitioner, StreamEdge, StreamGraph, StreamNode,
};

//! What can be wrong with a graph.

/// A dataflow that cannot be run. Operators are named as the job named them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// There is nothing to run.
    #[error("the job declares no operators")]
    Empty,
    /// The records of an operator go nowhere.
    #[error("nothing consumes the output of `{operator}`: end each stream in a sink")]
    NothingConsumes {
        /// The operator.
        operator: String,
    },
    /// An operator that is no source lacks an input.
    #[error("input {input} of `{operator}` is not connected")]
    Unconnected {
        /// The operator.
        operator: String,
        /// The input that has no edge.
        input: u32,
    },
    /// An edge between operators that cannot be connected this way.
    #[error("edge from node {source_node} to node {target_node}: {reason}")]
    InvalidEdge {
        /// Where it starts.
        source_node: u32,
        /// Where it ends.
        target_node: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// State is found again by uid, so that two operators cannot share one.
    #[error("uid `{uid}` is given to both `{first}` and `{second}`")]
    DuplicateUid {
        /// The uid.
        uid: String,
        /// The operator declared first.
        first: String,
        /// The operator declared later.
        second: String,
    },
    /// An operator without subtasks.
    #[error("the parallelism of `{operator}` is 0")]
    ZeroParallelism {
        /// The operator.
        operator: String,
    },
    /// More subtasks than key groups.
    #[error("the parallelism of `{operator}` is {parallelism}, more than its max parallelism {max_parallelism}")]
    ParallelismAboveMax {
        /// The operator.
        operator: String,
        /// Its parallelism.
        parallelism: u32,
        /// Its max parallelism: set, or else the limit.
        max_parallelism: u32,
    },
    /// More key groups than there can be.
    #[error(
        "the max parallelism of `{operator}` is {max_parallelism}; it must be between 1 and {}",
        crate::MAX_PARALLELISM_LIMIT
    )]
    MaxParallelismOutOfRange {
        /// The operator.
        operator: String,
        /// Its max parallelism.
        max_parallelism: u32,
    },
    /// A forward edge connects subtask i with subtask i, so that there must be as many on either side.
    #[error(
        "`{upstream}` (parallelism {upstream_parallelism}) cannot forward to `{downstream}` (parallelism \
         {downstream_parallelism}): use rebalance or rescale, or the same parallelism"
    )]
    ForwardParallelism {
        /// The producer.
        upstream: String,
        /// Its parallelism.
        upstream_parallelism: u32,
        /// The consumer.
        downstream: String,
        /// Its parallelism.
        downstream_parallelism: u32,
    },
    /// A JobGraph that [`JobGraph::from_stream_graph`](crate::JobGraph::from_stream_graph) cannot have made.
    #[error("malformed job graph: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
}

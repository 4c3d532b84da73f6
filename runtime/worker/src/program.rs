//! A job as its program declares it: the graph, which is data, and beside it the factories that make its operators.
//!
//! The graph travels between processes and is compared there; factories never leave the process that made them. Both
//! are indexed alike: a factory per node and per edge of the StreamGraph. Types are erased here and nowhere else: a
//! chain is put together from outputs of unknown type, each opened once, when a task starts.

mod config;
mod edge;
mod node;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flink_graph::{GraphError, JobGraph, StreamGraph, TaskFailure, TaskFailureKind};

pub use config::ExecutionConfig;
pub use edge::EdgeFactory;
pub(crate) use edge::{Channels, InputContext, WriterContext};
pub(crate) use node::{ErasedOutput, ErasedOutputs};
pub use node::{NodeFactory, OperatorContext};

/// A job that can be run in this process.
pub struct JobProgram {
    stream_graph: StreamGraph,
    graph: Arc<JobGraph>,
    /// By index in [`JobGraph::edges`]: index in [`StreamGraph::edges`].
    stream_edges: Vec<u32>,
    config: ExecutionConfig,
    nodes: Vec<Mutex<NodeFactory>>,
    edges: Vec<Mutex<EdgeFactory>>,
}

impl JobProgram {
    /// The job of this dataflow, with a factory per node and per edge.
    ///
    /// # Errors
    /// What is wrong with the dataflow.
    pub fn new(
        stream_graph: StreamGraph,
        nodes: Vec<NodeFactory>,
        edges: Vec<EdgeFactory>,
        config: ExecutionConfig,
    ) -> Result<Self, GraphError> {
        let mut graph = JobGraph::from_stream_graph(&stream_graph)?;
        let is_coordinated = |node: u32| nodes.get(node as usize).is_some_and(NodeFactory::is_coordinated);
        graph.set_coordinated(is_coordinated);
        let mut vertex_of_node = vec![0; stream_graph.nodes.len()];
        for (index, vertex) in (0..).zip(&graph.vertices) {
            vertex
                .nodes
                .iter()
                .for_each(|node| vertex_of_node[*node as usize] = index);
        }
        // The edges of the JobGraph are those of the StreamGraph that are not chained, in the same order.
        let exchanged = (0..)
            .zip(&stream_graph.edges)
            .filter(|(_, edge)| vertex_of_node[edge.source as usize] != vertex_of_node[edge.target as usize]);
        let stream_edges: Vec<u32> = exchanged.map(|(index, _)| index).collect();
        for (job_edge, index) in graph.edges.iter_mut().zip(&stream_edges) {
            job_edge.schema = edges.get(*index as usize).map_or_else(String::new, EdgeFactory::schema);
        }
        Ok(Self {
            stream_graph,
            graph: Arc::new(graph),
            stream_edges,
            config,
            nodes: nodes.into_iter().map(Mutex::new).collect(),
            edges: edges.into_iter().map(Mutex::new).collect(),
        })
    }

    /// What is run.
    pub fn graph(&self) -> &Arc<JobGraph> {
        &self.graph
    }

    /// Makes the checks that come before any task runs.
    ///
    /// # Errors
    /// The first that fails.
    pub fn preflight(&self) -> Result<(), TaskFailure> {
        for (index, node) in self.stream_graph.nodes.iter().enumerate() {
            self.node(index as u32).preflight().map_err(|error| {
                TaskFailure::new(TaskFailureKind::UserCode, error.to_string()).in_operator(node.display_name())
            })?;
        }
        Ok(())
    }

    pub(crate) fn stream_graph(&self) -> &StreamGraph {
        &self.stream_graph
    }

    /// The index in the JobGraph of an edge of the StreamGraph that is not chained.
    pub(crate) fn job_edge(&self, stream_edge: u32) -> Option<u32> {
        self.stream_edges
            .binary_search(&stream_edge)
            .ok()
            .map(|index| index as u32)
    }

    pub(crate) fn config(&self) -> &ExecutionConfig {
        &self.config
    }

    /// A user's clone or closure may panic while its factory is locked; the factory is none the worse for it.
    pub(crate) fn node(&self, node: u32) -> MutexGuard<'_, NodeFactory> {
        self.nodes[node as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The factory of an edge of the JobGraph.
    pub(crate) fn edge(&self, job_edge: u32) -> MutexGuard<'_, EdgeFactory> {
        let edge = self.stream_edges[job_edge as usize];
        self.edges[edge as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

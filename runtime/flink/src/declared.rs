//! What a program has declared so far: the graph, and beside it the factories.

use std::{
    any::type_name,
    cell::RefCell,
    collections::BTreeSet,
    rc::Rc,
    sync::{Arc, OnceLock},
    time::Duration,
};

use flink_exchange::DEFAULT_BUFFER_TIMEOUT;
use flink_graph::{ChainingStrategy, OperatorId, OperatorKind, Partitioner, StreamEdge, StreamGraph, StreamNode};
use flink_worker::{EdgeFactory, JobProgram, NodeFactory, operators::Emission};

use crate::{Error, Result};

/// The declarations of one job; its streams and its environment share them.
#[derive(Clone)]
pub(crate) struct Declared(Rc<RefCell<Declarations>>);

struct Declarations {
    graph: StreamGraph,
    nodes: Vec<NodeFactory>,
    edges: Vec<EdgeFactory>,
    /// Nodes whose parallelism is not for the job to choose.
    fixed_parallelism: BTreeSet<u32>,
    default_parallelism: u32,
    max_parallelism: Option<u32>,
    buffer_timeout: Duration,
    emission: Emission,
    /// Factories read it when operators are made: by then it is set.
    final_emission: Arc<OnceLock<Emission>>,
    /// The first thing that was declared wrong.
    error: Option<Error>,
}

/// An output of a node on its way to a consumer.
#[derive(Clone, Copy)]
pub(crate) struct Upstream {
    pub(crate) node: u32,
    pub(crate) partitioner: Option<Partitioner>,
    pub(crate) edge: fn() -> EdgeFactory,
}

impl Declared {
    pub(crate) fn new(name: String, default_parallelism: u32) -> Self {
        Self(Rc::new(RefCell::new(Declarations {
            graph: StreamGraph::new(name),
            nodes: Vec::new(),
            edges: Vec::new(),
            fixed_parallelism: BTreeSet::new(),
            default_parallelism,
            max_parallelism: None,
            buffer_timeout: DEFAULT_BUFFER_TIMEOUT,
            emission: Emission::Rolling,
            final_emission: Arc::default(),
            error: None,
        })))
    }

    pub(crate) fn set_name(&self, name: String) {
        self.0.borrow_mut().graph.name = name;
    }

    pub(crate) fn parallelism(&self) -> u32 {
        self.0.borrow().default_parallelism
    }

    pub(crate) fn set_parallelism(&self, parallelism: u32) {
        self.0.borrow_mut().default_parallelism = parallelism;
    }

    pub(crate) fn set_max_parallelism(&self, max_parallelism: u32) {
        self.0.borrow_mut().max_parallelism = Some(max_parallelism);
    }

    pub(crate) fn set_buffer_timeout(&self, timeout: Duration) {
        self.0.borrow_mut().buffer_timeout = timeout;
    }

    pub(crate) fn set_emission(&self, emission: Emission) {
        self.0.borrow_mut().emission = emission;
    }

    /// When keyed aggregations emit: set when the job is finished.
    pub(crate) fn emission(&self) -> Arc<OnceLock<Emission>> {
        Arc::clone(&self.0.borrow().final_emission)
    }

    pub(crate) fn disable_chaining(&self) {
        self.0.borrow_mut().graph.chaining_enabled = false;
    }

    pub(crate) fn fail(&self, error: impl FnOnce() -> String) {
        self.0.borrow_mut().error.get_or_insert_with(|| Error::msg(error()));
    }

    /// Adds a node without inputs yet, and returns its index.
    pub(crate) fn add_node(
        &self,
        kind: OperatorKind,
        name: String,
        input_type: Option<&str>,
        output_type: Option<&str>,
        factory: NodeFactory,
    ) -> u32 {
        let this = &mut *self.0.borrow_mut();
        this.graph.nodes.push(StreamNode {
            id: OperatorId::from_bytes([0; 16]),
            uid: None,
            name,
            kind,
            input_types: input_type.into_iter().map(str::to_owned).collect(),
            output_type: output_type.map(str::to_owned),
            parallelism: this.default_parallelism,
            max_parallelism: this.max_parallelism,
            chaining: ChainingStrategy::Always,
            slot_sharing_group: None,
        });
        this.nodes.push(factory);
        this.graph.nodes.len() as u32 - 1
    }

    pub(crate) fn add_source<T>(&self, name: String, parallelism: Option<u32>, factory: NodeFactory) -> u32 {
        let node = self.add_node(OperatorKind::Source, name, None, Some(type_name::<T>()), factory);
        if let Some(parallelism) = parallelism {
            let this = &mut *self.0.borrow_mut();
            this.fixed_parallelism.insert(node);
            this.graph.nodes[node as usize].parallelism = parallelism;
        }
        node
    }

    pub(crate) fn add_edge(&self, upstream: &Upstream, target: u32, edge: EdgeFactory) {
        let this = &mut *self.0.borrow_mut();
        let partitioner = upstream.partitioner;
        this.graph.edges.push(StreamEdge {
            source: upstream.node,
            target,
            partitioner,
            input: 0,
        });
        this.edges.push(edge);
    }

    pub(crate) fn node(&self, node: u32, change: impl FnOnce(&mut StreamNode)) {
        change(&mut self.0.borrow_mut().graph.nodes[node as usize]);
    }

    pub(crate) fn factory(&self, node: u32, change: impl FnOnce(&mut NodeFactory)) {
        change(&mut self.0.borrow_mut().nodes[node as usize]);
    }

    pub(crate) fn set_node_parallelism(&self, node: u32, parallelism: u32) {
        if self.0.borrow().fixed_parallelism.contains(&node) && parallelism != 1 {
            let name = self.0.borrow().graph.nodes[node as usize].name.clone();
            return self.fail(|| format!("the parallelism of `{name}` is always 1, not {parallelism}"));
        }
        self.node(node, |node| node.parallelism = parallelism);
    }

    /// The job that was declared. Nothing can be declared afterwards.
    pub(crate) fn finish(&self) -> Result<JobProgram> {
        let this = &mut *self.0.borrow_mut();
        if let Some(error) = this.error.take() {
            return Err(error);
        }
        // Of several calls the first counts; there is only one.
        let _set = this.final_emission.set(this.emission);
        let graph = std::mem::replace(&mut this.graph, StreamGraph::new(""));
        let (nodes, edges) = (std::mem::take(&mut this.nodes), std::mem::take(&mut this.edges));
        Ok(JobProgram::new(graph, nodes, edges, this.buffer_timeout)?)
    }
}

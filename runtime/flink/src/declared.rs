//! What a program has declared so far: the graph, and beside it the factories.

use std::{any::type_name, cell::RefCell, collections::BTreeSet, rc::Rc, sync::Arc};

use flink_graph::{ChainingStrategy, OperatorId, OperatorKind, Partitioner, StreamEdge, StreamGraph, StreamNode};
use flink_worker::{EdgeFactory, ExecutionConfig, JobProgram, NodeFactory, operators::Emission};

use crate::{Error, Result};

/// The declarations of one job; its streams and its environment share them.
#[derive(Clone)]
pub(crate) struct Declared(Rc<RefCell<Declarations>>);

struct Declarations {
    graph: StreamGraph,
    nodes: Vec<NodeFactory>,
    edges: Vec<EdgeFactory>,
    /// Side outputs that are consumed, by node and tag.
    side_outputs: BTreeSet<(u32, Arc<str>)>,
    /// Nodes whose parallelism is not for the job to choose.
    fixed_parallelism: BTreeSet<u32>,
    default_parallelism: u32,
    max_parallelism: Option<u32>,
    config: ExecutionConfig,
    /// Whether a keyed aggregation was put together for the mode that was set then.
    emission_is_used: bool,
    /// The first thing that was declared wrong.
    error: Option<Error>,
}

/// An output of a node on its way to a consumer.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) node: u32,
    /// `None` for the node's own records.
    pub(crate) side_output: Option<Arc<str>>,
    pub(crate) partitioner: Option<Partitioner>,
    pub(crate) edge: Rc<dyn Fn() -> EdgeFactory>,
}

impl Declared {
    pub(crate) fn new(name: String, default_parallelism: u32) -> Self {
        Self(Rc::new(RefCell::new(Declarations {
            graph: StreamGraph::new(name),
            nodes: Vec::new(),
            edges: Vec::new(),
            side_outputs: BTreeSet::new(),
            fixed_parallelism: BTreeSet::new(),
            default_parallelism,
            max_parallelism: None,
            config: ExecutionConfig::default(),
            emission_is_used: false,
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

    pub(crate) fn configure(&self, change: impl FnOnce(&mut ExecutionConfig)) {
        change(&mut self.0.borrow_mut().config);
    }

    /// Sets when keyed aggregations emit, on which depends how those that are declared afterwards are put together.
    pub(crate) fn set_emission(&self, emission: Emission) {
        let this = &mut *self.0.borrow_mut();
        if this.emission_is_used && this.config.emission != emission {
            let error = || Error::msg("the runtime mode is set after a keyed aggregation was declared: set it before");
            this.error.get_or_insert_with(error);
        }
        this.config.emission = emission;
    }

    /// Whether keyed aggregations emit once, at the end.
    pub(crate) fn emits_at_the_end(&self) -> bool {
        let this = &mut *self.0.borrow_mut();
        this.emission_is_used = true;
        this.config.emission == Emission::Final
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
        input_types: &[&str],
        output_type: Option<&str>,
        factory: NodeFactory,
    ) -> u32 {
        let this = &mut *self.0.borrow_mut();
        this.graph.nodes.push(StreamNode {
            id: OperatorId::from_bytes([0; 16]),
            uid: None,
            name,
            kind,
            input_types: input_types.iter().copied().map(str::to_owned).collect(),
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
        let node = self.add_node(OperatorKind::Source, name, &[], Some(type_name::<T>()), factory);
        if let Some(parallelism) = parallelism {
            let this = &mut *self.0.borrow_mut();
            this.fixed_parallelism.insert(node);
            this.graph.nodes[node as usize].parallelism = parallelism;
        }
        node
    }

    /// Connects a node to one of its inputs.
    pub(crate) fn add_edge(&self, upstream: &Upstream, target: u32, input: u32) {
        let this = &mut *self.0.borrow_mut();
        let partitioner = upstream.partitioner;
        let side_output = upstream.side_output.as_deref().map(str::to_owned);
        this.graph.edges.push(StreamEdge {
            source: upstream.node,
            target,
            partitioner,
            input,
            side_output,
        });
        this.edges.push((upstream.edge)());
    }

    /// A side output of a node is taken, which may be done once.
    pub(crate) fn take_side_output(&self, node: u32, tag: &Arc<str>) {
        if !self.0.borrow_mut().side_outputs.insert((node, Arc::clone(tag))) {
            self.fail(|| format!("the side output `{tag}` is taken twice: take it once, and clone the stream"));
        }
    }

    pub(crate) fn node(&self, node: u32, change: impl FnOnce(&mut StreamNode)) {
        change(&mut self.0.borrow_mut().graph.nodes[node as usize]);
    }

    pub(crate) fn factory(&self, node: u32, change: impl FnOnce(&mut NodeFactory)) {
        change(&mut self.0.borrow_mut().nodes[node as usize]);
    }

    pub(crate) fn node_parallelism(&self, node: u32) -> u32 {
        self.0.borrow().graph.nodes[node as usize].parallelism
    }

    /// Gives a node the parallelism and the max parallelism of another one.
    pub(crate) fn set_parallelism_of(&self, node: u32, other: u32) {
        let nodes = &mut self.0.borrow_mut().graph.nodes;
        let StreamNode {
            parallelism,
            max_parallelism,
            ..
        } = nodes[other as usize];
        nodes[node as usize].parallelism = parallelism;
        nodes[node as usize].max_parallelism = max_parallelism;
    }

    /// Gives a node one subtask, for good.
    pub(crate) fn force_non_parallel(&self, node: u32) {
        self.0.borrow_mut().fixed_parallelism.insert(node);
        self.node(node, |node| node.parallelism = 1);
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
        let graph = std::mem::replace(&mut this.graph, StreamGraph::new(""));
        let (nodes, edges) = (std::mem::take(&mut this.nodes), std::mem::take(&mut this.edges));
        Ok(JobProgram::new(graph, nodes, edges, this.config.clone())?)
    }
}

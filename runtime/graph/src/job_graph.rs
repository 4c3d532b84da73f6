//! What a job runs: a vertex per chain of operators, and the edges over which records are exchanged.

use std::{collections::BTreeMap, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{
    GraphError, MAX_PARALLELISM_LIMIT, OperatorId, OperatorKind, Partitioner, StreamGraph, StreamNode, VertexId,
    chaining::Chains, default_max_parallelism,
};

/// An operator of a vertex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorInfo {
    /// Its id.
    pub id: OperatorId,
    /// Its name, with the prefix for sources and sinks.
    pub name: String,
    /// The id that the job gave it.
    pub uid: Option<String>,
    /// Source, sink or in between.
    pub kind: OperatorKind,
    /// Type names of its inputs.
    pub input_types: Vec<String>,
    /// Type name of its records.
    pub output_type: Option<String>,
    /// Whether it has a coordinator, which runs once for all of its subtasks.
    pub coordinated: bool,
}

impl From<&StreamNode> for OperatorInfo {
    fn from(node: &StreamNode) -> Self {
        Self {
            id: node.id,
            name: node.display_name(),
            uid: node.uid.clone(),
            kind: node.kind,
            input_types: node.input_types.clone(),
            output_type: node.output_type.clone(),
            coordinated: false,
        }
    }
}

/// An operator that has a coordinator, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoordinatedOperator<'a> {
    /// Its node in the StreamGraph: its name in messages.
    pub node: u32,
    /// Index of its vertex.
    pub vertex: u32,
    /// Its name for people.
    pub name: &'a str,
    /// Number of its subtasks.
    pub parallelism: u32,
}

/// A chain of operators: what one task runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobVertex {
    /// The id of the operator at its head.
    pub id: VertexId,
    /// The names of its operators: `Source: text -> split -> (map, Sink: print)`.
    pub name: String,
    /// Its nodes in the StreamGraph, in topological order: the head first. An edge of the StreamGraph between two of
    /// them is chained.
    pub nodes: Vec<u32>,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Number of key groups: the first that is set in the order of `nodes`, else the default for the parallelism.
    pub max_parallelism: u32,
    /// Up to one subtask of each vertex of a group runs in one slot.
    pub slot_sharing_group: String,
    /// Its operators, in the order of `nodes`.
    pub operators: Vec<OperatorInfo>,
}

/// A stream between two vertices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEdge {
    /// Index of the producing vertex, lower than `target`.
    pub source: u32,
    /// The node that produces, one of the source's `nodes`.
    pub source_node: u32,
    /// Index of the consuming vertex.
    pub target: u32,
    /// The node that consumes: the target's head.
    pub target_node: u32,
    /// Which input of the consuming node.
    pub input: u32,
    /// How records are spread over the target's subtasks.
    pub partitioner: Partitioner,
    /// What its records are made of, for people. Empty in a graph that was made without its program.
    pub schema: String,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobGraph {
    /// Its name.
    pub name: String,
    /// Its vertices, in topological order.
    pub vertices: Vec<JobVertex>,
    /// The edges between them, in the order in which the job declared them.
    pub edges: Vec<JobEdge>,
}

impl JobGraph {
    /// Chains the operators of a dataflow into vertices.
    ///
    /// # Errors
    /// What is wrong with the dataflow, as [`StreamGraph::finish`] finds it.
    pub fn from_stream_graph(graph: &StreamGraph) -> Result<Self, GraphError> {
        let graph = graph.clone().finish()?;
        let chains = Chains::of(&graph);
        // A vertex is fed through its head alone, so that the order of heads is topological for vertices too.
        let mut chain_nodes: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (node, head) in (0..).zip(&chains.heads) {
            chain_nodes.entry(*head).or_default().push(node);
        }
        let mut vertex_of = vec![0; graph.nodes.len()];
        let mut vertices = Vec::with_capacity(chain_nodes.len());
        for (vertex, (head, nodes)) in (0u32..).zip(chain_nodes) {
            nodes.iter().for_each(|node| vertex_of[*node as usize] = vertex);
            vertices.push(job_vertex(&graph, &chains, head, nodes));
        }
        let edges = graph.edges.iter().filter_map(|edge| {
            let (source, target) = (vertex_of[edge.source as usize], vertex_of[edge.target as usize]);
            (source != target).then(|| JobEdge {
                source,
                source_node: edge.source,
                target,
                target_node: edge.target,
                input: edge.input,
                partitioner: graph.partitioner(edge),
                schema: String::new(),
            })
        });
        let edges = edges.collect();
        Ok(Self {
            name: graph.name,
            vertices,
            edges,
        })
    }

    /// Checks a graph that came from another process: after this, nothing in this crate panics on it.
    ///
    /// # Errors
    /// [`GraphError::Empty`] or [`GraphError::Malformed`].
    pub fn validate(&self) -> Result<(), GraphError> {
        let require = |holds: bool, reason| {
            if holds {
                Ok(())
            } else {
                Err(GraphError::Malformed { reason })
            }
        };
        if self.vertices.is_empty() {
            return Err(GraphError::Empty);
        }
        for vertex in &self.vertices {
            require(
                (1..=vertex.max_parallelism).contains(&vertex.parallelism),
                "a parallelism is out of range",
            )?;
            require(
                vertex.max_parallelism <= MAX_PARALLELISM_LIMIT,
                "a max parallelism is out of range",
            )?;
            require(!vertex.operators.is_empty(), "a vertex has no operators")?;
            require(
                vertex.operators.len() == vertex.nodes.len(),
                "a vertex has not as many nodes as operators",
            )?;
        }
        for edge in &self.edges {
            require(
                (edge.target as usize) < self.vertices.len(),
                "an edge leads to no vertex",
            )?;
            require(edge.source < edge.target, "an edge leads backwards")?;
            let [source, target] = [edge.source, edge.target].map(|vertex| self.vertex(vertex).parallelism);
            require(
                edge.partitioner != Partitioner::Forward || source == target,
                "a forward edge connects different parallelisms",
            )?;
        }
        Ok(())
    }

    /// How many slots the job needs at once: the sum over slot sharing groups of the parallelism of the widest vertex.
    pub fn slots_required(&self) -> u32 {
        self.slot_sharing_groups().iter().map(|(_, width)| width).sum()
    }

    /// The slot sharing groups in the order of their first vertices, each with the number of its slots.
    pub(crate) fn slot_sharing_groups(&self) -> Vec<(&str, u32)> {
        let mut groups: Vec<(&str, u32)> = Vec::new();
        for vertex in &self.vertices {
            match groups.iter_mut().find(|(name, _)| *name == vertex.slot_sharing_group) {
                Some((_, width)) => *width = vertex.parallelism.max(*width),
                None => groups.push((&vertex.slot_sharing_group, vertex.parallelism)),
            }
        }
        groups
    }

    /// The operators that have a coordinator, in the order of their vertices.
    pub fn coordinated_operators(&self) -> impl Iterator<Item = CoordinatedOperator<'_>> {
        (0..).zip(&self.vertices).flat_map(|(index, vertex)| {
            let operators = vertex.nodes.iter().zip(&vertex.operators);
            let coordinated = operators.filter(|(_, operator)| operator.coordinated);
            coordinated.map(move |(node, operator)| CoordinatedOperator {
                node: *node,
                vertex: index,
                name: &operator.name,
                parallelism: vertex.parallelism,
            })
        })
    }

    /// Marks the operators of these nodes as coordinated, and no others.
    pub fn set_coordinated(&mut self, is_coordinated: impl Fn(u32) -> bool) {
        for vertex in &mut self.vertices {
            for (node, operator) in vertex.nodes.iter().zip(&mut vertex.operators) {
                operator.coordinated = is_coordinated(*node);
            }
        }
    }

    /// The vertex with the highest parallelism, the first of several; `None` only of a graph that is not valid.
    pub fn largest_vertex(&self) -> Option<&JobVertex> {
        self.vertices.iter().rev().max_by_key(|vertex| vertex.parallelism)
    }

    /// The edges into a vertex, with their indices.
    pub fn in_edges(&self, vertex: u32) -> impl Iterator<Item = (u32, &JobEdge)> {
        (0..).zip(&self.edges).filter(move |(_, edge)| edge.target == vertex)
    }

    /// The edges out of a vertex, with their indices.
    pub fn out_edges(&self, vertex: u32) -> impl Iterator<Item = (u32, &JobEdge)> {
        (0..).zip(&self.edges).filter(move |(_, edge)| edge.source == vertex)
    }

    /// The subtasks of an edge's target to which a subtask of its source has channels.
    ///
    /// Along a pointwise edge from `p` producers to `c` consumers, the larger side is cut into runs of equal length
    /// (as near as can be), one for each subtask of the smaller: Flink 1.20, `VertexInputInfoComputationUtils.java`,
    /// `computeVertexInputInfoForPointwise`. Else these are all subtasks, also of a `GLOBAL` edge: what is not a
    /// record (a watermark, the end) goes to each.
    ///
    /// # Panics
    /// When there is no such edge.
    pub fn consumers(&self, edge: u32, producer_subtask: u32) -> Range<u32> {
        let (producers, consumers, pointwise) = self.sides(edge);
        if !pointwise {
            0..consumers
        } else if producers >= consumers {
            let consumer = ((u64::from(producer_subtask) + 1) * u64::from(consumers) - 1) / u64::from(producers);
            consumer as u32..consumer as u32 + 1
        } else {
            run(producer_subtask, consumers, producers, u64::div_ceil)
        }
    }

    /// The subtasks of an edge's source from which a subtask of its target has channels: those that have it among
    /// their [`Self::consumers`].
    ///
    /// # Panics
    /// When there is no such edge.
    pub fn producers(&self, edge: u32, consumer_subtask: u32) -> Range<u32> {
        let (producers, consumers, pointwise) = self.sides(edge);
        if !pointwise {
            0..producers
        } else if producers >= consumers {
            run(consumer_subtask, producers, consumers, |dividend, divisor| {
                dividend / divisor
            })
        } else {
            let producer = u64::from(consumer_subtask) * u64::from(producers) / u64::from(consumers);
            producer as u32..producer as u32 + 1
        }
    }

    fn vertex(&self, index: u32) -> &JobVertex {
        &self.vertices[index as usize]
    }

    /// Parallelism of an edge's source and of its target, and whether it is pointwise.
    fn sides(&self, edge: u32) -> (u32, u32, bool) {
        let edge = &self.edges[edge as usize];
        let [producers, consumers] = [edge.source, edge.target].map(|vertex| self.vertex(vertex).parallelism);
        (producers, consumers, edge.partitioner.is_pointwise())
    }
}

/// The run numbered `index` when `larger` subtasks are cut into `smaller` runs, cuts rounded by `divide`. Products
/// of two parallelisms fit easily into 64 bits.
fn run(index: u32, larger: u32, smaller: u32, divide: impl Fn(u64, u64) -> u64) -> Range<u32> {
    let cut = |index: u64| divide(index * u64::from(larger), u64::from(smaller)) as u32;
    cut(index.into())..cut(u64::from(index) + 1)
}

fn job_vertex(graph: &StreamGraph, chains: &Chains, head: u32, nodes: Vec<u32>) -> JobVertex {
    let head_node = graph.node(head);
    let max_parallelism = nodes.iter().find_map(|node| graph.node(*node).max_parallelism);
    JobVertex {
        id: VertexId::from_bytes(*head_node.id.as_bytes()),
        name: chains.name(graph, head),
        parallelism: head_node.parallelism,
        max_parallelism: max_parallelism.unwrap_or_else(|| default_max_parallelism(head_node.parallelism)),
        slot_sharing_group: chains.slot_sharing_groups[head as usize].clone(),
        operators: nodes.iter().map(|node| OperatorInfo::from(graph.node(*node))).collect(),
        nodes,
    }
}

#[cfg(test)]
mod tests;

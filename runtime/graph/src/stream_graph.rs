//! The dataflow as the job program declares it: one node per operator.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{GraphError, MAX_PARALLELISM_LIMIT, OperatorId, operator_id};

/// The slot sharing group of operators that neither set nor inherit one.
pub const DEFAULT_SLOT_SHARING_GROUP: &str = "default";

/// Where an operator stands in the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OperatorKind {
    /// Brings records in; has no inputs.
    Source,
    /// Turns records into records.
    Operator,
    /// Takes records out; nothing follows it.
    Sink,
}

/// Whether an operator may run in the same task as its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ChainingStrategy {
    /// Chained with the operator before it and those after it where the rules allow.
    #[default]
    Always,
    /// Begins a chain (`start_new_chain`).
    Head,
    /// Alone in its chain (`disable_chaining`).
    Never,
}

/// How the records of an edge are spread over the consumer's subtasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Partitioner {
    /// Subtask i to subtask i.
    Forward,
    /// Round robin over all subtasks.
    Rebalance,
    /// Round robin over the subtasks that are the producer's neighbours: see
    /// [`JobGraph::consumers`](crate::JobGraph::consumers).
    Rescale,
    /// Each record to each subtask.
    Broadcast,
    /// All records to subtask 0.
    Global,
    /// To the subtask that has the key group of the record's key.
    Hash,
    /// Each record to any subtask, at random.
    Shuffle,
    /// To the subtask that the job's own code names.
    Custom,
}

impl Partitioner {
    /// Whether each subtask is connected with some subtasks of the other side only (Flink's POINTWISE), rather than
    /// with all of them (ALL_TO_ALL).
    pub const fn is_pointwise(self) -> bool {
        match self {
            Self::Forward | Self::Rescale => true,
            Self::Rebalance | Self::Broadcast | Self::Global | Self::Hash | Self::Shuffle | Self::Custom => false,
        }
    }
}

impl fmt::Display for Partitioner {
    /// Flink's names of ship strategies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Forward => "FORWARD",
            Self::Rebalance => "REBALANCE",
            Self::Rescale => "RESCALE",
            Self::Broadcast => "BROADCAST",
            Self::Global => "GLOBAL",
            Self::Hash => "HASH",
            Self::Shuffle => "SHUFFLE",
            Self::Custom => "CUSTOM",
        })
    }
}

/// One operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamNode {
    /// Set by [`StreamGraph::finish`]; any value before.
    pub id: OperatorId,
    /// The id that the job gave it, by which its state is found again after the job was changed.
    pub uid: Option<String>,
    /// Name for people, without a prefix for the kind.
    pub name: String,
    /// Source, sink or in between.
    pub kind: OperatorKind,
    /// Type names of its inputs, by input number.
    pub input_types: Vec<String>,
    /// Type name of its records; `None` when it emits none.
    pub output_type: Option<String>,
    /// Number of subtasks, `1..=MAX_PARALLELISM_LIMIT`.
    pub parallelism: u32,
    /// Number of key groups, `parallelism..=MAX_PARALLELISM_LIMIT`; derived from the parallelism when `None`.
    pub max_parallelism: Option<u32>,
    /// Whether it may be chained.
    pub chaining: ChainingStrategy,
    /// Its slot sharing group; when `None`, that of its inputs if they agree, else `"default"`.
    pub slot_sharing_group: Option<String>,
}

impl StreamNode {
    /// The name with Flink's prefix for sources and sinks: `Source: text`.
    pub fn display_name(&self) -> String {
        match self.kind {
            OperatorKind::Source => format!("Source: {}", self.name),
            OperatorKind::Operator => self.name.clone(),
            OperatorKind::Sink => format!("Sink: {}", self.name),
        }
    }
}

/// A stream between two operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEdge {
    /// Index of the producing node, lower than `target`.
    pub source: u32,
    /// Index of the consuming node.
    pub target: u32,
    /// How records are spread; when `None`, forward between equal parallelisms, else rebalance.
    pub partitioner: Option<Partitioner>,
    /// Which input of the target. A union is several edges to the same input.
    pub input: u32,
    /// The tag of the side output of the source that it carries; `None` for the source's own records.
    pub side_output: Option<String>,
}

/// A dataflow. Nodes are declared before the nodes that consume them, so that their order is topological.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamGraph {
    /// The job's name.
    pub name: String,
    /// The operators.
    pub nodes: Vec<StreamNode>,
    /// The streams between them, in the order of their declaration.
    pub edges: Vec<StreamEdge>,
    /// Whether operators are chained at all (Flink's `pipeline.operator-chaining.enabled`).
    pub chaining_enabled: bool,
}

impl StreamGraph {
    /// An empty graph with chaining enabled.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            nodes: Vec::new(),
            edges: Vec::new(),
            chaining_enabled: true,
        }
    }

    /// Checks the graph and gives each node its id.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn finish(mut self) -> Result<Self, GraphError> {
        self.validate()?;
        for (node, id) in operator_id::operator_ids(&self).into_iter().enumerate() {
            self.nodes[node].id = id;
        }
        Ok(self)
    }

    /// The partitioner of an edge of this graph, by the default rule if it sets none (Flink 1.20,
    /// `StreamGraph.java`, `createActualEdge`).
    pub fn partitioner(&self, edge: &StreamEdge) -> Partitioner {
        edge.partitioner.unwrap_or_else(|| {
            if self.node(edge.source).parallelism == self.node(edge.target).parallelism {
                Partitioner::Forward
            } else {
                Partitioner::Rebalance
            }
        })
    }

    pub(crate) fn node(&self, index: u32) -> &StreamNode {
        &self.nodes[index as usize]
    }

    /// Edges into a node, in the order of their declaration.
    pub(crate) fn in_edges(&self, node: u32) -> impl Iterator<Item = &StreamEdge> {
        self.edges.iter().filter(move |edge| edge.target == node)
    }

    fn validate(&self) -> Result<(), GraphError> {
        if self.nodes.is_empty() {
            return Err(GraphError::Empty);
        }
        self.nodes.iter().try_for_each(validate_parallelism)?;
        self.validate_uids()?;
        self.edges.iter().try_for_each(|edge| self.validate_edge(edge))?;
        self.validate_connections()
    }

    fn validate_uids(&self) -> Result<(), GraphError> {
        let mut seen = BTreeMap::new();
        for node in &self.nodes {
            let Some(uid) = &node.uid else { continue };
            if let Some(first) = seen.insert(uid, node) {
                return Err(GraphError::DuplicateUid {
                    uid: uid.clone(),
                    first: first.name.clone(),
                    second: node.name.clone(),
                });
            }
        }
        Ok(())
    }

    fn validate_edge(&self, edge: &StreamEdge) -> Result<(), GraphError> {
        let invalid = |reason| {
            Err(GraphError::InvalidEdge {
                source_node: edge.source,
                target_node: edge.target,
                reason,
            })
        };
        if edge.target as usize >= self.nodes.len() {
            return invalid("there is no such node");
        }
        if edge.source >= edge.target {
            return invalid("a node must be declared before the nodes that consume it");
        }
        let (source, target) = (self.node(edge.source), self.node(edge.target));
        if source.kind == OperatorKind::Sink {
            return invalid("a sink has no output");
        }
        if target.kind == OperatorKind::Source {
            return invalid("a source has no input");
        }
        if edge.input as usize >= target.input_types.len() {
            return invalid("the target has no such input");
        }
        if edge.partitioner == Some(Partitioner::Forward) && source.parallelism != target.parallelism {
            return Err(GraphError::ForwardParallelism {
                upstream: source.name.clone(),
                upstream_parallelism: source.parallelism,
                downstream: target.name.clone(),
                downstream_parallelism: target.parallelism,
            });
        }
        Ok(())
    }

    fn validate_connections(&self) -> Result<(), GraphError> {
        for (index, node) in (0..).zip(&self.nodes) {
            // An operator without input types would not be missed below, yet nothing could ever reach it.
            let inputs = match node.kind {
                OperatorKind::Source => 0,
                OperatorKind::Operator | OperatorKind::Sink => node.input_types.len().max(1) as u32,
            };
            for input in 0..inputs {
                if !self.in_edges(index).any(|edge| edge.input == input) {
                    return Err(GraphError::Unconnected {
                        operator: node.name.clone(),
                        input,
                    });
                }
            }
            if node.kind != OperatorKind::Sink && !self.edges.iter().any(|edge| edge.source == index) {
                return Err(GraphError::NothingConsumes {
                    operator: node.name.clone(),
                });
            }
        }
        Ok(())
    }
}

fn validate_parallelism(node: &StreamNode) -> Result<(), GraphError> {
    let operator = || node.name.clone();
    if node.parallelism == 0 {
        return Err(GraphError::ZeroParallelism { operator: operator() });
    }
    let max_parallelism = node.max_parallelism.unwrap_or(MAX_PARALLELISM_LIMIT);
    if !(1..=MAX_PARALLELISM_LIMIT).contains(&max_parallelism) {
        return Err(GraphError::MaxParallelismOutOfRange {
            operator: operator(),
            max_parallelism,
        });
    }
    if node.parallelism > max_parallelism {
        let parallelism = node.parallelism;
        return Err(GraphError::ParallelismAboveMax {
            operator: operator(),
            parallelism,
            max_parallelism,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;

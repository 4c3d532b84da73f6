//! Which operators run in one task, and which slot sharing group each belongs to.

use crate::{ChainingStrategy, DEFAULT_SLOT_SHARING_GROUP, Partitioner, StreamEdge, StreamGraph};

/// What is decided about the nodes of a valid graph before vertices are made of them.
pub(crate) struct Chains {
    /// By node: the node at the head of its chain.
    pub(crate) heads: Vec<u32>,
    /// By node: its slot sharing group.
    pub(crate) slot_sharing_groups: Vec<String>,
    /// By node: the nodes chained to it, ascending.
    pub(crate) chained_outputs: Vec<Vec<u32>>,
}

impl Chains {
    /// Applies the rules to a valid graph.
    pub(crate) fn of(graph: &StreamGraph) -> Self {
        let slot_sharing_groups = slot_sharing_groups(graph);
        let mut heads: Vec<u32> = (0..graph.nodes.len() as u32).collect();
        let mut chained_outputs = vec![Vec::new(); graph.nodes.len()];
        for node in 0..graph.nodes.len() as u32 {
            // Only an operator's single in-edge can be chained, and its source has its head already.
            let chained = graph
                .in_edges(node)
                .find(|edge| is_chainable(graph, &slot_sharing_groups, edge));
            if let Some(edge) = chained {
                heads[node as usize] = heads[edge.source as usize];
                chained_outputs[edge.source as usize].push(node);
            }
        }
        Self {
            heads,
            slot_sharing_groups,
            chained_outputs,
        }
    }

    /// Flink's name of a chain: `a -> b -> (c, d -> e)`.
    pub(crate) fn name(&self, graph: &StreamGraph, node: u32) -> String {
        let name = graph.node(node).display_name();
        match self.chained_outputs[node as usize].as_slice() {
            [] => name,
            [output] => format!("{name} -> {}", self.name(graph, *output)),
            outputs => {
                let outputs: Vec<String> = outputs.iter().map(|output| self.name(graph, *output)).collect();
                format!("{name} -> ({})", outputs.join(", "))
            }
        }
    }
}

/// Whether the operators of an edge run in one task (Flink 1.20, `StreamingJobGraphGenerator.java`, `isChainable`).
/// As there, max parallelisms may differ: the chain has that of its head.
fn is_chainable(graph: &StreamGraph, slot_sharing_groups: &[String], edge: &StreamEdge) -> bool {
    let (upstream, downstream) = (graph.node(edge.source), graph.node(edge.target));
    graph.chaining_enabled
        && graph.in_edges(edge.target).count() == 1
        && slot_sharing_groups[edge.source as usize] == slot_sharing_groups[edge.target as usize]
        && upstream.chaining != ChainingStrategy::Never
        && downstream.chaining == ChainingStrategy::Always
        && upstream.parallelism == downstream.parallelism
        && graph.partitioner(edge) == Partitioner::Forward
}

/// By node: its explicit group, else that of its inputs if they agree, else the default (Flink 1.20,
/// `StreamGraphGenerator.java`, `determineSlotSharingGroup`).
fn slot_sharing_groups(graph: &StreamGraph) -> Vec<String> {
    let mut groups: Vec<String> = Vec::with_capacity(graph.nodes.len());
    for (index, node) in (0..).zip(&graph.nodes) {
        let inherited = || {
            let mut inputs = graph.in_edges(index).map(|edge| &groups[edge.source as usize]);
            let first = inputs.next()?;
            inputs.all(|group| group == first).then(|| first.clone())
        };
        let group = node.slot_sharing_group.clone().or_else(inherited);
        groups.push(group.unwrap_or_else(|| DEFAULT_SLOT_SHARING_GROUP.to_owned()));
    }
    groups
}

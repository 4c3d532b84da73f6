//! Graphs for tests.

use crate::{ChainingStrategy, OperatorId, OperatorKind, Partitioner, StreamEdge, StreamGraph, StreamNode};

pub(crate) use OperatorKind::{Operator, Sink, Source};

/// A graph of nodes (name, kind, parallelism) and edges (source, target, partitioner), all to input 0.
pub(crate) fn stream_graph(
    nodes: &[(&str, OperatorKind, u32)],
    edges: &[(u32, u32, Option<Partitioner>)],
) -> StreamGraph {
    let mut graph = StreamGraph::new("test job");
    graph.nodes = nodes
        .iter()
        .map(|(name, kind, parallelism)| node(name, *kind, *parallelism))
        .collect();
    let edges = edges.iter();
    graph.edges = edges
        .map(|&(source, target, partitioner)| StreamEdge {
            source,
            target,
            partitioner,
            input: 0,
            side_output: None,
        })
        .collect();
    graph
}

fn node(name: &str, kind: OperatorKind, parallelism: u32) -> StreamNode {
    StreamNode {
        id: OperatorId::from_bytes([0; 16]),
        uid: None,
        name: name.to_owned(),
        kind,
        input_types: if kind == Source { vec![] } else { vec!["u64".to_owned()] },
        output_type: (kind != Sink).then(|| "u64".to_owned()),
        parallelism,
        max_parallelism: None,
        chaining: ChainingStrategy::Always,
        slot_sharing_group: None,
    }
}

/// `Source: text -> split` hashed to `count -> Sink: print`.
pub(crate) fn word_count(parallelism: u32) -> StreamGraph {
    stream_graph(
        &[
            ("text", Source, parallelism),
            ("split", Operator, parallelism),
            ("count", Operator, parallelism),
            ("print", Sink, parallelism),
        ],
        &[(0, 1, None), (1, 2, Some(Partitioner::Hash)), (2, 3, None)],
    )
}

use proptest::prelude::*;

use super::*;
use crate::{
    ChainingStrategy::{self, Always, Head, Never},
    Partitioner::{Broadcast, Forward, Global, Hash, Rebalance, Rescale},
    StreamEdge,
    testing::{Operator, Sink, Source, stream_graph, word_count},
};

fn job_graph(graph: &StreamGraph) -> JobGraph {
    JobGraph::from_stream_graph(graph).unwrap()
}

/// Its vertices and edges in one line each: `name xP`, `a -HASH-> b`.
fn picture(graph: &StreamGraph) -> Vec<String> {
    let graph = job_graph(graph);
    let name = |vertex: u32| &graph.vertices[vertex as usize].name;
    let vertices = graph
        .vertices
        .iter()
        .map(|vertex| format!("{} x{}", vertex.name, vertex.parallelism));
    let edges = graph.edges.iter();
    let edges = edges.map(|edge| format!("{} -{}-> {}", name(edge.source), edge.partitioner, name(edge.target)));
    vertices.chain(edges).collect()
}

/// `a -> b -> c`, all with parallelism 2.
fn line(strategies: [ChainingStrategy; 3]) -> StreamGraph {
    let mut graph = stream_graph(
        &[("a", Source, 2), ("b", Operator, 2), ("c", Sink, 2)],
        &[(0, 1, None), (1, 2, None)],
    );
    for (node, strategy) in graph.nodes.iter_mut().zip(strategies) {
        node.chaining = strategy;
    }
    graph
}

#[test]
fn word_count_is_two_vertices() {
    let expected = [
        "Source: text -> split x2",
        "count -> Sink: print x2",
        "Source: text -> split -HASH-> count -> Sink: print",
    ];
    assert_eq!(picture(&word_count(2)), expected);

    let graph = job_graph(&word_count(2));
    assert_eq!(graph.vertices[0].nodes, [0, 1]);
    assert_eq!(
        graph.vertices[0].id.as_bytes(),
        graph.vertices[0].operators[0].id.as_bytes()
    );
    assert_eq!(
        graph.vertices[1]
            .operators
            .iter()
            .map(|operator| &operator.name)
            .collect::<Vec<_>>(),
        ["count", "Sink: print"]
    );
    let edge = JobEdge {
        source: 0,
        source_node: 1,
        target: 1,
        target_node: 2,
        input: 0,
        partitioner: Hash,
        schema: String::new(),
    };
    assert_eq!(graph.edges, [edge]);
    assert_eq!(graph.slots_required(), 2);
}

#[test]
fn a_chain_may_fork() {
    let graph = stream_graph(
        &[
            ("a", Source, 1),
            ("b", Operator, 1),
            ("c", Sink, 1),
            ("d", Operator, 1),
            ("e", Sink, 1),
        ],
        &[(0, 1, None), (1, 2, None), (1, 3, None), (3, 4, None)],
    );
    assert_eq!(picture(&graph), ["Source: a -> b -> (Sink: c, d -> Sink: e) x1"]);
}

#[test]
fn an_operator_with_several_in_edges_begins_a_chain() {
    let mut graph = stream_graph(
        &[("a", Source, 2), ("b", Source, 2), ("c", Operator, 2), ("d", Sink, 2)],
        &[(0, 2, None), (1, 2, None), (2, 3, None)],
    );
    let expected = [
        "Source: a x2",
        "Source: b x2",
        "c -> Sink: d x2",
        "Source: a -FORWARD-> c -> Sink: d",
        "Source: b -FORWARD-> c -> Sink: d",
    ];
    assert_eq!(picture(&graph), expected, "a union");
    graph.nodes[2].input_types.push("String".to_owned());
    graph.edges[1].input = 1;
    assert_eq!(picture(&graph), expected, "two inputs");
}

#[test]
fn chaining_strategies() {
    let cases = [
        ([Always, Always, Always], vec!["Source: a -> b -> Sink: c x2"]),
        ([Head, Always, Always], vec!["Source: a -> b -> Sink: c x2"]),
        ([Always, Head, Always], vec!["Source: a x2", "b -> Sink: c x2"]),
        ([Always, Never, Always], vec!["Source: a x2", "b x2", "Sink: c x2"]),
        ([Never, Always, Always], vec!["Source: a x2", "b -> Sink: c x2"]),
        ([Always, Always, Never], vec!["Source: a -> b x2", "Sink: c x2"]),
    ];
    for (strategies, expected) in cases {
        let picture = picture(&line(strategies));
        let (vertices, edges) = picture.split_at(expected.len());
        assert_eq!(vertices, expected, "{strategies:?}");
        assert!(edges.iter().all(|edge| edge.contains("-FORWARD->")), "{edges:?}");
    }
}

#[test]
fn chaining_can_be_switched_off() {
    let mut graph = line([Always; 3]);
    graph.chaining_enabled = false;
    assert_eq!(picture(&graph)[..3], ["Source: a x2", "b x2", "Sink: c x2"]);
}

#[test]
fn the_default_partitioner_depends_on_the_parallelisms() {
    let mut graph = line([Always; 3]);
    graph.nodes[1].parallelism = 3;
    let expected = [
        "Source: a x2",
        "b x3",
        "Sink: c x2",
        "Source: a -REBALANCE-> b",
        "b -REBALANCE-> Sink: c",
    ];
    assert_eq!(picture(&graph), expected);
}

#[test]
fn only_forward_edges_are_chained() {
    for partitioner in [Rebalance, Rescale, Broadcast, Global, Hash] {
        let mut graph = line([Always; 3]);
        graph.edges[0].partitioner = Some(partitioner);
        let edge = format!("Source: a -{partitioner}-> b -> Sink: c");
        assert_eq!(picture(&graph), ["Source: a x2", "b -> Sink: c x2", &edge]);
    }
    let mut graph = line([Always; 3]);
    graph.edges[0].partitioner = Some(Forward);
    assert_eq!(picture(&graph), ["Source: a -> b -> Sink: c x2"]);
}

#[test]
fn slot_sharing_groups_are_inherited_and_cut_chains() {
    let mut graph = line([Always; 3]);
    graph.nodes[1].slot_sharing_group = Some("heavy".to_owned());
    assert_eq!(picture(&graph)[..2], ["Source: a x2", "b -> Sink: c x2"]);
    let job = job_graph(&graph);
    assert_eq!(job.slot_sharing_groups(), [("default", 2), ("heavy", 2)]);
    assert_eq!(job.slots_required(), 4);
}

#[test]
fn inputs_that_disagree_give_the_default_group() {
    let mut graph = stream_graph(
        &[("a", Source, 3), ("b", Source, 2), ("c", Sink, 1)],
        &[(0, 2, None), (1, 2, None)],
    );
    graph.nodes[0].slot_sharing_group = Some("x".to_owned());
    graph.nodes[1].slot_sharing_group = Some("y".to_owned());
    assert_eq!(
        job_graph(&graph).slot_sharing_groups(),
        [("x", 3), ("y", 2), ("default", 1)]
    );
    graph.nodes[1].slot_sharing_group = Some("x".to_owned());
    assert_eq!(job_graph(&graph).slot_sharing_groups(), [("x", 3)]);
}

#[test]
fn max_parallelism_is_the_first_that_is_set_else_derived() {
    let mut graph = line([Always; 3]);
    assert_eq!(job_graph(&graph).vertices[0].max_parallelism, 128);
    graph.nodes[2].max_parallelism = Some(64);
    assert_eq!(job_graph(&graph).vertices[0].max_parallelism, 64);
    graph.nodes[0].max_parallelism = Some(256);
    assert_eq!(
        job_graph(&graph).vertices[0].max_parallelism,
        256,
        "that of the head wins"
    );
}

#[test]
fn the_largest_vertex_is_the_first_of_the_widest() {
    let graph = stream_graph(
        &[("a", Source, 1), ("b", Operator, 4), ("c", Operator, 4), ("d", Sink, 2)],
        &[(0, 1, None), (1, 2, Some(Hash)), (2, 3, None)],
    );
    assert_eq!(job_graph(&graph).largest_vertex().unwrap().name, "b");
}

/// A graph of one edge.
fn exchange(producers: u32, consumers: u32, partitioner: Partitioner) -> JobGraph {
    let mut graph = stream_graph(
        &[("a", Source, producers), ("b", Sink, consumers)],
        &[(0, 1, Some(partitioner))],
    );
    graph.chaining_enabled = false;
    job_graph(&graph)
}

#[test]
fn pointwise_edges_are_distributed_as_in_flink() {
    // 2 to 3 is the case of Flink's VertexInputInfoComputationUtilsTest.
    let cases: [(u32, u32, &[&[u32]]); 6] = [
        (2, 3, &[&[0, 1], &[2]]),
        (3, 2, &[&[0], &[1], &[1]]),
        (4, 2, &[&[0], &[0], &[1], &[1]]),
        (2, 4, &[&[0, 1], &[2, 3]]),
        (1, 3, &[&[0, 1, 2]]),
        (3, 3, &[&[0], &[1], &[2]]),
    ];
    for (producers, consumers, expected) in cases {
        let graph = exchange(producers, consumers, Rescale);
        let channels: Vec<Vec<u32>> = (0..producers)
            .map(|producer| graph.consumers(0, producer).collect())
            .collect();
        assert_eq!(channels, expected, "{producers} to {consumers}");
    }
    assert_eq!(exchange(3, 3, Forward).consumers(0, 1), 1..2);
}

#[test]
fn other_edges_connect_all_with_all() {
    for partitioner in [Rebalance, Broadcast, Global, Hash] {
        let graph = exchange(2, 3, partitioner);
        assert_eq!((graph.consumers(0, 1), graph.producers(0, 2)), (0..3, 0..2));
    }
}

#[test]
fn first_differences_are_named() {
    type Change = fn(&mut StreamGraph);
    let cases: [(&str, Change); 7] = [
        ("the job: name is `test job`, in the other graph `x`", |graph| {
            graph.name = "x".to_owned()
        }),
        (
            "operator `split`: name is `split`, in the other graph `tokenize`",
            |graph| {
                graph.nodes[1].name = "tokenize".to_owned();
            },
        ),
        (
            "operator `split`: output type is `u64`, in the other graph `String`",
            |graph| {
                graph.nodes[1].output_type = Some("String".to_owned());
            },
        ),
        ("operator `count`: uid is not set, in the other graph `c`", |graph| {
            graph.nodes[2].uid = Some("c".to_owned());
        }),
        (
            "vertex `count -> Sink: print`: max parallelism is 128, in the other graph 8",
            |graph| {
                graph.nodes[2].max_parallelism = Some(8);
            },
        ),
        (
            "the edge from `Source: text -> split` to `count -> Sink: print`: partitioner is HASH, in the other graph \
             REBALANCE",
            |graph| graph.edges[1].partitioner = Some(Rebalance),
        ),
        ("operator `Sink: also` is only in the other graph", |graph| {
            let mut sink = graph.nodes[3].clone();
            sink.name = "also".to_owned();
            graph.nodes.push(sink);
            graph.edges.push(StreamEdge {
                source: 2,
                target: 4,
                partitioner: None,
                input: 0,
                side_output: None,
            });
        }),
    ];
    let ours = job_graph(&word_count(2));
    assert_eq!(ours.first_difference(&job_graph(&word_count(2))), None);
    assert_eq!(ours.fingerprint(), job_graph(&word_count(2)).fingerprint());
    for (expected, change) in cases {
        let mut theirs = word_count(2);
        change(&mut theirs);
        let theirs = job_graph(&theirs);
        assert_ne!(ours.fingerprint(), theirs.fingerprint(), "{expected}");
        assert_eq!(ours.first_difference(&theirs).unwrap(), expected);
        if let Some(subject) = expected.strip_suffix(" is only in the other graph") {
            let expected = format!("{subject} is missing in the other graph");
            assert_eq!(theirs.first_difference(&ours).unwrap(), expected);
        }
    }
}

#[test]
fn malformed_graphs_are_refused() {
    type Change = fn(&mut JobGraph);
    let changes: [Change; 8] = [
        |graph| graph.vertices.clear(),
        |graph| graph.vertices[0].parallelism = 0,
        |graph| graph.vertices[0].parallelism = 129,
        |graph| graph.vertices[0].max_parallelism = u32::MAX,
        |graph| graph.vertices[0].operators.clear(),
        |graph| graph.edges[0].target = 2,
        |graph| graph.edges[0].source = 1,
        |graph| {
            graph.edges[0].partitioner = Forward;
            graph.vertices[0].parallelism = 1;
        },
    ];
    for (case, change) in changes.into_iter().enumerate() {
        let mut graph = job_graph(&word_count(2));
        change(&mut graph);
        assert!(graph.validate().is_err(), "{case}");
    }
}

/// Any valid dataflow: each node consumes one or two earlier ones, and what nothing consumes is a sink.
fn any_stream_graph() -> impl Strategy<Value = StreamGraph> {
    let strategy = prop_oneof![4 => Just(Always), 1 => Just(Head), 1 => Just(Never)];
    let partitioner = prop_oneof![3 => Just(None), 1 => Just(Some(Hash)), 1 => Just(Some(Rescale))];
    let group = prop_oneof![3 => Just(None), 1 => Just(Some("x".to_owned()))];
    let node = (
        1..4u32,
        strategy,
        partitioner,
        group,
        any::<[prop::sample::Index; 2]>(),
        any::<bool>(),
    );
    prop::collection::vec(node, 1..12).prop_map(|specs| {
        let mut graph = stream_graph(&[("n0", Source, 2)], &[]);
        for (index, (parallelism, chaining, partitioner, group, inputs, union)) in (1..).zip(specs) {
            let mut node = stream_graph(&[(&format!("n{index}"), Operator, parallelism)], &[])
                .nodes
                .remove(0);
            (node.chaining, node.slot_sharing_group) = (chaining, group);
            graph.nodes.push(node);
            for input in &inputs[..if union { 2 } else { 1 }] {
                let source = input.index(index as usize) as u32;
                graph.edges.push(StreamEdge {
                    source,
                    target: index,
                    partitioner,
                    input: 0,
                    side_output: None,
                });
            }
        }
        for index in 1..graph.nodes.len() {
            if !graph.edges.iter().any(|edge| edge.source as usize == index) {
                graph.nodes[index].kind = Sink;
            }
        }
        graph
    })
}

proptest! {
    #[test]
    fn chains_partition_the_nodes(graph in any_stream_graph()) {
        let job = job_graph(&graph);
        prop_assert_eq!(job.validate(), Ok(()));
        let mut nodes: Vec<u32> = job.vertices.iter().flat_map(|vertex| vertex.nodes.clone()).collect();
        nodes.sort_unstable();
        prop_assert_eq!(nodes, (0..graph.nodes.len() as u32).collect::<Vec<_>>());
        for vertex in &job.vertices {
            prop_assert!(vertex.nodes.is_sorted());
            for node in &vertex.nodes {
                prop_assert_eq!(graph.nodes[*node as usize].parallelism, vertex.parallelism);
            }
        }
        for edge in &job.edges {
            prop_assert_eq!(job.vertices[edge.target as usize].nodes[0], edge.target_node);
            prop_assert!(job.vertices[edge.source as usize].nodes.contains(&edge.source_node));
        }
        prop_assert_eq!(job.first_difference(&job_graph(&graph)), None);
    }

    #[test]
    fn the_difference_is_none_if_and_only_if_graphs_are_equal(a in any_stream_graph(), b in any_stream_graph()) {
        let (a, b) = (job_graph(&a), job_graph(&b));
        prop_assert_eq!(a.first_difference(&b).is_none(), a == b);
        prop_assert_eq!(a.fingerprint() == b.fingerprint(), a == b);
    }

    #[test]
    fn both_sides_of_an_edge_agree(producers in 1..40u32, consumers in 1..40u32) {
        let graph = exchange(producers, consumers, Rescale);
        for producer in 0..producers {
            prop_assert!(!graph.consumers(0, producer).is_empty());
            for consumer in 0..consumers {
                let forth = graph.consumers(0, producer).contains(&consumer);
                prop_assert_eq!(forth, graph.producers(0, consumer).contains(&producer));
            }
        }
        prop_assert!((0..consumers).all(|consumer| !graph.producers(0, consumer).is_empty()));
    }
}

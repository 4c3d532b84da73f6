use super::*;
use crate::testing::{Operator, Sink, Source, stream_graph, word_count};

/// What is wrong with word count after `change`.
fn error(change: impl FnOnce(&mut StreamGraph)) -> String {
    let mut graph = word_count(2);
    change(&mut graph);
    graph.finish().unwrap_err().to_string()
}

#[test]
fn each_mistake_is_named() {
    type Change = fn(&mut StreamGraph);
    let cases: [(&str, Change); 15] = [
        ("the job declares no operators", |graph| graph.nodes.clear()),
        ("the parallelism of `split` is 0", |graph| {
            graph.nodes[1].parallelism = 0
        }),
        (
            "the parallelism of `split` is 2, more than its max parallelism 1",
            |graph| {
                graph.nodes[1].max_parallelism = Some(1);
            },
        ),
        (
            "the parallelism of `split` is 32769, more than its max parallelism 32768",
            |graph| {
                graph.nodes[1].parallelism = 32_769;
            },
        ),
        (
            "the max parallelism of `split` is 32769; it must be between 1 and 32768",
            |graph| {
                graph.nodes[1].max_parallelism = Some(32_769);
            },
        ),
        (
            "the max parallelism of `split` is 0; it must be between 1 and 32768",
            |graph| {
                graph.nodes[1].max_parallelism = Some(0);
            },
        ),
        ("uid `words` is given to both `text` and `count`", |graph| {
            graph.nodes[0].uid = Some("words".to_owned());
            graph.nodes[2].uid = Some("words".to_owned());
        }),
        (
            "`text` (parallelism 2) cannot forward to `split` (parallelism 3): use rebalance or rescale, or the same \
             parallelism",
            |graph| {
                graph.edges[0].partitioner = Some(Partitioner::Forward);
                graph.nodes[1].parallelism = 3;
            },
        ),
        (
            "nothing consumes the output of `count`: end each stream in a sink",
            |graph| {
                graph.edges.remove(2);
                graph.nodes.pop();
            },
        ),
        ("input 0 of `split` is not connected", |graph| graph.edges[0].target = 2),
        ("input 1 of `count` is not connected", |graph| {
            graph.nodes[2].input_types.push("u64".to_owned())
        }),
        ("edge from node 1 to node 2: the target has no such input", |graph| {
            graph.edges[1].input = 1
        }),
        ("edge from node 1 to node 4: there is no such node", |graph| {
            graph.edges[1].target = 4
        }),
        (
            "edge from node 2 to node 1: a node must be declared before the nodes that consume it",
            |graph| {
                (graph.edges[1].source, graph.edges[1].target) = (2, 1);
            },
        ),
        ("edge from node 0 to node 1: a source has no input", |graph| {
            graph.nodes[1].kind = Source
        }),
    ];
    for (expected, change) in cases {
        assert_eq!(error(change), expected);
    }
}

#[test]
fn a_sink_has_no_output() {
    let graph = stream_graph(
        &[("a", Source, 1), ("b", Sink, 1), ("c", Sink, 1)],
        &[(0, 1, None), (1, 2, None)],
    );
    assert_eq!(
        graph.finish().unwrap_err().to_string(),
        "edge from node 1 to node 2: a sink has no output"
    );
}

fn ids(graph: StreamGraph) -> Vec<OperatorId> {
    graph.finish().unwrap().nodes.iter().map(|node| node.id).collect()
}

#[test]
fn ids_are_those_of_earlier_versions() {
    // State is found again by these: they must never change.
    let mut graph = word_count(2);
    graph.nodes[2].uid = Some("counts".to_owned());
    let ids: Vec<String> = ids(graph).iter().map(ToString::to_string).collect();
    assert_eq!(ids, GOLDEN_IDS);
}

/// Computed with Python's hashlib from the description in `operator_id.rs`.
const GOLDEN_IDS: [&str; 4] = [
    "1825843f1b54a316816693066c8720c6",
    "efa65f7c5616e1194b9040b0fafc855f",
    "ef4c73f12c5e76d1160237fddfade893",
    "6639d7b67f84aefa78f72023900388b3",
];

#[test]
fn an_id_is_of_the_uid_alone_or_of_the_path_alone() {
    let before = ids(word_count(2));
    let mut changed = word_count(3);
    changed.chaining_enabled = false;
    changed.nodes[1].name = "tokenize".to_owned();
    assert_eq!(ids(changed), before, "neither names, parallelism nor chaining count");

    let mut with_uid = word_count(2);
    with_uid.nodes[1].uid = Some("splitter".to_owned());
    let with_uid = ids(with_uid);
    assert_eq!(with_uid[0], before[0]);
    assert_ne!(with_uid[1], before[1]);

    let mut elsewhere = stream_graph(&[("x", Source, 1), ("y", Sink, 1)], &[(0, 1, None)]);
    elsewhere.nodes[0].uid = Some("splitter".to_owned());
    assert_eq!(ids(elsewhere)[0], with_uid[1], "the uid alone counts");
}

#[test]
fn siblings_differ_and_do_not_disturb_others() {
    let forked = stream_graph(
        &[("a", Source, 1), ("b", Operator, 1), ("c", Sink, 1), ("d", Sink, 1)],
        &[(0, 1, None), (1, 2, None), (0, 3, None)],
    );
    let forked = ids(forked);
    assert_ne!(forked[1], forked[3]);
    let straight = stream_graph(
        &[("a", Source, 1), ("b", Operator, 1), ("c", Sink, 1)],
        &[(0, 1, None), (1, 2, None)],
    );
    assert_eq!(ids(straight)[..], forked[..3]);
}

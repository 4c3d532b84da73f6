//! Whether two processes built the same JobGraph, and if not, where they first differ.

use sha2::{Digest, Sha256};

use crate::{JobEdge, JobGraph, JobVertex, OperatorInfo};

/// What a fact is about. Facts are listed in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Job,
    Operator,
    Vertex,
    Edge,
}

/// One thing that must be equal in both graphs.
struct Fact {
    section: Section,
    /// Whose property it is, for people.
    subject: String,
    property: &'static str,
    value: String,
}

impl JobGraph {
    /// SHA-256 of everything that must be equal in each process that builds this graph: equal graphs have equal
    /// fingerprints, on every machine and for every version of this crate that knows the same properties.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(b"flinkctl job graph\0");
        for fact in facts(self) {
            for text in [fact.property, &fact.value] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
        }
        hash.finalize().into()
    }

    /// Where this graph and another first differ: names the operator and its property with both values. `None` when
    /// they are equal.
    pub fn first_difference(&self, other: &Self) -> Option<String> {
        let (ours, theirs) = (facts(self), facts(other));
        let common = ours.iter().zip(&theirs);
        let same = common.take_while(|(a, b)| (a.section, a.property, &a.value) == (b.section, b.property, &b.value));
        let at = same.count();
        match (ours.get(at), theirs.get(at)) {
            (None, None) => None,
            (Some(a), Some(b)) if a.section == b.section => Some(format!(
                "{}: {} is {}, in the other graph {}",
                a.subject, a.property, a.value, b.value
            )),
            // Where one graph has no more of a section, the other one goes on with it.
            (Some(a), b) if b.is_none_or(|b| a.section < b.section) => {
                Some(format!("{} is missing in the other graph", a.subject))
            }
            (_, b) => b.map(|b| format!("{} is only in the other graph", b.subject)),
        }
    }
}

/// All facts about a graph. Each operator, vertex and edge has the same number of them, so that those of two graphs
/// stay aligned up to the first difference; structs are taken apart field by field, so that none is forgotten.
fn facts(graph: &JobGraph) -> Vec<Fact> {
    let JobGraph { name, vertices, edges } = graph;
    let mut facts = vec![Fact {
        section: Section::Job,
        subject: "the job".to_owned(),
        property: "name",
        value: quoted(name),
    }];
    vertices
        .iter()
        .flat_map(|vertex| &vertex.operators)
        .for_each(|operator| operator_facts(operator, &mut facts));
    vertices.iter().for_each(|vertex| vertex_facts(vertex, &mut facts));
    edges.iter().for_each(|edge| edge_facts(graph, edge, &mut facts));
    facts
}

fn operator_facts(operator: &OperatorInfo, facts: &mut Vec<Fact>) {
    let OperatorInfo {
        id,
        name,
        uid,
        kind,
        input_types,
        output_type,
        coordinated,
    } = operator;
    push(
        facts,
        Section::Operator,
        format!("operator `{name}`"),
        [
            ("name", quoted(name)),
            ("kind", format!("{kind:?}")),
            ("uid", uid.as_deref().map_or_else(|| "not set".to_owned(), quoted)),
            ("input types", format!("{input_types:?}")),
            (
                "output type",
                output_type.as_deref().map_or_else(|| "none".to_owned(), quoted),
            ),
            ("coordinator", if *coordinated { "set" } else { "not set" }.to_owned()),
            ("id", id.to_string()),
        ],
    );
}

fn vertex_facts(vertex: &JobVertex, facts: &mut Vec<Fact>) {
    let JobVertex {
        id,
        name,
        nodes,
        parallelism,
        max_parallelism,
        slot_sharing_group,
        operators,
    } = vertex;
    push(
        facts,
        Section::Vertex,
        format!("vertex `{name}`"),
        [
            ("name", quoted(name)),
            ("parallelism", parallelism.to_string()),
            ("max parallelism", max_parallelism.to_string()),
            ("slot sharing group", quoted(slot_sharing_group)),
            ("number of operators", operators.len().to_string()),
            ("list of nodes", format!("{nodes:?}")),
            ("id", id.to_string()),
        ],
    );
}

fn edge_facts(graph: &JobGraph, edge: &JobEdge, facts: &mut Vec<Fact>) {
    let JobEdge {
        source,
        source_node,
        target,
        target_node,
        input,
        partitioner,
        schema,
    } = edge;
    let vertex = |index: u32| {
        graph
            .vertices
            .get(index as usize)
            .map_or("?", |vertex| vertex.name.as_str())
    };
    push(
        facts,
        Section::Edge,
        format!("the edge from `{}` to `{}`", vertex(*source), vertex(*target)),
        [
            (
                "list of vertices and nodes",
                format!("{source}.{source_node} -> {target}.{target_node}"),
            ),
            ("input", input.to_string()),
            ("partitioner", partitioner.to_string()),
            ("record schema", quoted(schema)),
        ],
    );
}

fn push<const N: usize>(facts: &mut Vec<Fact>, section: Section, subject: String, of: [(&'static str, String); N]) {
    let of = of.into_iter();
    facts.extend(of.map(|(property, value)| Fact {
        section,
        subject: subject.clone(),
        property,
        value,
    }));
}

/// Quoted and escaped, so that no two values read the same.
fn quoted(text: &str) -> String {
    format!("`{}`", text.escape_debug())
}

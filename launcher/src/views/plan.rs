//! A JobGraph as `job plan` shows it.

use std::time::SystemTime;

use flink_graph::JobGraph;
use serde::Serialize;

use crate::output::{Column, Item, table};

/// A JobGraph.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanView {
    name: String,
    slots: u32,
    vertices: Vec<VertexView>,
    edges: Vec<EdgeView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VertexView {
    id: String,
    name: String,
    parallelism: u32,
    max_parallelism: u32,
    slot_sharing_group: String,
    operators: Vec<OperatorView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OperatorView {
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EdgeView {
    source: String,
    target: String,
    ship_strategy: String,
    schema: String,
}

impl PlanView {
    /// The view of `graph`.
    pub(crate) fn of(graph: &JobGraph) -> Self {
        let vertices: Vec<VertexView> = graph
            .vertices
            .iter()
            .map(|vertex| VertexView {
                id: vertex.id.to_string(),
                name: vertex.name.clone(),
                parallelism: vertex.parallelism,
                max_parallelism: vertex.max_parallelism,
                slot_sharing_group: vertex.slot_sharing_group.clone(),
                operators: vertex
                    .operators
                    .iter()
                    .map(|operator| OperatorView {
                        id: operator.id.to_string(),
                        name: operator.name.clone(),
                        uid: operator.uid.clone(),
                    })
                    .collect(),
            })
            .collect();
        let edges = graph
            .edges
            .iter()
            .map(|edge| EdgeView {
                source: vertices[edge.source as usize].id.clone(),
                target: vertices[edge.target as usize].id.clone(),
                ship_strategy: edge.partitioner.to_string(),
                schema: edge.schema.clone(),
            })
            .collect();
        Self {
            name: graph.name.clone(),
            slots: graph.slots_required(),
            vertices,
            edges,
        }
    }

    /// A row per vertex, in topological order, with where its records come from; when `wide`, a row per edge with what
    /// they are made of, too.
    pub(crate) fn human(&self, wide: bool) -> String {
        let columns = [
            Column::new("#").right(),
            Column::new("vertex"),
            Column::new("parallelism").right(),
            Column::new("max").right(),
            Column::new("slot sharing group"),
            Column::new("inputs"),
        ];
        let rows = self.vertices.iter().enumerate().map(|(index, vertex)| {
            let inputs: Vec<String> = self
                .edges
                .iter()
                .filter(|edge| edge.target == vertex.id)
                .map(|edge| format!("{} from {}", edge.ship_strategy, self.number(&edge.source)))
                .collect();
            vec![
                (index + 1).to_string(),
                vertex.name.clone(),
                vertex.parallelism.to_string(),
                vertex.max_parallelism.to_string(),
                vertex.slot_sharing_group.clone(),
                inputs.join(", "),
            ]
        });
        let graph = table(&columns, rows.collect());
        let edges = if wide && !self.edges.is_empty() {
            format!("\n{}", self.edge_table())
        } else {
            String::new()
        };
        format!("job \"{}\" needs {} slots\n\n{graph}{edges}", self.name, self.slots)
    }

    fn edge_table(&self) -> String {
        let columns = [
            Column::new("from").right(),
            Column::new("to").right(),
            Column::new("ship strategy"),
            Column::new("records"),
        ];
        let rows = self.edges.iter().map(|edge| {
            vec![
                self.number(&edge.source).to_string(),
                self.number(&edge.target).to_string(),
                edge.ship_strategy.clone(),
                edge.schema.clone(),
            ]
        });
        table(&columns, rows.collect())
    }

    /// The row of a vertex.
    fn number(&self, id: &str) -> usize {
        let index = self.vertices.iter().position(|vertex| vertex.id == id);
        index.map_or(0, |index| index + 1)
    }
}

impl Item for PlanView {
    const KIND: &'static str = "JobGraph";
    const PLURAL: &'static str = "job graphs";
    const CREATE: &'static str = "flinkctl job plan JOB";
    const COLUMNS: &'static [Column] = &[Column::new("name"), Column::new("slots").right()];

    fn cells(&self, _now: SystemTime) -> Vec<String> {
        vec![self.name.clone(), self.slots.to_string()]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

#[cfg(test)]
mod tests {
    use flink_graph::{JobEdge, JobVertex, Partitioner, VertexId};

    use super::*;

    fn graph() -> JobGraph {
        let vertex = |number: u8, name: &str| JobVertex {
            id: VertexId::from_bytes([number; 16]),
            name: name.to_owned(),
            nodes: vec![u32::from(number)],
            parallelism: 2,
            max_parallelism: 128,
            slot_sharing_group: "default".to_owned(),
            operators: Vec::new(),
        };
        let edge = JobEdge {
            source: 0,
            source_node: 0,
            target: 1,
            target_node: 1,
            input: 0,
            partitioner: Partitioner::Rebalance,
            schema: "(String, u64)".to_owned(),
        };
        JobGraph {
            name: "test".to_owned(),
            vertices: vec![vertex(0, "source"), vertex(1, "sink")],
            edges: vec![edge],
        }
    }

    #[test]
    fn what_records_are_made_of_is_shown_when_there_is_room() {
        let view = PlanView::of(&graph());
        assert!(!view.human(false).contains("(String, u64)"));
        let wide = view.human(true);
        let edge = wide.lines().find(|line| line.contains("(String, u64)")).unwrap();
        let cells: Vec<&str> = edge.split_whitespace().collect();
        assert_eq!(cells, ["1", "2", "REBALANCE", "(String,", "u64)"]);
        assert_eq!(
            serde_json::to_value(&view).unwrap()["edges"][0]["schema"],
            "(String, u64)"
        );
    }
}

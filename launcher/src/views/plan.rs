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
            })
            .collect();
        Self {
            name: graph.name.clone(),
            slots: graph.slots_required(),
            vertices,
            edges,
        }
    }

    /// A row per vertex, in topological order, with where its records come from.
    pub(crate) fn human(&self) -> String {
        let columns = [
            Column::new("#").right(),
            Column::new("vertex"),
            Column::new("parallelism").right(),
            Column::new("max").right(),
            Column::new("slot sharing group"),
            Column::new("inputs"),
        ];
        let number = |id: &str| {
            self.vertices
                .iter()
                .position(|vertex| vertex.id == id)
                .map_or(0, |index| index + 1)
        };
        let rows = self.vertices.iter().enumerate().map(|(index, vertex)| {
            let inputs: Vec<String> = self
                .edges
                .iter()
                .filter(|edge| edge.target == vertex.id)
                .map(|edge| format!("{} from {}", edge.ship_strategy, number(&edge.source)))
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
        format!("job \"{}\" needs {} slots\n\n{graph}", self.name, self.slots)
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

//! What there is to say about a job, in the form in which clients get it.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use flink_graph::{Accumulators, Execution, ExecutionAttemptId, ExecutionGraph, JobGraph};
use flink_rpc::messages::{
    ChannelDetails, ChannelMetrics, JobDetails, JobSummary, MetricValue, OperatorMetric, SubtaskDetails, TaskMetrics,
    VertexDetails, WorkerMetrics,
};

/// Most channels in one [`JobDetails`]: an all-to-all edge between a thousand subtasks each has a million, which no
/// frame carries and nobody reads.
const MAX_CHANNELS: usize = 16_384;

/// The counters of a job's workers, as last reported.
#[derive(Debug, Default)]
pub(super) struct JobMetrics {
    /// By vertex and subtask: of the latest attempt.
    tasks: HashMap<(u32, u32), TaskMetrics>,
    /// By edge, producer, consumer.
    channels: BTreeMap<(u32, u32, u32), ChannelMetrics>,
}

impl JobMetrics {
    /// Takes in a report; true when it says anything new.
    pub(super) fn merge(&mut self, graph: &JobGraph, report: WorkerMetrics) -> bool {
        let mut changed = false;
        for task in report.tasks.into_iter().filter(|task| has_subtask(graph, task.attempt)) {
            let key = (task.attempt.vertex, task.attempt.subtask);
            let known = self.tasks.get(&key);
            let is_newer = known.is_none_or(|known| known.attempt.attempt <= task.attempt.attempt && *known != task);
            if is_newer {
                self.tasks.insert(key, task);
                changed = true;
            }
        }
        // Of an edge that the graph does not have, or a subtask, nobody can ask.
        for channel in report.channels.into_iter().filter(|channel| exists(graph, channel)) {
            let key = (channel.edge, channel.producer, channel.consumer);
            let known = self.channels.get(&key);
            if known != Some(&channel) && (known.is_some() || self.channels.len() < MAX_CHANNELS) {
                self.channels.insert(key, channel);
                changed = true;
            }
        }
        changed
    }

    /// The counters of an attempt.
    fn of(&self, attempt: ExecutionAttemptId) -> Option<&TaskMetrics> {
        let latest = self.tasks.get(&(attempt.vertex, attempt.subtask));
        latest.filter(|metrics| metrics.attempt == attempt)
    }
}

fn has_subtask(graph: &JobGraph, attempt: ExecutionAttemptId) -> bool {
    let vertex = graph.vertices.get(attempt.vertex as usize);
    vertex.is_some_and(|vertex| attempt.subtask < vertex.parallelism)
}

fn exists(graph: &JobGraph, channel: &ChannelMetrics) -> bool {
    let parallelism = |vertex: u32| {
        graph
            .vertices
            .get(vertex as usize)
            .map_or(0, |vertex| vertex.parallelism)
    };
    graph
        .edges
        .get(channel.edge as usize)
        .is_some_and(|edge| channel.producer < parallelism(edge.source) && channel.consumer < parallelism(edge.target))
}

/// One line about a job.
pub(super) fn summary(graph: &ExecutionGraph, start_ms: u64) -> JobSummary {
    let end = graph
        .status_timestamps()
        .last()
        .filter(|(status, _)| status.is_globally_terminal());
    JobSummary {
        id: graph.job(),
        name: graph.graph().name.clone(),
        status: graph.status(),
        start_ms,
        end_ms: end.map(|(_, at)| *at),
        tasks: graph.state_counts(),
    }
}

/// Everything about a job, its channels only when asked for.
pub(super) fn details(graph: &ExecutionGraph, metrics: &JobMetrics, start_ms: u64, channels: bool) -> JobDetails {
    let vertices = (0..)
        .zip(&graph.graph().vertices)
        .zip(graph.executions())
        .map(|((index, vertex), executions)| {
            let subtasks = (0..).zip(executions).map(|(subtask, execution)| {
                let attempt = ExecutionAttemptId {
                    job: graph.job(),
                    vertex: index,
                    subtask,
                    attempt: execution.attempt,
                };
                subtask_details(execution, metrics.of(attempt))
            });
            VertexDetails {
                name: vertex.name.clone(),
                parallelism: vertex.parallelism,
                subtasks: subtasks.collect(),
                metrics: merge_metrics(graph, metrics, index),
            }
        });
    JobDetails {
        accumulators: accumulators(graph, metrics),
        summary: summary(graph, start_ms),
        outcome: graph.outcome(),
        vertices: vertices.collect(),
        channels: if channels {
            channel_details(graph, metrics)
        } else {
            Vec::new()
        },
    }
}

/// The counters of the present attempts of a vertex' tasks.
fn present<'a>(
    graph: &'a ExecutionGraph,
    metrics: &'a JobMetrics,
    vertex: u32,
) -> impl Iterator<Item = &'a TaskMetrics> {
    let executions = graph
        .executions()
        .get(vertex as usize)
        .map_or(&[][..], |executions| executions);
    (0..).zip(executions).filter_map(move |(subtask, execution)| {
        let attempt = ExecutionAttemptId {
            job: graph.job(),
            vertex,
            subtask,
            attempt: execution.attempt,
        };
        metrics.of(attempt)
    })
}

/// What the present attempts of all tasks have added up.
fn accumulators(graph: &ExecutionGraph, metrics: &JobMetrics) -> Accumulators {
    let mut merged = Accumulators::default();
    for (vertex, _) in (0..).zip(graph.executions()) {
        present(graph, metrics, vertex).for_each(|task| merged.merge(&task.accumulators));
    }
    merged
}

/// What the functions of a vertex measure: the sum of counters, the extremes of gauges.
fn merge_metrics(graph: &ExecutionGraph, metrics: &JobMetrics, vertex: u32) -> Vec<OperatorMetric> {
    let mut merged: Vec<OperatorMetric> = Vec::new();
    let mut places = HashMap::new();
    for metric in present(graph, metrics, vertex).flat_map(|task| &task.metrics) {
        let counts = matches!(metric.value, MetricValue::Counter(_));
        match places.entry((&metric.operator, &metric.name, counts)) {
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(metric.clone());
            }
            Entry::Occupied(place) => {
                let value = &mut merged[*place.get()].value;
                *value = merge_values(*value, metric.value);
            }
        }
    }
    merged.sort_by(|a, b| (&a.operator, &a.name).cmp(&(&b.operator, &b.name)));
    merged
}

/// Two values of one kind in one.
fn merge_values(one: MetricValue, other: MetricValue) -> MetricValue {
    match (one, other) {
        (MetricValue::Counter(a), MetricValue::Counter(b)) => MetricValue::Counter(a.wrapping_add(b)),
        (MetricValue::Gauge { min: a, max: b }, MetricValue::Gauge { min: c, max: d }) => MetricValue::Gauge {
            min: a.get().min(c.get()).into(),
            max: b.get().max(d.get()).into(),
        },
        (one, _) => one,
    }
}

fn subtask_details(execution: &Execution, metrics: Option<&TaskMetrics>) -> SubtaskDetails {
    SubtaskDetails {
        state: execution.state,
        attempt: execution.attempt,
        host: execution.host.clone(),
        records_in: metrics.map_or(0, |metrics| metrics.records_in),
        records_out: metrics.map_or(0, |metrics| metrics.records_out),
        records_skipped: metrics.map_or(0, |metrics| metrics.records_skipped),
        late_records_dropped: metrics.map_or(0, |metrics| metrics.late_records_dropped),
        bytes_in: metrics.map_or(0, |metrics| metrics.bytes_in),
        bytes_out: metrics.map_or(0, |metrics| metrics.bytes_out),
    }
}

fn channel_details(graph: &ExecutionGraph, metrics: &JobMetrics) -> Vec<ChannelDetails> {
    let job_graph = graph.graph();
    let place = |vertex: u32, subtask: u32| {
        let name = job_graph.vertices.get(vertex as usize)?.name.clone();
        let execution = graph.executions().get(vertex as usize)?.get(subtask as usize)?;
        Some((name, execution.host.clone().unwrap_or_default()))
    };
    let channel = |metrics: &ChannelMetrics| {
        let edge = job_graph.edges.get(metrics.edge as usize)?;
        let (source, source_host) = place(edge.source, metrics.producer)?;
        let (target, target_host) = place(edge.target, metrics.consumer)?;
        Some(ChannelDetails {
            source,
            producer: metrics.producer,
            source_host,
            target,
            consumer: metrics.consumer,
            target_host,
            transport: metrics.transport,
            records: metrics.records,
            bytes: metrics.bytes,
        })
    };
    metrics.channels.values().filter_map(channel).collect()
}

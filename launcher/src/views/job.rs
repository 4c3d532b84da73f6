//! Jobs as `job list` and `job status` show them.

use std::time::{Duration, SystemTime};

use flink_graph::{AccumulatorConflict, AccumulatorNumber, AccumulatorValue, Accumulators, ExecutionState, JobStatus};
use flink_rpc::messages::{ChannelDetails, JobDetails, JobSummary, VertexDetails};
use serde::Serialize;

use super::{iso, time};
use crate::output::{Column, Item, age, bytes, duration, fields, table};

/// Flink's name of a job's state.
pub(crate) fn status_name(status: JobStatus) -> String {
    status.to_string()
}

/// One line of `job list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobRow {
    id: String,
    name: String,
    session: String,
    status: String,
    start_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<String>,
    duration_ms: u64,
    tasks: Vec<TaskCount>,
    #[serde(skip)]
    start_ms: u64,
}

#[derive(Debug, Serialize)]
struct TaskCount {
    state: String,
    count: u32,
}

impl JobRow {
    /// The row of a job in `session`.
    pub(crate) fn of(summary: &JobSummary, session: &str, now_ms: u64) -> Self {
        Self {
            id: summary.id.to_string(),
            name: summary.name.clone(),
            session: session.to_owned(),
            status: status_name(summary.status),
            start_time: iso(summary.start_ms),
            end_time: summary.end_ms.map(iso),
            duration_ms: summary.end_ms.unwrap_or(now_ms).saturating_sub(summary.start_ms),
            tasks: summary
                .tasks
                .iter()
                .filter(|(_, count)| *count > 0)
                .map(|(state, count)| TaskCount {
                    state: state.to_string(),
                    count: *count,
                })
                .collect(),
            start_ms: summary.start_ms,
        }
    }

    fn tasks(&self) -> String {
        let counts: Vec<String> = self
            .tasks
            .iter()
            .map(|task| format!("{} {}", task.count, task.state))
            .collect();
        counts.join(", ")
    }
}

impl Item for JobRow {
    const KIND: &'static str = "Job";
    const PLURAL: &'static str = "jobs";
    const CREATE: &'static str = "flinkctl job run JOB";
    const COLUMNS: &'static [Column] = &[
        Column::new("id"),
        Column::new("name"),
        Column::new("status"),
        Column::new("session"),
        Column::new("started").right(),
        Column::new("duration").right(),
        Column::new("tasks").wide(),
    ];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            self.status.clone(),
            self.session.clone(),
            age(time(self.start_ms), now),
            duration(Duration::from_millis(self.duration_ms)),
            self.tasks(),
        ]
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}

/// One job in full.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobDetail {
    #[serde(flatten)]
    job: JobRow,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    vertices: Vec<VertexView>,
    channels: Vec<ChannelView>,
    accumulators: Vec<AccumulatorView>,
}

/// An accumulator: its value, or why there is none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AccumulatorView {
    name: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// `null` for what is no finite number.
    value: Option<serde_json::Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    text: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VertexView {
    name: String,
    parallelism: u32,
    records_in: u64,
    records_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    subtasks: Vec<SubtaskView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SubtaskView {
    index: usize,
    state: String,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    records_in: u64,
    records_out: u64,
    bytes_in: u64,
    bytes_out: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ChannelView {
    source: String,
    producer: u32,
    source_host: String,
    target: String,
    consumer: u32,
    target_host: String,
    transport: String,
    records: u64,
    bytes: u64,
}

impl JobDetail {
    /// The view of a job in `session`.
    pub(crate) fn of(details: &JobDetails, session: &str, now_ms: u64) -> Self {
        let failure = details.outcome.as_ref().and_then(|outcome| outcome.failure.as_ref());
        Self {
            job: JobRow::of(&details.summary, session, now_ms),
            failure: failure.map(ToString::to_string),
            vertices: details.vertices.iter().map(VertexView::of).collect(),
            channels: details.channels.iter().map(ChannelView::of).collect(),
            accumulators: AccumulatorView::all(&details.accumulators),
        }
    }

    /// Job, vertices, subtasks with hosts, channels, accumulators.
    pub(crate) fn human(&self, wide: bool) -> String {
        let mut head = vec![
            ("job", format!("{}  {}", self.job.id, self.job.name)),
            ("status", self.job.status.clone()),
            ("session", self.job.session.clone()),
            ("started", self.job.start_time.clone()),
            ("duration", duration(Duration::from_millis(self.job.duration_ms))),
        ];
        if let Some(failure) = &self.failure {
            head.push(("failure", failure.clone()));
        }
        let mut text = fields(&head);
        text.push('\n');
        text.push_str(&self.vertex_table());
        if !self.channels.is_empty() {
            text.push('\n');
            text.push_str(&self.channel_table(wide));
        }
        if !self.accumulators.is_empty() {
            text.push('\n');
            text.push_str(&self.accumulator_table());
        }
        text
    }

    fn vertex_table(&self) -> String {
        let columns = [
            Column::new("vertex"),
            Column::new("subtask").right(),
            Column::new("state"),
            Column::new("host"),
            Column::new("records in").right(),
            Column::new("records out").right(),
            Column::new("bytes in").right(),
            Column::new("bytes out").right(),
        ];
        let rows = self.vertices.iter().flat_map(|vertex| {
            vertex.subtasks.iter().map(|subtask| {
                vec![
                    vertex.name.clone(),
                    format!("{}/{}", subtask.index + 1, vertex.parallelism),
                    subtask.state.clone(),
                    subtask.host.clone().unwrap_or_default(),
                    subtask.records_in.to_string(),
                    subtask.records_out.to_string(),
                    bytes(subtask.bytes_in),
                    bytes(subtask.bytes_out),
                ]
            })
        });
        table(&columns, rows.collect())
    }

    fn accumulator_table(&self) -> String {
        let columns = [
            Column::new("accumulator"),
            Column::new("type"),
            Column::new("value").right(),
        ];
        let rows = self.accumulators.iter().map(|accumulator| {
            vec![
                accumulator.name.clone(),
                accumulator.kind.clone().unwrap_or_default(),
                accumulator.text.clone(),
            ]
        });
        table(&columns, rows.collect())
    }

    /// All channels when `wide`, else one row for each pair of hosts and transport.
    fn channel_table(&self, wide: bool) -> String {
        if wide {
            return self.each_channel();
        }
        let columns = [
            Column::new("from host"),
            Column::new("to host"),
            Column::new("transport"),
            Column::new("channels").right(),
            Column::new("records").right(),
            Column::new("bytes").right(),
        ];
        let mut sums = std::collections::BTreeMap::new();
        for channel in &self.channels {
            let key = (&channel.source_host, &channel.target_host, &channel.transport);
            let (count, records, size) = sums.entry(key).or_insert((0_u64, 0_u64, 0_u64));
            *count += 1;
            *records += channel.records;
            *size += channel.bytes;
        }
        let rows = sums.into_iter().map(|((from, to, transport), (count, records, size))| {
            vec![
                from.clone(),
                to.clone(),
                transport.clone(),
                count.to_string(),
                records.to_string(),
                bytes(size),
            ]
        });
        table(&columns, rows.collect())
    }

    fn each_channel(&self) -> String {
        let columns = [
            Column::new("from"),
            Column::new("host"),
            Column::new("to"),
            Column::new("host"),
            Column::new("transport"),
            Column::new("records").right(),
            Column::new("bytes").right(),
        ];
        let rows = self.channels.iter().map(|channel| {
            vec![
                format!("{} [{}]", channel.source, channel.producer + 1),
                channel.source_host.clone(),
                format!("{} [{}]", channel.target, channel.consumer + 1),
                channel.target_host.clone(),
                channel.transport.clone(),
                channel.records.to_string(),
                channel.bytes.to_string(),
            ]
        });
        table(&columns, rows.collect())
    }
}

impl Item for JobDetail {
    const KIND: &'static str = "Job";
    const PLURAL: &'static str = JobRow::PLURAL;
    const CREATE: &'static str = JobRow::CREATE;
    const COLUMNS: &'static [Column] = JobRow::COLUMNS;

    fn cells(&self, now: SystemTime) -> Vec<String> {
        self.job.cells(now)
    }

    fn name(&self) -> String {
        self.job.name()
    }
}

impl AccumulatorView {
    fn all(accumulators: &Accumulators) -> Vec<Self> {
        accumulators.iter().map(|(name, value)| Self::of(name, value)).collect()
    }

    fn of(name: &str, value: Result<AccumulatorValue, AccumulatorConflict>) -> Self {
        let number = value.map(AccumulatorValue::number);
        Self {
            name: name.to_owned(),
            kind: value.ok().map(|value| value.kind().to_string()),
            value: number.ok().and_then(|number| match number {
                AccumulatorNumber::Long(number) => Some(number.into()),
                AccumulatorNumber::Double(number) => serde_json::Number::from_f64(number),
            }),
            error: number.err().map(|conflict| conflict.to_string()),
            text: number.map_or_else(|conflict| format!("no value: {conflict}"), |number| number.to_string()),
        }
    }
}

/// A line for each accumulator, for those who watch a job.
pub(crate) fn accumulator_lines(accumulators: &Accumulators) -> Vec<String> {
    let views = AccumulatorView::all(accumulators).into_iter();
    views
        .map(|accumulator| format!("accumulator {}: {}", accumulator.name, accumulator.text))
        .collect()
}

impl VertexView {
    fn of(vertex: &VertexDetails) -> Self {
        let subtasks: Vec<SubtaskView> = vertex
            .subtasks
            .iter()
            .enumerate()
            .map(|(index, subtask)| SubtaskView {
                index,
                state: state_name(subtask.state),
                attempt: subtask.attempt,
                host: subtask.host.clone(),
                records_in: subtask.records_in,
                records_out: subtask.records_out,
                bytes_in: subtask.bytes_in,
                bytes_out: subtask.bytes_out,
            })
            .collect();
        Self {
            name: vertex.name.clone(),
            parallelism: vertex.parallelism,
            records_in: subtasks.iter().map(|subtask| subtask.records_in).sum(),
            records_out: subtasks.iter().map(|subtask| subtask.records_out).sum(),
            bytes_in: subtasks.iter().map(|subtask| subtask.bytes_in).sum(),
            bytes_out: subtasks.iter().map(|subtask| subtask.bytes_out).sum(),
            subtasks,
        }
    }
}

fn state_name(state: ExecutionState) -> String {
    state.to_string()
}

impl ChannelView {
    fn of(channel: &ChannelDetails) -> Self {
        Self {
            source: channel.source.clone(),
            producer: channel.producer,
            source_host: channel.source_host.clone(),
            target: channel.target.clone(),
            consumer: channel.consumer,
            target_host: channel.target_host.clone(),
            transport: channel.transport.to_string(),
            records: channel.records,
            bytes: channel.bytes,
        }
    }
}

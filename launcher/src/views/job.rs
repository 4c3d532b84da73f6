//! Jobs as `job list` and `job status` show them.

use std::time::{Duration, SystemTime};

use flink_graph::{AccumulatorConflict, AccumulatorNumber, AccumulatorValue, Accumulators, ExecutionState, JobStatus};
use flink_rpc::messages::{ChannelDetails, JobDetails, JobSummary, MetricValue, OperatorMetric, VertexDetails};
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
    const PLURAL: &'static str = "running jobs";
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

/// What functions of a vertex measure.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MetricView {
    operator: String,
    name: String,
    #[serde(flatten)]
    value: MetricNumbers,
}

/// `null` for what is no finite number.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum MetricNumbers {
    Counter { value: u64 },
    Gauge { min: f64, max: f64 },
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
    records_skipped: u64,
    num_late_records_dropped: u64,
    bytes_in: u64,
    bytes_out: u64,
    subtasks: Vec<SubtaskView>,
    metrics: Vec<MetricView>,
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
    records_skipped: u64,
    num_late_records_dropped: u64,
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

    /// Job, vertices, subtasks with hosts, channels, metrics, accumulators.
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
        if self.vertices.iter().any(|vertex| !vertex.metrics.is_empty()) {
            text.push('\n');
            text.push_str(&self.metric_table());
        }
        if !self.accumulators.is_empty() {
            text.push('\n');
            text.push_str(&self.accumulator_table());
        }
        text
    }

    fn vertex_table(&self) -> String {
        let skipped = self.vertices.iter().any(|vertex| vertex.records_skipped > 0);
        let late = self.vertices.iter().any(|vertex| vertex.num_late_records_dropped > 0);
        let mut columns = vec![
            Column::new("vertex"),
            Column::new("subtask").right(),
            Column::new("state"),
            Column::new("host"),
            Column::new("records in").right(),
            Column::new("records out").right(),
            Column::new("bytes in").right(),
            Column::new("bytes out").right(),
        ];
        // Nobody misses a column of zeros.
        columns.extend(skipped.then(|| Column::new("skipped").right()));
        columns.extend(late.then(|| Column::new("late dropped").right()));
        let rows = self.vertices.iter().flat_map(|vertex| {
            vertex.subtasks.iter().map(move |subtask| {
                let mut row = vec![
                    vertex.name.clone(),
                    format!("{}/{}", subtask.index + 1, vertex.parallelism),
                    subtask.state.clone(),
                    subtask.host.clone().unwrap_or_default(),
                    subtask.records_in.to_string(),
                    subtask.records_out.to_string(),
                    bytes(subtask.bytes_in),
                    bytes(subtask.bytes_out),
                ];
                row.extend(skipped.then(|| subtask.records_skipped.to_string()));
                row.extend(late.then(|| subtask.num_late_records_dropped.to_string()));
                row
            })
        });
        table(&columns, rows.collect())
    }

    fn metric_table(&self) -> String {
        let columns = [
            Column::new("vertex"),
            Column::new("operator"),
            Column::new("metric"),
            Column::new("value").right(),
        ];
        let rows = self.vertices.iter().flat_map(|vertex| {
            vertex.metrics.iter().map(|metric| {
                vec![
                    vertex.name.clone(),
                    metric.operator.clone(),
                    metric.name.clone(),
                    metric.text(),
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

impl MetricView {
    fn of(metric: &OperatorMetric) -> Self {
        Self {
            operator: metric.operator.clone(),
            name: metric.name.clone(),
            value: match metric.value {
                MetricValue::Counter(value) => MetricNumbers::Counter { value },
                MetricValue::Gauge { min, max } => MetricNumbers::Gauge {
                    min: min.get(),
                    max: max.get(),
                },
            },
        }
    }

    fn text(&self) -> String {
        match self.value {
            MetricNumbers::Counter { value } => value.to_string(),
            MetricNumbers::Gauge { min, max } if min == max => min.to_string(),
            MetricNumbers::Gauge { min, max } => format!("{min} to {max}"),
        }
    }
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
                records_skipped: subtask.records_skipped,
                num_late_records_dropped: subtask.late_records_dropped,
                bytes_in: subtask.bytes_in,
                bytes_out: subtask.bytes_out,
            })
            .collect();
        Self {
            name: vertex.name.clone(),
            parallelism: vertex.parallelism,
            records_in: subtasks.iter().map(|subtask| subtask.records_in).sum(),
            records_out: subtasks.iter().map(|subtask| subtask.records_out).sum(),
            records_skipped: subtasks.iter().map(|subtask| subtask.records_skipped).sum(),
            num_late_records_dropped: subtasks.iter().map(|subtask| subtask.num_late_records_dropped).sum(),
            bytes_in: subtasks.iter().map(|subtask| subtask.bytes_in).sum(),
            bytes_out: subtasks.iter().map(|subtask| subtask.bytes_out).sum(),
            subtasks,
            metrics: vertex.metrics.iter().map(MetricView::of).collect(),
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

#[cfg(test)]
mod tests {
    use flink_graph::JobId;
    use flink_rpc::messages::SubtaskDetails;

    use super::*;

    fn details(skipped: u64, late: u64) -> JobDetails {
        let subtask = SubtaskDetails {
            state: ExecutionState::Running,
            attempt: 0,
            host: Some("h1".to_owned()),
            records_in: 9,
            records_out: 8,
            records_skipped: skipped,
            late_records_dropped: late,
            bytes_in: 0,
            bytes_out: 0,
        };
        JobDetails {
            summary: JobSummary {
                id: JobId::random(),
                name: "test".to_owned(),
                status: JobStatus::Running,
                start_ms: 0,
                end_ms: None,
                tasks: Vec::new(),
            },
            outcome: None,
            vertices: vec![VertexDetails {
                name: "window".to_owned(),
                parallelism: 2,
                subtasks: vec![subtask.clone(), subtask],
                metrics: Vec::new(),
            }],
            channels: Vec::new(),
            accumulators: Accumulators::default(),
        }
    }

    #[test]
    fn records_left_out_are_shown_when_there_are_any() {
        let human = |details| JobDetail::of(&details, "etl", 0).human(false);
        assert!(!human(details(0, 0)).contains("SKIPPED") && !human(details(0, 0)).contains("LATE"));
        let text = human(details(0, 3));
        assert!(text.contains("LATE DROPPED") && !text.contains("SKIPPED"), "{text}");
        assert!(human(details(3, 0)).contains("SKIPPED"));
        let json = serde_json::to_value(JobDetail::of(&details(3, 4), "etl", 0)).unwrap();
        let vertex = &json["vertices"][0];
        assert_eq!(
            (&vertex["recordsSkipped"], &vertex["numLateRecordsDropped"]),
            (&6.into(), &8.into())
        );
        assert_eq!(vertex["subtasks"][1]["numLateRecordsDropped"], 4);
    }

    #[test]
    fn metrics_and_accumulators_are_shown() {
        let mut details = details(0, 0);
        let metric = |name: &str, value| OperatorMetric {
            operator: "ask".to_owned(),
            name: name.to_owned(),
            value,
        };
        let (min, max) = ((-1.5).into(), 2.0.into());
        details.vertices[0].metrics = vec![
            metric("open", MetricValue::Gauge { min, max }),
            metric("requests", MetricValue::Counter(7)),
        ];
        details.accumulators.add("lines", AccumulatorValue::LongCounter(5));
        let infinite = AccumulatorValue::DoubleMaximum(f64::NEG_INFINITY.into());
        details.accumulators.add("most", infinite);
        details.accumulators.add("size", AccumulatorValue::LongMinimum(1));
        details.accumulators.add("size", AccumulatorValue::LongMaximum(1));
        let view = JobDetail::of(&details, "etl", 0);
        let text = view.human(false);
        for cells in [
            ["open", "-1.5 to 2"],
            ["requests", "7"],
            ["LongCounter", "5"],
            ["DoubleMaximum", "-inf"],
        ] {
            let found = text.lines().any(|line| cells.iter().all(|cell| line.contains(cell)));
            assert!(found, "{cells:?} in {text}");
        }
        let json = serde_json::to_value(&view).unwrap();
        let expected = serde_json::json!([
            { "operator": "ask", "name": "open", "type": "gauge", "min": -1.5, "max": 2.0 },
            { "operator": "ask", "name": "requests", "type": "counter", "value": 7 },
        ]);
        assert_eq!(json["vertices"][0]["metrics"], expected);
        let [lines, most, size] = [0, 1, 2].map(|index| &json["accumulators"][index]);
        assert_eq!(
            *lines,
            serde_json::json!({ "name": "lines", "type": "LongCounter", "value": 5 })
        );
        assert!(most["value"].is_null() && size["value"].is_null());
        assert!(
            size["error"]
                .as_str()
                .unwrap()
                .starts_with("it is a LongMinimum in one place")
        );
        assert_eq!(accumulator_lines(&details.accumulators)[0], "accumulator lines: 5");
    }
}

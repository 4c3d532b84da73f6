//! What is counted about a task, and read by the control thread while the task runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flink_exchange::{ChannelMetrics as ChannelCounters, Transport as ExchangeTransport};
use flink_graph::ExecutionAttemptId;
use flink_rpc::messages::{ChannelMetrics, TaskMetrics, Transport};

use crate::{
    boundary::Counter,
    functions::{Accumulator, AccumulatorError, FunctionMetrics, Metric, MetricError, TaskAccumulators},
};

/// The counters of a task. They are registered when its chain is made and read at leisure.
#[derive(Debug, Default)]
pub(crate) struct TaskCounters(Mutex<Registered>);

#[derive(Debug, Default)]
struct Registered {
    source: Option<Arc<Counter>>,
    inputs: Vec<Arc<ChannelCounters>>,
    outputs: Vec<Arc<ChannelCounters>>,
    sinks: Vec<Arc<Counter>>,
    skipped: Vec<Arc<Counter>>,
    late: Vec<Arc<Counter>>,
    accumulators: TaskAccumulators,
    metrics: FunctionMetrics,
}

impl TaskCounters {
    pub(crate) fn set_source(&self, records: Arc<Counter>) {
        self.lock().source = Some(records);
    }

    pub(crate) fn add_inputs(&self, channels: &[Arc<ChannelCounters>]) {
        self.lock().inputs.extend_from_slice(channels);
    }

    pub(crate) fn add_outputs(&self, channels: &[Arc<ChannelCounters>]) {
        self.lock().outputs.extend_from_slice(channels);
    }

    pub(crate) fn add_sink(&self, records: Arc<Counter>) {
        self.lock().sinks.push(records);
    }

    pub(crate) fn add_skipped(&self, records: Arc<Counter>) {
        self.lock().skipped.push(records);
    }

    pub(crate) fn add_late(&self, records: Arc<Counter>) {
        self.lock().late.push(records);
    }

    pub(crate) fn add_metric(&self, operator: Arc<str>, name: &str, metric: Metric) -> Result<(), MetricError> {
        self.lock().metrics.add(operator, name, metric)
    }

    pub(crate) fn add_accumulator(
        &self,
        name: &str,
        accumulator: Arc<dyn Accumulator>,
    ) -> Result<(), AccumulatorError> {
        self.lock().accumulators.add(name, accumulator)
    }

    /// The counters as they now are.
    pub(crate) fn snapshot(&self, attempt: ExecutionAttemptId) -> (TaskMetrics, Vec<ChannelMetrics>) {
        let registered = self.lock();
        let channels: Vec<ChannelMetrics> = registered
            .outputs
            .iter()
            .map(|channel| channel_metrics(channel))
            .collect();
        let made = registered.source.iter().map(|source| source.get());
        let taken = registered.sinks.iter().map(|sink| sink.get());
        let task = TaskMetrics {
            attempt,
            records_in: made.chain(registered.inputs.iter().map(|input| input.records())).sum(),
            records_out: taken.chain(channels.iter().map(|channel| channel.records)).sum(),
            records_skipped: registered.skipped.iter().map(|skipped| skipped.get()).sum(),
            late_records_dropped: registered.late.iter().map(|late| late.get()).sum(),
            bytes_in: registered.inputs.iter().map(|input| network_bytes(input)).sum(),
            bytes_out: channels.iter().map(|channel| channel.bytes).sum(),
            accumulators: registered.accumulators.values(),
            metrics: registered.metrics.values(),
        };
        (task, channels)
    }

    fn lock(&self) -> MutexGuard<'_, Registered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn channel_metrics(counters: &ChannelCounters) -> ChannelMetrics {
    let transport = match counters.transport {
        ExchangeTransport::Quic => Transport::Quic,
        ExchangeTransport::Local => Transport::InProcess,
    };
    let channel = counters.channel;
    ChannelMetrics {
        edge: channel.edge,
        producer: channel.producer,
        consumer: channel.consumer,
        transport,
        records: counters.records(),
        bytes: network_bytes(counters),
    }
}

fn network_bytes(counters: &ChannelCounters) -> u64 {
    match counters.transport {
        ExchangeTransport::Quic => counters.bytes(),
        ExchangeTransport::Local => 0,
    }
}

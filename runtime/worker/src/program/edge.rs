//! What makes the two ends of an edge.

use std::time::Duration;

use flink_exchange::{
    ChannelId, ChannelSelector, First, InputGate, NetworkEnvironment, Peer, RecordWriter, RoundRobin, Shuffle,
    TaskSignal,
};
use flink_graph::Partitioner;
use flink_record::{Record, Schema};

use super::node::{ErasedOutput, downcast, erase};
use crate::{
    boundary::{ExchangeOutput, GateInput, TaskInput},
    counters::TaskCounters,
    error::TaskError,
    operators::{HashSelector, KeySelector},
};

/// What it takes to open the producer's end of an edge.
pub(crate) struct WriterContext<'a> {
    pub(crate) environment: &'a NetworkEnvironment,
    pub(crate) signal: &'a TaskSignal,
    pub(crate) counters: &'a TaskCounters,
    pub(crate) partitioner: Partitioner,
    pub(crate) max_parallelism: u32,
    pub(crate) buffer_timeout: Duration,
}

/// What it takes to open a consumer's end of edges.
pub(crate) struct InputContext<'a> {
    pub(crate) environment: &'a NetworkEnvironment,
    pub(crate) signal: &'a TaskSignal,
    pub(crate) counters: &'a TaskCounters,
}

pub(crate) type Channels = Vec<(ChannelId, Peer)>;
type MakeWriter = Box<dyn Fn(&WriterContext<'_>, Channels) -> Result<ErasedOutput, TaskError> + Send>;
type MakeInput = fn(&InputContext<'_>, Channels, ErasedOutput) -> Result<Box<dyn TaskInput>, TaskError>;

/// Makes the two ends of an edge, where it is not chained.
pub struct EdgeFactory {
    writer: MakeWriter,
    input: MakeInput,
    schema: fn() -> Schema,
}

/// A gate on channels that all carry records of one type.
pub(super) fn open_gate<T: Record>(context: &InputContext<'_>, channels: Channels) -> Result<InputGate<T>, TaskError> {
    let gate = InputGate::new(context.environment, channels, context.signal.clone())?;
    context.counters.add_inputs(gate.metrics());
    Ok(gate)
}

fn open_writer<T: Record>(
    context: &WriterContext<'_>,
    channels: Channels,
    selector: impl ChannelSelector<T> + 'static,
) -> Result<RecordWriter<T>, TaskError> {
    let (environment, signal) = (context.environment, context.signal.clone());
    Ok(RecordWriter::new(
        environment,
        channels,
        selector,
        signal,
        context.buffer_timeout,
    )?)
}

impl EdgeFactory {
    fn new<T: Record>(
        open: impl Fn(&WriterContext<'_>, Channels) -> Result<RecordWriter<T>, TaskError> + Send + 'static,
    ) -> Self {
        Self {
            writer: Box::new(move |context, channels| {
                let writer = open(context, channels)?;
                context.counters.add_outputs(writer.metrics());
                Ok(erase(ExchangeOutput(Some(writer))))
            }),
            input: |context, channels, head| {
                let gate = open_gate::<T>(context, channels)?;
                Ok(Box::new(GateInput::new(gate, downcast(head)?, context.signal.clone())))
            },
            schema: Schema::of::<T>,
        }
    }

    /// An edge that spreads records without looking at them, other than a broadcast.
    pub fn of<T: Record>() -> Self {
        Self::new::<T>(|context, channels| match context.partitioner {
            Partitioner::Rebalance | Partitioner::Rescale => open_writer(context, channels, RoundRobin::new()),
            Partitioner::Shuffle => open_writer(context, channels, Shuffle::new()),
            _ => open_writer(context, channels, First),
        })
    }

    /// An edge that spreads records by key.
    pub fn keyed<T: Record, S: KeySelector<T>>(key: S) -> Self {
        Self::new::<T>(move |context, channels| {
            let selector = HashSelector::new(key.clone(), context.max_parallelism, channels.len() as u32);
            open_writer(context, channels, selector)
        })
    }

    /// An edge that spreads records as a selector of the job's own says; one is made for each producer.
    pub fn custom<T: Record, C: ChannelSelector<T> + 'static>(make: impl Fn() -> C + Send + 'static) -> Self {
        Self::new::<T>(move |context, channels| open_writer(context, channels, make()))
    }

    /// An edge that sends each record to every subtask.
    pub fn broadcast<T: Record + Clone>() -> Self {
        Self::new::<T>(|context, channels| {
            let (environment, signal) = (context.environment, context.signal.clone());
            Ok(RecordWriter::broadcast(
                environment,
                channels,
                signal,
                context.buffer_timeout,
            )?)
        })
    }

    /// What its records are made of.
    pub(super) fn schema(&self) -> String {
        (self.schema)().to_string()
    }

    pub(crate) fn make_writer(
        &self,
        context: &WriterContext<'_>,
        channels: Channels,
    ) -> Result<ErasedOutput, TaskError> {
        (self.writer)(context, channels)
    }

    pub(crate) fn make_input(
        &self,
        context: &InputContext<'_>,
        channels: Channels,
        head: ErasedOutput,
    ) -> Result<Box<dyn TaskInput>, TaskError> {
        (self.input)(context, channels, head)
    }
}

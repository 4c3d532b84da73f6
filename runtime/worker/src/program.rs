//! A job as its program declares it: the graph, which is data, and beside it the factories that make its operators.
//!
//! The graph travels between processes and is compared there; factories never leave the process that made them. Both
//! are indexed alike: a factory per node and per edge of the StreamGraph. Types are erased here and nowhere else: a
//! chain is put together from boxes of `Any`, each opened once, when a task starts.

use std::{
    any::Any,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flink_exchange::{
    ChannelId, ExchangeError, First, InputGate, NetworkEnvironment, Peer, Record, RecordWriter, RoundRobin, TaskSignal,
};
use flink_graph::{ExecutionAttemptId, GraphError, JobGraph, Partitioner, StreamGraph, TaskFailure, TaskFailureKind};

use crate::{
    boundary::{Counter, ExchangeOutput, GateInput, SinkOutput, SinkWriter, SourceInput, SourceReader, TaskInput},
    counters::TaskCounters,
    error::TaskError,
    job_output::JobOutput,
    operator::{BoxedOutput, Chained, Operator, Tee},
    operators::{HashSelector, KeySelector},
};

/// A [`BoxedOutput`] of some record type.
pub(crate) type ErasedOutput = Box<dyn Any>;

/// What an operator is told when it is made.
pub struct OperatorContext<'a> {
    /// Its name, with the prefix for sources and sinks.
    pub name: Arc<str>,
    /// The task it is part of.
    pub attempt: ExecutionAttemptId,
    /// Number of subtasks.
    pub parallelism: u32,
    pub(crate) counters: &'a TaskCounters,
    pub(crate) signal: &'a TaskSignal,
    pub(crate) job_output: &'a dyn JobOutput,
}

impl OperatorContext<'_> {
    /// Subtask index, 0-based.
    pub fn subtask(&self) -> u32 {
        self.attempt.subtask
    }

    /// A stream to where the job prints.
    ///
    /// # Errors
    /// When there is no way there.
    pub fn open_job_output(&self) -> Result<Box<dyn crate::OutputStream>, TaskError> {
        self.job_output.open(self.attempt, self.signal)
    }
}

type Make<T> = Box<dyn Fn(&OperatorContext<'_>, ErasedOutput) -> Result<T, TaskError> + Send>;
type MakeSink = Box<dyn Fn(&OperatorContext<'_>) -> Result<ErasedOutput, TaskError> + Send>;
type MakeTee = fn(Vec<ErasedOutput>) -> Result<ErasedOutput, TaskError>;
type Preflight = Box<dyn Fn() -> Result<(), TaskError> + Send>;

/// Makes the operators of one node.
pub struct NodeFactory {
    make: MakeNode,
    tee: Option<MakeTee>,
    preflight: Option<Preflight>,
    buffer_timeout: Option<Duration>,
}

enum MakeNode {
    Source(Make<Box<dyn TaskInput>>),
    Operator(Make<ErasedOutput>),
    Sink(MakeSink),
}

impl NodeFactory {
    fn new(make: MakeNode) -> Self {
        Self {
            make,
            tee: None,
            preflight: None,
            buffer_timeout: None,
        }
    }

    /// A source whose readers are opened so.
    pub fn source<T: 'static, R: SourceReader<T> + 'static>(
        open: impl Fn(&OperatorContext<'_>) -> Result<R, TaskError> + Send + 'static,
    ) -> Self {
        Self::new(MakeNode::Source(Box::new(move |context, output| {
            let records = Arc::new(Counter::default());
            context.counters.set_source(Arc::clone(&records));
            let input = SourceInput::<R, T>::new(open(context)?, downcast(output)?, Arc::clone(&context.name), records);
            Ok(Box::new(input))
        })))
    }

    /// An operator that is made so.
    pub fn operator<I: 'static, P: Operator<I> + 'static>(
        make: impl Fn(&OperatorContext<'_>) -> Result<P, TaskError> + Send + 'static,
    ) -> Self
    where
        P::Out: 'static,
    {
        Self::new(MakeNode::Operator(Box::new(move |context, output| {
            let (output, name) = (downcast::<BoxedOutput<P::Out>>(output)?, Arc::clone(&context.name));
            Ok(erase::<I>(Chained {
                operator: make(context)?,
                output,
                name,
            }))
        })))
    }

    /// A sink whose writers are opened so.
    pub fn sink<T: 'static, W: SinkWriter<T> + 'static>(
        open: impl Fn(&OperatorContext<'_>) -> Result<W, TaskError> + Send + 'static,
    ) -> Self {
        Self::new(MakeNode::Sink(Box::new(move |context| {
            let records = Arc::new(Counter::default());
            context.counters.add_sink(Arc::clone(&records));
            Ok(erase::<T>(SinkOutput {
                writer: open(context)?,
                name: Arc::clone(&context.name),
                records,
            }))
        })))
    }

    /// The same, with a check that is made in each worker before any task of the job runs anywhere.
    #[must_use]
    pub fn with_preflight(mut self, check: impl Fn() -> Result<(), TaskError> + Send + 'static) -> Self {
        self.preflight = Some(Box::new(check));
        self
    }

    /// Lets the node have several outputs: all but the last get clones of its records.
    pub fn clone_records<T: Clone + 'static>(&mut self) {
        self.tee = Some(|outputs| {
            let mut clones = outputs
                .into_iter()
                .map(downcast)
                .collect::<Result<Vec<BoxedOutput<T>>, _>>()?;
            match clones.pop() {
                Some(last) => Ok(erase(Tee { clones, last })),
                None => Err(TaskError::runtime("an operator without outputs has no tee")),
            }
        });
    }

    /// Sets how long the node's records may wait in a buffer.
    pub fn set_buffer_timeout(&mut self, timeout: Duration) {
        self.buffer_timeout = Some(timeout);
    }

    pub(crate) fn buffer_timeout(&self) -> Option<Duration> {
        self.buffer_timeout
    }

    /// Joins the outputs of the node into one.
    pub(crate) fn join_outputs(&self, mut outputs: Vec<ErasedOutput>) -> Result<ErasedOutput, TaskError> {
        match (outputs.len(), self.tee) {
            (1, _) => Ok(outputs.remove(0)),
            (_, Some(tee)) => tee(outputs),
            (_, None) => Err(TaskError::runtime(
                "the operator's records cannot be cloned for several outputs",
            )),
        }
    }

    /// Makes a source with its output.
    pub(crate) fn make_source(
        &self,
        context: &OperatorContext<'_>,
        output: ErasedOutput,
    ) -> Result<Box<dyn TaskInput>, TaskError> {
        match &self.make {
            MakeNode::Source(make) => make(context, output),
            MakeNode::Operator(_) | MakeNode::Sink(_) => Err(TaskError::runtime("the operator is no source")),
        }
    }

    /// Makes an operator with its output, or a sink, which has none.
    pub(crate) fn make_operator(
        &self,
        context: &OperatorContext<'_>,
        output: impl FnOnce() -> Result<ErasedOutput, TaskError>,
    ) -> Result<ErasedOutput, TaskError> {
        match &self.make {
            MakeNode::Operator(make) => make(context, output()?),
            MakeNode::Sink(make) => make(context),
            MakeNode::Source(_) => Err(TaskError::runtime("a source has no input")),
        }
    }
}

fn erase<T: 'static>(output: impl crate::Output<T> + 'static) -> ErasedOutput {
    let boxed: BoxedOutput<T> = Box::new(output);
    Box::new(boxed)
}

fn downcast<T: 'static>(erased: ErasedOutput) -> Result<T, TaskError> {
    erased.downcast().map(|typed| *typed).map_err(|_| {
        TaskError::runtime(format!(
            "an operator was connected to {}, which it does not emit to",
            std::any::type_name::<T>()
        ))
    })
}

/// What it takes to open an end of an edge.
pub(crate) struct EdgeContext<'a> {
    pub(crate) environment: &'a NetworkEnvironment,
    pub(crate) signal: &'a TaskSignal,
    pub(crate) counters: &'a TaskCounters,
    pub(crate) partitioner: Partitioner,
    pub(crate) max_parallelism: u32,
    pub(crate) buffer_timeout: Duration,
}

type Channels = Vec<(ChannelId, Peer)>;
type MakeWriter = Box<dyn Fn(&EdgeContext<'_>, Channels) -> Result<ErasedOutput, TaskError> + Send>;
type MakeInput = fn(&EdgeContext<'_>, Channels, ErasedOutput) -> Result<Box<dyn TaskInput>, TaskError>;

/// Makes the two ends of an edge, where it is not chained.
pub struct EdgeFactory {
    writer: MakeWriter,
    input: MakeInput,
}

impl EdgeFactory {
    fn new<T: Record>(
        open: impl Fn(&EdgeContext<'_>, Channels) -> Result<RecordWriter<T>, ExchangeError> + Send + 'static,
    ) -> Self {
        Self {
            writer: Box::new(move |context, channels| {
                let writer = open(context, channels)?;
                context.counters.add_outputs(writer.metrics());
                Ok(erase(ExchangeOutput(Some(writer))))
            }),
            input: |context, channels, head| {
                let gate = InputGate::<T>::new(context.environment, channels, context.signal.clone())?;
                context.counters.set_inputs(gate.metrics());
                Ok(Box::new(GateInput {
                    gate,
                    head: downcast(head)?,
                }))
            },
        }
    }

    /// An edge that spreads records without looking at them, other than a broadcast.
    pub fn of<T: Record>() -> Self {
        Self::new::<T>(|context, channels| {
            let (environment, signal) = (context.environment, context.signal.clone());
            match context.partitioner {
                Partitioner::Rebalance | Partitioner::Rescale => {
                    RecordWriter::new(environment, channels, RoundRobin::new(), signal, context.buffer_timeout)
                }
                _ => RecordWriter::new(environment, channels, First, signal, context.buffer_timeout),
            }
        })
    }

    /// An edge that spreads records by key.
    pub fn keyed<T: Record, S: KeySelector<T>>(key: S) -> Self {
        Self::new::<T>(move |context, channels| {
            let selector = HashSelector::new(key.clone(), context.max_parallelism, channels.len() as u32);
            let (environment, signal) = (context.environment, context.signal.clone());
            RecordWriter::new(environment, channels, selector, signal, context.buffer_timeout)
        })
    }

    /// An edge that sends each record to every subtask.
    pub fn broadcast<T: Record + Clone>() -> Self {
        Self::new::<T>(|context, channels| {
            let (environment, signal) = (context.environment, context.signal.clone());
            RecordWriter::broadcast(environment, channels, signal, context.buffer_timeout)
        })
    }

    pub(crate) fn make_writer(&self, context: &EdgeContext<'_>, channels: Channels) -> Result<ErasedOutput, TaskError> {
        (self.writer)(context, channels)
    }

    pub(crate) fn make_input(
        &self,
        context: &EdgeContext<'_>,
        channels: Channels,
        head: ErasedOutput,
    ) -> Result<Box<dyn TaskInput>, TaskError> {
        (self.input)(context, channels, head)
    }
}

/// A job that can be run in this process.
pub struct JobProgram {
    stream_graph: StreamGraph,
    graph: Arc<JobGraph>,
    /// By index in [`JobGraph::edges`]: index in [`StreamGraph::edges`].
    stream_edges: Vec<u32>,
    buffer_timeout: Duration,
    nodes: Vec<Mutex<NodeFactory>>,
    edges: Vec<Mutex<EdgeFactory>>,
}

impl JobProgram {
    /// The job of this dataflow, with a factory per node and per edge.
    ///
    /// # Errors
    /// What is wrong with the dataflow.
    pub fn new(
        stream_graph: StreamGraph,
        nodes: Vec<NodeFactory>,
        edges: Vec<EdgeFactory>,
        buffer_timeout: Duration,
    ) -> Result<Self, GraphError> {
        let graph = JobGraph::from_stream_graph(&stream_graph)?;
        let mut vertex_of_node = vec![0; stream_graph.nodes.len()];
        for (index, vertex) in (0..).zip(&graph.vertices) {
            vertex
                .nodes
                .iter()
                .for_each(|node| vertex_of_node[*node as usize] = index);
        }
        // The edges of the JobGraph are those of the StreamGraph that are not chained, in the same order.
        let exchanged = (0..)
            .zip(&stream_graph.edges)
            .filter(|(_, edge)| vertex_of_node[edge.source as usize] != vertex_of_node[edge.target as usize]);
        let stream_edges = exchanged.map(|(index, _)| index).collect();
        Ok(Self {
            stream_graph,
            graph: Arc::new(graph),
            stream_edges,
            buffer_timeout,
            nodes: nodes.into_iter().map(Mutex::new).collect(),
            edges: edges.into_iter().map(Mutex::new).collect(),
        })
    }

    /// What is run.
    pub fn graph(&self) -> &Arc<JobGraph> {
        &self.graph
    }

    /// Makes the checks that come before any task runs.
    ///
    /// # Errors
    /// The first that fails.
    pub fn preflight(&self) -> Result<(), TaskFailure> {
        for (index, node) in self.stream_graph.nodes.iter().enumerate() {
            if let Some(check) = &self.node(index as u32).preflight {
                check().map_err(|error| {
                    TaskFailure::new(TaskFailureKind::UserCode, error.to_string()).in_operator(node.display_name())
                })?;
            }
        }
        Ok(())
    }

    pub(crate) fn stream_graph(&self) -> &StreamGraph {
        &self.stream_graph
    }

    /// The index in the JobGraph of an edge of the StreamGraph that is not chained.
    pub(crate) fn job_edge(&self, stream_edge: u32) -> Option<u32> {
        self.stream_edges
            .binary_search(&stream_edge)
            .ok()
            .map(|index| index as u32)
    }

    pub(crate) fn buffer_timeout(&self) -> Duration {
        self.buffer_timeout
    }

    /// A user's clone or closure may panic while its factory is locked; the factory is none the worse for it.
    pub(crate) fn node(&self, node: u32) -> MutexGuard<'_, NodeFactory> {
        self.nodes[node as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The factory of an edge of the JobGraph.
    pub(crate) fn edge(&self, job_edge: u32) -> MutexGuard<'_, EdgeFactory> {
        let edge = self.stream_edges[job_edge as usize];
        self.edges[edge as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

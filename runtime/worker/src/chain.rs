//! Puts a task's chain together: from its outputs back to its head, so that each operator is made with its output.

use std::sync::Arc;

use flink_exchange::{ChannelId, NetworkEnvironment, Peer, TaskSignal};
use flink_graph::{ExecutionAttemptId, JobEdge, OperatorKind, Placement, TaskManagerId};

use crate::{
    SubtaskGateway,
    boundary::TaskInput,
    counters::TaskCounters,
    error::TaskError,
    job_output::JobOutput,
    panics::OperatorScope,
    program::{Channels, ErasedOutput, ErasedOutputs, InputContext, JobProgram, OperatorContext, WriterContext},
    time::ProcessingTimeService,
};

/// What a chain is made from and for.
pub(crate) struct ChainBuilder<'a> {
    pub(crate) program: &'a JobProgram,
    pub(crate) attempt: ExecutionAttemptId,
    pub(crate) placement: &'a Placement,
    pub(crate) here: TaskManagerId,
    pub(crate) environment: &'a NetworkEnvironment,
    pub(crate) signal: &'a TaskSignal,
    pub(crate) counters: &'a Arc<TaskCounters>,
    pub(crate) job_output: &'a dyn JobOutput,
    pub(crate) clock: &'a ProcessingTimeService,
    /// Of the operators that have a coordinator.
    pub(crate) gateways: &'a [SubtaskGateway],
}

impl ChainBuilder<'_> {
    /// Opens all that the task has: inputs, operators, outputs.
    pub(crate) fn build(&self) -> Result<Box<dyn TaskInput>, TaskError> {
        let head = self.vertex().nodes[0];
        let node = &self.program.stream_graph().nodes[head as usize];
        if node.kind == OperatorKind::Source {
            let outputs = self.outputs(head)?;
            let context = self.operator_context(head);
            return made_in(&context, || self.program.node(head).make_source(&context, outputs));
        }
        let chain = self.operator(head)?;
        let context = InputContext {
            environment: self.environment,
            signal: self.signal,
            counters: self.counters,
        };
        if node.input_types.len() == 2 {
            let channels = [self.in_channels(0)?, self.in_channels(1)?];
            return self.program.node(head).make_two_inputs(&context, channels, chain);
        }
        // All edges into one input carry the same type, so that any of them knows how to read it.
        let Some((edge, _)) = self.program.graph().in_edges(self.attempt.vertex).next() else {
            return Err(TaskError::runtime("the operator has no input"));
        };
        let channels = self.in_channels(0)?;
        self.program.edge(edge).make_input(&context, channels, chain)
    }

    /// The channels into one input of the head.
    fn in_channels(&self, input: u32) -> Result<Channels, TaskError> {
        let mut channels = Vec::new();
        let (graph, consumer) = (self.program.graph(), self.attempt.subtask);
        for (edge, job_edge) in graph
            .in_edges(self.attempt.vertex)
            .filter(|(_, edge)| edge.input == input)
        {
            for producer in graph.producers(edge, consumer) {
                channels.push(self.channel(edge, job_edge, producer, consumer, job_edge.source, producer)?);
            }
        }
        Ok(channels)
    }

    fn vertex(&self) -> &flink_graph::JobVertex {
        &self.program.graph().vertices[self.attempt.vertex as usize]
    }

    fn operator_context(&self, node: u32) -> OperatorContext<'_> {
        OperatorContext {
            name: self.program.stream_graph().nodes[node as usize].display_name().into(),
            attempt: self.attempt,
            parallelism: self.vertex().parallelism,
            max_parallelism: self.vertex().max_parallelism,
            config: self.program.config(),
            clock: self.clock,
            counters: self.counters,
            signal: self.signal,
            job_output: self.job_output,
            gateway: self.gateways.iter().find(|gateway| gateway.operator() == node),
        }
    }

    fn operator(&self, node: u32) -> Result<ErasedOutput, TaskError> {
        let context = self.operator_context(node);
        // The outputs come first: they must not be made under the lock of this node's factory.
        let outputs = self.outputs(node)?;
        made_in(&context, || self.program.node(node).make_operator(&context, outputs))
    }

    /// What a node emits to: its main output first, then its side outputs.
    fn outputs(&self, node: u32) -> Result<ErasedOutputs, TaskError> {
        let mut consumers: Vec<(Option<&str>, Vec<ErasedOutput>)> = Vec::new();
        for (index, edge) in (0..).zip(&self.program.stream_graph().edges) {
            if edge.source != node {
                continue;
            }
            let output = match self.program.job_edge(index) {
                None => self.operator(edge.target)?,
                Some(job_edge) => self.writer(node, job_edge)?,
            };
            let tag = edge.side_output.as_deref();
            match consumers.iter_mut().find(|(other, _)| *other == tag) {
                Some((_, outputs)) => outputs.push(output),
                None => consumers.push((tag, vec![output])),
            }
        }
        let mut joined = ErasedOutputs::default();
        for (tag, outputs) in consumers {
            let tag: Option<Arc<str>> = tag.map(Arc::from);
            let output = self.program.node(node).join_outputs(tag.clone(), outputs)?;
            match tag {
                None => joined.main = Some(output),
                Some(tag) => joined.sides.push((tag, output)),
            }
        }
        Ok(joined)
    }

    fn writer(&self, node: u32, edge: u32) -> Result<ErasedOutput, TaskError> {
        let job_edge = &self.program.graph().edges[edge as usize];
        let consumers = self.program.graph().consumers(edge, self.attempt.subtask);
        let channels = consumers
            .map(|consumer| {
                self.channel(
                    edge,
                    job_edge,
                    self.attempt.subtask,
                    consumer,
                    job_edge.target,
                    consumer,
                )
            })
            .collect::<Result<_, _>>()?;
        let buffer_timeout = self.program.node(node).buffer_timeout();
        let context = WriterContext {
            environment: self.environment,
            signal: self.signal,
            counters: self.counters,
            partitioner: job_edge.partitioner,
            max_parallelism: self.program.graph().vertices[job_edge.target as usize].max_parallelism,
            buffer_timeout: buffer_timeout.unwrap_or_else(|| self.program.config().buffer_timeout),
        };
        self.program.edge(edge).make_writer(&context, channels)
    }

    /// A channel and where its other end is, the subtask `peer_subtask` of `peer_vertex`.
    fn channel(
        &self,
        index: u32,
        edge: &JobEdge,
        producer: u32,
        consumer: u32,
        peer_vertex: u32,
        peer_subtask: u32,
    ) -> Result<(ChannelId, Peer), TaskError> {
        let missing = || TaskError::runtime("the placement lacks a task of the job");
        let producer_attempt = self.placement.attempt(edge.source, producer).ok_or_else(missing)?;
        let consumer_attempt = self.placement.attempt(edge.target, consumer).ok_or_else(missing)?;
        let worker = self.placement.worker(peer_vertex, peer_subtask).ok_or_else(missing)?;
        let peer = if worker.task_manager == self.here {
            Peer::Local
        } else {
            Peer::Remote(worker.data_address)
        };
        // The sum grows whenever either end is deployed again.
        let attempt = producer_attempt + consumer_attempt;
        Ok((
            ChannelId {
                edge: index,
                producer,
                consumer,
                attempt,
            },
            peer,
        ))
    }
}

/// The name of a task: `split -> map (2/4)`.
pub(crate) fn task_name(program: &JobProgram, attempt: ExecutionAttemptId) -> Option<String> {
    let vertex = program.graph().vertices.get(attempt.vertex as usize)?;
    let name = &vertex.name;
    (attempt.subtask < vertex.parallelism).then(|| format!("{name} ({}/{})", attempt.subtask + 1, vertex.parallelism))
}

/// Runs code of an operator that is being made: what goes wrong has gone wrong in that operator.
fn made_in<R>(context: &OperatorContext<'_>, make: impl FnOnce() -> Result<R, TaskError>) -> Result<R, TaskError> {
    let scope = OperatorScope::enter(&context.name);
    let result = make();
    scope.leave();
    result.map_err(|error| error.at(&context.name))
}

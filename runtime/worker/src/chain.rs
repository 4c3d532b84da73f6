//! Puts a task's chain together: from its outputs back to its head, so that each operator is made with its output.

use flink_exchange::{ChannelId, NetworkEnvironment, Peer, TaskSignal};
use flink_graph::{ExecutionAttemptId, JobEdge, OperatorKind, Placement, TaskManagerId};

use crate::{
    boundary::TaskInput,
    counters::TaskCounters,
    error::TaskError,
    job_output::JobOutput,
    panics::OperatorScope,
    program::{EdgeContext, ErasedOutput, JobProgram, OperatorContext},
};

/// What a chain is made from and for.
pub(crate) struct ChainBuilder<'a> {
    pub(crate) program: &'a JobProgram,
    pub(crate) attempt: ExecutionAttemptId,
    pub(crate) placement: &'a Placement,
    pub(crate) here: TaskManagerId,
    pub(crate) environment: &'a NetworkEnvironment,
    pub(crate) signal: &'a TaskSignal,
    pub(crate) counters: &'a TaskCounters,
    pub(crate) job_output: &'a dyn JobOutput,
}

impl ChainBuilder<'_> {
    /// Opens all that the task has: inputs, operators, outputs.
    pub(crate) fn build(&self) -> Result<Box<dyn TaskInput>, TaskError> {
        let head = self.vertex().nodes[0];
        let node = &self.program.stream_graph().nodes[head as usize];
        if node.kind == OperatorKind::Source {
            let output = self.outputs(head)?;
            let context = self.operator_context(head);
            return made_in(&context, || self.program.node(head).make_source(&context, output));
        }
        let chain = self.operator(head)?;
        let in_edges: Vec<(u32, &JobEdge)> = self.program.graph().in_edges(self.attempt.vertex).collect();
        let mut channels = Vec::new();
        for (edge, job_edge) in &in_edges {
            for producer in self.program.graph().producers(*edge, self.attempt.subtask) {
                channels.push(self.channel(
                    *edge,
                    job_edge,
                    producer,
                    self.attempt.subtask,
                    job_edge.source,
                    producer,
                )?);
            }
        }
        // All edges into the one input carry the same type, so that any of them knows how to read it.
        let Some((edge, job_edge)) = in_edges.first() else {
            return Err(TaskError::runtime("the operator has no input"));
        };
        self.program
            .edge(*edge)
            .make_input(&self.edge_context(job_edge), channels, chain)
    }

    fn vertex(&self) -> &flink_graph::JobVertex {
        &self.program.graph().vertices[self.attempt.vertex as usize]
    }

    fn operator_context(&self, node: u32) -> OperatorContext<'_> {
        OperatorContext {
            name: self.program.stream_graph().nodes[node as usize].display_name().into(),
            attempt: self.attempt,
            parallelism: self.vertex().parallelism,
            counters: self.counters,
            signal: self.signal,
            job_output: self.job_output,
        }
    }

    fn operator(&self, node: u32) -> Result<ErasedOutput, TaskError> {
        let context = self.operator_context(node);
        // The outputs come first: they must not be made under the lock of this node's factory.
        let output = match self.program.stream_graph().nodes[node as usize].kind {
            OperatorKind::Sink => None,
            OperatorKind::Source | OperatorKind::Operator => Some(self.outputs(node)?),
        };
        let output = || output.ok_or_else(|| TaskError::runtime("a sink has no output"));
        made_in(&context, || self.program.node(node).make_operator(&context, output))
    }

    /// What a node emits to, as one output.
    fn outputs(&self, node: u32) -> Result<ErasedOutput, TaskError> {
        let mut outputs = Vec::new();
        for (index, edge) in (0..).zip(&self.program.stream_graph().edges) {
            if edge.source != node {
                continue;
            }
            outputs.push(match self.program.job_edge(index) {
                None => self.operator(edge.target)?,
                Some(job_edge) => self.writer(node, job_edge)?,
            });
        }
        self.program.node(node).join_outputs(outputs)
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
        let mut context = self.edge_context(job_edge);
        context.buffer_timeout = buffer_timeout.unwrap_or(context.buffer_timeout);
        self.program.edge(edge).make_writer(&context, channels)
    }

    fn edge_context(&self, edge: &JobEdge) -> EdgeContext<'_> {
        EdgeContext {
            environment: self.environment,
            signal: self.signal,
            counters: self.counters,
            partitioner: edge.partitioner,
            max_parallelism: self.program.graph().vertices[edge.target as usize].max_parallelism,
            buffer_timeout: self.program.buffer_timeout(),
        }
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

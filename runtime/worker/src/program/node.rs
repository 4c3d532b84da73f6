//! What makes the operators of a node.

use std::{any::Any, collections::BTreeMap, sync::Arc, time::Duration};

use flink_exchange::TaskSignal;
use flink_graph::ExecutionAttemptId;
use flink_record::Record;
use flink_state::KeyGroups;

use super::{
    config::ExecutionConfig,
    edge::{Channels, InputContext, open_gate},
};
use crate::{
    OperatorCoordinator, SubtaskGateway,
    boundary::{Counter, SinkOperator, SinkOutput, SourceInput, SourceOperator, TaskInput, TwoGateInput},
    counters::TaskCounters,
    error::TaskError,
    job_output::JobOutput,
    operator::{AnyOutput, BoxedOutput, Chained, Either, Operator, Outputs, Tee, Unconsumed},
    time::ProcessingTimeService,
};

/// A [`BoxedOutput`] of some record type.
pub(crate) type ErasedOutput = Box<dyn AnyOutput>;

/// What an operator is told when it is made.
pub struct OperatorContext<'a> {
    /// Its name, with the prefix for sources and sinks.
    pub name: Arc<str>,
    /// The task it is part of.
    pub attempt: ExecutionAttemptId,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Number of key groups.
    pub max_parallelism: u32,
    /// The job's settings.
    pub config: &'a ExecutionConfig,
    /// The task's clock.
    pub clock: &'a ProcessingTimeService,
    pub(crate) counters: &'a Arc<TaskCounters>,
    pub(crate) signal: &'a TaskSignal,
    pub(crate) job_output: &'a dyn JobOutput,
    /// Of an operator that has a coordinator.
    pub(crate) gateway: Option<&'a SubtaskGateway>,
}

impl OperatorContext<'_> {
    /// Subtask index, 0-based.
    pub fn subtask(&self) -> u32 {
        self.attempt.subtask
    }

    /// The key groups of this subtask.
    pub fn key_groups(&self) -> KeyGroups {
        KeyGroups::new(self.max_parallelism, self.parallelism, self.attempt.subtask)
    }

    /// What wakes the task, so that it polls its source again or lets its operators look at what has come
    /// ([`Operator::batch_done`]).
    pub fn signal(&self) -> TaskSignal {
        self.signal.clone()
    }

    /// The way to the operator's coordinator.
    ///
    /// # Errors
    /// When it has none: see [`NodeFactory::with_coordinator`].
    pub fn coordinator(&self) -> Result<SubtaskGateway, TaskError> {
        self.gateway
            .cloned()
            .ok_or_else(|| TaskError::runtime("the operator has no coordinator"))
    }

    /// A counter of records that the operator leaves out because they cannot be read, among the task's counters.
    pub fn skipped_records(&self) -> Arc<Counter> {
        let records = Arc::default();
        self.counters.add_skipped(Arc::clone(&records));
        records
    }

    /// A counter of records that the operator drops because they are late, among the task's counters.
    pub(crate) fn late_records(&self) -> Arc<Counter> {
        let records = Arc::default();
        self.counters.add_late(Arc::clone(&records));
        records
    }

    /// A stream to where the job prints.
    ///
    /// # Errors
    /// When there is no way there.
    pub fn open_job_output(&self) -> Result<Box<dyn crate::OutputStream>, TaskError> {
        self.job_output.open(self.attempt, self.signal)
    }
}

/// The outputs of an operator, before it is known of which types they are.
#[derive(Default)]
pub(crate) struct ErasedOutputs {
    /// `None` when only side outputs are consumed.
    pub(crate) main: Option<ErasedOutput>,
    /// By tag.
    pub(crate) sides: Vec<(Arc<str>, ErasedOutput)>,
}

impl ErasedOutputs {
    fn typed<T: 'static>(self) -> Result<Outputs<T>, TaskError> {
        let main = match self.main {
            Some(main) => downcast(main)?,
            None => Box::new(Unconsumed),
        };
        let mut outputs = Outputs::new(main);
        for (tag, output) in self.sides {
            outputs.add_side(tag, output);
        }
        Ok(outputs)
    }
}

type Make<T> = Box<dyn Fn(&OperatorContext<'_>, ErasedOutputs) -> Result<T, TaskError> + Send>;
type MakeSink = Box<dyn Fn(&OperatorContext<'_>) -> Result<ErasedOutput, TaskError> + Send>;
type MakeTee = fn(Vec<ErasedOutput>) -> Result<ErasedOutput, TaskError>;
type MakeTwoInputs = fn(&InputContext<'_>, [Channels; 2], ErasedOutput) -> Result<Box<dyn TaskInput>, TaskError>;
type MakeCoordinator = Box<dyn Fn() -> Result<Box<dyn OperatorCoordinator>, TaskError> + Send>;
type Preflight = Box<dyn Fn() -> Result<(), TaskError> + Send>;

/// Makes the operators of one node.
pub struct NodeFactory {
    make: MakeNode,
    /// Of an operator with two inputs.
    two_inputs: Option<MakeTwoInputs>,
    /// By side output, `None` for the main one: what lets it have several consumers.
    tees: BTreeMap<Option<Arc<str>>, MakeTee>,
    preflight: Option<Preflight>,
    coordinator: Option<MakeCoordinator>,
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
            two_inputs: None,
            tees: BTreeMap::new(),
            preflight: None,
            coordinator: None,
            buffer_timeout: None,
        }
    }

    /// A source that is opened so.
    pub fn source<T: 'static, S: SourceOperator<T> + 'static>(
        open: impl Fn(&OperatorContext<'_>) -> Result<S, TaskError> + Send + 'static,
    ) -> Self {
        Self::new(MakeNode::Source(Box::new(move |context, outputs| {
            let records = Arc::new(Counter::default());
            context.counters.set_source(Arc::clone(&records));
            let source = open(context)?;
            Ok(Box::new(SourceInput::<S, T>::new(
                source,
                outputs.typed()?,
                context,
                records,
            )))
        })))
    }

    /// An operator that is made so.
    pub fn operator<I: 'static, P: Operator<I> + 'static>(
        make: impl Fn(&OperatorContext<'_>) -> Result<P, TaskError> + Send + 'static,
    ) -> Self
    where
        P::Out: 'static,
    {
        Self::new(MakeNode::Operator(Box::new(move |context, outputs| {
            Ok(erase::<I>(Chained {
                operator: make(context)?,
                outputs: outputs.typed::<P::Out>()?,
                name: Arc::clone(&context.name),
            }))
        })))
    }

    /// An operator with two inputs that is made so.
    pub fn two_input_operator<A: Record, B: Record, P: Operator<Either<A, B>> + 'static>(
        make: impl Fn(&OperatorContext<'_>) -> Result<P, TaskError> + Send + 'static,
    ) -> Self
    where
        P::Out: 'static,
    {
        let mut factory = Self::operator::<Either<A, B>, P>(make);
        factory.two_inputs = Some(|context, [first, second], head| {
            let (first, second) = (open_gate::<A>(context, first)?, open_gate::<B>(context, second)?);
            Ok(Box::new(TwoGateInput::new(
                first,
                second,
                downcast(head)?,
                context.signal.clone(),
            )))
        });
        factory
    }

    /// A sink that is opened so.
    pub fn sink<T: 'static, S: SinkOperator<T> + 'static>(
        open: impl Fn(&OperatorContext<'_>) -> Result<S, TaskError> + Send + 'static,
    ) -> Self {
        Self::new(MakeNode::Sink(Box::new(move |context| {
            let records = Arc::new(Counter::default());
            context.counters.add_sink(Arc::clone(&records));
            Ok(erase::<T>(SinkOutput {
                sink: open(context)?,
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

    /// The same, with a coordinator, which runs once for all subtasks and is made so, where it runs. Subtasks reach it through
    /// [`OperatorContext::coordinator`].
    #[must_use]
    pub fn with_coordinator(
        mut self,
        make: impl Fn() -> Result<Box<dyn OperatorCoordinator>, TaskError> + Send + 'static,
    ) -> Self {
        self.coordinator = Some(Box::new(make));
        self
    }

    pub(super) fn is_coordinated(&self) -> bool {
        self.coordinator.is_some()
    }

    pub(crate) fn make_coordinator(&self) -> Result<Box<dyn OperatorCoordinator>, TaskError> {
        match &self.coordinator {
            Some(make) => make(),
            None => Err(TaskError::runtime("the operator has no coordinator")),
        }
    }

    /// Lets the node's records, or those of one of its side outputs, have several consumers: all but the last get clones.
    pub fn clone_records<T: Clone + 'static>(&mut self, side_output: Option<Arc<str>>) {
        self.tees.insert(side_output, |outputs| {
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

    pub(crate) fn preflight(&self) -> Result<(), TaskError> {
        self.preflight.as_ref().map_or(Ok(()), |check| check())
    }

    /// Joins the consumers of one output of the node, at least one, into one.
    pub(crate) fn join_outputs(
        &self,
        side_output: Option<Arc<str>>,
        mut outputs: Vec<ErasedOutput>,
    ) -> Result<ErasedOutput, TaskError> {
        if outputs.len() == 1 {
            return Ok(outputs.remove(0));
        }
        let tee = self
            .tees
            .get(&side_output)
            .ok_or_else(|| TaskError::runtime("the operator's records cannot be cloned for several outputs"))?;
        tee(outputs)
    }

    /// Makes a source with its outputs.
    pub(crate) fn make_source(
        &self,
        context: &OperatorContext<'_>,
        outputs: ErasedOutputs,
    ) -> Result<Box<dyn TaskInput>, TaskError> {
        match &self.make {
            MakeNode::Source(make) => make(context, outputs),
            MakeNode::Operator(_) | MakeNode::Sink(_) => Err(TaskError::runtime("the operator is no source")),
        }
    }

    /// Makes an operator with its outputs, or a sink, which has none.
    pub(crate) fn make_operator(
        &self,
        context: &OperatorContext<'_>,
        outputs: ErasedOutputs,
    ) -> Result<ErasedOutput, TaskError> {
        match &self.make {
            MakeNode::Operator(make) => make(context, outputs),
            MakeNode::Sink(make) => make(context),
            MakeNode::Source(_) => Err(TaskError::runtime("a source has no input")),
        }
    }

    /// Opens the two inputs of an operator that has as many.
    pub(crate) fn make_two_inputs(
        &self,
        context: &InputContext<'_>,
        channels: [Channels; 2],
        head: ErasedOutput,
    ) -> Result<Box<dyn TaskInput>, TaskError> {
        let make = self
            .two_inputs
            .ok_or_else(|| TaskError::runtime("the operator has one input"))?;
        make(context, channels, head)
    }
}

pub(super) fn erase<T: 'static>(output: impl crate::Output<T> + 'static) -> ErasedOutput {
    let boxed: BoxedOutput<T> = Box::new(output);
    Box::new(boxed)
}

pub(super) fn downcast<T: 'static>(erased: ErasedOutput) -> Result<BoxedOutput<T>, TaskError> {
    let any: Box<dyn Any> = erased;
    any.downcast::<BoxedOutput<T>>().map(|typed| *typed).map_err(|_| {
        TaskError::runtime(format!(
            "an operator was connected to one that takes other records than {}",
            std::any::type_name::<T>()
        ))
    })
}

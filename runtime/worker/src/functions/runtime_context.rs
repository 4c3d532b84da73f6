//! What a function is told when it is made.

use std::{ops::Deref, sync::Arc};

use flink_graph::{ExecutionAttemptId, JobId};
use flink_record::{Key, Record};
use flink_state::{
    AggregateFunction, AggregatingState, AggregatingStateDescriptor, HeapKeyedStateBackend, KeyGroups,
    KeyedStateBackend, ListState, ListStateDescriptor, MapState, MapStateDescriptor, Namespace, OperatorStateStore,
    ReadOnlyBroadcastState, ReducingState, ReducingStateDescriptor, StateError, ValueState, ValueStateDescriptor,
};

use super::{Accumulator, AccumulatorError, FunctionError, MetricGroup};
use crate::{counters::TaskCounters, error::TaskError, program::OperatorContext, time::ProcessingTimeService};

/// What a function is told when it is made: about its task, and where its state is.
#[derive(Debug)]
pub struct RuntimeContext {
    operator: Arc<str>,
    attempt: ExecutionAttemptId,
    parallelism: u32,
    max_parallelism: u32,
    key_groups: KeyGroups,
    clock: ProcessingTimeService,
    operator_state: OperatorStateStore,
    counters: Arc<TaskCounters>,
}

impl RuntimeContext {
    pub(crate) fn new(context: &OperatorContext<'_>) -> Self {
        Self {
            operator: Arc::clone(&context.name),
            attempt: context.attempt,
            parallelism: context.parallelism,
            max_parallelism: context.max_parallelism,
            key_groups: context.key_groups(),
            clock: context.clock.clone(),
            operator_state: OperatorStateStore::new(),
            counters: Arc::clone(context.counters),
        }
    }

    /// Makes a function, which is told about its task.
    ///
    /// # Errors
    /// What `make` returns.
    pub fn make<F>(
        context: &OperatorContext<'_>,
        make: impl FnOnce(&Self) -> Result<F, FunctionError>,
    ) -> Result<F, TaskError> {
        make(&Self::new(context)).map_err(TaskError::operator)
    }

    /// The job.
    pub fn job_id(&self) -> JobId {
        self.attempt.job
    }

    /// The operator's name.
    pub fn operator_name(&self) -> &str {
        &self.operator
    }

    /// Which of the operator's subtasks this is, counted from 0.
    pub fn subtask_index(&self) -> u32 {
        self.attempt.subtask
    }

    /// How many subtasks the operator has.
    pub fn parallelism(&self) -> u32 {
        self.parallelism
    }

    /// How many key groups the operator has: the highest parallelism that it can have.
    pub fn max_parallelism(&self) -> u32 {
        self.max_parallelism
    }

    /// How often the subtask was started before: 0 for the first time.
    pub fn attempt_number(&self) -> u32 {
        self.attempt.attempt
    }

    /// This subtask's share of the accumulator of this name. The job's result tells what all subtasks of all operators
    /// have added under the name.
    ///
    /// # Errors
    /// When the task has an accumulator of this name and another kind, or
    /// [`MAX_ACCUMULATORS`](super::MAX_ACCUMULATORS) of them; when the name is empty or longer than [`MAX_NAME`](super::MAX_NAME).
    pub fn add_accumulator<A: Accumulator + Clone + Default>(&self, name: &str) -> Result<A, AccumulatorError> {
        let accumulator = A::default();
        self.counters.add_accumulator(name, Arc::new(accumulator.clone()))?;
        Ok(accumulator)
    }

    /// Where the function registers what it counts and measures.
    pub fn metric_group(&self) -> MetricGroup<'_> {
        MetricGroup {
            operator: &self.operator,
            counters: &self.counters,
        }
    }

    /// A list whose elements are spread evenly over the subtasks when the job is restored with another parallelism.
    ///
    /// # Errors
    /// When the operator has a state of this name and another type.
    pub fn list_state<T: Record>(&self, descriptor: &ListStateDescriptor<T>) -> Result<ListState<T>, StateError> {
        self.operator_state.list_state(descriptor)
    }

    /// A list of which each subtask gets all subtasks' elements when the job is restored.
    ///
    /// # Errors
    /// When the operator has a state of this name and another type.
    pub fn union_list_state<T: Record>(&self, descriptor: &ListStateDescriptor<T>) -> Result<ListState<T>, StateError> {
        self.operator_state.union_list_state(descriptor)
    }

    /// A map that is the same in every subtask, since each makes of the same records the same changes. It is changed with
    /// [`BroadcastContext::broadcast_state`](super::BroadcastContext::broadcast_state) only.
    ///
    /// # Errors
    /// When the operator has a state of this name and another type.
    pub fn broadcast_state<K: Record + Ord, V: Record>(
        &self,
        descriptor: &MapStateDescriptor<K, V>,
    ) -> Result<ReadOnlyBroadcastState<K, V>, StateError> {
        let state = self.operator_state.broadcast_state(descriptor)?;
        Ok(state.read_only().clone())
    }

    pub(crate) fn key_groups(&self) -> KeyGroups {
        self.key_groups.clone()
    }

    pub(crate) fn clock(&self) -> &ProcessingTimeService {
        &self.clock
    }
}

/// What a function on a keyed stream is told when it is made. Its states are those of the key of the record, or of the timer,
/// that it is being given; used at any other time they panic.
///
/// `N` is what tells a key's states apart, if anything does: the windows of a window function, see
/// [`WindowRuntimeContext::window_state`](crate::windows::WindowRuntimeContext::window_state).
pub struct KeyedRuntimeContext<'a, K, N = ()> {
    runtime: &'a RuntimeContext,
    backend: &'a HeapKeyedStateBackend<K, N>,
}

impl<K, N> Deref for KeyedRuntimeContext<'_, K, N> {
    type Target = RuntimeContext;

    fn deref(&self) -> &RuntimeContext {
        self.runtime
    }
}

impl<'a, K: Key, N: Namespace> KeyedRuntimeContext<'a, K, N> {
    pub(crate) fn new(runtime: &'a RuntimeContext, backend: &'a HeapKeyedStateBackend<K, N>) -> Self {
        Self { runtime, backend }
    }

    /// One value per key.
    ///
    /// # Errors
    /// When the operator has a state of this name and another type; so with the others.
    pub fn value_state<T: Record>(&self, descriptor: &ValueStateDescriptor<T>) -> Result<ValueState<T>, StateError> {
        self.backend.value_state(descriptor)
    }

    /// A list per key.
    ///
    /// # Errors
    /// As [`value_state`](Self::value_state).
    pub fn keyed_list_state<T: Record>(&self, descriptor: &ListStateDescriptor<T>) -> Result<ListState<T>, StateError> {
        self.backend.list_state(descriptor)
    }

    /// A map per key.
    ///
    /// # Errors
    /// As [`value_state`](Self::value_state).
    pub fn map_state<UK: Record + Ord, UV: Record>(
        &self,
        descriptor: &MapStateDescriptor<UK, UV>,
    ) -> Result<MapState<UK, UV>, StateError> {
        self.backend.map_state(descriptor)
    }

    /// A value per key into which all that is added is reduced.
    ///
    /// # Errors
    /// As [`value_state`](Self::value_state).
    pub fn reducing_state<T: Record, F: Fn(T, T) -> T + Clone + 'static>(
        &self,
        descriptor: &ReducingStateDescriptor<T, F>,
    ) -> Result<ReducingState<T>, StateError> {
        self.backend.reducing_state(descriptor)
    }

    /// A value per key into which all that is added is aggregated.
    ///
    /// # Errors
    /// As [`value_state`](Self::value_state).
    pub fn aggregating_state<In: 'static, A: AggregateFunction<In, Accumulator: Record, Out: 'static>>(
        &self,
        descriptor: &AggregatingStateDescriptor<In, A>,
    ) -> Result<AggregatingState<In, A::Out>, StateError> {
        self.backend.aggregating_state(descriptor)
    }
}

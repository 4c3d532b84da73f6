//! Process functions on keyed streams: state and timers.

use std::fmt;

use flink_exchange::Event;
use flink_record::{Key, Timestamp};
use flink_state::{HeapKeyedStateBackend, KeyedStateBackend};

use super::{PROCESSING_TIME, collecting};
use crate::{
    error::TaskError,
    functions::{
        FunctionError, FunctionResult, KeyedContext, KeyedProcessFunction, KeyedRuntimeContext, OnTimerContext,
        RuntimeContext, TimeDomain,
    },
    operator::{Operator, Outputs},
    operators::{Collector, KeySelector},
    program::OperatorContext,
    time::InternalTimerService,
};

/// The state and the timers of a keyed operator.
pub struct KeyedFunctionContext<K> {
    backend: HeapKeyedStateBackend<K>,
    timers: InternalTimerService<K, ()>,
}

impl<K: Key> KeyedFunctionContext<K> {
    /// Those of one subtask, with the function that is made with them.
    ///
    /// # Errors
    /// What `make` returns.
    pub fn open<F>(
        context: &OperatorContext<'_>,
        make: impl FnOnce(&KeyedRuntimeContext<'_, K>) -> Result<F, FunctionError>,
    ) -> Result<(Self, F), TaskError> {
        let runtime = RuntimeContext::new(context);
        let clock = runtime.clock().clone();
        let now = std::rc::Rc::new(move || clock.now());
        let backend = HeapKeyedStateBackend::new(runtime.operator_name(), runtime.key_groups(), now);
        let function = make(&KeyedRuntimeContext::new(&runtime, &backend)).map_err(TaskError::operator)?;
        let timers = InternalTimerService::new(runtime.clock());
        Ok((Self { backend, timers }, function))
    }

    #[inline]
    pub(super) fn set_key(&mut self, key: &K) -> Result<(), TaskError> {
        self.backend.set_current_key(key).map_err(TaskError::operator)
    }

    pub(super) fn clear_key(&mut self) {
        self.backend.clear_current_key();
    }

    pub(super) fn watermark(&self) -> Timestamp {
        self.timers.watermark()
    }

    /// Calls a function with a record of the current key.
    #[inline]
    pub(super) fn element<O>(
        &mut self,
        timestamp: Timestamp,
        output: &mut Outputs<O>,
        call: impl FnOnce(&mut KeyedContext<'_, K>, &mut Collector<'_, O>) -> FunctionResult,
    ) -> Result<(), TaskError> {
        let mut context = KeyedContext::new(timestamp, &self.backend, &mut self.timers);
        collecting(timestamp, output, |out| call(&mut context, out))
    }

    /// Event time advances: calls a function with the timers that are due, then passes the watermark on.
    pub(super) fn advance_watermark<O: 'static>(
        &mut self,
        watermark: Timestamp,
        output: &mut Outputs<O>,
        mut on_timer: impl FnMut(Timestamp, &mut OnTimerContext<'_, K>, &mut Collector<'_, O>) -> FunctionResult,
    ) -> Result<(), TaskError> {
        self.timers.advance_watermark(watermark);
        while let Some((time, key, ())) = self.timers.pop_event_time() {
            self.fire(TimeDomain::EventTime, time, &key, time, output, &mut on_timer)?;
        }
        output.event(Event::Watermark(watermark))
    }

    /// Calls a function with the timers that the clock has reached.
    pub(super) fn processing_time<O>(
        &mut self,
        now: Timestamp,
        output: &mut Outputs<O>,
        mut on_timer: impl FnMut(Timestamp, &mut OnTimerContext<'_, K>, &mut Collector<'_, O>) -> FunctionResult,
    ) -> Result<(), TaskError> {
        while let Some((time, key, ())) = self.timers.pop_processing_time(now) {
            self.fire(
                TimeDomain::ProcessingTime,
                time,
                &key,
                PROCESSING_TIME,
                output,
                &mut on_timer,
            )?;
        }
        Ok(())
    }

    fn fire<O>(
        &mut self,
        domain: TimeDomain,
        time: Timestamp,
        key: &K,
        emitted: Timestamp,
        output: &mut Outputs<O>,
        on_timer: &mut impl FnMut(Timestamp, &mut OnTimerContext<'_, K>, &mut Collector<'_, O>) -> FunctionResult,
    ) -> Result<(), TaskError> {
        self.set_key(key)?;
        let keyed = KeyedContext::new(time, &self.backend, &mut self.timers);
        let mut context = OnTimerContext::new(domain, keyed);
        collecting(emitted, output, |out| on_timer(time, &mut context, out))
    }
}

impl<K> fmt::Debug for KeyedFunctionContext<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedFunctionContext").finish_non_exhaustive()
    }
}

/// Runs a [`KeyedProcessFunction`].
#[derive(Debug)]
pub struct KeyedProcess<K, S, F> {
    selector: S,
    keyed: KeyedFunctionContext<K>,
    function: F,
}

impl<K, S, F> KeyedProcess<K, S, F> {
    /// The operator of this function, with its state and timers.
    pub fn new(selector: S, (keyed, function): (KeyedFunctionContext<K>, F)) -> Self {
        Self {
            selector,
            keyed,
            function,
        }
    }
}

impl<I, S, F> Operator<I> for KeyedProcess<S::Key, S, F>
where
    S: KeySelector<I>,
    F: KeyedProcessFunction<S::Key, I>,
    F::Out: 'static,
{
    type Out = F::Out;

    #[inline]
    fn process(&mut self, record: I, timestamp: Timestamp, output: &mut Outputs<F::Out>) -> Result<(), TaskError> {
        let Self {
            selector,
            keyed,
            function,
        } = self;
        keyed.set_key(&selector.key(&record))?;
        keyed.element(timestamp, output, |context, out| {
            function.process_element(record, context, out)
        })
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Outputs<F::Out>) -> Result<(), TaskError> {
        let Self { keyed, function, .. } = self;
        keyed.advance_watermark(watermark, output, |time, context, out| {
            function.on_timer(time, context, out)
        })
    }

    fn processing_time(&mut self, now: Timestamp, output: &mut Outputs<F::Out>) -> Result<(), TaskError> {
        let Self { keyed, function, .. } = self;
        keyed.processing_time(now, output, |time, context, out| function.on_timer(time, context, out))
    }
}

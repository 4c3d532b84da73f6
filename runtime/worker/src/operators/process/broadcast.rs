//! Functions of a stream and a broadcast.

use flink_exchange::Event;
use flink_record::Timestamp;

use super::{KeyedFunctionContext, collecting};
use crate::{
    error::TaskError,
    functions::{BroadcastContext, BroadcastProcessFunction, KeyedBroadcastProcessFunction, ProcessContext},
    operator::{Either, Operator, Outputs},
    operators::KeySelector,
    time::ProcessingTimeService,
};

/// Runs a [`BroadcastProcessFunction`].
#[derive(Debug)]
pub struct BroadcastProcess<F> {
    function: F,
    watermark: Timestamp,
    clock: ProcessingTimeService,
}

impl<F> BroadcastProcess<F> {
    /// The operator of this function.
    pub fn new(function: F, clock: &ProcessingTimeService) -> Self {
        Self {
            function,
            watermark: Timestamp::MIN,
            clock: clock.clone(),
        }
    }
}

impl<A, B, F: BroadcastProcessFunction<A, B>> Operator<Either<A, B>> for BroadcastProcess<F>
where
    F::Out: 'static,
{
    type Out = F::Out;

    #[inline]
    fn process(
        &mut self,
        record: Either<A, B>,
        timestamp: Timestamp,
        output: &mut Outputs<F::Out>,
    ) -> Result<(), TaskError> {
        let mut record_context = ProcessContext {
            timestamp,
            watermark: self.watermark,
            clock: &self.clock,
        };
        let function = &mut self.function;
        collecting(timestamp, output, |out| match record {
            Either::First(record) => function.process_element(record, &mut record_context, out),
            Either::Second(record) => {
                let mut context = BroadcastContext { record: record_context };
                function.process_broadcast_element(record, &mut context, out)
            }
        })
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Outputs<F::Out>) -> Result<(), TaskError> {
        self.watermark = watermark;
        output.event(Event::Watermark(watermark))
    }
}

/// Runs a [`KeyedBroadcastProcessFunction`].
#[derive(Debug)]
pub struct KeyedBroadcastProcess<K, S, F> {
    selector: S,
    keyed: KeyedFunctionContext<K>,
    function: F,
    clock: ProcessingTimeService,
}

impl<K, S, F> KeyedBroadcastProcess<K, S, F> {
    /// The operator of this function, with its state and timers.
    pub fn new(selector: S, (keyed, function): (KeyedFunctionContext<K>, F), clock: &ProcessingTimeService) -> Self {
        Self {
            selector,
            keyed,
            function,
            clock: clock.clone(),
        }
    }
}

impl<A, B, S, F> Operator<Either<A, B>> for KeyedBroadcastProcess<S::Key, S, F>
where
    S: KeySelector<A>,
    F: KeyedBroadcastProcessFunction<S::Key, A, B>,
    F::Out: 'static,
{
    type Out = F::Out;

    #[inline]
    fn process(
        &mut self,
        record: Either<A, B>,
        timestamp: Timestamp,
        output: &mut Outputs<F::Out>,
    ) -> Result<(), TaskError> {
        let Self {
            selector,
            keyed,
            function,
            clock,
        } = self;
        match record {
            Either::First(record) => {
                keyed.set_key(&selector.key(&record))?;
                keyed.element(timestamp, output, |context, out| {
                    function.process_element(record, context, out)
                })
            }
            Either::Second(record) => {
                keyed.clear_key();
                let record_context = ProcessContext {
                    timestamp,
                    watermark: keyed.watermark(),
                    clock,
                };
                let mut context = BroadcastContext { record: record_context };
                collecting(timestamp, output, |out| {
                    function.process_broadcast_element(record, &mut context, out)
                })
            }
        }
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

//! Functions of two connected streams.

use std::marker::PhantomData;

use flink_exchange::Event;
use flink_record::{Key, Timestamp};

use super::{KeyedFunctionContext, collecting};
use crate::{
    error::TaskError,
    functions::{CoProcessFunction, KeyedCoProcessFunction, ProcessContext},
    operator::{Either, Operator, Outputs},
    operators::{Collector, KeySelector},
    time::ProcessingTimeService,
};

/// A closure for the records of each of two streams, one record to one.
#[derive(Debug, Clone)]
pub struct CoMap<F, G>(pub F, pub G);

impl<A, B, O, F: FnMut(A) -> O, G: FnMut(B) -> O> Operator<Either<A, B>> for CoMap<F, G> {
    type Out = O;

    #[inline]
    fn process(
        &mut self,
        record: Either<A, B>,
        timestamp: Timestamp,
        output: &mut Outputs<O>,
    ) -> Result<(), TaskError> {
        let record = match record {
            Either::First(record) => (self.0)(record),
            Either::Second(record) => (self.1)(record),
        };
        output.collect(record, timestamp)
    }
}

/// A closure for the records of each of two streams, one record to as many as it collects.
#[derive(Debug)]
pub struct CoFlatMap<F, G, O> {
    first: F,
    second: G,
    emits: PhantomData<fn() -> O>,
}

impl<F, G, O> CoFlatMap<F, G, O> {
    /// The operator of these closures.
    pub fn new(first: F, second: G) -> Self {
        let emits = PhantomData;
        Self { first, second, emits }
    }
}

impl<F: Clone, G: Clone, O> Clone for CoFlatMap<F, G, O> {
    fn clone(&self) -> Self {
        Self::new(self.first.clone(), self.second.clone())
    }
}

impl<A, B, O, F, G> Operator<Either<A, B>> for CoFlatMap<F, G, O>
where
    F: FnMut(A, &mut Collector<'_, O>),
    G: FnMut(B, &mut Collector<'_, O>),
{
    type Out = O;

    #[inline]
    fn process(
        &mut self,
        record: Either<A, B>,
        timestamp: Timestamp,
        output: &mut Outputs<O>,
    ) -> Result<(), TaskError> {
        let mut collector = Collector::new(timestamp, output);
        match record {
            Either::First(record) => (self.first)(record, &mut collector),
            Either::Second(record) => (self.second)(record, &mut collector),
        }
        collector.finish()
    }
}

/// Runs a [`CoProcessFunction`].
#[derive(Debug)]
pub struct CoProcess<F> {
    function: F,
    watermark: Timestamp,
    clock: ProcessingTimeService,
}

impl<F> CoProcess<F> {
    /// The operator of this function.
    pub fn new(function: F, clock: &ProcessingTimeService) -> Self {
        Self {
            function,
            watermark: Timestamp::MIN,
            clock: clock.clone(),
        }
    }
}

impl<A, B, F: CoProcessFunction<A, B>> Operator<Either<A, B>> for CoProcess<F>
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
        let mut context = ProcessContext {
            timestamp,
            watermark: self.watermark,
            clock: &self.clock,
        };
        let function = &mut self.function;
        collecting(timestamp, output, |out| match record {
            Either::First(record) => function.process_element1(record, &mut context, out),
            Either::Second(record) => function.process_element2(record, &mut context, out),
        })
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Outputs<F::Out>) -> Result<(), TaskError> {
        self.watermark = watermark;
        output.event(Event::Watermark(watermark))
    }
}

/// Runs a [`KeyedCoProcessFunction`].
#[derive(Debug)]
pub struct KeyedCoProcess<K, S, R, F> {
    first: S,
    second: R,
    keyed: KeyedFunctionContext<K>,
    function: F,
}

impl<K, S, R, F> KeyedCoProcess<K, S, R, F> {
    /// The operator of this function, with its state and timers.
    pub fn new(first: S, second: R, (keyed, function): (KeyedFunctionContext<K>, F)) -> Self {
        Self {
            first,
            second,
            keyed,
            function,
        }
    }
}

impl<K, A, B, S, R, F> Operator<Either<A, B>> for KeyedCoProcess<K, S, R, F>
where
    K: Key,
    S: KeySelector<A, Key = K>,
    R: KeySelector<B, Key = K>,
    F: KeyedCoProcessFunction<K, A, B>,
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
            first,
            second,
            keyed,
            function,
        } = self;
        match record {
            Either::First(record) => {
                keyed.set_key(&first.key(&record))?;
                keyed.element(timestamp, output, |context, out| {
                    function.process_element1(record, context, out)
                })
            }
            Either::Second(record) => {
                keyed.set_key(&second.key(&record))?;
                keyed.element(timestamp, output, |context, out| {
                    function.process_element2(record, context, out)
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

//! Process functions on streams without keys.

use std::marker::PhantomData;

use flink_exchange::Event;
use flink_record::Timestamp;

use super::collecting;
use crate::{
    error::TaskError,
    functions::{FunctionResult, ProcessContext, ProcessFunction},
    operator::{Operator, Outputs},
    operators::Collector,
    time::ProcessingTimeService,
};

/// Runs a [`ProcessFunction`].
#[derive(Debug)]
pub struct Process<F> {
    function: F,
    watermark: Timestamp,
    clock: ProcessingTimeService,
}

impl<F> Process<F> {
    /// The operator of this function.
    pub fn new(function: F, clock: &ProcessingTimeService) -> Self {
        Self {
            function,
            watermark: Timestamp::MIN,
            clock: clock.clone(),
        }
    }
}

impl<I, F: ProcessFunction<I>> Operator<I> for Process<F>
where
    F::Out: 'static,
{
    type Out = F::Out;

    #[inline]
    fn process(&mut self, record: I, timestamp: Timestamp, output: &mut Outputs<F::Out>) -> Result<(), TaskError> {
        let mut context = ProcessContext {
            timestamp,
            watermark: self.watermark,
            clock: &self.clock,
        };
        let function = &mut self.function;
        collecting(timestamp, output, |out| {
            function.process_element(record, &mut context, out)
        })
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Outputs<F::Out>) -> Result<(), TaskError> {
        self.watermark = watermark;
        output.event(Event::Watermark(watermark))
    }
}

/// A closure as a [`ProcessFunction`].
#[derive(Debug)]
pub struct ProcessWith<F, O> {
    closure: F,
    emits: PhantomData<fn() -> O>,
}

impl<F, O> ProcessWith<F, O> {
    /// The function of this closure.
    pub fn new(closure: F) -> Self {
        let emits = PhantomData;
        Self { closure, emits }
    }
}

impl<I, O, F> ProcessFunction<I> for ProcessWith<F, O>
where
    F: FnMut(I, &mut ProcessContext<'_>, &mut Collector<'_, O>) -> FunctionResult,
{
    type Out = O;

    #[inline]
    fn process_element(
        &mut self,
        value: I,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, O>,
    ) -> FunctionResult {
        (self.closure)(value, context, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        functions::OutputTag,
        testing::{Emitted, Harness},
    };

    #[test]
    fn a_function_sees_times_and_fills_side_outputs() {
        let odd = OutputTag::<String>::new("odd");
        let tag = odd.clone();
        let closure = move |value: u32, context: &mut ProcessContext<'_>, out: &mut Collector<'_, (u32, i64, i64)>| {
            if value % 2 == 1 {
                out.output(&tag, value.to_string());
            } else {
                out.collect((value, context.timestamp().unwrap_or(-1), context.current_watermark()));
            }
            if value == 9 { Err("nine".into()) } else { Ok(()) }
        };
        let clock = ProcessingTimeService::manual(7);
        let mut harness = Harness::new(Process::new(ProcessWith::new(closure), &clock));
        let side = harness.side_output::<String>(odd.name());
        harness.process(1, 10);
        harness.process(2, 20);
        harness.watermark(15);
        harness.process(4, Timestamp::MIN);
        assert_eq!(
            harness.take_stamped(),
            [((2, 20, Timestamp::MIN), 20), ((4, -1, 15), Timestamp::MIN)]
        );
        let record = Emitted::Record("1".to_owned(), 10);
        assert_eq!(side.take(), [record, Emitted::Event(Event::Watermark(15))]);
        assert_eq!(harness.process_err(9), "nine");
    }

    #[test]
    fn a_side_output_that_nobody_consumes_is_dropped_and_one_of_another_type_is_an_error() {
        let closure = |value: u32, _: &mut ProcessContext<'_>, out: &mut Collector<'_, u32>| {
            out.output(&OutputTag::new("side"), value);
            Ok(())
        };
        let clock = ProcessingTimeService::manual(0);
        let mut harness = Harness::new(Process::new(ProcessWith::new(closure), &clock));
        harness.process(1, 0);
        let _consumed = harness.side_output::<String>("side");
        assert_eq!(
            harness.process_err(1),
            "the side output `side` is consumed as another type than u32"
        );
    }
}

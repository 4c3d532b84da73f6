//! Both operators, checked against a model and against each other.

mod lateness;
mod model;
mod sessions;
mod slices;

use std::rc::Rc;

use flink_record::{NO_TIMESTAMP, Timestamp};
use flink_state::{AggregateFunction, KeyGroups};

use super::*;
use crate::{
    functions::FunctionResult,
    operator::Operator,
    operators::{Collector, KeyBy},
    testing::{Emitted, Harness},
    time::ProcessingTimeService,
};

/// A key and a value.
type Item = (u8, u32);

/// A key, a window, and the sorted values that it has.
type Result<W = TimeWindow> = (u8, W, Vec<u32>);

const LATE: &str = "late";

/// Keeps all values, so that tests see what is in a window.
#[derive(Clone)]
struct Values;

impl AggregateFunction<Item> for Values {
    type Accumulator = Vec<u32>;
    type Out = Vec<u32>;

    fn create_accumulator(&self) -> Vec<u32> {
        Vec::new()
    }

    fn add(&mut self, accumulator: &mut Vec<u32>, value: Item) {
        accumulator.push(value.1);
    }

    fn result(&self, accumulator: &Vec<u32>) -> Vec<u32> {
        let mut values = accumulator.clone();
        values.sort_unstable();
        values
    }

    fn merge(&mut self, accumulator: &mut Vec<u32>, other: Vec<u32>) {
        accumulator.extend(other);
    }
}

/// Emits key and window with what is in it.
#[derive(Clone)]
struct Tell;

impl<W: Window> EmitValue<u8, W, Vec<u32>> for Tell {
    type Out = Result<W>;

    fn emit(
        &mut self,
        key: &u8,
        context: &WindowContext<'_, W>,
        value: Vec<u32>,
        out: &mut Collector<'_, Result<W>>,
    ) -> FunctionResult {
        out.collect((*key, context.window().clone(), value));
        Ok(())
    }
}

impl<W: Window> EmitAll<u8, W, Item> for Tell {
    type Out = Result<W>;

    fn emit_all(
        &mut self,
        key: &u8,
        context: &WindowContext<'_, W>,
        elements: &[Item],
        out: &mut Collector<'_, Result<W>>,
    ) -> FunctionResult {
        let values = elements.iter().map(|(_, value)| *value).collect();
        out.collect((*key, context.window().clone(), values));
        Ok(())
    }
}

type ByKey = KeyBy<fn(&Item) -> u8, u8>;

fn key() -> ByKey {
    KeyBy::new(|item| item.0)
}

fn backend<W: Window>(clock: &ProcessingTimeService) -> Rc<WindowBackend<u8, W>> {
    Rc::new(WindowBackend::new("window", KeyGroups::new(128, 1, 0), clock))
}

fn settings(lateness: Timestamp, late_output: bool) -> WindowSettings {
    let mut settings = WindowSettings::default();
    settings.set_allowed_lateness(std::time::Duration::from_millis(lateness as u64));
    if late_output {
        settings.set_late_output(LATE);
    }
    settings
}

/// The operator of any windows, with these contents.
fn window_operator<A: WindowAssigner<Item>, G: Trigger<Item, A::Window>, C>(
    (assigner, trigger): (A, G),
    settings: &WindowSettings,
    contents: C,
    clock: &ProcessingTimeService,
) -> WindowOperator<Item, ByKey, A, G, C>
where
    C: WindowContents<u8, A::Window, Item>,
{
    WindowOperator::new((key(), assigner, trigger), settings, backend(clock), contents).unwrap()
}

/// The operator of any windows, with accumulators and the default trigger.
fn accumulating<A: WindowAssigner<Item>>(
    assigner: A,
    settings: &WindowSettings,
    clock: &ProcessingTimeService,
) -> Harness<Item, impl Operator<Item, Out = Result<A::Window>> + use<A>> {
    let contents = Accumulated::new(Aggregated(Values), Tell);
    let trigger = A::DefaultTrigger::default();
    Harness::new(window_operator((assigner, trigger), settings, contents, clock))
}

type AccumulatingSessions<A> = SessionWindowOperator<Item, ByKey, A, Accumulated<Aggregated<Values>, Tell>>;

/// The operator of sessions, with accumulators.
fn accumulating_sessions<A: WindowAssigner<Item>>(
    assigner: A,
    settings: &WindowSettings,
    clock: &ProcessingTimeService,
) -> Harness<Item, AccumulatingSessions<A>> {
    let contents = Accumulated::new(Aggregated(Values), Tell);
    let merge = assigner.merging().unwrap();
    let parts = (key(), assigner, merge);
    Harness::new(SessionWindowOperator::new(parts, settings, backend(clock), contents))
}

/// What was emitted since the last look, sorted.
fn emitted<P: Operator<Item, Out: Ord + 'static>>(harness: &mut Harness<Item, P>) -> Vec<(P::Out, Timestamp)> {
    let mut emitted = harness.take_stamped();
    emitted.sort();
    emitted
}

//! The cases. Streams are reinterpreted as keyed, not exchanged: what costs is the operator, in the task of the source.

use std::time::Duration;

use flink::{
    Collector, DataStream, EventTimeSessionWindows, FunctionResult, KeyedContext, KeyedProcessFunction,
    KeyedRuntimeContext, SlidingEventTimeWindows, StreamExecutionEnvironment, TumblingEventTimeWindows, ValueState,
    ValueStateDescriptor,
};
use hashbrown::HashMap;

use crate::{events::Event, tally::Tally};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

#[inline]
fn first_map(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[inline]
fn filter(number: u64) -> bool {
    !number.is_multiple_of(3)
}

#[inline]
fn second_map(number: u64) -> u64 {
    number ^ (number >> 32)
}

/// Map, filter, map over so many numbers.
pub(crate) fn plain_loop(records: u64) {
    let mut tally = Tally::default();
    for number in 1..=records {
        let number = first_map(number);
        if filter(number) {
            tally.add(second_map(number));
        }
    }
}

/// The same as operators of a job.
pub(crate) fn chain(env: &mut StreamExecutionEnvironment, records: u64) {
    let mut tally = Tally::default();
    env.from_sequence(1..=records)
        .map(first_map)
        .filter(|number| filter(*number))
        .map(move |number| {
            let number = second_map(number);
            tally.add(number);
            number
        })
        .discard();
}

/// Drops the events.
pub(crate) fn tally_events(events: DataStream<Event>) {
    finish(events, |_| 1);
}

/// Counts each key's events of each minute.
pub(crate) fn tumbling(events: DataStream<Event>) {
    let windows = TumblingEventTimeWindows::of(MINUTE);
    finish(
        events.reinterpret_as_keyed(key).window(windows).count(),
        |(_, count)| *count,
    );
}

/// Counts each key's events of the last minute, every second.
pub(crate) fn sliding(events: DataStream<Event>) {
    let windows = SlidingEventTimeWindows::of(MINUTE, SECOND);
    finish(
        events.reinterpret_as_keyed(key).window(windows).count(),
        |(_, count)| *count,
    );
}

/// Counts each key's events between two pauses of a minute.
pub(crate) fn session(events: DataStream<Event>) {
    let windows = EventTimeSessionWindows::with_gap(MINUTE);
    finish(
        events.reinterpret_as_keyed(key).window(windows).count(),
        |(_, count)| *count,
    );
}

/// Counts each key's events as a program without an engine would, with the hash function that state has.
pub(crate) fn hash_map(events: DataStream<Event>) {
    let mut counts = HashMap::<u64, u64>::new();
    let counted = events.flat_map(move |event: Event| {
        let count = counts.entry(event.0).or_insert(0);
        *count += 1;
        Some(*count)
    });
    finish(counted, |count| *count);
}

/// Counts each key's events in value state.
pub(crate) fn value_state(events: DataStream<Event>) {
    let make = |context: &KeyedRuntimeContext<'_, u64>| {
        let count = context.value_state(&ValueStateDescriptor::new("count"))?;
        Ok(Count { count })
    };
    finish(events.reinterpret_as_keyed(key).process(make), |count| *count);
}

fn key(event: &Event) -> u64 {
    event.0
}

/// Tallies results, of which nothing is left then.
fn finish<T: flink::Record>(results: DataStream<T>, value: impl Fn(&T) -> u64 + Clone + Send + 'static) {
    let mut tally = Tally::default();
    results
        .filter(move |result| {
            tally.add(value(result));
            false
        })
        .discard();
}

struct Count {
    count: ValueState<u64>,
}

impl KeyedProcessFunction<u64, Event> for Count {
    type Out = u64;

    fn process_element(
        &mut self,
        _: Event,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<'_, u64>,
    ) -> FunctionResult {
        out.collect(self.count.modify_or_insert_with(
            || 0,
            |count| {
                *count += 1;
                *count
            },
        ));
        Ok(())
    }
}

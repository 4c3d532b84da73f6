//! Late records, window functions with state, and windows that keep all records.

use std::time::Duration;

use flink_state::{KeyedStateBackend, ValueState, ValueStateDescriptor};

use super::*;
use crate::testing::with_context;

fn tumbling(size: u64) -> TumblingEventTimeWindows {
    TumblingEventTimeWindows::of(Duration::from_millis(size))
}

#[test]
fn late_records_are_counted_or_go_to_the_side_output() {
    let clock = ProcessingTimeService::manual(0);
    for side in [false, true] {
        let contents = Listed::new(Tell);
        let operator = window_operator((tumbling(10), EventTimeTrigger), &settings(5, side), contents, &clock);
        let mut harness = Harness::new(operator);
        let late = harness.side_output::<Item>(LATE);
        harness.process((1, 1), 3);
        harness.watermark(13);
        harness.process((1, 2), 4);
        harness.watermark(14);
        harness.process((1, 3), 5);
        let window = TimeWindow::new(0, 10);
        assert_eq!(harness.take(), [(1, window, vec![1]), (1, window, vec![1, 2])]);
        let late = late
            .take()
            .iter()
            .filter(|late| matches!(late, Emitted::Record((1, 3), 5)))
            .count();
        let dropped = harness.operator().late_records_dropped();
        assert_eq!((late, dropped), if side { (1, 0) } else { (0, 1) });
    }
}

#[test]
fn late_records_that_are_dropped_are_among_the_counters_of_the_task() {
    with_context(|context| {
        let parts = || (key(), tumbling(10), EventTimeTrigger);
        let open = || WindowBackend::open(context);
        let dropped = || context.counters.snapshot(context.attempt).0.late_records_dropped;
        let windows = WindowOperator::new(parts(), &settings(0, false), open(), Listed::new(Tell)).unwrap();
        let slicing = WindowAssigner::<Item>::slicing(&tumbling(10)).unwrap();
        let slices: SliceWindowOperator<Item, _, _, _, _, TumblingStore<u8, Vec<u32>>> =
            SliceWindowOperator::new((key(), Aggregated(Values), Tell), slicing, &settings(0, false), open());
        let mut windows = Harness::new(windows);
        windows.watermark(9);
        windows.process((1, 1), 3);
        assert_eq!(dropped(), 1);
        let mut slices = Harness::new(slices);
        slices.watermark(9);
        slices.process((1, 1), 3);
        assert_eq!(dropped(), 2);
    });
}

/// Numbers the firings of each window, and of each key.
struct Numbering {
    window: ValueState<u32>,
    key: ValueState<u32>,
}

impl ProcessWindowFunction<Item, u8, TimeWindow> for Numbering {
    type Out = (u8, i64, u32, u32, usize);

    fn process(
        &mut self,
        key: &u8,
        context: &WindowContext<'_, TimeWindow>,
        elements: &[Item],
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult {
        let next = |state: &ValueState<u32>| {
            let number = state.get().unwrap_or(0) + 1;
            state.update(number);
            number
        };
        let (window, of_key) = (next(&self.window), next(&self.key));
        out.collect((*key, context.window().start, window, of_key, elements.len()));
        Ok(())
    }

    fn clear(&mut self, _: &u8, _: &WindowContext<'_, TimeWindow>) -> FunctionResult {
        assert!(self.window.take().is_some());
        Ok(())
    }
}

#[test]
fn functions_have_state_per_window_and_per_key() {
    let clock = ProcessingTimeService::manual(0);
    let backend = backend::<TimeWindow>(&clock);
    let descriptor = ValueStateDescriptor::new;
    let numbering = Numbering {
        window: backend.windowed().value_state(&descriptor("window")).unwrap(),
        key: backend.keyed().value_state(&descriptor("key")).unwrap(),
    };
    let function = FunctionOfWindow::new(numbering, &backend);
    let parts = (key(), tumbling(10), EventTimeTrigger);
    let operator = WindowOperator::new(parts, &settings(10, false), backend, Listed::new(function)).unwrap();
    let mut harness = Harness::new(operator);
    harness.process((1, 0), 0);
    harness.process((2, 0), 5);
    harness.process((1, 0), 11);
    harness.watermark(9);
    harness.process((1, 0), 1);
    harness.watermark(100);
    let mut emitted = harness.take();
    emitted.sort_unstable();
    assert_eq!(
        emitted,
        [(1, 0, 1, 1, 1), (1, 0, 2, 2, 2), (1, 10, 1, 3, 1), (2, 0, 1, 1, 1)]
    );
}

#[test]
fn evictors_shorten_what_is_left() {
    let clock = ProcessingTimeService::manual(0);
    // The last two records, at every second.
    let contents = Evicted::new(Box::new(CountEvictor::of(2)), Tell);
    let parts = (GlobalWindows, CountTrigger::of(2));
    let mut harness = Harness::new(window_operator(parts, &settings(0, false), contents, &clock));
    for value in 1..=5 {
        harness.process((1, value), NO_TIMESTAMP);
    }
    harness.process((2, 9), NO_TIMESTAMP);
    let results: Vec<_> = harness.take_stamped();
    assert_eq!(
        results,
        [
            ((1, GlobalWindow, vec![1, 2]), Timestamp::MAX),
            ((1, GlobalWindow, vec![3, 4]), Timestamp::MAX)
        ]
    );
    // An aggregation of what an evictor has left.
    let all = AccumulateAll::new(Aggregated(Values), Tell);
    let contents = Evicted::new(Box::new(TimeEvictor::of(Duration::from_millis(5))), all);
    let parts = (tumbling(20), EventTimeTrigger);
    let mut harness = Harness::new(window_operator(parts, &settings(0, false), contents, &clock));
    for timestamp in [3, 12, 8, 7] {
        harness.process((1, timestamp), timestamp.into());
    }
    harness.watermark(Timestamp::MAX);
    assert_eq!(harness.take(), [(1, TimeWindow::new(0, 20), vec![8, 12])]);
}

#[test]
fn records_of_two_streams_are_grouped() {
    use crate::operator::Either;
    type Both = Either<(u8, u32), u8>;
    let clock = ProcessingTimeService::manual(0);
    let selector = KeyBy::new(|record: &Both| match record {
        Either::First((key, _)) | Either::Second(key) => *key,
    });
    let closure = |first: &[(u8, u32)], second: &[u8], out: &mut Collector<'_, (usize, usize)>| {
        out.collect((first.len(), second.len()));
        Ok(())
    };
    let parts = (selector, tumbling(10), EventTimeTrigger);
    let operator = WindowOperator::new(parts, &settings(0, false), backend(&clock), CoGrouped::new(closure)).unwrap();
    let mut harness = Harness::new(operator);
    for (record, timestamp) in [
        (Either::First((1, 7)), 0),
        (Either::Second(1), 9),
        (Either::Second(1), 11),
    ] {
        harness.process(record, timestamp);
    }
    harness.watermark(Timestamp::MAX);
    assert_eq!(harness.take_stamped(), [((1, 1), 9), ((0, 1), 19)]);
}

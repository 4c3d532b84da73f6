//! Tumbling and sliding windows: both operators against the model, and processing time.

use std::time::Duration;

use proptest::prelude::*;

use super::{model::Model, *};

#[derive(Debug, Clone)]
enum Step {
    Record(u8, i64),
    Watermark(i64),
    /// All that there is to fire fires, and time goes on far behind that.
    Jump,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..4u8, -30..30i64).prop_map(|(key, behind)| Step::Record(key, behind)),
        3 => (0..12i64).prop_map(Step::Watermark),
        1 => Just(Step::Jump),
    ]
}

fn sliding(size: i64, slide: i64, offset: i64) -> SlidingEventTimeWindows {
    let millis = |length: i64| Duration::from_millis(length as u64);
    SlidingEventTimeWindows::of(millis(size), millis(slide)).with_offset_millis(offset)
}

/// The operator with slices.
fn slicing<M: SliceStore<u8, Vec<u32>>>(
    slicing: Slicing<TimeWindow>,
    settings: &WindowSettings,
    clock: &ProcessingTimeService,
) -> SliceWindowOperator<Item, ByKey, Aggregated<Values>, Tell, TimeWindow, M> {
    SliceWindowOperator::new((key(), Aggregated(Values), Tell), slicing, settings, backend(clock))
}

/// Checks an operator against the model, step by step.
fn check<P: Operator<Item, Out = Result>>(
    operator: P,
    mut model: Model,
    steps: &[Step],
) -> std::result::Result<Harness<Item, P>, TestCaseError> {
    let mut harness = Harness::new(operator);
    let late = harness.side_output::<Item>(LATE);
    let (mut now, mut value) = (0, 0);
    for step in steps.iter().chain([&Step::Jump]) {
        match step {
            Step::Record(key, behind) => {
                value += 1;
                harness.process((*key, value), now + behind);
                model.process((*key, value), now + behind);
            }
            Step::Watermark(by) => {
                now += by;
                harness.watermark(now);
                model.watermark(now);
            }
            Step::Jump => {
                now += 1000;
                harness.watermark(now);
                model.watermark(now);
            }
        }
        let mut expected = std::mem::take(&mut model.emitted);
        let emitted = harness.take_stamped();
        prop_assert!(
            emitted.is_sorted_by_key(|(_, timestamp)| *timestamp) || matches!(step, Step::Record(..)),
            "windows fire in the order of their ends"
        );
        let mut emitted = emitted;
        emitted.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(emitted, expected, "after {:?} at {}", step, now);
    }
    let late: Vec<_> = late
        .take()
        .into_iter()
        .filter_map(|emitted| match emitted {
            Emitted::Record(item, timestamp) => Some((item, timestamp)),
            Emitted::Event(_) => None,
        })
        .collect();
    prop_assert_eq!(late, model.late);
    Ok(harness)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn sliding_windows_are_as_in_the_model(
        (size, slide) in prop_oneof![(1..25i64, 1..25i64), (1..8i64, 1..6i64).prop_map(|(n, slide)| (n * slide, slide))],
        offset in -24..25i64,
        lateness in prop_oneof![Just(0), 0..30i64],
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let offset = offset % slide;
        let clock = ProcessingTimeService::manual(0);
        let settings = settings(lateness, true);
        let assigner = sliding(size, slide, offset);
        let slices = WindowAssigner::<Item>::slicing(&assigner).unwrap();
        let operator = slicing::<SlidingStore<_, _>>(slices, &settings, &clock);
        let harness = check(operator, Model::new(size, slide, offset, lateness), &steps)?;
        prop_assert_eq!(harness.operator().keys(), 0, "nothing is left");
        let contents = Accumulated::new(Aggregated(Values), Tell);
        let operator = window_operator((assigner, EventTimeTrigger), &settings, contents, &clock);
        check(operator, Model::new(size, slide, offset, lateness), &steps)?;
    }

    #[test]
    fn tumbling_windows_are_as_in_the_model(
        size in 1..25i64,
        offset in -24..25i64,
        lateness in prop_oneof![Just(0), 0..30i64],
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let offset = offset % size;
        let clock = ProcessingTimeService::manual(0);
        let settings = settings(lateness, true);
        let slices = Slicing::new(size, size, offset, true, |window| window);
        let operator = slicing::<TumblingStore<_, _>>(slices, &settings, &clock);
        let harness = check(operator, Model::new(size, size, offset, lateness), &steps)?;
        prop_assert_eq!(harness.operator().keys(), 0, "nothing is left");
    }
}

#[test]
fn the_end_of_time_fires_what_is_left() {
    let clock = ProcessingTimeService::manual(0);
    for lateness in [0, 50] {
        let slices = Slicing::new(20, 10, 0, true, |window| window);
        let mut harness = Harness::new(slicing::<SlidingStore<_, _>>(
            slices,
            &settings(lateness, false),
            &clock,
        ));
        harness.process((1, 1), 15);
        harness.process((1, 2), 1_000_000);
        harness.watermark(Timestamp::MAX);
        let windows: Vec<_> = harness
            .take()
            .into_iter()
            .map(|(_, window, values)| (window.start, values))
            .collect();
        assert_eq!(
            windows,
            [(0, vec![1]), (10, vec![1]), (999_990, vec![2]), (1_000_000, vec![2])]
        );
        assert_eq!(harness.operator().keys(), 0);
        harness.process((1, 3), Timestamp::MAX);
        assert_eq!(harness.operator().late_records_dropped(), 1);
    }
}

#[test]
fn a_record_without_a_timestamp_is_explained() {
    let clock = ProcessingTimeService::manual(0);
    let slices = Slicing::new(20, 10, 0, true, |window| window);
    let mut harness = Harness::new(slicing::<SlidingStore<_, _>>(slices, &settings(0, false), &clock));
    let expected = "a record without a timestamp came to event time windows: assign timestamps first, with \
                    `assign_timestamps_and_watermarks`, or use processing time windows";
    assert_eq!(harness.process_err((1, 1)), expected);
    let mut harness = accumulating(sliding(20, 10, 0), &settings(0, false), &clock);
    assert_eq!(harness.process_err((1, 1)), expected);
}

/// Records in processing time, and when windows fire. Both operators must do the same.
fn processing_time<P: Operator<Item, Out = Result>>(mut harness: Harness<Item, P>, clock: &ProcessingTimeService) {
    let mut at = |now, value: Option<u32>| {
        clock.set(now);
        harness.batch_done();
        if let Some(due) = clock.take_due() {
            harness.processing_time(due);
        }
        if let Some(value) = value {
            harness.process((1, value), NO_TIMESTAMP);
        }
        let emitted = harness.take_stamped().into_iter();
        emitted
            .map(|((_, window, values), timestamp)| (window.start, values, timestamp))
            .collect::<Vec<_>>()
    };
    assert_eq!(at(103, Some(1)), []);
    assert_eq!(at(109, Some(2)), []);
    assert_eq!(at(110, Some(3)), [(90, vec![1, 2], 109)]);
    assert_eq!(at(119, None), []);
    assert_eq!(at(120, None), [(100, vec![1, 2, 3], 119)]);
    assert_eq!(at(150, None), [(110, vec![3], 129)]);
    assert_eq!(at(201, Some(4)), []);
    assert_eq!(at(500, None), [(190, vec![4], 209), (200, vec![4], 219)]);
    assert_eq!(clock.take_due(), None);
}

#[test]
fn windows_of_processing_time_fire_when_the_clock_has_passed_them() {
    let assigner = SlidingProcessingTimeWindows::of(Duration::from_millis(20), Duration::from_millis(10));
    let clock = ProcessingTimeService::manual(100);
    let slices = WindowAssigner::<Item>::slicing(&assigner).unwrap();
    let operator = slicing::<SlidingStore<_, _>>(slices, &settings(0, false), &clock);
    processing_time(Harness::new(operator), &clock);
    let clock = ProcessingTimeService::manual(100);
    processing_time(accumulating(assigner, &settings(0, false), &clock), &clock);
}

#[test]
fn a_clock_that_is_set_back_loses_nothing() {
    let clock = ProcessingTimeService::manual(100);
    let slices = Slicing::new(10, 10, 0, false, |window| window);
    let mut harness = Harness::new(slicing::<TumblingStore<_, _>>(slices, &settings(0, false), &clock));
    harness.process((1, 1), NO_TIMESTAMP);
    clock.set(110);
    harness.processing_time(110);
    clock.set(50);
    harness.process((1, 2), NO_TIMESTAMP);
    clock.set(120);
    harness.processing_time(120);
    let windows: Vec<_> = harness
        .take()
        .into_iter()
        .map(|(_, window, values)| (window.start, values))
        .collect();
    assert_eq!(windows, [(100, vec![1]), (110, vec![2])]);
}

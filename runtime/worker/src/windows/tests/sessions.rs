//! Windows that merge.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;

fn sessions(gap: i64) -> EventTimeSessionWindows {
    EventTimeSessionWindows::with_gap(Duration::from_millis(gap as u64))
}

/// Sessions of sorted records.
fn brute_force(gap: i64, mut records: Vec<(u8, i64, u32)>) -> Vec<(Result, Timestamp)> {
    records.sort_unstable();
    let mut by_key = BTreeMap::<u8, Vec<(TimeWindow, Vec<u32>)>>::new();
    for (key, timestamp, value) in records {
        let sessions = by_key.entry(key).or_default();
        match sessions.last_mut() {
            Some((last, values)) if timestamp <= last.end => {
                last.end = timestamp + gap;
                values.push(value);
            }
            _ => sessions.push((TimeWindow::new(timestamp, timestamp + gap), vec![value])),
        }
    }
    let sessions = by_key.into_iter().flat_map(|(key, sessions)| {
        sessions.into_iter().map(move |(window, mut values)| {
            values.sort_unstable();
            ((key, window, values), window.end - 1)
        })
    });
    sessions.collect()
}

proptest! {
    #[test]
    fn sessions_are_those_of_sorted_records(
        gap in 1..20i64,
        records in prop::collection::vec((0..3u8, 0..100i64), 0..60),
        disorder in 0..30i64,
    ) {
        let clock = ProcessingTimeService::manual(0);
        let mut general = accumulating(sessions(gap), &settings(0, false), &clock);
        let mut special = accumulating_sessions(sessions(gap), &settings(0, false), &clock);
        let mut expected = Vec::new();
        let mut latest = 0;
        let mut emitted = [Vec::new(), Vec::new()];
        for (value, (key, ahead)) in (0..).zip(records) {
            // Time goes on slowly, and no record is behind the watermark.
            let timestamp = latest / 2 + ahead;
            if timestamp <= latest - disorder {
                continue;
            }
            latest = latest.max(timestamp);
            general.process((key, value), timestamp);
            special.process((key, value), timestamp);
            expected.push((key, timestamp, value));
            // What touches a session comes before that is over.
            general.watermark(latest - disorder - 1);
            special.watermark(latest - disorder - 1);
            emitted[0].extend(general.take_stamped());
            emitted[1].extend(special.take_stamped());
        }
        general.watermark(Timestamp::MAX);
        special.watermark(Timestamp::MAX);
        emitted[0].extend(general.take_stamped());
        emitted[1].extend(special.take_stamped());
        prop_assert!(emitted[1].is_sorted_by_key(|(_, timestamp)| *timestamp), "in the order of their ends");
        emitted.iter_mut().for_each(|emitted| emitted.sort_unstable());
        let expected = brute_force(gap, expected);
        prop_assert_eq!(&emitted[0], &expected);
        prop_assert_eq!(&emitted[1], &expected);
        prop_assert_eq!(special.operator().keys(), 0);
    }

    /// Also with late records, and with gaps that depend on the record.
    #[test]
    fn both_operators_emit_the_same(steps in steps(), lateness in prop_oneof![Just(0), 0..40i64]) {
        let gap = |item: &Item| Duration::from_millis((item.1 % 20 + 1).into());
        compare(EventTimeSessionWindows::with_dynamic_gap(gap), steps, lateness)?;
    }

    /// Also where windows reach further when they have merged.
    #[test]
    fn both_operators_merge_alike(steps in steps(), lateness in prop_oneof![Just(0), 0..40i64]) {
        compare(Attracting, steps, lateness)?;
    }
}

/// Key, time after the watermark, and length of a record, and how far the watermark goes then.
fn steps() -> impl Strategy<Value = Vec<(u8, i64, u32, Option<i64>)>> {
    prop::collection::vec(
        (0..3u8, 0..90i64, 1..20u32, prop::option::weighted(0.3, 0..8i64)),
        0..80,
    )
}

fn compare<A: WindowAssigner<Item, Window = TimeWindow>>(
    assigner: A,
    steps: Vec<(u8, i64, u32, Option<i64>)>,
    lateness: Timestamp,
) -> std::result::Result<(), TestCaseError> {
    let clock = ProcessingTimeService::manual(0);
    let mut general = accumulating(assigner.clone(), &settings(lateness, true), &clock);
    let mut special = accumulating_sessions(assigner, &settings(lateness, true), &clock);
    let late = [general.side_output::<Item>(LATE), special.side_output::<Item>(LATE)];
    let mut watermark = 0;
    for (number, (key, ahead, length, advance)) in (0..).zip(steps) {
        let (record, timestamp) = ((key, number * 20 + length), watermark + ahead - 30);
        general.process(record, timestamp);
        special.process(record, timestamp);
        if let Some(advance) = advance {
            watermark += advance;
            general.watermark(watermark);
            special.watermark(watermark);
        }
        prop_assert_eq!(emitted(&mut general), emitted(&mut special));
    }
    general.watermark(Timestamp::MAX);
    special.watermark(Timestamp::MAX);
    prop_assert_eq!(emitted(&mut general), emitted(&mut special));
    prop_assert_eq!(&*late[0].borrow(), &*late[1].borrow());
    prop_assert_eq!(special.operator().keys(), 0);
    Ok(())
}

/// Windows that merge if they are no further apart than the longer of them is long.
#[derive(Clone)]
struct Attracting;

impl WindowAssigner<Item> for Attracting {
    type Window = TimeWindow;
    type DefaultTrigger = EventTimeTrigger;

    fn assign_windows(
        &self,
        element: &Item,
        timestamp: Timestamp,
        _: &WindowAssignerContext<'_>,
        windows: &mut Vec<TimeWindow>,
    ) -> FunctionResult {
        windows.push(TimeWindow::new(
            timestamp,
            timestamp + i64::from(element.1 % 20 / 4 + 1),
        ));
        Ok(())
    }

    fn is_event_time(&self) -> bool {
        true
    }

    fn merging(&self) -> Option<MergeWindows<TimeWindow>> {
        Some(|a, b| {
            let apart = a.start.max(b.start) - a.end.min(b.end);
            let longer = (a.end - a.start).max(b.end - b.start);
            (apart <= longer).then(|| a.cover(b))
        })
    }
}

#[test]
fn late_records_join_sessions_that_are_kept_and_those_are_merged() {
    let clock = ProcessingTimeService::manual(0);
    late_records_join(accumulating(sessions(10), &settings(20, true), &clock));
    late_records_join(accumulating_sessions(sessions(10), &settings(20, true), &clock));
}

fn late_records_join(mut harness: Harness<Item, impl Operator<Item, Out = Result>>) {
    let late = harness.side_output::<Item>(LATE);
    let window = TimeWindow::new;
    harness.process((1, 1), 0);
    harness.process((1, 2), 25);
    harness.watermark(20);
    assert_eq!(emitted(&mut harness), [((1, window(0, 10), vec![1]), 9)]);
    // In the session that has fired, and fires again.
    harness.process((1, 3), 5);
    assert_eq!(emitted(&mut harness), [((1, window(0, 15), vec![1, 3]), 14)]);
    // Makes one session of both, which is open: it fires at its end.
    harness.process((1, 4), 15);
    assert_eq!(emitted(&mut harness), []);
    harness.watermark(34);
    assert_eq!(emitted(&mut harness), [((1, window(0, 35), vec![1, 2, 3, 4]), 34)]);
    // A session of its own that is gone, and one that is still kept.
    harness.process((1, 5), -30);
    harness.process((2, 6), 10);
    assert_eq!(emitted(&mut harness), [((2, window(10, 20), vec![6]), 19)]);
    let late: Vec<_> = late
        .take()
        .into_iter()
        .filter(|emitted| matches!(emitted, Emitted::Record(..)))
        .collect();
    assert_eq!(late, [Emitted::Record((1, 5), -30)]);
    harness.watermark(100);
    assert_eq!(emitted(&mut harness), [], "what was merged leaves no timers behind");
}

#[test]
fn a_gap_may_depend_on_the_record() {
    let clock = ProcessingTimeService::manual(0);
    let gap = |item: &Item| Duration::from_millis(item.1.into());
    let assigner = EventTimeSessionWindows::with_dynamic_gap(gap);
    gaps_depend(accumulating(assigner.clone(), &settings(0, false), &clock));
    gaps_depend(accumulating_sessions(assigner, &settings(0, false), &clock));
}

fn gaps_depend(mut harness: Harness<Item, impl Operator<Item, Out = Result>>) {
    harness.process((1, 10), 0);
    harness.process((1, 50), 5);
    harness.process((1, 1), 20);
    harness.process((1, 2), 56);
    harness.watermark(Timestamp::MAX);
    let expected = [
        ((1, TimeWindow::new(0, 55), vec![1, 10, 50]), 54),
        ((1, TimeWindow::new(56, 58), vec![2]), 57),
    ];
    assert_eq!(emitted(&mut harness), expected);
}

#[test]
fn sessions_of_processing_time_end_by_the_clock() {
    let clock = ProcessingTimeService::manual(0);
    let assigner = ProcessingTimeSessionWindows::with_gap(Duration::from_millis(10));
    let mut harness = accumulating(assigner, &settings(0, false), &clock);
    for (now, value) in [(0, 1), (9, 2), (18, 3)] {
        clock.set(now);
        if let Some(due) = clock.take_due() {
            harness.processing_time(due);
        }
        harness.process((1, value), NO_TIMESTAMP);
    }
    assert_eq!(emitted(&mut harness), []);
    clock.set(28);
    let due = clock.take_due().unwrap();
    harness.processing_time(due);
    assert_eq!(
        emitted(&mut harness),
        [((1, TimeWindow::new(0, 28), vec![1, 2, 3]), 27)]
    );
    clock.set(1000);
    while let Some(due) = clock.take_due() {
        harness.processing_time(due);
    }
    assert_eq!(emitted(&mut harness), []);
}

#[test]
fn lists_merge_too() {
    let clock = ProcessingTimeService::manual(0);
    let operator = window_operator(
        (sessions(10), PurgingTrigger::of(CountTrigger::of(3))),
        &settings(0, false),
        Listed::new(Tell),
        &clock,
    );
    let mut harness = Harness::new(operator);
    harness.process((1, 1), 0);
    harness.process((1, 2), 15);
    harness.process((1, 3), 8);
    // The counts were merged, and the contents are purged.
    assert_eq!(
        emitted(&mut harness),
        [((1, TimeWindow::new(0, 25), vec![1, 2, 3]), 24)]
    );
    harness.process((1, 4), 9);
    harness.watermark(Timestamp::MAX);
    assert_eq!(emitted(&mut harness), []);
}

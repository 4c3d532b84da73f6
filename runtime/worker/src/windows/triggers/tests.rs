//! Triggers, by what windows emit and when.

use std::{rc::Rc, time::Duration};

use flink_record::{NO_TIMESTAMP, Timestamp};
use flink_state::KeyGroups;

use super::super::*;
use crate::{operators::KeyBy, testing::Harness, time::ProcessingTimeService};

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A record with this timestamp.
    Record(Timestamp),
    Watermark(Timestamp),
    Clock(Timestamp),
}

use Step::{Clock, Record, Watermark};

/// The number of records that each firing has, after each step.
type Expected<'a> = &'a [(Step, &'a [u64])];

fn check<A: WindowAssigner<i64>, G: Trigger<i64, A::Window>>(name: &str, assigner: A, trigger: G, steps: Expected<'_>) {
    let clock = ProcessingTimeService::manual(0);
    let backend = Rc::new(WindowBackend::new("window", KeyGroups::new(128, 1, 0), &clock));
    let contents = Accumulated::new(Counted, PlainValue);
    let parts = (KeyBy::new(|_: &i64| ()), assigner, trigger);
    let operator = WindowOperator::new(parts, &WindowSettings::default(), backend, contents).unwrap();
    let mut harness = Harness::new(operator);
    for (number, (step, expected)) in (1..).zip(steps) {
        match *step {
            Record(timestamp) => harness.process(timestamp, timestamp),
            Watermark(watermark) => harness.watermark(watermark),
            Clock(now) => {
                clock.set(now);
                while let Some(due) = clock.take_due() {
                    harness.processing_time(due);
                }
            }
        }
        assert_eq!(harness.take(), *expected, "{name}: step {number}, {step:?}");
    }
}

fn tumbling() -> TumblingEventTimeWindows {
    TumblingEventTimeWindows::of(Duration::from_millis(100))
}

fn by_clock() -> TumblingProcessingTimeWindows {
    TumblingProcessingTimeWindows::of(Duration::from_millis(100))
}

fn sessions() -> EventTimeSessionWindows {
    EventTimeSessionWindows::with_gap(Duration::from_millis(50))
}

const TEN: Duration = Duration::from_millis(10);

#[test]
fn triggers_of_one_firing() {
    check(
        "event time",
        tumbling(),
        EventTimeTrigger::create(),
        &[
            (Record(10), &[]),
            (Record(20), &[]),
            (Watermark(98), &[]),
            (Watermark(99), &[2]),
            (Record(30), &[]),
            (Watermark(500), &[]),
        ],
    );
    check(
        "event time, at the end of the input",
        GlobalWindows,
        EventTimeTrigger,
        &[
            (Record(10), &[]),
            (Watermark(1_000_000), &[]),
            (Record(11), &[]),
            (Watermark(Timestamp::MAX), &[2]),
        ],
    );
    check(
        "processing time",
        by_clock(),
        ProcessingTimeTrigger::create(),
        &[
            (Record(NO_TIMESTAMP), &[]),
            (Clock(99), &[]),
            (Record(NO_TIMESTAMP), &[]),
            (Clock(100), &[2]),
            (Clock(500), &[]),
        ],
    );
    check(
        "never",
        tumbling(),
        NeverTrigger,
        &[(Record(10), &[]), (Watermark(Timestamp::MAX), &[])],
    );
}

#[test]
fn triggers_that_count() {
    check(
        "count",
        GlobalWindows,
        CountTrigger::of(2),
        &[(Record(0), &[]), (Record(0), &[2]), (Record(0), &[]), (Record(0), &[4])],
    );
    check(
        "count, purging",
        GlobalWindows,
        PurgingTrigger::of(CountTrigger::of(2)),
        &[(Record(0), &[]), (Record(0), &[2]), (Record(0), &[]), (Record(0), &[2])],
    );
    check(
        "count, in windows of time",
        tumbling(),
        CountTrigger::of(2),
        &[
            (Record(0), &[]),
            (Record(100), &[]),
            (Record(1), &[2]),
            (Watermark(99), &[]),
            (Record(101), &[2]),
        ],
    );
    check(
        "event time, purging",
        tumbling(),
        PurgingTrigger::of(EventTimeTrigger),
        &[(Record(0), &[]), (Watermark(99), &[1])],
    );
    let delta = DeltaTrigger::of(5.0, |a: &i64, b: &i64| (a - b).abs() as f64);
    check(
        "delta",
        GlobalWindows,
        delta,
        &[
            (Record(0), &[]),
            (Record(5), &[]),
            (Record(6), &[3]),
            (Record(8), &[]),
            (Record(0), &[5]),
        ],
    );
}

#[test]
fn triggers_that_fire_again_and_again() {
    check(
        "continuous, event time",
        tumbling(),
        ContinuousEventTimeTrigger::of(TEN),
        &[
            (Record(12), &[]),
            (Watermark(19), &[]),
            (Record(13), &[]),
            (Watermark(20), &[2]),
            // Two firings are due.
            (Watermark(45), &[2, 2]),
            (Record(46), &[]),
            (Watermark(94), &[3, 3, 3, 3, 3]),
            (Watermark(99), &[3]),
            (Watermark(Timestamp::MAX), &[]),
        ],
    );
    check(
        "continuous, event time, sessions",
        sessions(),
        ContinuousEventTimeTrigger::of(TEN),
        &[
            (Record(12), &[]),
            (Record(15), &[]),
            (Watermark(20), &[2]),
            (Watermark(64), &[2, 2, 2, 2, 2]),
        ],
    );
    check(
        "continuous, event time, a window without end",
        GlobalWindows::create(),
        ContinuousEventTimeTrigger::of(TEN),
        &[
            (Record(12), &[]),
            (Watermark(25), &[1]),
            (Watermark(Timestamp::MAX), &[1, 1]),
        ],
    );
    check(
        "continuous, processing time",
        by_clock(),
        ContinuousProcessingTimeTrigger::of(TEN),
        &[
            (Clock(12), &[]),
            (Record(NO_TIMESTAMP), &[]),
            (Clock(20), &[]),
            (Clock(21), &[1]),
            (Record(NO_TIMESTAMP), &[]),
            (Clock(40), &[2]),
            (Clock(400), &[2, 2, 2, 2, 2, 2, 2]),
            (Clock(4000), &[]),
        ],
    );
}

#[test]
fn triggers_with_a_timeout() {
    let count = || CountTrigger::of(3);
    check(
        "timeout",
        GlobalWindows,
        ProcessingTimeoutTrigger::of(count(), TEN),
        &[
            (Record(0), &[]),
            (Clock(9), &[]),
            (Record(0), &[]),
            (Clock(11), &[2]),
            // The count began anew with the timeout.
            (Record(0), &[]),
            (Record(0), &[]),
            (Record(0), &[5]),
            (Clock(100), &[5]),
        ],
    );
    let reset = ProcessingTimeoutTrigger::of(count(), TEN).reset_timer_on_new_record(true);
    check(
        "timeout since the last record",
        GlobalWindows,
        reset,
        &[
            (Record(0), &[]),
            (Clock(9), &[]),
            (Record(0), &[]),
            (Clock(11), &[]),
            (Clock(20), &[2]),
        ],
    );
    let kept = ProcessingTimeoutTrigger::of(count(), TEN).should_clear_on_timeout(false);
    check(
        "timeout that leaves the count",
        GlobalWindows,
        kept,
        &[(Record(0), &[]), (Record(0), &[]), (Clock(11), &[2]), (Record(0), &[3])],
    );
    let purging = ProcessingTimeoutTrigger::of(PurgingTrigger::of(count()), TEN);
    check(
        "timeout of what purges",
        GlobalWindows,
        purging,
        &[
            (Record(0), &[]),
            (Record(0), &[]),
            (Record(0), &[3]),
            (Clock(100), &[]),
            (Record(0), &[]),
            (Clock(200), &[1]),
        ],
    );
}

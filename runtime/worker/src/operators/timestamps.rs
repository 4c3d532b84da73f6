//! Timestamps and watermarks in the middle of a stream.

use std::time::Duration;

use flink_exchange::{Event, WatermarkStatus};
use flink_record::Timestamp;

use crate::{
    error::TaskError,
    operator::{Operator, Outputs},
    program::OperatorContext,
    time::{EventTime, ProcessingTimeService, WatermarkStrategy, millis},
};

/// Gives records timestamps and makes watermarks; those that come in are replaced, but for the last.
pub struct TimestampsAndWatermarks<T> {
    event_time: EventTime<T>,
    clock: ProcessingTimeService,
    /// Between two periodic watermarks, ms.
    interval: Timestamp,
    next_emit: Timestamp,
    emitted: Timestamp,
    idle: bool,
}

impl<T: 'static> TimestampsAndWatermarks<T> {
    /// By this strategy, with periodic watermarks at the job's interval.
    pub fn new(strategy: &WatermarkStrategy<T>, context: &OperatorContext<'_>) -> Self {
        Self::with_clock(strategy, context.clock, context.config.auto_watermark_interval)
    }

    fn with_clock(strategy: &WatermarkStrategy<T>, clock: &ProcessingTimeService, interval: Duration) -> Self {
        let (now, interval) = (clock.now(), millis(interval).max(1));
        let next_emit = now.saturating_add(interval);
        clock.call_at(next_emit);
        Self {
            event_time: strategy.instantiate(now),
            clock: clock.clone(),
            interval,
            next_emit,
            emitted: Timestamp::MIN,
            idle: false,
        }
    }

    /// Passes on what the generator has said, if it has said anything.
    #[inline]
    fn emit(&mut self, output: &mut Outputs<T>) -> Result<(), TaskError> {
        let said = self.event_time.output();
        let (watermark, idle) = (said.watermark(), said.is_idle());
        if idle != self.idle {
            self.idle = idle;
            let status = if idle {
                WatermarkStatus::Idle
            } else {
                WatermarkStatus::Active
            };
            output.event(Event::WatermarkStatus(status))?;
        }
        if watermark > self.emitted && !idle {
            self.emitted = watermark;
            output.event(Event::Watermark(watermark))?;
        }
        Ok(())
    }
}

impl<T: 'static> Operator<T> for TimestampsAndWatermarks<T> {
    type Out = T;

    #[inline]
    fn process(&mut self, record: T, timestamp: Timestamp, output: &mut Outputs<T>) -> Result<(), TaskError> {
        let timestamp = self.event_time.on_event(&record, timestamp);
        if self.idle {
            // The stream is active again before its record comes.
            self.emit(output)?;
        }
        output.collect(record, timestamp)?;
        self.emit(output)
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Outputs<T>) -> Result<(), TaskError> {
        if watermark == Timestamp::MAX {
            output.event(Event::Watermark(watermark))
        } else {
            Ok(())
        }
    }

    fn watermark_status(&mut self, _: WatermarkStatus, _: &mut Outputs<T>) -> Result<(), TaskError> {
        Ok(())
    }

    fn processing_time(&mut self, now: Timestamp, output: &mut Outputs<T>) -> Result<(), TaskError> {
        if now >= self.next_emit {
            self.event_time.on_periodic_emit(now);
            self.emit(output)?;
            self.next_emit = now.saturating_add(self.interval);
        }
        self.clock.call_at(self.next_emit);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flink_record::NO_TIMESTAMP;

    use super::*;
    use crate::{
        testing::{Emitted, Harness},
        time::{WatermarkGenerator, WatermarkOutput},
    };

    const INTERVAL: Duration = Duration::from_millis(200);

    fn harness(
        strategy: &WatermarkStrategy<i64>,
    ) -> (Harness<i64, TimestampsAndWatermarks<i64>>, ProcessingTimeService) {
        let clock = ProcessingTimeService::manual(0);
        (
            Harness::new(TimestampsAndWatermarks::with_clock(strategy, &clock, INTERVAL)),
            clock,
        )
    }

    fn watermark(timestamp: Timestamp) -> Emitted<i64> {
        Emitted::Event(Event::Watermark(timestamp))
    }

    #[test]
    fn watermarks_are_periodic_and_behind_the_latest_record() {
        let strategy = WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_millis(10));
        let (mut harness, clock) = harness(&strategy.with_timestamp_assigner(|record, _| *record));
        for record in [100, 50, -7] {
            harness.process(record, NO_TIMESTAMP);
        }
        assert_eq!(harness.take_stamped(), [(100, 100), (50, 50), (-7, -7)]);
        harness.processing_time(199);
        assert_eq!(harness.take_all(), [], "not yet: another operator's alarm");
        assert!(clock.deadline().is_some());
        harness.processing_time(200);
        assert_eq!(harness.take_all(), [watermark(89)]);
        harness.processing_time(400);
        assert_eq!(harness.take_all(), [], "it has not advanced");
        harness.watermark(5);
        assert_eq!(harness.take_all(), [], "those of others do not count");
        harness.watermark(Timestamp::MAX);
        assert_eq!(harness.take_all(), [watermark(Timestamp::MAX)]);
    }

    #[test]
    fn records_before_the_first_timestamp_give_no_watermark() {
        let (mut harness, _clock) = harness(&WatermarkStrategy::for_monotonous_timestamps());
        harness.processing_time(200);
        harness.process(1, NO_TIMESTAMP);
        harness.processing_time(400);
        assert_eq!(harness.take_all(), [Emitted::Record(1, NO_TIMESTAMP)]);
        harness.process(2, Timestamp::MIN + 1);
        harness.processing_time(600);
        assert_eq!(
            harness.take_all(),
            [Emitted::Record(2, Timestamp::MIN + 1)],
            "there is no time below"
        );
    }

    #[test]
    fn a_silent_stream_is_idle_until_it_speaks() {
        let strategy = WatermarkStrategy::for_monotonous_timestamps().with_idleness(Duration::from_millis(300));
        let (mut harness, _clock) = harness(&strategy);
        harness.process(1, 10);
        harness.processing_time(200);
        assert_eq!(harness.take_all(), [Emitted::Record(1, 10), watermark(9)]);
        harness.processing_time(400);
        assert_eq!(harness.take_all(), []);
        harness.processing_time(600);
        assert_eq!(
            harness.take_all(),
            [Emitted::Event(Event::WatermarkStatus(WatermarkStatus::Idle))]
        );
        harness.process(2, 20);
        let active = Emitted::Event(Event::WatermarkStatus(WatermarkStatus::Active));
        assert_eq!(harness.take_all(), [active, Emitted::Record(2, 20)]);
        harness.processing_time(800);
        assert_eq!(harness.take_all(), [watermark(19)]);
    }

    #[test]
    fn a_punctuated_generator_speaks_at_once_and_never_backwards() {
        struct Punctuated;
        impl WatermarkGenerator<i64> for Punctuated {
            fn on_event(&mut self, event: &i64, _: Timestamp, output: &mut WatermarkOutput) {
                output.emit_watermark(*event);
            }
            fn on_periodic_emit(&mut self, _: &mut WatermarkOutput) {}
        }
        let (mut harness, _clock) = harness(&WatermarkStrategy::for_generator(|| Punctuated));
        for record in [5, 3, 7] {
            harness.process(record, 0);
        }
        let record = |record| Emitted::Record(record, 0);
        assert_eq!(
            harness.take_all(),
            [record(5), watermark(5), record(3), record(7), watermark(7)]
        );
    }
}

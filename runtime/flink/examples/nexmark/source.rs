//! Where the events come from: the generator of the crate `nexmark`, one per subtask.
//!
//! An event depends on its number alone. Subtasks take turns, all on one timeline that starts at a fixed time: at every parallelism,
//! and in every run, the events are the same.

use std::time::Duration;

use flink::{DataGeneratorSource, Timestamp, WatermarkStrategy};
use nexmark::{EventGenerator, config::NexmarkConfig};

use crate::model::Event;

/// When the first event happens, milliseconds since 1970: 2015-07-15T00:00:00Z, where windows of whole seconds begin.
pub(crate) const BASE_TIME: u64 = 1_436_918_400_000;

/// The generator goes through a group of events with this stride: one that divides the size of the group would repeat events.
pub(crate) const STRIDE: u32 = 953;

/// Which events there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Generation {
    /// How many.
    pub(crate) events: u64,
    /// How many per second of event time.
    pub(crate) rate: u32,
    /// Events of groups of so many come in another order than they happened in. 1: none do.
    pub(crate) out_of_order: u32,
}

impl Generation {
    /// The events, `per_second` of them by the clock if that is given, all subtasks together.
    pub(crate) fn source(
        self,
        per_second: Option<f64>,
    ) -> DataGeneratorSource<impl FnMut(u64) -> Event + Clone + Send + 'static> {
        let source = DataGeneratorSource::new(self.make()).count(self.events);
        match per_second {
            Some(per_second) => source.records_per_second(per_second),
            None => source,
        }
    }

    /// Makes an event from its number. Fastest when numbers ascend by the same step each time.
    pub(crate) fn make(self) -> impl FnMut(u64) -> Event + Clone + Send + 'static {
        let (mut generator, mut last) = (EventGenerator::new(self.config()), None);
        move |number| {
            if generator.offset() != number {
                // At the first number the step is not known yet; a job that is restored has another first one.
                let step = last.map_or(1, |last| number.saturating_sub(last).max(1));
                generator = EventGenerator::new(self.config()).with_offset(number).with_step(step);
            }
            last = Some(number);
            match generator.next() {
                Some(event) => event.into(),
                None => unreachable!("the generator has no end"),
            }
        }
    }

    fn config(self) -> NexmarkConfig {
        NexmarkConfig {
            base_time: BASE_TIME,
            first_rate: self.rate as usize,
            next_rate: self.rate as usize,
            out_of_order_group_size: self.out_of_order as usize,
            // Above one, each generator would have a timeline of its own, and events would depend on the parallelism.
            num_event_generators: 1,
            ..NexmarkConfig::default()
        }
    }

    /// How far behind the latest event another can be.
    pub(crate) fn out_of_orderness(self) -> Duration {
        let span_ms = (u64::from(self.out_of_order) - 1) * 1000;
        // One more, since times are rounded to milliseconds.
        let rounding = u64::from(span_ms > 0);
        Duration::from_millis(span_ms.div_ceil(u64::from(self.rate)) + rounding)
    }

    /// No event happens earlier that comes behind all others.
    pub(crate) fn last_time(self) -> Timestamp {
        let span_ms = u128::from(self.events.saturating_sub(1)) * 1000 / u128::from(self.rate);
        let end = BASE_TIME as Timestamp + span_ms as Timestamp;
        end - self.out_of_orderness().as_millis() as Timestamp
    }

    /// Timestamps and watermarks for them, with which no event is late.
    pub(crate) fn watermarks(self) -> WatermarkStrategy<Event> {
        WatermarkStrategy::for_bounded_out_of_orderness(self.out_of_orderness())
            .with_timestamp_assigner(|event: &Event, _| event.date_time())
    }
}

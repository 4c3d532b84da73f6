//! Events that come late.

use std::collections::VecDeque;

use flink::{
    Collector, DataStream, FunctionResult, ProcessContext, ProcessFunction, RuntimeContext, Timestamp,
    WatermarkGenerator, WatermarkOutput, WatermarkStrategy,
};

use crate::{model::Event, source::Generation};

/// By how much events are delayed, ms of event time: longer than any window, and than two pauses between sessions.
pub(crate) const DELAY: Timestamp = 25_000;

/// Delays each `every`th event, and gives all of them timestamps and watermarks with which those that were delayed are late.
pub(crate) fn delayed(events: DataStream<Event>, generation: Generation, every: u32) -> DataStream<Event> {
    let last = generation.last_time();
    let disorder = generation.out_of_orderness().as_millis() as Timestamp;
    let delayed = events.set_parallelism(1).process(move |_: &RuntimeContext| {
        Ok(Delay {
            every: every.into(),
            last,
            seen: 0,
            waiting: VecDeque::new(),
        })
    });
    timed(delayed.name("delay").set_parallelism(1), disorder)
}

/// Gives events timestamps, and behind every one a watermark, from one subtask. None that is in time is more than `disorder` ms behind
/// an earlier one.
///
/// What is late depends on the watermark that an operator has when the record reaches it. So it is the same everywhere: each consumer
/// is given records and watermarks in the order of that subtask.
pub(crate) fn timed(events: DataStream<Event>, disorder: Timestamp) -> DataStream<Event> {
    let strategy = WatermarkStrategy::for_generator(move || Punctuated { disorder })
        .with_timestamp_assigner(|event: &Event, _| event.date_time());
    events.assign_timestamps_and_watermarks(strategy).set_parallelism(1)
}

struct Delay {
    every: u64,
    /// When no event comes any more that others could wait for.
    last: Timestamp,
    seen: u64,
    waiting: VecDeque<Event>,
}

impl ProcessFunction<Event> for Delay {
    type Out = Event;

    fn process_element(
        &mut self,
        event: Event,
        _: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Event>,
    ) -> FunctionResult {
        let time = event.date_time();
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.date_time() + DELAY <= time) {
            out.collect(waiting);
        }
        self.seen += 1;
        if self.seen.is_multiple_of(self.every) && time + DELAY <= self.last {
            self.waiting.push_back(event);
        } else {
            out.collect(event);
        }
        Ok(())
    }
}

/// A watermark behind every record.
struct Punctuated {
    disorder: Timestamp,
}

impl WatermarkGenerator<Event> for Punctuated {
    fn on_event(&mut self, _: &Event, timestamp: Timestamp, output: &mut WatermarkOutput) {
        output.emit_watermark(timestamp - self.disorder - 1);
    }

    fn on_periodic_emit(&mut self, _: &mut WatermarkOutput) {}
}

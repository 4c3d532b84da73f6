//! The records of the cases with keys: spread over the keys at random, in order of their timestamps.

use flink::{
    DataGeneratorSource, DataStream, StreamExecutionEnvironment, Timestamp, WatermarkGenerator, WatermarkOutput,
    WatermarkStrategy,
};

/// Key and timestamp in milliseconds.
pub(crate) type Event = (u64, Timestamp);

/// Time between two watermarks: by event time, so that no more windows fire at once than would at the speed of the clock.
const WATERMARK_INTERVAL_MS: Timestamp = 1000;

/// Which events there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Events {
    pub(crate) records: u64,
    pub(crate) keys: u64,
    /// Per second of event time.
    pub(crate) rate: u64,
}

impl Events {
    /// The events, with a watermark for each second.
    pub(crate) fn stream(self, env: &mut StreamExecutionEnvironment) -> DataStream<Event> {
        let Self { records, keys, rate } = self;
        let make = move |number: u64| {
            // At random, so that a key is not always the one that was used longest ago: that would be the worst case for caches.
            let key = if keys >= records {
                number
            } else {
                scatter(number) % keys
            };
            let millis = u128::from(number) * 1000 / u128::from(rate);
            (key, millis as Timestamp)
        };
        let watermarks = WatermarkStrategy::for_generator(|| EachSecond { next: 0 })
            .with_timestamp_assigner(|event: &Event, _| event.1);
        let source = DataGeneratorSource::new(make).count(records);
        env.from_source(source, watermarks, "events")
    }
}

/// A number that looks random (the finalizer of splitmix64).
fn scatter(number: u64) -> u64 {
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Watermarks of timestamps that ascend.
struct EachSecond {
    next: Timestamp,
}

impl WatermarkGenerator<Event> for EachSecond {
    fn on_event(&mut self, _: &Event, timestamp: Timestamp, output: &mut WatermarkOutput) {
        if timestamp >= self.next {
            output.emit_watermark(timestamp - 1);
            self.next = timestamp + WATERMARK_INTERVAL_MS;
        }
    }

    fn on_periodic_emit(&mut self, _: &mut WatermarkOutput) {}
}

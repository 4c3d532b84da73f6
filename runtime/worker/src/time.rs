//! Event time and processing time, as tasks see them.

mod processing_time;
mod timers;
mod valve;
mod watermark_strategy;

pub use processing_time::ProcessingTimeService;
pub(crate) use timers::InternalTimerService;
pub(crate) use valve::WatermarkValve;
pub(crate) use watermark_strategy::millis;
pub use watermark_strategy::{EventTime, WatermarkAlignment, WatermarkGenerator, WatermarkOutput, WatermarkStrategy};

//! Triggers that fire again and again.

use std::time::Duration;

use flink_record::Timestamp;

use crate::{
    functions::FunctionError,
    time::millis,
    windows::{TimeWindow, Trigger, TriggerContext, TriggerOutcome, TriggerResult, Window},
};

/// The interval as a number that can be divided by.
fn interval(interval: Duration) -> Timestamp {
    millis(interval).max(1)
}

/// When to fire next: at the next multiple of the interval, or at the end of the window before that.
fn next_fire<W: Window>(now: Timestamp, interval: Timestamp, window: &W) -> Timestamp {
    let start = TimeWindow::start_with_offset(now, 0, interval);
    start.saturating_add(interval).min(window.max_timestamp())
}

/// Fires each time the watermark has advanced by an interval while the window has records, and at its end.
#[derive(Debug, Clone, Copy)]
pub struct ContinuousEventTimeTrigger {
    interval: Timestamp,
}

impl ContinuousEventTimeTrigger {
    /// Fires at each multiple of the interval: whole milliseconds, at least one.
    pub fn of(every: Duration) -> Self {
        Self {
            interval: interval(every),
        }
    }
}

/// The timers that a [`ContinuousEventTimeTrigger`] has registered.
pub(super) type ContinuousState = (bool, Option<Timestamp>);

impl<T, W: Window> Trigger<T, W> for ContinuousEventTimeTrigger {
    /// Whether there is a timer for the end of the window, and when it fires next before that.
    type State = ContinuousState;

    #[inline]
    fn on_element(
        &mut self,
        _: &T,
        timestamp: Timestamp,
        window: &W,
        (end_registered, next): &mut ContinuousState,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        let end = window.max_timestamp();
        if end <= context.current_watermark() {
            return Ok(TriggerResult::Fire);
        }
        if !*end_registered {
            context.register_event_time_timer(end);
            *end_registered = true;
        }
        if next.is_none() {
            let time = next_fire(timestamp, self.interval, window);
            context.register_event_time_timer(time);
            *next = Some(time);
        }
        Ok(TriggerResult::Continue)
    }

    fn on_event_time(
        &mut self,
        time: Timestamp,
        window: &W,
        (end_registered, next): &mut ContinuousState,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        if time == window.max_timestamp() {
            (*end_registered, *next) = (false, None);
            return Ok(TriggerResult::Fire);
        }
        if *next != Some(time) {
            return Ok(TriggerResult::Continue);
        }
        // At the end of the input event time is at its end: a window without one would fire for all intervals up to there.
        let ended = context.current_watermark() == Timestamp::MAX;
        let time = next_fire(if ended { Timestamp::MAX } else { time }, self.interval, window);
        context.register_event_time_timer(time);
        *next = Some(time);
        Ok(TriggerResult::Fire)
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(
        &mut self,
        window: &W,
        merged: Vec<ContinuousState>,
        context: &mut TriggerContext<'_>,
    ) -> Result<ContinuousState, FunctionError> {
        let next = merged.into_iter().filter_map(|(_, next)| next).min();
        if let Some(next) = next {
            context.register_event_time_timer(next);
        }
        let end = window.max_timestamp();
        let open = end > context.current_watermark();
        if open {
            context.register_event_time_timer(end);
        }
        Ok((open, next))
    }

    fn clear(
        &mut self,
        window: &W,
        (end_registered, next): &mut ContinuousState,
        context: &mut TriggerContext<'_>,
    ) -> Result<(), FunctionError> {
        if *end_registered {
            context.delete_event_time_timer(window.max_timestamp());
        }
        if let Some(next) = *next {
            context.delete_event_time_timer(next);
        }
        Ok(())
    }
}

/// Fires each time an interval has passed by the clock since a window's first record, whether more have come or not, and at
/// the end of a window of processing time. A window of event time whose end the clock has passed fires for each record, at once.
#[derive(Debug, Clone, Copy)]
pub struct ContinuousProcessingTimeTrigger {
    interval: Timestamp,
}

impl ContinuousProcessingTimeTrigger {
    /// Fires at each multiple of the interval: whole milliseconds, at least one.
    pub fn of(every: Duration) -> Self {
        Self {
            interval: interval(every),
        }
    }

    fn register<W: Window>(&self, now: Timestamp, window: &W, context: &mut TriggerContext<'_>) -> Option<Timestamp> {
        let time = next_fire(now, self.interval, window);
        context.register_processing_time_timer(time);
        Some(time)
    }
}

impl<T, W: Window> Trigger<T, W> for ContinuousProcessingTimeTrigger {
    /// When it fires next.
    type State = Option<Timestamp>;

    #[inline]
    fn on_element(
        &mut self,
        _: &T,
        _: Timestamp,
        window: &W,
        next: &mut Option<Timestamp>,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        if next.is_none() {
            *next = self.register(context.current_processing_time(), window, context);
        }
        Ok(TriggerResult::Continue)
    }

    fn on_processing_time(
        &mut self,
        time: Timestamp,
        window: &W,
        next: &mut Option<Timestamp>,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        if *next != Some(time) {
            return Ok(TriggerResult::Continue);
        }
        // The end of the window was the last time: a timer for it once more would fire for ever.
        *next = if time < window.max_timestamp() {
            self.register(time, window, context)
        } else {
            None
        };
        Ok(TriggerResult::Fire)
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(
        &mut self,
        _: &W,
        merged: Vec<Option<Timestamp>>,
        context: &mut TriggerContext<'_>,
    ) -> Result<Option<Timestamp>, FunctionError> {
        let next = merged.into_iter().flatten().min();
        if let Some(next) = next {
            context.register_processing_time_timer(next);
        }
        Ok(next)
    }

    fn clear(
        &mut self,
        _: &W,
        next: &mut Option<Timestamp>,
        context: &mut TriggerContext<'_>,
    ) -> Result<(), FunctionError> {
        if let Some(next) = *next {
            context.delete_processing_time_timer(next);
        }
        Ok(())
    }
}

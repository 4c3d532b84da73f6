//! Triggers that fire when a window is complete.

use flink_record::Timestamp;

use crate::{
    functions::FunctionError,
    windows::{Trigger, TriggerContext, TriggerOutcome, TriggerResult, Window},
};

/// Fires when the watermark has passed the end of the window, and then for each late record that is still allowed. The default
/// of event time windows.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventTimeTrigger;

impl EventTimeTrigger {
    /// The trigger.
    pub fn create() -> Self {
        Self
    }
}

impl<T, W: Window> Trigger<T, W> for EventTimeTrigger {
    /// Whether the timer is registered: it need not be again for each record.
    type State = bool;

    #[inline]
    fn on_element(
        &mut self,
        _: &T,
        _: Timestamp,
        window: &W,
        registered: &mut bool,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        let end = window.max_timestamp();
        if end <= context.current_watermark() {
            return Ok(TriggerResult::Fire);
        }
        if !*registered {
            context.register_event_time_timer(end);
            *registered = true;
        }
        Ok(TriggerResult::Continue)
    }

    fn on_event_time(
        &mut self,
        time: Timestamp,
        window: &W,
        registered: &mut bool,
        _: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        if time != window.max_timestamp() {
            return Ok(TriggerResult::Continue);
        }
        *registered = false;
        Ok(TriggerResult::Fire)
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, window: &W, _: Vec<bool>, context: &mut TriggerContext<'_>) -> Result<bool, FunctionError> {
        // A window that is past its end fires with the record that it was merged for.
        let end = window.max_timestamp();
        let open = end > context.current_watermark();
        if open {
            context.register_event_time_timer(end);
        }
        Ok(open)
    }

    fn clear(
        &mut self,
        window: &W,
        registered: &mut bool,
        context: &mut TriggerContext<'_>,
    ) -> Result<(), FunctionError> {
        if *registered {
            context.delete_event_time_timer(window.max_timestamp());
        }
        Ok(())
    }
}

/// Fires when the clock has passed the end of the window. The default of processing time windows.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessingTimeTrigger;

impl ProcessingTimeTrigger {
    /// The trigger.
    pub fn create() -> Self {
        Self
    }
}

impl<T, W: Window> Trigger<T, W> for ProcessingTimeTrigger {
    /// Whether the timer is registered.
    type State = bool;

    #[inline]
    fn on_element(
        &mut self,
        _: &T,
        _: Timestamp,
        window: &W,
        registered: &mut bool,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        if !*registered {
            context.register_processing_time_timer(window.max_timestamp());
            *registered = true;
        }
        Ok(TriggerResult::Continue)
    }

    fn on_processing_time(
        &mut self,
        _: Timestamp,
        _: &W,
        registered: &mut bool,
        _: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        *registered = false;
        Ok(TriggerResult::Fire)
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, window: &W, _: Vec<bool>, context: &mut TriggerContext<'_>) -> Result<bool, FunctionError> {
        context.register_processing_time_timer(window.max_timestamp());
        Ok(true)
    }

    fn clear(
        &mut self,
        window: &W,
        registered: &mut bool,
        context: &mut TriggerContext<'_>,
    ) -> Result<(), FunctionError> {
        if *registered {
            context.delete_processing_time_timer(window.max_timestamp());
        }
        Ok(())
    }
}

/// Never fires. The default of [`GlobalWindows`](crate::windows::GlobalWindows).
#[derive(Debug, Clone, Copy, Default)]
pub struct NeverTrigger;

impl<T, W: Window> Trigger<T, W> for NeverTrigger {
    type State = ();

    fn on_element(&mut self, _: &T, _: Timestamp, _: &W, (): &mut (), _: &mut TriggerContext<'_>) -> TriggerOutcome {
        Ok(TriggerResult::Continue)
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, _: &W, _: Vec<()>, _: &mut TriggerContext<'_>) -> Result<(), FunctionError> {
        Ok(())
    }

    fn clear(&mut self, _: &W, (): &mut (), _: &mut TriggerContext<'_>) -> Result<(), FunctionError> {
        Ok(())
    }
}

//! One window for everything.

use flink_record::Timestamp;

use super::{GlobalWindow, NeverTrigger, WindowAssigner, WindowAssignerContext};
use crate::functions::FunctionResult;

/// One window per key, with all of its records. It never fires by itself: it needs a trigger, such as
/// [`CountTrigger`](super::CountTrigger); with [`EventTimeTrigger`](super::EventTimeTrigger) it fires when the input has ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct GlobalWindows;

impl GlobalWindows {
    /// The assigner.
    pub fn create() -> Self {
        Self
    }
}

impl<T> WindowAssigner<T> for GlobalWindows {
    type Window = GlobalWindow;
    type DefaultTrigger = NeverTrigger;

    #[inline]
    fn assign_windows(
        &self,
        _: &T,
        _: Timestamp,
        _: &WindowAssignerContext<'_>,
        windows: &mut Vec<GlobalWindow>,
    ) -> FunctionResult {
        windows.push(GlobalWindow);
        Ok(())
    }

    /// Not even the last watermark makes a record late.
    fn is_event_time(&self) -> bool {
        false
    }
}

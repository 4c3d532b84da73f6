//! The trigger that counts.

use flink_record::Timestamp;

use crate::{
    functions::FunctionError,
    windows::{Trigger, TriggerContext, TriggerOutcome, TriggerResult, Window},
};

/// Fires whenever so many records have come into a window.
#[derive(Debug, Clone, Copy)]
pub struct CountTrigger {
    max_count: u64,
}

impl CountTrigger {
    /// Fires at each `max_count`th record of a window; at each with 1 or 0.
    pub fn of(max_count: u64) -> Self {
        Self { max_count }
    }
}

impl<T, W: Window> Trigger<T, W> for CountTrigger {
    /// The records since it last fired.
    type State = u64;

    #[inline]
    fn on_element(
        &mut self,
        _: &T,
        _: Timestamp,
        _: &W,
        count: &mut u64,
        _: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        *count += 1;
        if *count < self.max_count {
            return Ok(TriggerResult::Continue);
        }
        *count = 0;
        Ok(TriggerResult::Fire)
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, _: &W, merged: Vec<u64>, _: &mut TriggerContext<'_>) -> Result<u64, FunctionError> {
        Ok(merged.into_iter().sum())
    }

    fn clear(&mut self, _: &W, _: &mut u64, _: &mut TriggerContext<'_>) -> Result<(), FunctionError> {
        Ok(())
    }
}

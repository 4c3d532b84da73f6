//! The trigger that compares.

use std::fmt;

use flink_record::{Record, Timestamp};

use crate::{
    functions::FunctionError,
    windows::{Trigger, TriggerContext, TriggerOutcome, TriggerResult, Window},
};

/// Fires when a record differs enough from the one at which it last fired, or from the window's first.
#[derive(Clone)]
pub struct DeltaTrigger<F> {
    threshold: f64,
    delta: F,
}

impl<F> DeltaTrigger<F> {
    /// Fires when `delta(last, element)` is more than the threshold.
    pub fn of<T>(threshold: f64, delta: F) -> Self
    where
        F: FnMut(&T, &T) -> f64,
    {
        Self { threshold, delta }
    }
}

impl<T, W, F> Trigger<T, W> for DeltaTrigger<F>
where
    T: Record + Clone + PartialEq,
    W: Window,
    F: FnMut(&T, &T) -> f64 + Clone + Send + 'static,
{
    /// The record to compare with.
    type State = Option<T>;

    fn on_element(
        &mut self,
        element: &T,
        _: Timestamp,
        _: &W,
        last: &mut Option<T>,
        _: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        match last {
            None => *last = Some(element.clone()),
            Some(last) if (self.delta)(last, element) > self.threshold => {
                *last = element.clone();
                return Ok(TriggerResult::Fire);
            }
            Some(_) => {}
        }
        Ok(TriggerResult::Continue)
    }

    fn clear(&mut self, _: &W, _: &mut Option<T>, _: &mut TriggerContext<'_>) -> Result<(), FunctionError> {
        Ok(())
    }
}

impl<F> fmt::Debug for DeltaTrigger<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaTrigger")
            .field("threshold", &self.threshold)
            .finish_non_exhaustive()
    }
}

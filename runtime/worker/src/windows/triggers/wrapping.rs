//! Triggers that change what others say.

use std::time::Duration;

use flink_record::Timestamp;

use crate::{
    functions::FunctionError,
    time::millis,
    windows::{Trigger, TriggerContext, TriggerOutcome, TriggerResult, Window},
};

/// Purges the window whenever another trigger fires.
#[derive(Debug, Clone, Copy, Default)]
pub struct PurgingTrigger<G> {
    nested: G,
}

impl<G> PurgingTrigger<G> {
    /// Fires and purges when `nested` fires.
    pub fn of(nested: G) -> Self {
        Self { nested }
    }
}

fn purging(outcome: TriggerOutcome) -> TriggerOutcome {
    outcome.map(|result| {
        if result.is_fire() {
            TriggerResult::FireAndPurge
        } else {
            result
        }
    })
}

impl<T, W: Window, G: Trigger<T, W>> Trigger<T, W> for PurgingTrigger<G> {
    type State = G::State;

    #[inline]
    fn on_element(
        &mut self,
        element: &T,
        timestamp: Timestamp,
        window: &W,
        state: &mut G::State,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        purging(self.nested.on_element(element, timestamp, window, state, context))
    }

    fn on_event_time(
        &mut self,
        time: Timestamp,
        window: &W,
        state: &mut G::State,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        purging(self.nested.on_event_time(time, window, state, context))
    }

    fn on_processing_time(
        &mut self,
        time: Timestamp,
        window: &W,
        state: &mut G::State,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        purging(self.nested.on_processing_time(time, window, state, context))
    }

    fn can_merge(&self) -> bool {
        self.nested.can_merge()
    }

    fn on_merge(
        &mut self,
        window: &W,
        merged: Vec<G::State>,
        context: &mut TriggerContext<'_>,
    ) -> Result<G::State, FunctionError> {
        self.nested.on_merge(window, merged, context)
    }

    fn clear(
        &mut self,
        window: &W,
        state: &mut G::State,
        context: &mut TriggerContext<'_>,
    ) -> Result<(), FunctionError> {
        self.nested.clear(window, state, context)
    }
}

/// Fires as another trigger does, and also when so much time has passed by the clock since a window's first record: for windows that
/// may wait long for a watermark or for a count.
#[derive(Debug, Clone, Copy)]
pub struct ProcessingTimeoutTrigger<G> {
    nested: G,
    timeout: Timestamp,
    reset_on_new_record: bool,
    clear_on_timeout: bool,
}

impl<G> ProcessingTimeoutTrigger<G> {
    /// Fires `timeout` after a window's first record if `nested` has not purged it by then.
    pub fn of(nested: G, timeout: Duration) -> Self {
        Self {
            nested,
            timeout: millis(timeout),
            reset_on_new_record: false,
            clear_on_timeout: true,
        }
    }

    /// Whether the time counts from the last record and not from the first. Default: no.
    #[must_use]
    pub fn reset_timer_on_new_record(mut self, reset: bool) -> Self {
        self.reset_on_new_record = reset;
        self
    }

    /// Whether the nested trigger forgets what it knows of the window when the time is over, its count say. Default: yes.
    #[must_use]
    pub fn should_clear_on_timeout(mut self, clear: bool) -> Self {
        self.clear_on_timeout = clear;
        self
    }

    fn forget<T, W: Window>(
        &mut self,
        window: &W,
        state: &mut TimeoutState<G::State>,
        context: &mut TriggerContext<'_>,
    ) -> Result<(), FunctionError>
    where
        G: Trigger<T, W>,
    {
        <Self as Trigger<T, W>>::clear(self, window, state, context)?;
        *state = TimeoutState::default();
        Ok(())
    }

    fn timed_out<T, W: Window>(
        &mut self,
        nested: TriggerResult,
        window: &W,
        state: &mut TimeoutState<G::State>,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome
    where
        G: Trigger<T, W>,
    {
        if self.clear_on_timeout {
            self.forget(window, state, context)?;
        }
        Ok(if nested.is_purge() {
            TriggerResult::FireAndPurge
        } else {
            TriggerResult::Fire
        })
    }
}

/// When the time is over, and the state of the nested trigger.
pub(super) type TimeoutState<S> = (Option<Timestamp>, S);

impl<T, W: Window, G: Trigger<T, W>> Trigger<T, W> for ProcessingTimeoutTrigger<G> {
    type State = TimeoutState<G::State>;

    #[inline]
    fn on_element(
        &mut self,
        element: &T,
        timestamp: Timestamp,
        window: &W,
        state: &mut Self::State,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        let result = self
            .nested
            .on_element(element, timestamp, window, &mut state.1, context)?;
        if result.is_purge() {
            self.forget(window, state, context)?;
            return Ok(result);
        }
        if self.reset_on_new_record
            && let Some(old) = state.0.take()
        {
            context.delete_processing_time_timer(old);
        }
        if state.0.is_none() {
            let timeout = context.current_processing_time().saturating_add(self.timeout);
            context.register_processing_time_timer(timeout);
            state.0 = Some(timeout);
        }
        Ok(result)
    }

    fn on_event_time(
        &mut self,
        time: Timestamp,
        window: &W,
        state: &mut Self::State,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        let nested = self.nested.on_event_time(time, window, &mut state.1, context)?;
        self.timed_out(nested, window, state, context)
    }

    fn on_processing_time(
        &mut self,
        time: Timestamp,
        window: &W,
        state: &mut Self::State,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        let nested = self.nested.on_processing_time(time, window, &mut state.1, context)?;
        if state.0 == Some(time) {
            state.0 = None;
        }
        self.timed_out(nested, window, state, context)
    }

    fn clear(
        &mut self,
        window: &W,
        state: &mut Self::State,
        context: &mut TriggerContext<'_>,
    ) -> Result<(), FunctionError> {
        if let Some(timeout) = state.0 {
            context.delete_processing_time_timer(timeout);
        }
        self.nested.clear(window, &mut state.1, context)
    }
}

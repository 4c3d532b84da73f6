//! What decides when a window fires.

use std::{fmt, hash::Hash};

use flink_record::{Record, Timestamp};

use super::Window;
use crate::{functions::FunctionError, time::InternalTimerService};

/// What becomes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerResult {
    /// Nothing.
    Continue,
    /// It emits its result, and keeps its contents.
    Fire,
    /// It forgets its contents, and emits nothing.
    Purge,
    /// It emits its result and forgets its contents.
    FireAndPurge,
}

impl TriggerResult {
    /// Whether the window emits its result.
    pub fn is_fire(self) -> bool {
        matches!(self, Self::Fire | Self::FireAndPurge)
    }

    /// Whether the window forgets its contents.
    pub fn is_purge(self) -> bool {
        matches!(self, Self::Purge | Self::FireAndPurge)
    }
}

/// What a trigger's methods return: an error fails the job.
pub type TriggerOutcome = Result<TriggerResult, FunctionError>;

/// Decides when windows fire. The same instance serves all keys of a subtask; what it remembers of a key's window is its
/// [`State`](Self::State). Flink's triggers ask the context for such state by name; here it is an argument, which costs no
/// look-up.
///
/// Purging a window does not touch the trigger's state.
pub trait Trigger<T, W: Window>: Clone + Send + 'static {
    /// What is remembered per key and window. A state that equals its default takes no memory.
    type State: Record + Default + Clone + PartialEq;

    /// A record is being added to a window.
    ///
    /// # Errors
    /// Any; it fails the job. So with the other methods.
    fn on_element(
        &mut self,
        element: &T,
        timestamp: Timestamp,
        window: &W,
        state: &mut Self::State,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome;

    /// The watermark has reached the time of a timer that was registered for this window.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn on_event_time(
        &mut self,
        time: Timestamp,
        window: &W,
        state: &mut Self::State,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        let (_, _, _, _) = (time, window, state, context);
        Ok(TriggerResult::Continue)
    }

    /// The clock has passed the time of a timer that was registered for this window.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn on_processing_time(
        &mut self,
        time: Timestamp,
        window: &W,
        state: &mut Self::State,
        context: &mut TriggerContext<'_>,
    ) -> TriggerOutcome {
        let (_, _, _, _) = (time, window, state, context);
        Ok(TriggerResult::Continue)
    }

    /// Whether the trigger can be used with windows that merge. Then it has an [`on_merge`](Self::on_merge).
    fn can_merge(&self) -> bool {
        false
    }

    /// Several windows, or one that has grown, have become `window`: makes its state of theirs. Their timers have been deleted
    /// with [`clear`](Self::clear); those that the new window needs are to be registered.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn on_merge(
        &mut self,
        window: &W,
        merged: Vec<Self::State>,
        context: &mut TriggerContext<'_>,
    ) -> Result<Self::State, FunctionError> {
        let (_, _, _) = (window, merged, context);
        Err("the trigger does not support windows that merge".into())
    }

    /// The window is going away: deletes its timers. The state goes away by itself.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn clear(
        &mut self,
        window: &W,
        state: &mut Self::State,
        context: &mut TriggerContext<'_>,
    ) -> Result<(), FunctionError>;
}

/// The timers of a key's window, and what time it is.
///
/// A timer for a time that is past fires with the next watermark, or with the next look at the clock.
pub struct TriggerContext<'a> {
    timers: &'a mut dyn WindowTimers,
}

impl<'a> TriggerContext<'a> {
    pub(super) fn new(timers: &'a mut dyn WindowTimers) -> Self {
        Self { timers }
    }

    /// The operator's event time: `Timestamp::MIN` before the first watermark.
    pub fn current_watermark(&self) -> Timestamp {
        self.timers.watermark()
    }

    /// The clock, milliseconds since 1970.
    pub fn current_processing_time(&self) -> Timestamp {
        self.timers.now()
    }

    /// Asks for a call when the watermark reaches this time.
    pub fn register_event_time_timer(&mut self, time: Timestamp) {
        self.timers.register_event_time(time);
    }

    /// Takes back an event time timer; without effect when there is none.
    pub fn delete_event_time_timer(&mut self, time: Timestamp) {
        self.timers.delete_event_time(time);
    }

    /// Asks for a call when the clock has passed this time.
    pub fn register_processing_time_timer(&mut self, time: Timestamp) {
        self.timers.register_processing_time(time);
    }

    /// Takes back a processing time timer; without effect when there is none.
    pub fn delete_processing_time_timer(&mut self, time: Timestamp) {
        self.timers.delete_processing_time(time);
    }
}

impl fmt::Debug for TriggerContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TriggerContext").finish_non_exhaustive()
    }
}

/// What a [`TriggerContext`] stands on: it does not know the types of keys and windows.
pub(super) trait WindowTimers {
    fn watermark(&self) -> Timestamp;
    fn now(&self) -> Timestamp;
    fn register_event_time(&mut self, time: Timestamp);
    fn delete_event_time(&mut self, time: Timestamp);
    fn register_processing_time(&mut self, time: Timestamp);
    fn delete_processing_time(&mut self, time: Timestamp);
}

/// How long after its time a processing time timer of a window fires, in milliseconds: a record that comes in the last
/// millisecond of a window still belongs to it. A watermark says as much of event time by itself.
pub(super) const PROCESSING_DELAY: Timestamp = 1;

/// The timers of one key's window.
pub(super) struct KeyedWindowTimers<'a, K, W> {
    pub(super) timers: &'a mut InternalTimerService<K, W>,
    pub(super) key: &'a K,
    pub(super) window: &'a W,
}

impl<K: Clone, W: Clone> KeyedWindowTimers<'_, K, W> {
    fn timer(&self) -> (K, W) {
        (self.key.clone(), self.window.clone())
    }
}

impl<K: Hash + Eq + Clone, W: Hash + Eq + Clone> WindowTimers for KeyedWindowTimers<'_, K, W> {
    fn watermark(&self) -> Timestamp {
        self.timers.watermark()
    }

    fn now(&self) -> Timestamp {
        self.timers.now()
    }

    fn register_event_time(&mut self, time: Timestamp) {
        let (key, window) = self.timer();
        self.timers.register_event_time(time, key, window);
    }

    fn delete_event_time(&mut self, time: Timestamp) {
        let timer = self.timer();
        self.timers.delete_event_time(time, &timer);
    }

    fn register_processing_time(&mut self, time: Timestamp) {
        let (key, window) = self.timer();
        let time = time.saturating_add(PROCESSING_DELAY);
        self.timers.register_processing_time(time, key, window);
    }

    fn delete_processing_time(&mut self, time: Timestamp) {
        let timer = self.timer();
        self.timers
            .delete_processing_time(time.saturating_add(PROCESSING_DELAY), &timer);
    }
}

//! What happens to one window of one key: trigger, contents and timers together.

use std::marker::PhantomData;

use flink_record::{Key, Timestamp};

use super::{
    Trigger, TriggerContext, TriggerResult, Window, WindowContents, WindowContext,
    contents::Fired,
    settings::Lateness,
    trigger::{KeyedWindowTimers, WindowTimers},
};
use crate::{
    error::TaskError,
    functions::TimeDomain,
    operator::Outputs,
    time::{InternalTimerService, ProcessingTimeService},
};

/// What is kept under a key and a window: the contents, unless there are none, and the trigger's state.
pub(super) type Row<C, G> = (Option<C>, G);

/// Whether a row needs not be kept.
#[inline]
pub(super) fn is_empty<C, G: Default + PartialEq>((contents, state): &Row<C, G>) -> bool {
    contents.is_none() && *state == G::default()
}

/// Runs the trigger on windows, and does what it says.
pub(super) struct Panes<T, K, W, G, C> {
    trigger: G,
    contents: C,
    pub(super) timers: InternalTimerService<K, W>,
    clock: ProcessingTimeService,
    lateness: Lateness,
    records: PhantomData<fn(T)>,
}

impl<T, K, W, G, C> Panes<T, K, W, G, C>
where
    K: Key,
    W: Window,
    G: Trigger<T, W>,
    C: WindowContents<K, W, T>,
{
    pub(super) fn new(trigger: G, contents: C, lateness: Lateness, clock: &ProcessingTimeService) -> Self {
        Self {
            trigger,
            contents,
            timers: InternalTimerService::new(clock),
            clock: clock.clone(),
            lateness,
            records: PhantomData,
        }
    }

    #[inline]
    pub(super) fn is_gone(&self, window: &W) -> bool {
        self.lateness.is_gone(window.max_timestamp(), self.timers.watermark())
    }

    #[cfg(test)]
    pub(super) fn late_records_dropped(&self) -> u64 {
        self.lateness.dropped()
    }

    /// Takes a record that no window took.
    #[cold]
    pub(super) fn skipped(
        &mut self,
        record: T,
        timestamp: Timestamp,
        output: &mut Outputs<C::Out>,
    ) -> Result<(), TaskError>
    where
        T: 'static,
    {
        self.lateness
            .skipped(record, timestamp, self.timers.watermark(), output)
    }

    /// Adds a record. `changed` is whether the window has just become what it is by merging.
    #[inline]
    pub(super) fn element(
        &mut self,
        (key, window): (&K, &W),
        row: &mut Row<C::Kept, G::State>,
        changed: bool,
        (record, timestamp): (T, Timestamp),
        output: &mut Outputs<C::Out>,
    ) -> Result<(), TaskError> {
        let mut timers = KeyedWindowTimers {
            timers: &mut self.timers,
            key,
            window,
        };
        let mut context = TriggerContext::new(&mut timers);
        let result = self
            .trigger
            .on_element(&record, timestamp, window, &mut row.1, &mut context)
            .map_err(TaskError::operator)?;
        // Once per window, and not for each record, as it costs a copy of the key.
        if changed || row.0.is_none() {
            self.register_cleanup(key, window);
        }
        let contents = &mut self.contents;
        let kept = row.0.get_or_insert_with(|| contents.create());
        contents.add(kept, record, timestamp)?;
        self.apply(result, (key, window), row, false, output)
    }

    /// A timer of a window has fired; returns whether the window is gone now.
    pub(super) fn timer(
        &mut self,
        domain: TimeDomain,
        time: Timestamp,
        (key, window): (&K, &W),
        row: &mut Row<C::Kept, G::State>,
        output: &mut Outputs<C::Out>,
    ) -> Result<bool, TaskError> {
        let mut timers = KeyedWindowTimers {
            timers: &mut self.timers,
            key,
            window,
        };
        let mut context = TriggerContext::new(&mut timers);
        let result = match domain {
            TimeDomain::EventTime => self.trigger.on_event_time(time, window, &mut row.1, &mut context),
            TimeDomain::ProcessingTime => self.trigger.on_processing_time(time, window, &mut row.1, &mut context),
        };
        let result = result.map_err(TaskError::operator)?;
        let of_windows = (domain == TimeDomain::EventTime) == self.lateness.is_event_time();
        let gone = of_windows && time == self.lateness.cleanup_time(window.max_timestamp());
        self.apply(result, (key, window), row, gone, output)?;
        if gone {
            let mut timers = KeyedWindowTimers {
                timers: &mut self.timers,
                key,
                window,
            };
            let mut context = TriggerContext::new(&mut timers);
            self.trigger
                .clear(window, &mut row.1, &mut context)
                .map_err(TaskError::operator)?;
            let context = WindowContext::new(window, self.timers.watermark(), &self.clock);
            self.contents.clear(key, &context).map_err(TaskError::operator)?;
        }
        Ok(gone)
    }

    /// Makes one row of those of windows that have become `window`.
    pub(super) fn merge<'a>(
        &mut self,
        key: &K,
        window: &W,
        merged: impl Iterator<Item = (&'a W, Row<C::Kept, G::State>)>,
    ) -> Result<Row<C::Kept, G::State>, TaskError>
    where
        W: 'a,
    {
        let mut contents: Option<C::Kept> = None;
        let mut states = Vec::new();
        for (old, (kept, state)) in merged {
            let cleanup = self.lateness.cleanup_time(old.max_timestamp());
            let event_time = self.lateness.is_event_time();
            let mut timers = KeyedWindowTimers {
                timers: &mut self.timers,
                key,
                window: old,
            };
            self.trigger
                .clear(old, &mut state.clone(), &mut TriggerContext::new(&mut timers))
                .map_err(TaskError::operator)?;
            if event_time {
                timers.delete_event_time(cleanup);
            } else {
                timers.delete_processing_time(cleanup);
            }
            states.push(state);
            contents = match (contents, kept) {
                (Some(mut contents), Some(kept)) => {
                    self.contents.merge(&mut contents, kept)?;
                    Some(contents)
                }
                (contents, kept) => contents.or(kept),
            };
        }
        let mut timers = KeyedWindowTimers {
            timers: &mut self.timers,
            key,
            window,
        };
        let state = self
            .trigger
            .on_merge(window, states, &mut TriggerContext::new(&mut timers))
            .map_err(TaskError::operator)?;
        Ok((contents, state))
    }

    fn register_cleanup(&mut self, key: &K, window: &W) {
        let time = self.lateness.cleanup_time(window.max_timestamp());
        if time == Timestamp::MAX {
            return;
        }
        let mut timers = KeyedWindowTimers {
            timers: &mut self.timers,
            key,
            window,
        };
        if self.lateness.is_event_time() {
            timers.register_event_time(time);
        } else {
            timers.register_processing_time(time);
        }
    }

    /// Does what the trigger has said. `leaving` is whether the window goes away afterwards.
    #[inline]
    fn apply(
        &mut self,
        result: TriggerResult,
        (key, window): (&K, &W),
        row: &mut Row<C::Kept, G::State>,
        leaving: bool,
        output: &mut Outputs<C::Out>,
    ) -> Result<(), TaskError> {
        if result.is_fire() {
            self.fire((key, window), &mut row.0, leaving || result.is_purge(), output)?;
        }
        if result.is_purge() {
            row.0 = None;
        }
        Ok(())
    }

    fn fire(
        &mut self,
        (key, window): (&K, &W),
        kept: &mut Option<C::Kept>,
        last: bool,
        output: &mut Outputs<C::Out>,
    ) -> Result<(), TaskError> {
        let context = WindowContext::new(window, self.timers.watermark(), &self.clock);
        if last {
            return match kept.take() {
                Some(kept) => self.contents.fire(key, &context, Fired::Last(kept), output),
                None => Ok(()),
            };
        }
        if let Some(contents) = kept {
            self.contents.fire(key, &context, Fired::Kept(contents), output)?;
            if self.contents.is_empty(contents) {
                *kept = None;
            }
        }
        Ok(())
    }
}

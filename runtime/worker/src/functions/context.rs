//! What a function is given with each record and each timer.

use std::{cell::Ref, fmt};

use flink_record::{Key, NO_TIMESTAMP, Record, Timestamp};
use flink_state::{BroadcastState, HeapKeyedStateBackend, KeyContext, ReadOnlyBroadcastState};

use crate::time::{InternalTimerService, ProcessingTimeService};

/// The two times that a timer can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeDomain {
    /// The watermark has reached the timer's time.
    EventTime,
    /// The clock has reached it.
    ProcessingTime,
}

fn stamped(timestamp: Timestamp) -> Option<Timestamp> {
    (timestamp != NO_TIMESTAMP).then_some(timestamp)
}

/// What a function on a stream without keys is given with a record.
#[derive(Debug)]
pub struct ProcessContext<'a> {
    pub(crate) timestamp: Timestamp,
    pub(crate) watermark: Timestamp,
    pub(crate) clock: &'a ProcessingTimeService,
}

impl ProcessContext<'_> {
    /// The record's timestamp, if it has one.
    pub fn timestamp(&self) -> Option<Timestamp> {
        stamped(self.timestamp)
    }

    /// The operator's event time: `Timestamp::MIN` before the first watermark.
    pub fn current_watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The clock, milliseconds since 1970.
    pub fn current_processing_time(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Registers timers for the current key.
///
/// A key has at most one timer for a time; registering it again changes nothing. A timer for a time that is past fires with
/// the next watermark (with the next look at the clock). Processing time timers that are left when the input ends do not fire.
pub struct TimerService<'a, K> {
    timers: &'a mut InternalTimerService<K, ()>,
    keys: &'a KeyContext<K>,
}

impl<K: Key> TimerService<'_, K> {
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
        if let Some(key) = self.keys.key() {
            self.timers.register_event_time(time, key.clone(), ());
        }
    }

    /// Takes back an event time timer; without effect when there is none.
    pub fn delete_event_time_timer(&mut self, time: Timestamp) {
        if let Some(key) = self.keys.key() {
            self.timers.delete_event_time(time, &(key.clone(), ()));
        }
    }

    /// Asks for a call when the clock reaches this time.
    pub fn register_processing_time_timer(&mut self, time: Timestamp) {
        if let Some(key) = self.keys.key() {
            self.timers.register_processing_time(time, key.clone(), ());
        }
    }

    /// Takes back a processing time timer; without effect when there is none.
    pub fn delete_processing_time_timer(&mut self, time: Timestamp) {
        if let Some(key) = self.keys.key() {
            self.timers.delete_processing_time(time, &(key.clone(), ()));
        }
    }
}

impl<K> fmt::Debug for TimerService<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerService").finish_non_exhaustive()
    }
}

/// What a function on a keyed stream is given with a record.
#[derive(Debug)]
pub struct KeyedContext<'a, K> {
    timestamp: Timestamp,
    keys: &'a KeyContext<K>,
    timers: TimerService<'a, K>,
}

impl<'a, K: Key> KeyedContext<'a, K> {
    pub(crate) fn new(
        timestamp: Timestamp,
        backend: &'a HeapKeyedStateBackend<K>,
        timers: &'a mut InternalTimerService<K, ()>,
    ) -> Self {
        let keys = &**backend.context();
        let timers = TimerService { timers, keys };
        Self {
            timestamp,
            keys,
            timers,
        }
    }

    /// The record's timestamp, if it has one.
    pub fn timestamp(&self) -> Option<Timestamp> {
        stamped(self.timestamp)
    }

    /// The record's key.
    ///
    /// # Panics
    /// Never while a function is being called: there is a key then.
    pub fn current_key(&self) -> Ref<'_, K> {
        current_key(self.keys)
    }

    /// The timers of the current key, and what time it is.
    pub fn timer_service(&mut self) -> &mut TimerService<'a, K> {
        &mut self.timers
    }
}

fn current_key<K: Key>(keys: &KeyContext<K>) -> Ref<'_, K> {
    match keys.key() {
        Some(key) => key,
        None => unreachable!("a function on a keyed stream is called for a key"),
    }
}

/// What a function is given with a timer that fires.
#[derive(Debug)]
pub struct OnTimerContext<'a, K> {
    domain: TimeDomain,
    keyed: KeyedContext<'a, K>,
}

impl<'a, K: Key> OnTimerContext<'a, K> {
    pub(crate) fn new(domain: TimeDomain, keyed: KeyedContext<'a, K>) -> Self {
        Self { domain, keyed }
    }

    /// The time that the timer was for.
    pub fn timestamp(&self) -> Timestamp {
        self.keyed.timestamp
    }

    /// In which time it fires.
    pub fn time_domain(&self) -> TimeDomain {
        self.domain
    }

    /// The timer's key.
    ///
    /// # Panics
    /// Never while a function is being called: there is a key then.
    pub fn current_key(&self) -> Ref<'_, K> {
        self.keyed.current_key()
    }

    /// The timers of the current key, and what time it is.
    pub fn timer_service(&mut self) -> &mut TimerService<'a, K> {
        self.keyed.timer_service()
    }
}

/// What a function is given with a record of a broadcast. Every subtask is given the same records, and must make the same
/// changes to its broadcast state.
#[derive(Debug)]
pub struct BroadcastContext<'a> {
    pub(crate) record: ProcessContext<'a>,
}

impl BroadcastContext<'_> {
    /// The record's timestamp, if it has one.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.record.timestamp()
    }

    /// The operator's event time: `Timestamp::MIN` before the first watermark.
    pub fn current_watermark(&self) -> Timestamp {
        self.record.current_watermark()
    }

    /// The clock, milliseconds since 1970.
    pub fn current_processing_time(&self) -> Timestamp {
        self.record.current_processing_time()
    }

    /// A broadcast state, to be changed. Only here is that possible.
    pub fn broadcast_state<K: Record + Ord, V: Record>(
        &self,
        state: &ReadOnlyBroadcastState<K, V>,
    ) -> BroadcastState<K, V> {
        state.writable()
    }
}

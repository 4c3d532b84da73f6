//! Timers of keys: registered for a time, fired once when event time or processing time has reached it.

use std::{collections::BTreeMap, hash::Hash};

use flink_record::Timestamp;
use hashbrown::DefaultHashBuilder;
use indexmap::IndexSet;
use smallvec::SmallVec;

use super::ProcessingTimeService;

/// Timers in one of the two times. A key has at most one timer per namespace and time.
///
/// Few times with many keys each, as windows have them, are as cheap as many times with one key: times are in a tree, the
/// timers of one time in a list, and in a hash set where they are many.
#[derive(Debug)]
struct TimerQueue<K, N> {
    by_time: BTreeMap<Timestamp, Timers<K, N>>,
}

/// The timers of one time.
#[derive(Debug)]
enum Timers<K, N> {
    Few(SmallVec<[(K, N); 1]>),
    Many(IndexSet<(K, N), DefaultHashBuilder>),
}

/// Timers of one time that are looked through rather than hashed.
const FEW: usize = 8;

impl<K: Hash + Eq, N: Hash + Eq> Timers<K, N> {
    fn insert(&mut self, timer: (K, N)) {
        match self {
            Self::Few(timers) if timers.contains(&timer) => {}
            Self::Few(timers) if timers.len() < FEW => timers.push(timer),
            Self::Few(timers) => *self = Self::Many(timers.drain(..).chain([timer]).collect()),
            Self::Many(timers) => {
                timers.insert(timer);
            }
        }
    }

    fn remove(&mut self, timer: &(K, N)) {
        match self {
            Self::Few(timers) => {
                if let Some(index) = timers.iter().position(|other| other == timer) {
                    timers.swap_remove(index);
                }
            }
            Self::Many(timers) => {
                timers.swap_remove(timer);
            }
        }
    }

    fn pop(&mut self) -> Option<(K, N)> {
        match self {
            Self::Few(timers) => timers.pop(),
            Self::Many(timers) => timers.pop(),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Few(timers) => timers.is_empty(),
            Self::Many(timers) => timers.is_empty(),
        }
    }
}

impl<K: Hash + Eq, N: Hash + Eq> TimerQueue<K, N> {
    fn new() -> Self {
        let by_time = BTreeMap::new();
        Self { by_time }
    }

    fn register(&mut self, time: Timestamp, key: K, namespace: N) {
        let of_time = self.by_time.entry(time);
        let of_time = of_time.or_insert_with(|| Timers::Few(SmallVec::new()));
        of_time.insert((key, namespace));
    }

    fn delete(&mut self, time: Timestamp, timer: &(K, N)) {
        if let Some(timers) = self.by_time.get_mut(&time) {
            timers.remove(timer);
            if timers.is_empty() {
                self.by_time.remove(&time);
            }
        }
    }

    fn next(&self) -> Option<Timestamp> {
        self.by_time.first_key_value().map(|(time, _)| *time)
    }

    /// Takes a timer that is due, the earliest first; of several for one time, any.
    fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, K, N)> {
        let mut first = self.by_time.first_entry()?;
        let time = *first.key();
        if time > now {
            return None;
        }
        let timer = first.get_mut().pop();
        if first.get().is_empty() {
            first.remove();
        }
        timer.map(|(key, namespace)| (time, key, namespace))
    }
}

/// The timers of one operator, and what time it is for it.
#[derive(Debug)]
pub(crate) struct InternalTimerService<K, N> {
    event_time: TimerQueue<K, N>,
    processing_time: TimerQueue<K, N>,
    watermark: Timestamp,
    clock: ProcessingTimeService,
}

impl<K: Hash + Eq, N: Hash + Eq> InternalTimerService<K, N> {
    pub(crate) fn new(clock: &ProcessingTimeService) -> Self {
        Self {
            event_time: TimerQueue::new(),
            processing_time: TimerQueue::new(),
            watermark: Timestamp::MIN,
            clock: clock.clone(),
        }
    }

    /// The operator's event time: `Timestamp::MIN` before the first watermark.
    pub(crate) fn watermark(&self) -> Timestamp {
        self.watermark
    }

    pub(crate) fn advance_watermark(&mut self, watermark: Timestamp) {
        self.watermark = watermark;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn register_event_time(&mut self, time: Timestamp, key: K, namespace: N) {
        self.event_time.register(time, key, namespace);
    }

    pub(crate) fn delete_event_time(&mut self, time: Timestamp, timer: &(K, N)) {
        self.event_time.delete(time, timer);
    }

    pub(crate) fn register_processing_time(&mut self, time: Timestamp, key: K, namespace: N) {
        self.processing_time.register(time, key, namespace);
        self.clock.call_at(time);
    }

    pub(crate) fn delete_processing_time(&mut self, time: Timestamp, timer: &(K, N)) {
        self.processing_time.delete(time, timer);
    }

    /// Takes a timer that the watermark has reached, the earliest first. One that is registered meanwhile for a time that is
    /// past comes, too.
    pub(crate) fn pop_event_time(&mut self) -> Option<(Timestamp, K, N)> {
        self.event_time.pop_due(self.watermark)
    }

    /// Takes a timer that the clock has reached at `now`; when there are none left, sets the alarm for the next.
    pub(crate) fn pop_processing_time(&mut self, now: Timestamp) -> Option<(Timestamp, K, N)> {
        let due = self.processing_time.pop_due(now);
        if due.is_none()
            && let Some(next) = self.processing_time.next()
        {
            self.clock.call_at(next);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Register(Timestamp, u8),
        Delete(Timestamp, u8),
        Advance(Timestamp),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (-4..4i64, 0..40u8).prop_map(|(time, key)| Step::Register(time, key)),
            (-20..20i64, 0..4u8).prop_map(|(time, key)| Step::Register(time, key)),
            (-4..4i64, 0..40u8).prop_map(|(time, key)| Step::Delete(time, key)),
            (-20..20i64, 0..4u8).prop_map(|(time, key)| Step::Delete(time, key)),
            (-20..20i64).prop_map(Step::Advance),
        ]
    }

    proptest! {
        #[test]
        fn timers_fire_once_and_in_order(steps in prop::collection::vec(step(), 0..200)) {
            let mut timers = TimerQueue::new();
            let mut model = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Register(time, key) => {
                        timers.register(time, key, ());
                        model.insert((time, key));
                    }
                    Step::Delete(time, key) => {
                        timers.delete(time, &(key, ()));
                        model.remove(&(time, key));
                    }
                    Step::Advance(now) => {
                        let mut fired = Vec::new();
                        while let Some((time, key, ())) = timers.pop_due(now) {
                            fired.push((time, key));
                        }
                        prop_assert!(fired.is_sorted_by_key(|(time, _)| *time));
                        fired.sort_unstable();
                        let later = model.split_off(&(now + 1, 0));
                        let due: Vec<_> = std::mem::replace(&mut model, later).into_iter().collect();
                        prop_assert_eq!(fired, due);
                    }
                }
            }
        }
    }

    #[test]
    fn the_alarm_is_set_for_the_next_timer() {
        let clock = ProcessingTimeService::manual(0);
        let mut timers = InternalTimerService::new(&clock);
        timers.register_processing_time(10, 'a', ());
        timers.register_processing_time(30, 'b', ());
        clock.set(20);
        assert_eq!(clock.take_due(), Some(20));
        assert_eq!(timers.pop_processing_time(20), Some((10, 'a', ())));
        assert_eq!(timers.pop_processing_time(20), None);
        clock.set(30);
        assert_eq!(clock.take_due(), Some(30));
        assert_eq!(timers.pop_processing_time(30), Some((30, 'b', ())));
        assert_eq!(timers.pop_processing_time(30), None);
        clock.set(100);
        assert_eq!(clock.take_due(), None);
    }

    #[test]
    fn a_timer_for_the_past_fires_with_the_watermark() {
        let mut timers = InternalTimerService::new(&ProcessingTimeService::manual(0));
        timers.advance_watermark(100);
        assert_eq!(timers.pop_event_time(), None::<(Timestamp, u8, ())>);
        timers.register_event_time(50, 1, ());
        assert_eq!(timers.pop_event_time(), Some((50, 1, ())));
        assert_eq!(timers.pop_event_time(), None);
    }
}

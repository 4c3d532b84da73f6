//! The clock of a task, and its alarm.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use flink_record::Timestamp;

/// The clock of a task: operators read it, and ask to be called when it reaches a time.
///
/// There is one alarm per task, at the earliest time that was asked for. When it goes off, every operator of the chain is called
/// ([`Operator::processing_time`](crate::Operator::processing_time)); each sees for itself what is due, and asks for its next time.
/// Cheap to clone; every clone is the same clock.
#[derive(Debug, Clone)]
pub struct ProcessingTimeService(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `Timestamp::MAX` when there is none.
    alarm: Cell<Timestamp>,
    /// The time, when it does not pass by itself.
    stopped_at: Cell<Option<Timestamp>>,
}

impl ProcessingTimeService {
    /// The machine's clock.
    pub(crate) fn system() -> Self {
        Self::with_time(None)
    }

    /// A clock that only [`set`](Self::set) moves.
    pub fn manual(now: Timestamp) -> Self {
        Self::with_time(Some(now))
    }

    fn with_time(time: Option<Timestamp>) -> Self {
        let (alarm, stopped_at) = (Cell::new(Timestamp::MAX), Cell::new(time));
        Self(Rc::new(Inner { alarm, stopped_at }))
    }

    /// Stops the clock at this time.
    pub fn set(&self, now: Timestamp) {
        self.0.stopped_at.set(Some(now));
    }

    /// The time of day, milliseconds since 1970.
    pub fn now(&self) -> Timestamp {
        self.0.stopped_at.get().unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.map_or(0, |since| since.as_millis() as Timestamp)
        })
    }

    /// Asks to be called at this time, or soon after; at once when it is past.
    pub fn call_at(&self, time: Timestamp) {
        self.0.alarm.set(self.0.alarm.get().min(time));
    }

    /// When the alarm goes off, for one who waits.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let alarm = self.0.alarm.get();
        (alarm != Timestamp::MAX).then(|| {
            let left = alarm.saturating_sub(self.now());
            // A time beyond what the clock of the machine can count to is never reached.
            let left = Duration::from_millis(left.clamp(0, MAX_WAIT_MS) as u64);
            Instant::now() + left
        })
    }

    /// Takes the alarm if it has gone off: the time then.
    pub fn take_due(&self) -> Option<Timestamp> {
        let alarm = self.0.alarm.get();
        if alarm == Timestamp::MAX {
            return None;
        }
        let now = self.now();
        (alarm <= now).then(|| {
            self.0.alarm.set(Timestamp::MAX);
            now
        })
    }
}

/// Longest single wait: one year.
const MAX_WAIT_MS: Timestamp = 365 * 24 * 3600 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_goes_off_once_at_the_earliest_time_asked_for() {
        let clock = ProcessingTimeService::manual(100);
        assert_eq!((clock.take_due(), clock.deadline()), (None, None));
        clock.call_at(300);
        clock.call_at(200);
        assert!(clock.deadline().is_some());
        assert_eq!(clock.take_due(), None);
        clock.set(250);
        assert_eq!(clock.take_due(), Some(250));
        assert_eq!(clock.take_due(), None, "who still wants 300 asks again");
        clock.call_at(Timestamp::MIN);
        assert_eq!(clock.take_due(), Some(250));
    }

    #[test]
    fn a_time_out_of_reach_can_be_waited_for() {
        let clock = ProcessingTimeService::system();
        clock.call_at(Timestamp::MAX - 1);
        assert!(clock.deadline().is_some());
        assert_eq!(clock.take_due(), None);
    }
}

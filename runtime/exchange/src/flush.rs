//! Buffer timeouts without a clock read per record.
//!
//! The I/O thread keeps a coarse clock. A writer notes the coarse time at which its buffers stopped being empty; when that is
//! too long ago, the I/O thread sets the writer's flag and wakes its task, which flushes. The task's own cost is one plain
//! comparison per record and one relaxed load per look.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::signal::TaskSignal;

/// Longest interval between two looks at the buffers.
const MAX_TICK: Duration = Duration::from_millis(25);

/// Shortest one: also the finest buffer timeout that is kept.
const MIN_TICK: Duration = Duration::from_millis(1);

/// No record is waiting.
const IDLE: u64 = u64::MAX;

/// The coarse clock of an environment and the writers that depend on it.
#[derive(Debug, Default)]
pub(crate) struct FlushClock {
    /// Nanoseconds since the environment started, as of the last tick.
    now: AtomicU64,
    timers: Mutex<Vec<Weak<FlushTimer>>>,
}

impl FlushClock {
    /// A timer for one writer; it lives as long as the writer keeps it.
    pub(crate) fn register(self: &Arc<Self>, timeout: Duration, signal: TaskSignal) -> Arc<FlushTimer> {
        let timer = Arc::new(FlushTimer {
            clock: Arc::clone(self),
            timeout: u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX),
            since: AtomicU64::new(IDLE),
            due: AtomicBool::new(false),
            signal,
        });
        self.timers().push(Arc::downgrade(&timer));
        timer
    }

    /// Looks at all writers and returns when to look next.
    pub(crate) fn tick(&self, elapsed: Duration) -> Duration {
        let now = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.now.store(now, Ordering::Relaxed);
        let mut next = MAX_TICK;
        self.timers().retain(|timer| {
            let Some(timer) = timer.upgrade() else { return false };
            timer.check(now);
            next = next.min(Duration::from_nanos(timer.timeout / 4));
            true
        });
        next.max(MIN_TICK)
    }

    fn timers(&self) -> MutexGuard<'_, Vec<Weak<FlushTimer>>> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The buffer timeout of one writer.
#[derive(Debug)]
pub(crate) struct FlushTimer {
    clock: Arc<FlushClock>,
    timeout: u64,
    since: AtomicU64,
    due: AtomicBool,
    signal: TaskSignal,
}

impl FlushTimer {
    /// The buffers are no longer empty.
    pub(crate) fn start(&self) {
        self.since
            .store(self.clock.now.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The buffers are empty again.
    pub(crate) fn stop(&self) {
        self.since.store(IDLE, Ordering::Relaxed);
        self.due.store(false, Ordering::Relaxed);
    }

    /// True when a record has been waiting for longer than the timeout.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.due.load(Ordering::Relaxed)
    }

    fn check(&self, now: u64) {
        let since = self.since.load(Ordering::Relaxed);
        if since != IDLE && now.saturating_sub(since) >= self.timeout && !self.due.swap(true, Ordering::Relaxed) {
            self.signal.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_due_once_its_oldest_record_is_old_enough() {
        let clock = Arc::new(FlushClock::default());
        let signal = TaskSignal::new();
        let timer = clock.register(Duration::from_millis(100), signal.clone());
        clock.tick(Duration::from_millis(500));
        assert!(!timer.is_due(), "nothing is waiting");
        timer.start();
        assert_eq!(clock.tick(Duration::from_millis(599)), MAX_TICK);
        assert!(!timer.is_due() && !signal.take_woken());
        clock.tick(Duration::from_millis(600));
        assert!(timer.is_due() && signal.take_woken());
        clock.tick(Duration::from_millis(700));
        assert!(!signal.take_woken(), "woken once");
        timer.stop();
        clock.tick(Duration::from_millis(900));
        assert!(!timer.is_due());
    }

    #[test]
    fn short_timeouts_make_short_ticks_while_their_writers_live() {
        let clock = Arc::new(FlushClock::default());
        let timer = clock.register(Duration::from_millis(20), TaskSignal::new());
        assert_eq!(clock.tick(Duration::ZERO), Duration::from_millis(5));
        drop(timer);
        assert_eq!(clock.tick(Duration::ZERO), MAX_TICK);
    }
}

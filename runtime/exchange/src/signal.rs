//! Reaching a task thread that may be blocked in the exchange.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::Instant,
};

/// Lets control code cancel or wake a task. Cheap to clone; every clone means the same task.
///
/// The exchange binds the signal to the task's thread whenever that thread is about to wait, so that it may be made on
/// any thread and before the task's thread exists. One thread at a time may wait with it.
#[derive(Debug, Clone, Default)]
pub struct TaskSignal(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    cancelled: AtomicBool,
    woken: AtomicBool,
    /// A mutex and not a once-cell: it also orders "flag set, then thread looked up" against "thread set, then flag read".
    thread: Mutex<Option<Thread>>,
}

impl TaskSignal {
    /// A signal that is neither cancelled nor woken.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels the task for good: every exchange call of its thread fails with `Cancelled`, also one that is blocked now.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
        self.unpark();
    }

    /// True once the task is cancelled.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    /// Makes the current or next `InputGate::next` return `Woken`, for example because the task has mail. Wake-ups do not
    /// add up: several before the task looks count as one.
    pub fn wake(&self) {
        self.0.woken.store(true, Ordering::Release);
        self.unpark();
    }

    /// Takes a pending wake-up: true if there was one.
    pub fn take_woken(&self) -> bool {
        // The load first: the common "no" must not write to a cache line that other threads share.
        self.0.woken.load(Ordering::Relaxed) && self.0.woken.swap(false, Ordering::Acquire)
    }

    /// Makes this thread the one to be unparked. What was signalled before is visible to the caller afterwards; look at it
    /// before calling [`park`](Self::park).
    pub fn bind(&self) {
        let mut thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let current = thread::current();
        if thread.as_ref().is_none_or(|bound| bound.id() != current.id()) {
            *thread = Some(current);
        }
    }

    /// Waits until something is signalled or ready after the last [`bind`](Self::bind), or until `deadline`. May return
    /// early: look at the condition again.
    pub fn park(&self, deadline: Option<Instant>) {
        match deadline {
            None => thread::park(),
            Some(deadline) => thread::park_timeout(deadline.saturating_duration_since(Instant::now())),
        }
    }

    pub(crate) fn unpark(&self) {
        if let Some(thread) = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            thread.unpark();
        }
    }
}

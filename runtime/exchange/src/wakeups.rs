//! Wake-ups of task threads by the I/O thread, put off for a moment.
//!
//! quinn wakes who waits for a stream while it holds the lock of the connection. A task thread that runs at once, perhaps in
//! place of the I/O thread, finds the lock taken and goes to sleep again: two wake-ups and three changes of thread for one
//! buffer. So the I/O thread only notes whom to wake, and does so when the connection's turn is over: no later than after
//! one turn of everything else that it has to do at that moment.

use std::{
    cell::RefCell,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use crate::signal::TaskSignal;

thread_local! {
    static PUT_OFF: RefCell<PutOff> = const {
        RefCell::new(PutOff {
            deliverer: None,
            signals: Vec::new(),
        })
    };
}

struct PutOff {
    /// Of [`Deliverer`]; on threads without one nothing is put off.
    deliverer: Option<Waker>,
    signals: Vec<TaskSignal>,
}

/// Unparks the task's thread: on the I/O thread soon, on any other now.
pub(crate) fn unpark_soon(signal: &TaskSignal) {
    let put_off = PUT_OFF.with_borrow_mut(|put_off| {
        let Some(deliverer) = &put_off.deliverer else {
            return false;
        };
        if put_off.signals.is_empty() {
            deliverer.wake_by_ref();
        }
        put_off.signals.push(signal.clone());
        true
    });
    if !put_off {
        signal.unpark();
    }
}

/// Does what [`unpark_soon`] put off on this thread. A task of the I/O thread's runtime, which never ends; when it is dropped,
/// nothing is put off any more.
pub(crate) struct Deliverer;

impl Future for Deliverer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        deliver(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Deliverer {
    fn drop(&mut self) {
        deliver(None);
    }
}

fn deliver(deliverer: Option<Waker>) {
    PUT_OFF.with_borrow_mut(|put_off| {
        put_off.deliverer = deliverer;
        put_off.signals.drain(..).for_each(|signal| signal.unpark());
    });
}

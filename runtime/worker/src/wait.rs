//! Waiting, on a task's thread, for what the control thread's runtime does.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
};

use flink_exchange::TaskSignal;

use crate::error::TaskError;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future that needs no runtime of its own (channels, join handles), or for the task's cancellation.
pub(crate) fn block_on<F: Future>(signal: &TaskSignal, future: F) -> Result<F::Output, TaskError> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    // From here on, cancellation unparks this thread.
    signal.bind();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Ok(output);
        }
        if signal.is_cancelled() {
            return Err(TaskError::cancelled());
        }
        signal.park(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    #[test]
    fn what_another_thread_sends_is_waited_for() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let sending = std::thread::spawn(move || sender.send(7));
        assert_eq!(block_on(&TaskSignal::new(), receiver).unwrap(), Ok(7));
        sending.join().unwrap().unwrap();
    }

    #[test]
    fn cancellation_ends_the_wait() {
        let signal = TaskSignal::new();
        let cancelling = std::thread::spawn({
            let signal = signal.clone();
            move || signal.cancel()
        });
        let error = block_on(&signal, std::future::pending::<()>()).unwrap_err();
        assert!(matches!(error.cause(), Cause::Cancelled));
        cancelling.join().unwrap();
    }
}

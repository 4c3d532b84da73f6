//! Asynchronous requests: lookups and calls of other services, many at a time, without a thread for each.
//!
//! A request is a task of a runtime that all operators of the process share. The operator owns its requests in a set: it polls
//! that on the task's own thread, when the task is woken because some have completed, and dropping it ends them all. What may
//! leave, and when, is for the [`WaitQueue`] to decide. No more requests begin than may be open at a time, so that everything
//! here is bounded: where there is no room, the task's thread waits, and its input with it, until a result has left.

mod queue;
mod request;
mod retry;
mod runtime;

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use flink_exchange::{Event, TaskSignal, WatermarkStatus};
use flink_record::Timestamp;
use tokio::task::JoinSet;

pub use queue::AsyncOutputMode;
pub use request::AsyncOptions;
pub use retry::AsyncRetryStrategy;

use crate::{
    error::TaskError,
    operator::{Operator, Outputs},
    program::OperatorContext,
};
use queue::{Emission, Ticket, WaitQueue};
use request::Requests;
use retry::BoxError;
use runtime::AsyncRuntime;

/// Calls an asynchronous function for each record; its results have the record's timestamp.
pub struct AsyncWait<I, O, F> {
    queue: WaitQueue<O>,
    shared: Arc<Requests<I, O, F>>,
    /// Those that have not been looked at since they completed included.
    requests: JoinSet<(Ticket, Result<Vec<O>, TaskError>)>,
    signal: TaskSignal,
    /// Wakes the task when some requests have completed.
    waker: Waker,
    /// Dropped after the requests that run on it.
    runtime: Arc<AsyncRuntime>,
}

struct WakeTask(TaskSignal);

impl Wake for WakeTask {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake();
    }
}

impl<I, O: 'static, F> AsyncWait<I, O, F> {
    /// The operator of this function.
    ///
    /// # Errors
    /// When the process has no threads left for the runtime.
    pub fn new(options: AsyncOptions<I, O>, function: F, context: &OperatorContext<'_>) -> Result<Self, TaskError> {
        Self::with_signal(options, function, context.signal())
    }

    fn with_signal(options: AsyncOptions<I, O>, function: F, signal: TaskSignal) -> Result<Self, TaskError> {
        Ok(Self {
            queue: WaitQueue::new(options.mode, options.capacity),
            shared: Arc::new(Requests::new(function, options)),
            requests: JoinSet::new(),
            waker: Arc::new(WakeTask(signal.clone())).into(),
            signal,
            runtime: AsyncRuntime::shared().map_err(TaskError::runtime)?,
        })
    }

    /// Emits what may leave of that which has completed.
    fn emit_completed(&mut self, output: &mut Outputs<O>) -> Result<(), TaskError> {
        let mut context = Context::from_waker(&self.waker);
        while let Poll::Ready(Some(completed)) = self.requests.poll_join_next(&mut context) {
            let (ticket, outcome) = completed.map_err(TaskError::runtime)?;
            self.queue.complete(ticket, outcome?);
            emit(&mut self.queue, output)?;
        }
        Ok(())
    }

    /// Waits until the queue is as it is wanted.
    fn wait_until(&mut self, output: &mut Outputs<O>, wanted: impl Fn(&WaitQueue<O>) -> bool) -> Result<(), TaskError> {
        self.emit_completed(output)?;
        if wanted(&self.queue) {
            return Ok(());
        }
        // From here on this thread is the one to be woken; what completed before must be looked at once more.
        self.signal.bind();
        loop {
            // While this thread waits here nobody else looks after the buffers behind the operator. It comes before the
            // requests are looked at: whoever waits in it may swallow their wake-up.
            output.batch_done()?;
            self.emit_completed(output)?;
            if wanted(&self.queue) {
                return Ok(());
            }
            if self.signal.is_cancelled() {
                return Err(TaskError::cancelled());
            }
            self.signal.park(None);
        }
    }

    fn event(&mut self, event: Event, output: &mut Outputs<O>) -> Result<(), TaskError> {
        if !self.queue.takes_event(event) {
            self.wait_until(output, |queue| queue.takes_event(event))?;
        }
        self.queue.push_event(event);
        emit(&mut self.queue, output)
    }
}

fn emit<O>(queue: &mut WaitQueue<O>, output: &mut Outputs<O>) -> Result<(), TaskError> {
    while let Some(emission) = queue.pop() {
        match emission {
            Emission::Event(event) => output.event(event)?,
            Emission::Results(timestamp, results) => results
                .into_iter()
                .try_for_each(|result| output.collect(result, timestamp))?,
        }
    }
    Ok(())
}

impl<I, O, F, Fut, R, E> Operator<I> for AsyncWait<I, O, F>
where
    I: Send + 'static,
    O: Send + 'static,
    F: Fn(I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    R: IntoIterator<Item = O> + 'static,
    E: Into<BoxError> + 'static,
{
    type Out = O;

    fn process(&mut self, record: I, timestamp: Timestamp, output: &mut Outputs<O>) -> Result<(), TaskError> {
        if !self.queue.takes_request() {
            self.wait_until(output, WaitQueue::takes_request)?;
        }
        let Some(runtime) = self.runtime.handle() else {
            return Err(TaskError::runtime("the runtime of asynchronous requests has ended"));
        };
        let ticket = self.queue.push_request(timestamp);
        let request = Arc::clone(&self.shared).run(record);
        self.requests.spawn_on(async move { (ticket, request.await) }, runtime);
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Outputs<O>) -> Result<(), TaskError> {
        self.event(Event::Watermark(watermark), output)
    }

    fn watermark_status(&mut self, status: WatermarkStatus, output: &mut Outputs<O>) -> Result<(), TaskError> {
        self.event(Event::WatermarkStatus(status), output)
    }

    fn batch_done(&mut self, output: &mut Outputs<O>) -> Result<(), TaskError> {
        if self.requests.is_empty() {
            return Ok(());
        }
        self.emit_completed(output)
    }

    fn end_of_data(&mut self, output: &mut Outputs<O>) -> Result<(), TaskError> {
        self.wait_until(output, WaitQueue::is_empty)
    }
}

#[cfg(test)]
mod tests;

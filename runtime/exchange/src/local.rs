//! Channels inside one worker: typed batches, no serialization, bounded.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use flink_record::Timestamp;

use crate::channel::Event;

/// Batches and events that may wait in one channel. With batches of about 32 KiB this is half of a QUIC stream's window.
pub(crate) const LOCAL_CHANNEL_CAPACITY: usize = 4;

/// Approximate bytes of a full batch, by `size_of`; what records own on the heap is not counted.
const BATCH_BYTES: usize = 32 << 10;

/// Records of a full batch at most, so that tiny records still reach the consumer soon.
const BATCH_RECORDS: usize = 1024;

/// Records in a full batch of `T`.
pub(crate) fn batch_records<T>() -> usize {
    (BATCH_BYTES / size_of::<(T, Timestamp)>()).clamp(1, BATCH_RECORDS)
}

/// Records with their timestamps.
pub(crate) type Batch<T> = Vec<(T, Timestamp)>;

/// What a local channel carries.
#[derive(Debug)]
pub(crate) enum LocalItem<T> {
    /// Records in order, each with its timestamp.
    Batch(Batch<T>),
    /// An event between them.
    Event(Event),
}

/// What a consumer finds.
#[derive(Debug)]
pub(crate) enum Received<T> {
    /// The next item.
    Item(LocalItem<T>),
    /// The producer finished, and everything was taken.
    Finished,
    /// The producer went away without finishing.
    Failed,
}

/// The consumer is gone; nothing more can be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Disconnected;

/// One channel between two threads of this process. Either end may be made first.
///
/// A mutex per batch of 32 KiB costs nothing measurable; a lock-free queue would not serve the wakers.
#[derive(Debug)]
pub(crate) struct LocalChannel<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    queue: VecDeque<LocalItem<T>>,
    /// Emptied batches on their way back to the producer.
    spare: Vec<Batch<T>>,
    producer: Producer,
    consumer_gone: bool,
    blocked_producer: Option<Waker>,
    blocked_consumer: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Producer {
    Open,
    Finished,
    Failed,
}

impl<T> LocalChannel<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                queue: VecDeque::with_capacity(LOCAL_CHANNEL_CAPACITY),
                spare: Vec::with_capacity(LOCAL_CHANNEL_CAPACITY),
                producer: Producer::Open,
                consumer_gone: false,
                blocked_producer: None,
                blocked_consumer: None,
            }),
        }
    }

    /// Sends `item` once there is room; `item` is taken exactly when the answer is `Ready(Ok)`. The answer holds an empty
    /// batch to fill next, if one came back from the consumer.
    pub(crate) fn poll_send(
        &self,
        cx: &mut Context<'_>,
        item: &mut Option<LocalItem<T>>,
    ) -> Poll<Result<Option<Batch<T>>, Disconnected>> {
        let mut state = self.lock();
        if state.consumer_gone {
            return Poll::Ready(Err(Disconnected));
        }
        if state.queue.len() >= LOCAL_CHANNEL_CAPACITY {
            state.blocked_producer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.queue.extend(item.take());
        let spare = state.spare.pop();
        let consumer = state.blocked_consumer.take();
        drop(state);
        wake(consumer);
        Poll::Ready(Ok(spare))
    }

    /// Takes the next item; `emptied` goes back to the producer.
    pub(crate) fn poll_receive(&self, cx: &mut Context<'_>, emptied: Option<Batch<T>>) -> Poll<Received<T>> {
        let mut state = self.lock();
        if let Some(batch) = emptied
            && state.spare.len() < LOCAL_CHANNEL_CAPACITY
        {
            state.spare.push(batch);
        }
        // A failed producer is reported at once, as on a QUIC stream that is reset: what it sent before is worthless.
        if state.producer == Producer::Failed {
            return Poll::Ready(Received::Failed);
        }
        let Some(item) = state.queue.pop_front() else {
            if state.producer == Producer::Finished {
                return Poll::Ready(Received::Finished);
            }
            state.blocked_consumer = Some(cx.waker().clone());
            return Poll::Pending;
        };
        // Waking the producer for every free place would make the two threads alternate batch by batch.
        let producer = if state.queue.len() <= LOCAL_CHANNEL_CAPACITY / 2 {
            state.blocked_producer.take()
        } else {
            None
        };
        drop(state);
        wake(producer);
        Poll::Ready(Received::Item(item))
    }

    /// The producer has sent everything.
    pub(crate) fn finish(&self) {
        self.end(Producer::Finished);
    }

    /// The producer goes away. Without an earlier [`finish`](Self::finish) this is a failure.
    pub(crate) fn drop_producer(&self) {
        self.end(Producer::Failed);
    }

    fn end(&self, end: Producer) {
        let mut state = self.lock();
        if state.producer == Producer::Open {
            state.producer = end;
        }
        let consumer = state.blocked_consumer.take();
        drop(state);
        wake(consumer);
    }

    /// The consumer goes away; what waits is dropped.
    pub(crate) fn drop_consumer(&self) {
        let mut state = self.lock();
        state.consumer_gone = true;
        let waiting = std::mem::take(&mut state.queue);
        let producer = state.blocked_producer.take();
        drop(state);
        // Records may have destructors of their own: not under the lock.
        drop(waiting);
        wake(producer);
    }

    /// Nothing here panics while the lock is held except an allocation failure; the state stays consistent even then.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        task::Wake,
    };

    use flink_record::NO_TIMESTAMP;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicU32);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn send(channel: &LocalChannel<u32>, waker: &Waker, value: u32) -> Poll<Result<(), Disconnected>> {
        let mut item = Some(LocalItem::Batch(vec![(value, NO_TIMESTAMP)]));
        channel
            .poll_send(&mut Context::from_waker(waker), &mut item)
            .map_ok(|_| ())
    }

    fn receive(channel: &LocalChannel<u32>, waker: &Waker) -> Poll<Received<u32>> {
        channel.poll_receive(&mut Context::from_waker(waker), None)
    }

    #[test]
    fn a_full_channel_blocks_its_producer_until_it_is_half_empty() {
        let channel = LocalChannel::new();
        let woken = Arc::new(Counter::default());
        let waker = Waker::from(woken.clone());
        for value in 0..LOCAL_CHANNEL_CAPACITY as u32 {
            assert_eq!(send(&channel, &waker, value), Poll::Ready(Ok(())));
        }
        assert_eq!(send(&channel, &waker, 9), Poll::Pending);
        for value in 0..2 {
            assert_eq!(woken.0.load(Ordering::Relaxed), 0);
            let Poll::Ready(Received::Item(LocalItem::Batch(batch))) = receive(&channel, Waker::noop()) else {
                panic!("a batch is due")
            };
            assert_eq!(batch, [(value, NO_TIMESTAMP)]);
        }
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(send(&channel, &waker, 9), Poll::Ready(Ok(())));
    }

    #[test]
    fn an_empty_channel_wakes_its_consumer_when_something_comes() {
        let channel = LocalChannel::new();
        let woken = Arc::new(Counter::default());
        assert!(receive(&channel, &Waker::from(woken.clone())).is_pending());
        assert!(send(&channel, Waker::noop(), 1).is_ready());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_finished_channel_ends_after_its_last_item() {
        let channel = LocalChannel::new();
        assert!(send(&channel, Waker::noop(), 1).is_ready());
        channel.finish();
        channel.drop_producer();
        assert!(matches!(
            receive(&channel, Waker::noop()),
            Poll::Ready(Received::Item(_))
        ));
        assert!(matches!(
            receive(&channel, Waker::noop()),
            Poll::Ready(Received::Finished)
        ));
    }

    #[test]
    fn a_producer_that_goes_away_has_failed() {
        let channel = LocalChannel::new();
        assert!(send(&channel, Waker::noop(), 1).is_ready());
        channel.drop_producer();
        assert!(matches!(
            receive(&channel, Waker::noop()),
            Poll::Ready(Received::Failed)
        ));
    }

    #[test]
    fn a_consumer_that_goes_away_disconnects_and_wakes_the_producer() {
        let channel = LocalChannel::new();
        let woken = Arc::new(Counter::default());
        let waker = Waker::from(woken.clone());
        while send(&channel, &waker, 0).is_ready() {}
        channel.drop_consumer();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(send(&channel, &waker, 0), Poll::Ready(Err(Disconnected)));
    }

    #[test]
    fn emptied_batches_come_back() {
        let channel = LocalChannel::new();
        let mut cx = Context::from_waker(Waker::noop());
        let emptied = Vec::with_capacity(77);
        assert!(channel.poll_receive(&mut cx, Some(emptied)).is_pending());
        let mut item = Some(LocalItem::Batch(vec![(1u32, NO_TIMESTAMP)]));
        let Poll::Ready(Ok(Some(batch))) = channel.poll_send(&mut cx, &mut item) else {
            panic!("a spare batch is due")
        };
        assert_eq!(batch.capacity(), 77);
    }

    #[test]
    fn batches_are_about_32_kib_and_never_empty() {
        assert_eq!(batch_records::<u8>(), 1024);
        assert_eq!(batch_records::<[u8; 56]>(), 512);
        assert_eq!(batch_records::<[u8; 100_000]>(), 1);
        assert_eq!(batch_records::<()>(), 1024);
    }
}

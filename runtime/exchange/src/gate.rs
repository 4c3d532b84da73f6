//! The consumer's side: takes turns among the channels that have something, decodes straight into the operator.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Instant,
};

use flink_record::{Record, Timestamp};

use crate::{
    channel::{ChannelId, ChannelMetrics, Event, Peer},
    environment::{Core, NetworkEnvironment},
    error::ExchangeError,
    local::{Batch, LocalChannel, LocalItem, Received},
    registry::End,
    remote::{Moved, RemoteReceiver, Turn},
    signal::TaskSignal,
    transport::Request,
};

/// Bytes that a channel may deliver before the next one gets its turn.
const TURN_BYTES: usize = 128 << 10;

/// What [`InputGate::next`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GateStatus {
    /// Records went to the sink. There may be more.
    Progress,
    /// An event came, behind all records of its channel that were sent before it.
    Event {
        /// Index of the channel, in the order in which the gate was given them.
        channel: usize,
        /// The event.
        event: Event,
    },
    /// Nothing to read for now: [`TaskSignal::wake`] was called, or the deadline is over.
    Woken,
    /// Every channel has ended cleanly.
    Finished,
}

/// Reads the records of one consumer subtask from the channels of one edge, or of several edges with the same record type.
///
/// Must be driven by one thread at a time. Dropping it tells the producers that their consumer is gone.
pub struct InputGate<T> {
    core: Core,
    signal: TaskSignal,
    inputs: Vec<Input<T>>,
    /// Channels that have not ended.
    open: usize,
    ready: Arc<ReadyList>,
    /// Channels whose turn comes next, in this order.
    turns: VecDeque<u32>,
    metrics: Vec<Arc<ChannelMetrics>>,
    /// Keeps the I/O thread alive.
    _environment: NetworkEnvironment,
}

struct Input<T> {
    source: Source<T>,
    announcer: Arc<Announcer>,
    waker: Waker,
}

enum Source<T> {
    Remote(RemoteReceiver),
    Local {
        channel: Arc<LocalChannel<T>>,
        id: ChannelId,
        emptied: Option<Batch<T>>,
    },
    Ended,
}

impl<T: Record> InputGate<T> {
    /// A gate on `channels`, whose producers may come later.
    ///
    /// # Errors
    /// When a channel has a consumer already, a local one has a producer of another record type, or the environment is shut down.
    pub fn new(
        environment: &NetworkEnvironment,
        channels: Vec<(ChannelId, Peer)>,
        signal: TaskSignal,
    ) -> Result<Self, ExchangeError> {
        let ready = Arc::new(ReadyList {
            queue: Mutex::new(Vec::new()),
            signal: signal.clone(),
        });
        let mut gate = Self {
            core: environment.core().clone(),
            signal,
            inputs: Vec::with_capacity(channels.len()),
            open: channels.len(),
            // Everyone gets a first turn, which registers its waker.
            turns: (0..channels.len() as u32).collect(),
            ready,
            metrics: Vec::with_capacity(channels.len()),
            _environment: environment.clone(),
        };
        for (index, (id, peer)) in channels.into_iter().enumerate() {
            let source = match peer {
                Peer::Remote(peer) => {
                    let receiver = RemoteReceiver::open(&gate.core, id, peer)?;
                    gate.core.request(Request::Expect { peer, channels: 1 });
                    Source::Remote(receiver)
                }
                Peer::Local => {
                    let channel = gate.core.registry.local(id, End::Consumer)?;
                    Source::Local {
                        channel,
                        id,
                        emptied: None,
                    }
                }
            };
            let list = Arc::clone(&gate.ready);
            let announcer = Arc::new(Announcer {
                index: index as u32,
                announced: AtomicBool::new(false),
                list,
            });
            gate.inputs.push(Input {
                source,
                waker: Waker::from(Arc::clone(&announcer)),
                announcer,
            });
            gate.metrics.push(Arc::new(ChannelMetrics::new(id, peer)));
        }
        Ok(gate)
    }

    /// Gives one channel its turn: hands its records with their timestamps to `sink`, about 128 KiB at most, or returns the event that comes next.
    /// Waits when no channel has anything, until `deadline` at most (`None`: without limit).
    ///
    /// # Errors
    /// `Cancelled`, `ProducerFailed`, `PeerLost`, `Malformed`, or what `sink` returned. The gate is of no use afterwards.
    pub fn next<E: From<ExchangeError>>(
        &mut self,
        deadline: Option<Instant>,
        sink: &mut impl FnMut(T, Timestamp) -> Result<(), E>,
    ) -> Result<GateStatus, E> {
        let mut bound = false;
        loop {
            if let Some(status) = self.poll_next(sink)? {
                return Ok(status);
            }
            if !bound {
                // From here on this thread is the one to be woken; what came before must be looked at once more.
                self.signal.bind();
                bound = true;
                continue;
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(GateStatus::Woken);
            }
            self.signal.park(deadline);
        }
    }

    /// As [`next`](Self::next), but `None` instead of waiting. A task with several gates calls [`TaskSignal::bind`], polls each of them
    /// and, when all have nothing, waits with [`TaskSignal::park`].
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    pub fn poll_next<E: From<ExchangeError>>(
        &mut self,
        sink: &mut impl FnMut(T, Timestamp) -> Result<(), E>,
    ) -> Result<Option<GateStatus>, E> {
        loop {
            if self.signal.is_cancelled() {
                return Err(ExchangeError::Cancelled.into());
            }
            if self.signal.take_woken() {
                return Ok(Some(GateStatus::Woken));
            }
            if self.open == 0 {
                return Ok(Some(GateStatus::Finished));
            }
            self.ready.take(&mut self.turns);
            let Some(index) = self.turns.pop_front() else {
                return Ok(None);
            };
            if let Some(status) = self.turn(index, sink)? {
                return Ok(Some(status));
            }
        }
    }

    /// One turn of one channel; `None` when nothing came of it.
    fn turn<E: From<ExchangeError>>(
        &mut self,
        index: u32,
        sink: &mut impl FnMut(T, Timestamp) -> Result<(), E>,
    ) -> Result<Option<GateStatus>, E> {
        let channel = index as usize;
        let input = &mut self.inputs[channel];
        // Before reading: what becomes ready while we read must be announced again.
        input.announcer.announced.store(false, Ordering::Release);
        let mut moved = Moved::default();
        let turn = input.turn(&mut moved, sink);
        if moved.bytes > 0 || moved.buffers > 0 {
            self.metrics[channel].add(moved.records, moved.bytes, moved.buffers);
        }
        let progress = (moved.records > 0).then_some(GateStatus::Progress);
        match turn? {
            Turn::Idle => Ok(progress),
            Turn::More => {
                self.turns.push_back(index);
                Ok(progress)
            }
            Turn::Event(event) => {
                self.turns.push_back(index);
                Ok(Some(GateStatus::Event { channel, event }))
            }
            Turn::Ended => {
                self.end(channel);
                Ok(progress)
            }
        }
    }

    fn end(&mut self, channel: usize) {
        let ended = std::mem::replace(&mut self.inputs[channel].source, Source::Ended);
        ended.close(&self.core);
        self.open -= 1;
    }
}

impl<T> InputGate<T> {
    /// Counters of the channels, in their order.
    pub fn metrics(&self) -> &[Arc<ChannelMetrics>] {
        &self.metrics
    }
}

impl<T> Drop for InputGate<T> {
    fn drop(&mut self) {
        for input in self.inputs.drain(..) {
            input.source.close(&self.core);
        }
    }
}

impl<T> Source<T> {
    /// Takes leave of the producer; without effect on one that has finished.
    fn close(self, core: &Core) {
        match self {
            Self::Remote(mut receiver) => {
                receiver.abandon(core);
                core.request(Request::Unexpect {
                    peer: receiver.peer(),
                    channels: 1,
                });
            }
            Self::Local { channel, .. } => channel.drop_consumer(),
            Self::Ended => {}
        }
    }
}

impl<T: Record> Input<T> {
    fn turn<E: From<ExchangeError>>(
        &mut self,
        moved: &mut Moved,
        sink: &mut impl FnMut(T, Timestamp) -> Result<(), E>,
    ) -> Result<Turn, E> {
        let mut cx = Context::from_waker(&self.waker);
        match &mut self.source {
            Source::Remote(receiver) => receiver.turn(&mut cx, TURN_BYTES, moved, sink),
            Source::Local { channel, id, emptied } => {
                let failed = ExchangeError::ProducerFailed { channel: *id };
                turn_local(channel, emptied, &mut cx, moved, sink)?.ok_or_else(|| failed.into())
            }
            Source::Ended => Ok(Turn::Idle),
        }
    }
}

/// `None` when the producer failed.
fn turn_local<T: Record, E>(
    channel: &LocalChannel<T>,
    emptied: &mut Option<Batch<T>>,
    cx: &mut Context<'_>,
    moved: &mut Moved,
    sink: &mut impl FnMut(T, Timestamp) -> Result<(), E>,
) -> Result<Option<Turn>, E> {
    while moved.bytes < TURN_BYTES as u64 {
        match channel.poll_receive(cx, emptied.take()) {
            Poll::Pending => return Ok(Some(Turn::Idle)),
            Poll::Ready(Received::Failed) => return Ok(None),
            Poll::Ready(Received::Finished) => return Ok(Some(Turn::Ended)),
            Poll::Ready(Received::Item(LocalItem::Event(event))) => {
                moved.buffers += 1;
                return Ok(Some(Turn::Event(event)));
            }
            Poll::Ready(Received::Item(LocalItem::Batch(mut batch))) => {
                moved.records += batch.len() as u64;
                moved.bytes += size_of_val(batch.as_slice()) as u64;
                moved.buffers += 1;
                for (record, timestamp) in batch.drain(..) {
                    sink(record, timestamp)?;
                }
                *emptied = Some(batch);
            }
        }
    }
    Ok(Some(Turn::More))
}

/// Channels that have something, as their wakers announce them; each at most once.
struct ReadyList {
    queue: Mutex<Vec<u32>>,
    signal: TaskSignal,
}

impl ReadyList {
    fn push(&self, index: u32) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = queue.is_empty();
        queue.push(index);
        drop(queue);
        // The task takes the whole list, so only its first entry needs to wake it.
        if was_empty {
            self.signal.unpark();
        }
    }

    fn take(&self, turns: &mut VecDeque<u32>) {
        turns.extend(self.queue.lock().unwrap_or_else(PoisonError::into_inner).drain(..));
    }
}

/// The waker of one channel.
struct Announcer {
    index: u32,
    announced: AtomicBool,
    list: Arc<ReadyList>,
}

impl Wake for Announcer {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.announced.swap(true, Ordering::AcqRel) {
            self.list.push(self.index);
        }
    }
}

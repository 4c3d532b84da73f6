//! The producer's side: partitions records over channels, encodes them into buffers, waits when a consumer is slow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;

use flink_record::{Record, Timestamp};

use crate::{
    channel::{ChannelId, ChannelMetrics, Event, Peer},
    environment::{Core, NetworkEnvironment},
    error::ExchangeError,
    flush::FlushTimer,
    frame::{FrameBuilder, MAX_RECORD_BYTES, buffer_pool, event_frame},
    local::{Batch, LocalChannel, LocalItem, batch_records},
    registry::End,
    remote::RemoteSender,
    selector::ChannelSelector,
    signal::TaskSignal,
};

/// How long a record may wait in a buffer that does not fill up.
pub const DEFAULT_BUFFER_TIMEOUT: Duration = Duration::from_millis(100);

/// Writes the records of one producer subtask to the channels of one edge.
///
/// Records wait in one buffer per channel (32 KiB encoded, or a batch of about as much inside the worker) until it is full, the
/// buffer timeout is over, or an event follows them. A writer that is dropped without [`finish`](Self::finish) has failed,
/// and its consumers see so; it must be driven by one thread at a time.
pub struct RecordWriter<T> {
    core: Core,
    outputs: Vec<Output<T>>,
    distribution: Distribution<T>,
    metrics: Vec<Arc<ChannelMetrics>>,
    blocker: Blocker,
    timer: Arc<FlushTimer>,
    flush_always: bool,
    /// Some buffer holds records.
    pending: bool,
    end_of_data: bool,
    /// Keeps the I/O thread alive.
    _environment: NetworkEnvironment,
}

enum Distribution<T> {
    Select(Box<dyn ChannelSelector<T>>),
    /// One encoding for all remote channels; `clone` for the local ones.
    Broadcast {
        frame: FrameBuilder,
        clone: fn(&T) -> T,
    },
}

enum Output<T> {
    Remote {
        sender: RemoteSender,
        frame: FrameBuilder,
    },
    Local {
        channel: Arc<LocalChannel<T>>,
        id: ChannelId,
        batch: Batch<T>,
    },
}

impl<T: Record> RecordWriter<T> {
    /// A writer that sends each record to the channel that `selector` chooses. Connects in the background; a channel that is not
    /// there yet holds its writer up like a full one.
    ///
    /// `buffer_timeout` bounds how long a record waits in its buffer (see [`flush_if_due`](Self::flush_if_due)); zero sends every
    /// record at once, `Duration::MAX` waits for full buffers.
    ///
    /// # Errors
    /// When `channels` names a local channel whose producer exists already or whose consumer has another record type, or
    /// when the environment is shut down.
    pub fn new(
        environment: &NetworkEnvironment,
        channels: Vec<(ChannelId, Peer)>,
        selector: impl ChannelSelector<T> + 'static,
        signal: TaskSignal,
        buffer_timeout: Duration,
    ) -> Result<Self, ExchangeError> {
        Self::open(
            environment,
            channels,
            Distribution::Select(Box::new(selector)),
            signal,
            buffer_timeout,
        )
    }

    /// A writer that sends each record to every channel. Remote channels share one encoding; only local ones cost a clone.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn broadcast(
        environment: &NetworkEnvironment,
        channels: Vec<(ChannelId, Peer)>,
        signal: TaskSignal,
        buffer_timeout: Duration,
    ) -> Result<Self, ExchangeError>
    where
        T: Clone,
    {
        let distribution = Distribution::Broadcast {
            frame: FrameBuilder::new(&buffer_pool()),
            clone: T::clone,
        };
        Self::open(environment, channels, distribution, signal, buffer_timeout)
    }

    fn open(
        environment: &NetworkEnvironment,
        channels: Vec<(ChannelId, Peer)>,
        distribution: Distribution<T>,
        signal: TaskSignal,
        buffer_timeout: Duration,
    ) -> Result<Self, ExchangeError> {
        let core = environment.core().clone();
        let pool = buffer_pool();
        let mut writer = Self {
            outputs: Vec::with_capacity(channels.len()),
            metrics: Vec::with_capacity(channels.len()),
            distribution,
            blocker: Blocker::new(signal.clone()),
            timer: core.clock.register(buffer_timeout, signal),
            flush_always: buffer_timeout.is_zero(),
            pending: false,
            end_of_data: false,
            _environment: environment.clone(),
            core,
        };
        for (id, peer) in channels {
            // What was opened before an error is dropped with the writer, and so reported as failed.
            writer.outputs.push(match peer {
                Peer::Remote(peer) => Output::Remote {
                    sender: RemoteSender::open(&writer.core, id, peer),
                    frame: FrameBuilder::new(&pool),
                },
                Peer::Local => {
                    let channel = writer.core.registry.local(id, End::Producer)?;
                    Output::Local {
                        channel,
                        id,
                        batch: Vec::new(),
                    }
                }
            });
            writer.metrics.push(Arc::new(ChannelMetrics::new(id, peer)));
        }
        Ok(writer)
    }

    /// Sends a record with its timestamp, or [`NO_TIMESTAMP`](flink_record::NO_TIMESTAMP). Blocks only while its channel's buffer is full and the consumer gives no credit.
    ///
    /// # Errors
    /// `Cancelled`, `ConsumerGone`, `PeerLost`, `Connect`, `RecordTooLarge`; after all but the last the writer is of no use.
    ///
    /// # Panics
    /// When the selector answers with a channel that does not exist.
    #[inline]
    pub fn write(&mut self, record: T, timestamp: Timestamp) -> Result<(), ExchangeError> {
        if self.blocker.signal.is_cancelled() {
            return Err(ExchangeError::Cancelled);
        }
        let Distribution::Select(selector) = &mut self.distribution else {
            return self.write_to_all(record, timestamp);
        };
        let count = self.outputs.len() as u32;
        if count == 0 {
            return Ok(());
        }
        let index = selector.select(&record, count) as usize;
        let full = match &mut self.outputs[index] {
            Output::Remote { frame, .. } => frame.push(&record, timestamp).map_err(too_large)?,
            Output::Local { batch, .. } => {
                batch.push((record, timestamp));
                batch.len() >= batch_records::<T>()
            }
        };
        if full || self.flush_always {
            return self.outputs[index].flush(&mut self.blocker, &self.metrics[index]);
        }
        self.note_pending();
        Ok(())
    }

    fn write_to_all(&mut self, record: T, timestamp: Timestamp) -> Result<(), ExchangeError> {
        let Distribution::Broadcast { frame, clone } = &mut self.distribution else {
            return Ok(());
        };
        let mut full = frame.push(&record, timestamp).map_err(too_large)?;
        for output in &mut self.outputs {
            if let Output::Local { batch, .. } = output {
                batch.push((clone(&record), timestamp));
                full |= batch.len() >= batch_records::<T>();
            }
        }
        if full || self.flush_always {
            return self.flush();
        }
        self.note_pending();
        Ok(())
    }

    #[inline]
    fn note_pending(&mut self) {
        if !self.pending {
            self.pending = true;
            self.timer.start();
        }
    }

    /// Sends what waits in the buffers. Blocks like [`write`](Self::write).
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn flush(&mut self) -> Result<(), ExchangeError> {
        self.pending = false;
        self.timer.stop();
        if let Distribution::Broadcast { frame, .. } = &mut self.distribution
            && let Some((frame, records)) = frame.take()
        {
            self.send_to_remotes(&frame, records)?;
        }
        for (output, metrics) in self.outputs.iter_mut().zip(&self.metrics) {
            output.flush(&mut self.blocker, metrics)?;
        }
        Ok(())
    }

    /// Flushes if a record has been waiting for longer than the buffer timeout: one relaxed load when not. When it becomes
    /// due, the task is woken as by [`TaskSignal::wake`], so that a task that waits for input gets to call this.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    #[inline]
    pub fn flush_if_due(&mut self) -> Result<(), ExchangeError> {
        if self.timer.is_due() { self.flush() } else { Ok(()) }
    }

    /// Sends an event to every channel, behind all records written so far. Blocks like [`write`](Self::write).
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn broadcast_event(&mut self, event: Event) -> Result<(), ExchangeError> {
        self.flush()?;
        self.end_of_data |= event == Event::EndOfData;
        self.send_to_remotes(&event_frame(event), 0)?;
        for (output, metrics) in self.outputs.iter_mut().zip(&self.metrics) {
            if let Output::Local { channel, id, .. } = output {
                send_local(&mut self.blocker, channel, *id, LocalItem::Event(event))?;
                metrics.add(0, 0, 1);
            }
        }
        Ok(())
    }

    /// Ends all channels cleanly: flushes, sends `EndOfData` unless that was sent before, and closes. When this returns, all data are
    /// with the transport; it goes on sending them, and [`NetworkEnvironment::shutdown`] waits until the peers' transports
    /// have acknowledged everything. That a consumer has processed the data is not implied.
    ///
    /// # Errors
    /// As for [`write`](Self::write); then consumers see a failed producer.
    pub fn finish(mut self) -> Result<(), ExchangeError> {
        if self.end_of_data {
            self.flush()?;
        } else {
            self.broadcast_event(Event::EndOfData)?;
        }
        for output in &mut self.outputs {
            match output {
                Output::Remote { sender, .. } => sender.finish(&self.core),
                Output::Local { channel, .. } => channel.finish(),
            }
        }
        Ok(())
    }

    /// Counters of the channels, in their order.
    pub fn metrics(&self) -> &[Arc<ChannelMetrics>] {
        &self.metrics
    }

    fn send_to_remotes(&mut self, frame: &Bytes, records: u64) -> Result<(), ExchangeError> {
        for (output, metrics) in self.outputs.iter_mut().zip(&self.metrics) {
            if let Output::Remote { sender, .. } = output {
                send_remote(&mut self.blocker, sender, frame.clone())?;
                metrics.add(records, frame.len() as u64, 1);
            }
        }
        Ok(())
    }
}

impl<T> Drop for RecordWriter<T> {
    fn drop(&mut self) {
        for output in &mut self.outputs {
            match output {
                Output::Remote { sender, .. } => sender.fail(&self.core),
                Output::Local { channel, .. } => channel.drop_producer(),
            }
        }
    }
}

impl<T> Output<T> {
    fn flush(&mut self, blocker: &mut Blocker, metrics: &ChannelMetrics) -> Result<(), ExchangeError> {
        match self {
            Self::Remote { sender, frame } => {
                let Some((frame, records)) = frame.take() else {
                    return Ok(());
                };
                metrics.add(records, frame.len() as u64, 1);
                send_remote(blocker, sender, frame)
            }
            Self::Local { channel, id, batch } => {
                if batch.is_empty() {
                    return Ok(());
                }
                metrics.add(batch.len() as u64, size_of_val(batch.as_slice()) as u64, 1);
                let spare = send_local(blocker, channel, *id, LocalItem::Batch(std::mem::take(batch)))?;
                *batch = spare.unwrap_or_default();
                Ok(())
            }
        }
    }
}

fn send_remote(blocker: &mut Blocker, sender: &mut RemoteSender, mut frame: Bytes) -> Result<(), ExchangeError> {
    sender.prepare(&frame);
    blocker.block(|cx| sender.poll_send(cx, &mut frame))?
}

fn send_local<T>(
    blocker: &mut Blocker,
    channel: &LocalChannel<T>,
    id: ChannelId,
    item: LocalItem<T>,
) -> Result<Option<Batch<T>>, ExchangeError> {
    let mut item = Some(item);
    blocker
        .block(|cx| channel.poll_send(cx, &mut item))?
        .map_err(|_disconnected| ExchangeError::ConsumerGone { channel: id })
}

fn too_large(bytes: usize) -> ExchangeError {
    ExchangeError::RecordTooLarge {
        bytes,
        max: MAX_RECORD_BYTES,
    }
}

/// Makes a task thread wait for something that is polled.
struct Blocker {
    signal: TaskSignal,
    ready: Arc<Ready>,
    waker: Waker,
}

struct Ready {
    flag: AtomicBool,
    signal: TaskSignal,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.flag.swap(true, Ordering::AcqRel) {
            self.signal.unpark();
        }
    }
}

impl Blocker {
    fn new(signal: TaskSignal) -> Self {
        let ready = Arc::new(Ready {
            flag: AtomicBool::new(false),
            signal: signal.clone(),
        });
        Self {
            signal,
            waker: Waker::from(Arc::clone(&ready)),
            ready,
        }
    }

    /// Polls until ready or cancelled.
    fn block<R>(&mut self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>) -> Result<R, ExchangeError> {
        loop {
            self.ready.flag.store(false, Ordering::Release);
            if let Poll::Ready(result) = poll(&mut Context::from_waker(&self.waker)) {
                return Ok(result);
            }
            self.signal.bind();
            while !self.ready.flag.load(Ordering::Acquire) {
                if self.signal.is_cancelled() {
                    return Err(ExchangeError::Cancelled);
                }
                self.signal.park(None);
            }
            if self.signal.is_cancelled() {
                return Err(ExchangeError::Cancelled);
            }
        }
    }
}

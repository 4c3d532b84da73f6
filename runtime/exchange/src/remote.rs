//! The two ends of a QUIC channel, polled by task threads.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use tokio::sync::oneshot;

use flink_record::{Record, Timestamp};

use crate::{
    channel::ChannelId,
    environment::Core,
    error::ExchangeError,
    frame::{BUFFER_BYTES, FrameReader, Step},
    registry::Arrival,
    transport::{Opened, RESET_PRODUCER_FAILED, Request, lost},
};

/// The producer's end.
pub(crate) struct RemoteSender {
    channel: ChannelId,
    peer: SocketAddr,
    state: Sending,
    /// Wanted priority of the stream, and the one it has.
    priority: [i32; 2],
}

enum Sending {
    Opening(oneshot::Receiver<Opened>),
    Open(SendStream),
    Finished,
}

impl RemoteSender {
    /// Asks the I/O thread for the stream.
    pub(crate) fn open(core: &Core, channel: ChannelId, peer: SocketAddr) -> Self {
        let (reply, opened) = oneshot::channel();
        core.request(Request::Open { channel, peer, reply });
        Self {
            channel,
            peer,
            state: Sending::Opening(opened),
            priority: [0; 2],
        }
    }

    /// Announces the next frame. A channel that sends buffers that are not full (events, flushes of little data) goes before
    /// those that have more to send than fits: its message does not wait for a round of all others' bulk data, and costs them
    /// next to nothing.
    pub(crate) fn prepare(&mut self, frame: &Bytes) {
        self.priority[0] = i32::from(frame.len() < BUFFER_BYTES);
    }

    /// Hands `frame` to the transport, piece by piece as there is credit. Ready when all of it is there.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, frame: &mut Bytes) -> Poll<Result<(), ExchangeError>> {
        loop {
            match &mut self.state {
                Sending::Opening(opened) => match ready!(Pin::new(opened).poll(cx)) {
                    Ok(Ok(stream)) => self.state = Sending::Open(stream),
                    Ok(Err(error)) => return Poll::Ready(Err(error)),
                    Err(_) => return Poll::Ready(Err(ExchangeError::ShutDown)),
                },
                Sending::Open(_) if frame.is_empty() => return Poll::Ready(Ok(())),
                Sending::Open(stream) => {
                    let [wanted, priority] = &mut self.priority;
                    if wanted != priority {
                        *priority = *wanted;
                        // A stream that is closed by now says so below.
                        let _ = stream.set_priority(*priority);
                    }
                    let written = ready!(pin!(stream.write_chunks(std::slice::from_mut(frame))).poll(cx));
                    if let Err(error) = written {
                        return Poll::Ready(Err(self.error(error)));
                    }
                }
                Sending::Finished => return Poll::Ready(Err(ExchangeError::ConsumerGone { channel: self.channel })),
            }
        }
    }

    fn error(&self, error: WriteError) -> ExchangeError {
        match error {
            WriteError::ConnectionLost(cause) => lost(self.peer, &cause),
            _ => ExchangeError::ConsumerGone { channel: self.channel },
        }
    }

    /// Ends the stream cleanly, and makes shutting down wait until the peer has acknowledged it.
    pub(crate) fn finish(&mut self, core: &Core) {
        if let Sending::Open(stream) = &mut self.state {
            // A stream that the consumer has stopped meanwhile needs no end.
            let _ = stream.finish();
            let acknowledged = stream.stopped();
            core.request(Request::Linger(Box::pin(async move {
                let _ = acknowledged.await;
            })));
            self.state = Sending::Finished;
        }
    }

    /// Unless finished: the producer failed. Takes back what is not yet received, and says so to the peer.
    pub(crate) fn fail(&mut self, core: &Core) {
        match std::mem::replace(&mut self.state, Sending::Finished) {
            Sending::Finished => return,
            Sending::Opening(mut opened) => {
                if let Ok(Ok(mut stream)) = opened.try_recv() {
                    let _ = stream.reset(RESET_PRODUCER_FAILED);
                }
            }
            Sending::Open(mut stream) => {
                let _ = stream.reset(RESET_PRODUCER_FAILED);
            }
        }
        core.request(Request::Abort {
            channel: self.channel,
            peer: self.peer,
        });
    }
}

/// Chunks taken from the transport at a time, under one lock of the connection.
const CHUNKS: usize = 16;

/// The consumer's end.
pub(crate) struct RemoteReceiver {
    channel: ChannelId,
    peer: SocketAddr,
    state: Receiving,
    /// Taken from the transport and not yet decoded: what an event or the budget left over.
    chunks: VecDeque<Bytes>,
    reader: FrameReader,
}

enum Receiving {
    Opening(oneshot::Receiver<Arrival>),
    Open(RecvStream),
    /// The stream ended; chunks may be left.
    Ended,
}

/// What a turn of a channel came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing is there now; the waker will be told.
    Idle,
    /// The budget is used up; there may be more.
    More,
    /// An event comes next.
    Event(crate::channel::Event),
    /// The channel ended cleanly.
    Ended,
}

/// What a turn moved.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Moved {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) buffers: u64,
}

impl RemoteReceiver {
    pub(crate) fn open(core: &Core, channel: ChannelId, peer: SocketAddr) -> Result<Self, ExchangeError> {
        let arrival = core.registry.expect(channel, peer)?;
        Ok(Self {
            channel,
            peer,
            state: Receiving::Opening(arrival),
            chunks: VecDeque::new(),
            reader: FrameReader::default(),
        })
    }

    /// Decodes what is there, up to about `budget` bytes or the next event.
    pub(crate) fn turn<T: Record, E: From<ExchangeError>>(
        &mut self,
        cx: &mut Context<'_>,
        budget: usize,
        moved: &mut Moved,
        sink: &mut impl FnMut(T, Timestamp) -> Result<(), E>,
    ) -> Result<Turn, E> {
        let mut left = budget;
        loop {
            while let Some(chunk) = self.chunks.front_mut() {
                let before = chunk.len();
                let channel = self.channel;
                let step = self
                    .reader
                    .step(chunk, |error| ExchangeError::malformed(channel, error).into(), sink)?;
                let used = before - chunk.len();
                moved.bytes += used as u64;
                left = left.saturating_sub(used);
                if chunk.is_empty() {
                    self.chunks.pop_front();
                }
                match step {
                    Step::NeedMore(records) => moved.records += records,
                    Step::FrameEnd(records) => {
                        moved.records += records;
                        moved.buffers += 1;
                    }
                    Step::Event(event) => {
                        moved.buffers += 1;
                        return Ok(Turn::Event(event));
                    }
                }
            }
            if left == 0 {
                return Ok(Turn::More);
            }
            match self.poll_chunks(cx) {
                Poll::Pending => return Ok(Turn::Idle),
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Ok(Turn::Ended),
            }
        }
    }

    /// Takes chunks from the transport; `false` at the end of the stream.
    fn poll_chunks(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ExchangeError>> {
        loop {
            match &mut self.state {
                Receiving::Opening(arrival) => match ready!(Pin::new(arrival).poll(cx)) {
                    Ok(Ok(stream)) => self.state = Receiving::Open(stream),
                    Ok(Err(error)) => return Poll::Ready(Err(error)),
                    Err(_) => return Poll::Ready(Err(ExchangeError::ProducerFailed { channel: self.channel })),
                },
                Receiving::Open(stream) => {
                    let mut chunks = [const { Bytes::new() }; CHUNKS];
                    let count = ready!(pin!(stream.read_chunks(&mut chunks)).poll(cx));
                    match count {
                        Ok(Some(count)) => self.chunks.extend(chunks.into_iter().take(count)),
                        Ok(None) => self.state = Receiving::Ended,
                        Err(error) => return Poll::Ready(Err(self.error(error))),
                    }
                    if !self.chunks.is_empty() {
                        return Poll::Ready(Ok(true));
                    }
                }
                Receiving::Ended if self.reader.at_boundary() => return Poll::Ready(Ok(false)),
                Receiving::Ended => {
                    return Poll::Ready(Err(ExchangeError::ProducerFailed { channel: self.channel }));
                }
            }
        }
    }

    fn error(&self, error: ReadError) -> ExchangeError {
        match error {
            ReadError::ConnectionLost(cause) => lost(self.peer, &cause),
            _ => ExchangeError::ProducerFailed { channel: self.channel },
        }
    }

    /// The consumer goes away. An open stream is stopped by being dropped.
    pub(crate) fn abandon(&mut self, core: &Core) {
        if matches!(self.state, Receiving::Opening(_)) {
            core.registry.abandon(self.channel);
        }
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }
}

//! Names of the data plane: channels, peers, events, and what is counted per channel.

use std::{
    fmt,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use flink_record::{DecodeError, Record, Timestamp};
use serde::{Deserialize, Serialize};

/// One logical channel: from one producer subtask to one consumer subtask over one edge of the graph, in one attempt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ChannelId {
    /// The edge of the job graph.
    pub edge: u32,
    /// Index of the producer's subtask.
    pub producer: u32,
    /// Index of the consumer's subtask.
    pub consumer: u32,
    /// Attempt; grows with every deployment of either end, so that data of a cancelled attempt never reaches a new one.
    pub attempt: u32,
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}->{}#{}", self.edge, self.producer, self.consumer, self.attempt)
    }
}

/// Bytes of an encoded [`ChannelId`].
pub(crate) const CHANNEL_ID_BYTES: usize = 16;

impl Record for ChannelId {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.edge, self.producer, self.consumer, self.attempt).encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let (edge, producer, consumer, attempt) = Record::decode(input)?;
        Ok(Self {
            edge,
            producer,
            consumer,
            attempt,
        })
    }
}

/// Where the other end of a channel runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Peer {
    /// In this worker process.
    Local,
    /// In the worker whose data plane listens at this address.
    Remote(SocketAddr),
}

/// What travels between the records of a channel, in order with them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The producer has no more records. Other events may still follow before the channel ends.
    EndOfData,
    /// The producer's event time: it sends no more records with this timestamp or an older one, other than late ones.
    /// `Timestamp::MAX` when its input has ended.
    Watermark(Timestamp),
    /// Whether the producer's event time is to be waited for.
    WatermarkStatus(WatermarkStatus),
}

/// Whether a stream takes part in event time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatermarkStatus {
    /// Its watermarks count, as they do at the start.
    Active,
    /// It may have no records for long: consumers do not wait for its watermarks.
    Idle,
}

impl Record for Event {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::EndOfData => out.push(0),
            Self::Watermark(timestamp) => {
                out.push(1);
                timestamp.encode(out);
            }
            Self::WatermarkStatus(WatermarkStatus::Active) => out.push(2),
            Self::WatermarkStatus(WatermarkStatus::Idle) => out.push(3),
        }
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(Self::EndOfData),
            1 => Timestamp::decode(input).map(Self::Watermark),
            2 => Ok(Self::WatermarkStatus(WatermarkStatus::Active)),
            3 => Ok(Self::WatermarkStatus(WatermarkStatus::Idle)),
            _ => Err(DecodeError::Invalid("event")),
        }
    }
}

/// How a channel carries its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Transport {
    /// Typed batches inside the process.
    Local,
    /// A QUIC stream.
    Quic,
}

/// Counters of one end of one channel. Brought up to date once per buffer or batch, not per record.
#[derive(Debug)]
pub struct ChannelMetrics {
    /// The channel.
    pub channel: ChannelId,
    /// How it carries its data.
    pub transport: Transport,
    /// Where its other end runs.
    pub peer: Peer,
    records: AtomicU64,
    bytes: AtomicU64,
    buffers: AtomicU64,
}

impl ChannelMetrics {
    pub(crate) fn new(channel: ChannelId, peer: Peer) -> Self {
        let transport = match peer {
            Peer::Local => Transport::Local,
            Peer::Remote(_) => Transport::Quic,
        };
        let zero = || AtomicU64::new(0);
        Self {
            channel,
            transport,
            peer,
            records: zero(),
            bytes: zero(),
            buffers: zero(),
        }
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Bytes so far: encoded bytes with frame headers of a QUIC channel, `size_of` times records of a local one.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Buffers (frames or batches, events included) so far.
    pub fn buffers(&self) -> u64 {
        self.buffers.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, records: u64, bytes: u64, buffers: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.buffers.fetch_add(buffers, Ordering::Relaxed);
    }
}

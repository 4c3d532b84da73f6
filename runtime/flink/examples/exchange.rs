//! Moves generated records all to all, by key, and checks that every one of them arrived as it was sent: for measuring
//! the data plane.
//!
//! Each producer adds up what it sends and sends the sums last; the one task at the end compares them with the sums of
//! what has arrived.
//!
//! ```text
//! cargo run --release --example exchange -- --records 10000000 --size 103
//! ```

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use flink::{DecodeError, Record, Result, RuntimeMode, StreamExecutionEnvironment};
use serde::{Deserialize, Serialize};

/// Moves generated records all to all and checks them.
#[derive(Debug, Clone, Parser, Serialize, Deserialize)]
struct Args {
    /// How many records to send, in all.
    #[arg(long, default_value_t = 10_000_000)]
    records: u64,
    /// Encoded size of a record, bytes.
    #[arg(long, default_value_t = 103, value_parser = clap::value_parser!(u32).range(i64::from(HEADER_BYTES)..=1 << 20))]
    size: u32,
    /// Stop after this many seconds, even if not all records were sent.
    #[arg(long)]
    seconds: Option<f64>,
    /// Number of different keys.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Give producers and consumers slots of their own. With one producer and one slot per TaskManager all records cross the
    /// network.
    #[arg(long)]
    one_way: bool,
}

fn main() -> ExitCode {
    flink::run(build)
}

fn build(env: &mut StreamExecutionEnvironment, args: Args) -> Result<()> {
    env.set_job_name("exchange").set_runtime_mode(RuntimeMode::Batch);
    let consumers = if args.one_way { "consumers" } else { "default" };
    env.from_parallel_iterator(move |subtask, parallelism| Producer::new(&args, subtask, parallelism))
        .name("generate")
        .key_by(|message| message.key)
        .fold(Sums::default(), |sums, message| match message.content.payload() {
            Ok(payload) => add(sums, message.key, message.number, payload),
            Err(sent) => *sums = plus(*sums, sent),
        })
        .name("receive")
        .slot_sharing_group(consumers)
        .map(|(key, sums)| match key {
            SENT => (Sums::default(), sums),
            _ => (sums, Sums::default()),
        })
        .key_by(|_| ())
        .reduce(|a, b| (plus(a.0, b.0), plus(a.1, b.1)))
        .name("total")
        .set_parallelism(1)
        .try_map(|(received, sent)| {
            let (records, bytes, checksum) = received;
            if received == sent {
                Ok(format!("records={records} bytes={bytes} checksum={checksum:016x} ok"))
            } else {
                Err(format!(
                    "received {received:?}, but sent were {sent:?} (records, bytes, checksum)"
                ))
            }
        })
        .name("check")
        .print();
    Ok(())
}

/// The key of what the producers have sent; records have smaller ones.
const SENT: u64 = u64::MAX;

/// Number of records, their encoded bytes, and the sum of their checksums.
type Sums = (u64, u64, u64);

fn plus(a: Sums, b: Sums) -> Sums {
    (a.0 + b.0, a.1 + b.1, a.2.wrapping_add(b.2))
}

/// Adds a record.
#[inline]
fn add(sums: &mut Sums, key: u64, number: u64, payload: &[u8]) {
    let bytes = payload.len() as u64 + u64::from(HEADER_BYTES);
    *sums = plus(*sums, (1, bytes, checksum(key, number, payload)));
}

/// Changes with every bit of a record. Four words at a time, so that none has to wait for the one before; the last four may
/// have been there already, which takes nothing away: they are then turned by one bit.
#[inline]
fn checksum(key: u64, number: u64, payload: &[u8]) -> u64 {
    let mut sums = [key, number, 0, 0];
    let Some(last) = payload.last_chunk::<32>() else {
        let bytes = payload.iter().map(|byte| u64::from(*byte));
        return bytes.fold(key ^ number.rotate_left(32), |sum, byte| sum.rotate_left(9) ^ byte);
    };
    for block in payload.as_chunks::<32>().0.iter().chain([last]) {
        for (sum, word) in sums.iter_mut().zip(block.as_chunks().0) {
            *sum = sum.rotate_left(1) ^ u64::from_le_bytes(*word);
        }
    }
    let [a, b, c, d] = sums;
    a ^ b.rotate_left(16) ^ c.rotate_left(32) ^ d.rotate_left(48)
}

/// A record as it might come from anywhere, and, last of each producer, what it has sent.
#[derive(Debug, Clone)]
struct Message {
    key: u64,
    number: u64,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    /// A short payload, which lies in the record itself, as the fields of a plain struct would.
    Short { length: u8, bytes: [u8; SHORT_BYTES] },
    /// A longer payload.
    Long(Box<[u8]>),
    /// What a producer has sent.
    Sums(Sums),
}

/// Longest payload that is [`Content::Short`].
const SHORT_BYTES: usize = 104;

/// Encoded bytes of a record without its payload.
const HEADER_BYTES: u32 = 8 + 8 + 4;

/// In place of a payload's length: sums follow.
const SUMS: u32 = u32::MAX;

impl Message {
    /// A message with the first bytes of `payload`, which may have more; `None` if it has fewer.
    #[inline]
    fn new(key: u64, number: u64, payload: &[u8], length: usize) -> Option<Self> {
        let content = if length > SHORT_BYTES {
            Content::Long(payload.get(..length)?.into())
        } else if let Some(bytes) = payload.first_chunk() {
            // Copying more than needed is cheaper than copying as many as the compiler does not know.
            let (length, bytes) = (length as u8, *bytes);
            Content::Short { length, bytes }
        } else {
            let mut bytes = [0; SHORT_BYTES];
            bytes[..length].copy_from_slice(payload.get(..length)?);
            let length = length as u8;
            Content::Short { length, bytes }
        };
        Some(Self { key, number, content })
    }
}

impl Content {
    /// The payload, or else the sums.
    #[inline]
    fn payload(&self) -> std::result::Result<&[u8], Sums> {
        match self {
            Self::Short { length, bytes } => Ok(&bytes[..usize::from(*length)]),
            Self::Long(bytes) => Ok(bytes),
            Self::Sums(sums) => Err(*sums),
        }
    }
}

impl Record for Message {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        self.key.encode(out);
        self.number.encode(out);
        match self.content.payload() {
            Ok(payload) => {
                (payload.len() as u32).encode(out);
                out.extend_from_slice(payload);
            }
            Err(sums) => (SUMS, sums).encode(out),
        }
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> std::result::Result<Self, DecodeError> {
        let (key, number, length) = <(u64, u64, u32)>::decode(input)?;
        if length == SUMS {
            let content = Content::Sums(Record::decode(input)?);
            return Ok(Self { key, number, content });
        }
        let message = Self::new(key, number, input, length as usize).ok_or(DecodeError::UnexpectedEnd)?;
        *input = &input[length as usize..];
        Ok(message)
    }
}

/// Yields the records of one subtask, then what it has sent.
struct Producer {
    next: u64,
    end: u64,
    keys: u64,
    payload_bytes: usize,
    /// Payloads are cut out of this.
    noise: Vec<u8>,
    deadline: Option<Instant>,
    sent: Option<Sums>,
}

/// Places in the noise at which a payload may begin.
const NOISE_STARTS: usize = 4096;

/// Records between two looks at the clock.
const CLOCK_INTERVAL: u64 = 1024;

impl Producer {
    fn new(args: &Args, subtask: u32, parallelism: u32) -> Self {
        let cut = |index: u32| (u128::from(args.records) * u128::from(index) / u128::from(parallelism)) as u64;
        let payload_bytes = (args.size - HEADER_BYTES) as usize;
        Self {
            next: cut(subtask),
            end: cut(subtask + 1),
            keys: args.keys,
            payload_bytes,
            noise: (0..(NOISE_STARTS + payload_bytes.max(SHORT_BYTES)) as u64)
                .map(|index| (scramble(index) >> 56) as u8)
                .collect(),
            deadline: args
                .seconds
                .map(|seconds| Instant::now() + Duration::from_secs_f64(seconds.max(0.0))),
            sent: Some(Sums::default()),
        }
    }

    fn is_over(&self) -> bool {
        let look = self.next.is_multiple_of(CLOCK_INTERVAL);
        self.next == self.end || look && self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }
}

impl Iterator for Producer {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        if self.is_over() {
            self.end = self.next;
            return self.sent.take().map(|sums| Message {
                key: SENT,
                number: 0,
                content: Content::Sums(sums),
            });
        }
        let number = self.next;
        self.next += 1;
        let scrambled = scramble(number);
        let start = scrambled as usize % NOISE_STARTS;
        let payload = &self.noise[start..];
        let key = (scrambled >> 32) % self.keys;
        if let Some(sent) = &mut self.sent {
            add(sent, key, number, &payload[..self.payload_bytes]);
        }
        Message::new(key, number, payload, self.payload_bytes)
    }
}

/// Spreads numbers over all bits (the finalizer of SplitMix64).
fn scramble(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

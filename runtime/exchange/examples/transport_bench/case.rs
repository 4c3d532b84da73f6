//! One case, as the two processes are told of it, and what they answer. All of it as lines of JSON.

use std::{
    io::{self, BufRead, Write},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use flink_graph::JobId;
use flink_rpc::Identity;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{quic, tls};

/// Channels that are written to as fast as possible, beside which others are stalled or slow.
pub(crate) const CHANNELS: u32 = 64;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// One TCP stream with TLS, 32 KiB writes, no records.
    Tls,
    /// One task hashes 103-byte records to so many channels; one task reads them.
    Small { channels: u32 },
    /// The same with records of 1 KiB.
    Large { channels: u32 },
    /// 64 pairs of tasks with a channel each; so many of the consumers never read.
    Stalled { stalled: u32 },
    /// The bulk and the messages of `Latency`, multiplexed over one TCP connection with TLS.
    TlsLatency,
    /// One message per millisecond on its own channel, beside 64 channels that are written to as fast as possible.
    Latency,
}

impl Kind {
    /// A measure, not the data plane.
    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::TlsLatency)
    }
}

/// All that a process needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) kind: Kind,
    pub(crate) identity: Identity,
    pub(crate) job: JobId,
    pub(crate) bind: IpAddr,
    pub(crate) udp_payload: u16,
    pub(crate) in_flight_cap: Option<u64>,
    pub(crate) stream_window: Option<u32>,
    pub(crate) duration: Duration,
}

/// What one side saw. The sender leaves the counts at zero: what counts is what arrived.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Duration,
    /// Bytes per channel that was read, to see whether the division was fair.
    pub(crate) per_channel: Vec<u64>,
    /// One-way, in nanoseconds, sorted.
    pub(crate) latencies: Vec<u64>,
}

pub(crate) fn send() -> io::Result<()> {
    side(tls::Sender::listen, quic::send)
}

pub(crate) fn receive() -> io::Result<()> {
    side(tls::Receiver::listen, quic::receive)
}

/// Reads the setup, tells the own address, reads the peer's, runs the case, tells the outcome.
fn side<S: tls::Side>(
    tls: impl FnOnce(&Setup) -> io::Result<S>,
    quic: impl FnOnce(&quic::Worker, SocketAddr) -> io::Result<Outcome>,
) -> io::Result<()> {
    let setup: Setup = read_line()?;
    let outcome = if setup.kind.is_tls() {
        let side = tls(&setup)?;
        write_line(&side.address()?)?;
        side.run(read_line()?)?
    } else {
        let worker = quic::Worker::start(setup)?;
        write_line(&worker.address())?;
        quic(&worker, read_line()?)?
    };
    write_line(&outcome)
}

fn read_line<T: DeserializeOwned>() -> io::Result<T> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

fn write_line<T: Serialize>(value: &T) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(value)?)?;
    out.flush()
}

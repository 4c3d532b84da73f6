//! UDP between hosts, tried: each agent opens the sockets that a JobManager and a worker of its host would open, answers the
//! probes that arrive there, and sends probes to its peers.
//!
//! A [`Request::Mesh`](super::protocol::Request::Mesh) is one call per host, in turns. The agent says what it could open
//! ([`Opened`]). The caller, when it has heard so from all hosts, sends the targets. The agent says how that went, and goes on
//! answering its peers until the caller has heard from all of them and ends the call, or drops it. So no socket outlives a check.
//!
//! Whoever finds such a socket meanwhile gets an answer only if it knows the check's nonce, which travels over SSH, and the
//! answer is never longer than the question.

mod client;
mod packet;
mod probing;
mod serve;
mod sockets;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use client::Mesh;
pub(super) use serve::serve;

/// Bytes of UDP payload that QUIC cannot do without.
pub const LEAST_PAYLOAD: u16 = 1200;

/// What a host shall open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshSpec {
    /// What tells the probes of this check from everything else.
    pub nonce: [u8; 16],
    /// Where the workers of this host would listen.
    pub data: Option<DataPorts>,
    /// Where a JobManager on this host would listen.
    pub rpc: Option<SocketAddr>,
    /// UDP payload, in bytes, of the packets that the network should carry whole.
    pub payload: u16,
}

/// Address and ports of a host's workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataPorts {
    /// The address.
    pub address: IpAddr,
    /// The lowest port; 0 = any.
    pub first: u16,
    /// The highest port, included.
    pub last: u16,
}

/// What a host has opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// As a worker would.
    pub data: Option<Result<DataSockets, BindFailure>>,
    /// As a JobManager would: its port.
    pub rpc: Option<Result<u16, BindFailure>>,
}

/// The sockets in the place of workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSockets {
    /// The ports that are open now: the first that is free, and the last.
    pub ports: Vec<u16>,
    /// How many ports of the range are free.
    pub free: u32,
}

/// Why a port could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindFailure {
    /// It is in use; of a range: each.
    Taken,
    /// The address is none of this host's.
    NotOurs,
    /// The system's words.
    Other(String),
}

impl From<io::Error> for BindFailure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::Taken,
            io::ErrorKind::AddrNotAvailable => Self::NotOurs,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// A socket of a peer, to be probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Where it is.
    pub address: SocketAddr,
    /// From which socket it is probed.
    pub from: Source,
}

/// A socket that probes are sent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A worker's: the first of its ports. Packets of the full size are sent as well.
    Worker,
    /// Any port, as a TaskManager calls its JobManager.
    Client,
}

/// What came of probing a target.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answer {
    /// From a probe to its answer; `None` = no answer.
    pub round_trip: Option<Duration>,
    /// Whether a packet of the full size arrived in one piece.
    pub whole: bool,
    /// Why the probe could not even be sent.
    pub error: Option<String>,
}

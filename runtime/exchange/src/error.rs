//! What can go wrong in the data plane.

use std::{io, net::SocketAddr, ops::RangeInclusive};

use flink_rpc::IdentityError;

use flink_record::DecodeError;

use crate::channel::ChannelId;

/// A data exchange failed. Cloneable, because one lost connection fails many channels.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The task was cancelled while it was in the exchange.
    #[error("the task was cancelled")]
    Cancelled,
    /// The producer ended without finishing: it failed, panicked or was cancelled.
    #[error("the producer of channel {channel} failed")]
    ProducerFailed {
        /// The channel.
        channel: ChannelId,
    },
    /// The consumer went away before the producer had finished.
    #[error("the consumer of channel {channel} is gone")]
    ConsumerGone {
        /// The channel.
        channel: ChannelId,
    },
    /// The connection to another worker was lost, with every channel on it.
    #[error("lost the connection to worker {peer}: {cause}")]
    PeerLost {
        /// Listen address of the worker's data plane.
        peer: SocketAddr,
        /// Why, as the transport says it.
        cause: String,
    },
    /// No connection to another worker could be made.
    #[error("could not connect to worker {peer}: {cause}")]
    Connect {
        /// Listen address of the worker's data plane.
        peer: SocketAddr,
        /// Why.
        cause: String,
    },
    /// A record is larger than a frame may be.
    #[error("a record of {bytes} bytes is larger than the maximum of {max} bytes")]
    RecordTooLarge {
        /// Encoded size.
        bytes: usize,
        /// Largest encoded size that can be sent.
        max: usize,
    },
    /// What arrived on a channel is not what its producer would have sent.
    #[error("channel {channel} carries malformed data: {cause}")]
    Malformed {
        /// The channel.
        channel: ChannelId,
        /// Which rule is broken.
        cause: String,
    },
    /// The two ends of a local channel have different record types.
    #[error("channel {channel} carries {producer} but its other end expects {consumer}")]
    TypeMismatch {
        /// The channel.
        channel: ChannelId,
        /// Type name at the end that came first.
        producer: &'static str,
        /// Type name at the end that came second.
        consumer: &'static str,
    },
    /// Two tasks claim the same end of a channel.
    #[error("channel {channel} already has such an end")]
    ChannelInUse {
        /// The channel.
        channel: ChannelId,
    },
    /// The network environment is shut down.
    #[error("the network environment is shut down")]
    ShutDown,
}

impl ExchangeError {
    pub(crate) fn malformed(channel: ChannelId, error: DecodeError) -> Self {
        Self::Malformed {
            channel,
            cause: error.to_string(),
        }
    }
}

/// The data plane of a worker could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Every port of the configured range is taken.
    #[error("no free UDP port in {}-{} on {address}", ports.start(), ports.end())]
    NoFreePort {
        /// Address to bind.
        address: std::net::IpAddr,
        /// The configured range.
        ports: RangeInclusive<u16>,
    },
    /// The address is one that peers cannot connect to.
    #[error("cannot listen on {0}: peers need an address of one interface")]
    UnspecifiedAddress(std::net::IpAddr),
    /// The socket could not be made.
    #[error("could not open a UDP socket on {address}: {cause}")]
    Socket {
        /// Address to bind.
        address: std::net::IpAddr,
        /// Why.
        cause: io::Error,
    },
    /// A setting is out of range.
    #[error("invalid network setting `{setting}`: {cause}")]
    Config {
        /// The field of `NetworkConfig`.
        setting: &'static str,
        /// What is allowed.
        cause: String,
    },
    /// The worker's identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The identity's TLS configuration has no cipher suite that QUIC can start with.
    #[error("the TLS identity cannot be used with QUIC: {0}")]
    Cipher(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The I/O thread could not be started.
    #[error("could not start the network I/O thread: {0}")]
    Thread(io::Error),
}

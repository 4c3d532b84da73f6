//! QUIC endpoints of the control plane: mutual TLS, heartbeats by QUIC keep-alive.
//!
//! Control and data never share a connection (design.md, 7): this module knows nothing of records.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use quinn::{
    ClientConfig, Connection, Endpoint, IdleTimeout, ServerConfig, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::{Identity, IdentityError, Role};

/// Application protocol of the control plane; the number is [`PROTOCOL_VERSION`](crate::messages::PROTOCOL_VERSION).
const ALPN: &[u8] = b"flinkctl/2";

/// How silence is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// A packet is sent at least this often.
    pub interval: Duration,
    /// From the death of a peer to its being noticed, at most. At least twice the interval.
    pub timeout: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(500),
            timeout: Duration::from_secs(3),
        }
    }
}

/// An endpoint or a connection of the control plane failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The UDP socket could not be bound.
    #[error("could not bind UDP {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The identity is not usable.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The TLS configuration does not do for QUIC.
    #[error("TLS configuration: {0}")]
    Tls(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The connection could not be started.
    #[error("could not connect to {address}: {source}")]
    Connect {
        /// The peer.
        address: SocketAddr,
        /// Why.
        source: quinn::ConnectError,
    },
    /// The peer did not answer, or refused.
    #[error("no connection to {address}: {source}")]
    Handshake {
        /// The peer.
        address: SocketAddr,
        /// Why.
        source: quinn::ConnectionError,
    },
}

/// An endpoint that accepts connections on `bind`, and only from holders of a certificate of the cluster.
///
/// # Errors
/// When the port is taken or the identity is not usable.
pub fn listen(bind: SocketAddr, identity: &Identity, heartbeat: Heartbeat) -> Result<Endpoint, EndpointError> {
    let tls = QuicServerConfig::try_from(identity.server_config(ALPN)?)?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport(heartbeat)));
    Endpoint::server(config, bind).map_err(|source| EndpointError::Bind { address: bind, source })
}

/// Connects to a peer of role `peer` from a fresh endpoint, which lives as long as the connection.
///
/// The handshake alone does not prove that the peer accepts our certificate (TLS 1.3): only an answered request does.
///
/// # Errors
/// When there is no answer within the heartbeat timeout, or the peer is not who it should be.
pub async fn connect(
    address: SocketAddr,
    peer: Role,
    identity: &Identity,
    heartbeat: Heartbeat,
) -> Result<(Endpoint, Connection), EndpointError> {
    let bind = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0)),
    };
    let tls = QuicClientConfig::try_from(identity.client_config(ALPN)?)?;
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport(heartbeat)));
    let endpoint = Endpoint::client(bind).map_err(|source| EndpointError::Bind { address: bind, source })?;
    let connecting = endpoint
        .connect_with(config, address, &peer.server_name())
        .map_err(|source| EndpointError::Connect { address, source })?;
    let connection = connecting
        .await
        .map_err(|source| EndpointError::Handshake { address, source })?;
    Ok((endpoint, connection))
}

/// The certificate that the peer of an established connection proved itself with.
pub fn peer_certificate(connection: &Connection) -> Option<CertificateDer<'static>> {
    let certificates = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    certificates.first().cloned()
}

/// Why a control connection was closed on purpose; the text goes into the close frame.
pub fn close(connection: &Connection, reason: &str) {
    connection.close(VarInt::from_u32(0), reason.as_bytes());
}

/// Closes all connections of an endpoint, and returns when their peers have been told.
///
/// quinn keeps closed connections for three more probe timeouts, to answer what arrives late. A process that ends does not
/// wait for that: it would be half a second.
pub async fn close_endpoint(endpoint: &Endpoint, reason: &str) {
    /// Close frames are sent as soon as the connections' drivers run.
    const TOLD: Duration = Duration::from_millis(20);
    endpoint.close(VarInt::from_u32(0), reason.as_bytes());
    let _stragglers = tokio::time::timeout(TOLD, endpoint.wait_idle()).await;
}

/// Bytes that a connection keeps until its peer has acknowledged them. Only artifacts come near it, and a JobManager sends
/// those to all of its TaskManagers at once: quinn's default of 10 MB would make each of them cost it an artifact in memory.
const SEND_WINDOW: u64 = 1 << 20;

/// A peer's last packet is at most one interval old when it dies, so that an idle timeout of `timeout - interval`
/// keeps the promise of [`Heartbeat::timeout`].
fn transport(heartbeat: Heartbeat) -> TransportConfig {
    let idle = heartbeat
        .timeout
        .saturating_sub(heartbeat.interval)
        .max(heartbeat.interval);
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(heartbeat.interval))
        .max_idle_timeout(Some(
            IdleTimeout::try_from(idle).unwrap_or_else(|_| IdleTimeout::from(VarInt::MAX)),
        ))
        .send_window(SEND_WINDOW)
        .max_concurrent_bidi_streams(VarInt::from_u32(64))
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    transport
}

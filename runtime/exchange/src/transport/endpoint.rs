//! quinn's configuration. Values and traps: measured, see the comments.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use flink_rpc::Identity;
use quinn::{
    AckFrequencyConfig, ClientConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};

use super::{ALPN, congestion::CappedCubic, connection::UNCLAIMED_STREAMS, socket};
use crate::{config::NetworkConfig, error::StartError};

/// MTU to start from; every path that can carry QUIC at all and is not a tunnel has it.
const INITIAL_UDP_PAYLOAD: u16 = 1452;

/// Unacknowledged and unsent bytes of all streams of a connection; never more than the sum of their windows. The congestion
/// cap, not this, protects the receiver's socket buffer. With 4 MiB, 64 tasks that write to one peer took half as much CPU
/// again: quinn wakes all that wait for this window whenever any of it is free.
const SEND_WINDOW: u64 = 16 << 20;

/// The receiver acknowledges after as many packets as hold this, 20 at most. Must stay well below the congestion window, also
/// after losses: a sender that has less in flight waits for the receiver's delayed acknowledgement, 5 ms for each window.
/// (20 packets of 8972 bytes and a window of 128 KiB: a third of the throughput.)
const ACK_BYTES: u32 = 64 << 10;

/// Hello and notices of failed producers; both are short.
const BIDI_STREAMS: u32 = 16;

/// Handshakes at a time; a peer that is turned away tries again.
const MAX_INCOMING: usize = 1024;

/// The endpoint, able to accept, the configuration to connect with, and the address it listens on. Must be called inside the
/// I/O thread's runtime.
pub(super) fn open(
    config: &NetworkConfig,
    identity: &Identity,
) -> Result<(Endpoint, ClientConfig, SocketAddr), StartError> {
    let address = config.bind;
    let socket_error = |cause| StartError::Socket { address, cause };
    let transport = Arc::new(transport(config)?);
    let (server, client) = tls(identity, &transport)?;
    let socket = socket::bind(config)?;
    let socket = socket::wrap(socket, config.udp_payload).map_err(socket_error)?;
    let mut endpoint = EndpointConfig::default();
    // The default of 1472 would keep the peer from probing any further.
    endpoint
        .max_udp_payload_size(config.udp_payload)
        .map_err(|error| StartError::Config {
            setting: "udp_payload",
            cause: error.to_string(),
        })?;
    let endpoint = Endpoint::new_with_abstract_socket(endpoint, Some(server), socket, Arc::new(TokioRuntime))
        .map_err(socket_error)?;
    let listens = endpoint.local_addr().map_err(socket_error)?;
    Ok((endpoint, client, listens))
}

fn tls(identity: &Identity, transport: &Arc<TransportConfig>) -> Result<(ServerConfig, ClientConfig), StartError> {
    let server = QuicServerConfig::try_from(identity.server_config(ALPN)?)?;
    let mut server = ServerConfig::with_crypto(Arc::new(server));
    server
        .transport_config(Arc::clone(transport))
        .migration(false)
        .max_incoming(MAX_INCOMING);
    let client = QuicClientConfig::try_from(identity.client_config(ALPN)?)?;
    let mut client = ClientConfig::new(Arc::new(client));
    client.transport_config(Arc::clone(transport));
    Ok((server, client))
}

/// Packets after which the receiver acknowledges.
fn ack_threshold(udp_payload: u16) -> VarInt {
    VarInt::from_u32((ACK_BYTES / u32::from(udp_payload)).clamp(2, 20))
}

fn transport(config: &NetworkConfig) -> Result<TransportConfig, StartError> {
    let idle_timeout = IdleTimeout::try_from(config.idle_timeout).map_err(|error| StartError::Config {
        setting: "idle_timeout",
        cause: error.to_string(),
    })?;
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(config.udp_payload);
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(ack_threshold(config.udp_payload))
        .max_ack_delay(Some(Duration::from_millis(5)));
    let mut transport = TransportConfig::default();
    transport
        .initial_mtu(INITIAL_UDP_PAYLOAD.min(config.udp_payload))
        .mtu_discovery_config(Some(mtu))
        .congestion_controller_factory(Arc::new(CappedCubic::new(config.in_flight_cap, config.udp_payload)))
        .stream_receive_window(VarInt::from_u32(config.stream_window))
        // Below the sum of the streams' windows, stalled channels would starve the others.
        .receive_window(VarInt::MAX)
        .send_window(SEND_WINDOW)
        .ack_frequency_config(Some(acks))
        // State for every allowed stream is allocated at once: start small, raise with what is expected.
        .max_concurrent_uni_streams(VarInt::from_u32(UNCLAIMED_STREAMS))
        .max_concurrent_bidi_streams(VarInt::from_u32(BIDI_STREAMS))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(Duration::from_secs(1).min(config.idle_timeout / 3)))
        .max_idle_timeout(Some(idle_timeout));
    Ok(transport)
}

//! Settings of the data plane.

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use crate::error::StartError;

/// Settings of one worker's data plane. Start from [`NetworkConfig::new`] and change fields.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Address of the interface to listen on and to connect from; peers are told this address, so it must not be `0.0.0.0`.
    pub bind: IpAddr,
    /// UDP ports to try, in order. Default `0..=0`: any free port.
    pub ports: RangeInclusive<u16>,
    /// Largest UDP payload in bytes, 1200 to 65507. Connections start at 1452 or less and probe upwards to this. Default
    /// 1452, for links of MTU 1500; use 8972 when every link has MTU 9000 (half the CPU per byte). Too high a value costs
    /// some lost probes, never the connection.
    pub udp_payload: u16,
    /// Bytes that a channel may have on the way or waiting at its consumer: the credit of a QUIC stream. Default 256 KiB.
    /// Worst-case memory of a worker is this times its inbound channels; choose 64 KiB for more than 1,000 of them.
    pub stream_window: u32,
    /// Bytes that one connection may have in flight while the path's round-trip time is short. Default 256 KiB. Bounds the
    /// queue before a small message (checkpoint barriers) on a loss-free path; long paths get more by themselves. With a core per
    /// side and MTU 9000, 512 KiB moved 10 to 15 % more bulk, and messages beside it took two to five times as long.
    pub in_flight_cap: u64,
    /// A silent peer is lost after this time; keep-alives go out every second, or three per timeout if that is more.
    /// Default 10 s.
    pub idle_timeout: Duration,
    /// Longest time to connect to a peer, hello included. Default 10 s.
    pub connect_timeout: Duration,
    /// Longest time that shutting down waits for peers to acknowledge what was finished. Default 10 s.
    pub linger: Duration,
}

impl NetworkConfig {
    /// Default settings on the given address.
    pub fn new(bind: IpAddr) -> Self {
        Self {
            bind,
            ports: 0..=0,
            udp_payload: 1452,
            stream_window: 256 << 10,
            in_flight_cap: 256 << 10,
            idle_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            linger: Duration::from_secs(10),
        }
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        let invalid = |setting, cause: &str| {
            Err(StartError::Config {
                setting,
                cause: cause.to_owned(),
            })
        };
        if self.bind.is_unspecified() {
            return Err(StartError::UnspecifiedAddress(self.bind));
        }
        if self.ports.is_empty() {
            return invalid("ports", "the range is empty");
        }
        if !(1200..=65507).contains(&self.udp_payload) {
            return invalid("udp_payload", "must be between 1200 and 65507 bytes");
        }
        if self.stream_window < 16 << 10 {
            return invalid("stream_window", "must be at least 16 KiB");
        }
        // Below ten packets the congestion controller could not even send its first flight.
        if self.in_flight_cap < 10 * u64::from(self.udp_payload) {
            return invalid("in_flight_cap", "must be at least ten times `udp_payload`");
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&self.idle_timeout) {
            return invalid("idle_timeout", "must be between 100 ms and 1 h");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    #[expect(
        clippy::reversed_empty_ranges,
        reason = "an empty port range is what is refused here"
    )]
    fn what_cannot_work_is_refused_by_name() {
        let good = NetworkConfig::new(Ipv4Addr::LOCALHOST.into());
        assert!(good.check().is_ok());
        let cases = [
            (
                NetworkConfig {
                    bind: Ipv4Addr::UNSPECIFIED.into(),
                    ..good.clone()
                },
                "0.0.0.0",
            ),
            (
                NetworkConfig {
                    ports: 2..=1,
                    ..good.clone()
                },
                "`ports`",
            ),
            (
                NetworkConfig {
                    udp_payload: 1199,
                    ..good.clone()
                },
                "`udp_payload`",
            ),
            (
                NetworkConfig {
                    stream_window: 1000,
                    ..good.clone()
                },
                "`stream_window`",
            ),
            (
                NetworkConfig {
                    in_flight_cap: 1000,
                    ..good.clone()
                },
                "`in_flight_cap`",
            ),
            (
                NetworkConfig {
                    idle_timeout: Duration::ZERO,
                    ..good
                },
                "`idle_timeout`",
            ),
        ];
        for (config, expected) in cases {
            let message = config.check().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}

//! The first exchange on a connection, and which connection stays when two workers connect to each other at once.
//!
//! A connection counts only after the answered hello: in TLS 1.3 a client believes itself connected before the server has
//! looked at its certificate. The side that connected sends the hello on the first bidirectional stream; one byte answers.

use std::net::{IpAddr, SocketAddr};

use flink_graph::JobId;

use flink_record::{DecodeError, Record};

/// Version of what follows on the streams; differs from the ALPN's only when both ends can speak several.
const VERSION: u16 = 1;

/// Bytes of an encoded hello: version, job, address family, address, port.
pub(super) const HELLO_BYTES: usize = 2 + 16 + 1 + 16 + 2;

/// Who connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) job: JobId,
    /// Where the connecting worker's data plane listens: its name among the workers.
    pub(super) address: SocketAddr,
}

impl Hello {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HELLO_BYTES);
        let ip = match self.address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let hello = (
            VERSION,
            *self.job.as_bytes(),
            self.address.is_ipv4(),
            ip.octets(),
            self.address.port(),
        );
        hello.encode(&mut bytes);
        bytes
    }

    pub(super) fn from_bytes(mut bytes: &[u8]) -> Result<Self, DecodeError> {
        let (version, job, is_ipv4, ip, port) = <(u16, [u8; 16], bool, [u8; 16], u16)>::decode(&mut bytes)?;
        if version != VERSION {
            return Err(DecodeError::Invalid("protocol version"));
        }
        let ip = IpAddr::from(ip);
        let ip = if is_ipv4 { ip.to_canonical() } else { ip };
        Ok(Self {
            job: JobId::from_bytes(job),
            address: SocketAddr::new(ip, port),
        })
    }
}

/// The answer to a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Answer {
    /// The connection stays.
    Accepted = 0,
    /// There is another connection between the two workers, or one is about to be.
    Duplicate = 1,
    /// Wrong version or job.
    Refused = 2,
}

impl Answer {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Accepted, Self::Duplicate, Self::Refused]
            .into_iter()
            .find(|answer| *answer as u8 == byte)
    }
}

/// What there is already between two workers, as the one sees it that receives a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// Nothing.
    None,
    /// An attempt of ours whose hello is not yet answered.
    Dialing,
    /// A connection that we opened.
    ByUs,
    /// A connection that they opened.
    ByThem,
}

/// What to do with a connection whose hello has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Use it; an attempt of our own is given up.
    Accept,
    /// Use it instead of the existing one, which the peer has lost, else it would not connect again.
    Replace,
    /// Turn it away; the other one is used.
    Refuse,
}

/// Decides about a connection that `theirs` opened to `ours`. Both ends come to the same connection, whatever the order of
/// events: of two that cross, the one stays that the smaller address opened.
pub(super) fn decide(ours: SocketAddr, theirs: SocketAddr, existing: Existing) -> Decision {
    match existing {
        Existing::None => Decision::Accept,
        Existing::Dialing if theirs < ours => Decision::Accept,
        Existing::Dialing => Decision::Refuse,
        // They can have sent this hello before they accepted ours, if they are the larger one.
        Existing::ByUs if ours < theirs => Decision::Refuse,
        Existing::ByUs | Existing::ByThem => Decision::Replace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn a_hello_survives_the_wire() {
        for address in ["10.1.2.3:4567", "[2001:db8::1]:80", "[::ffff:1.2.3.4]:1"] {
            let hello = Hello {
                job: JobId::random(),
                address: address.parse().unwrap(),
            };
            let bytes = hello.to_bytes();
            assert_eq!(bytes.len(), HELLO_BYTES);
            assert_eq!(Hello::from_bytes(&bytes), Ok(hello));
        }
    }

    #[test]
    fn another_version_is_refused() {
        let mut bytes = Hello {
            job: JobId::random(),
            address: address(1),
        }
        .to_bytes();
        bytes[0] = 99;
        assert_eq!(Hello::from_bytes(&bytes), Err(DecodeError::Invalid("protocol version")));
    }

    #[test]
    fn of_two_crossing_connections_exactly_one_stays() {
        let (small, large) = (address(1), address(2));
        assert_eq!(decide(small, large, Existing::Dialing), Decision::Refuse);
        assert_eq!(decide(large, small, Existing::Dialing), Decision::Accept);
        // The small one's hello was answered first; the large one's comes late.
        assert_eq!(decide(small, large, Existing::ByUs), Decision::Refuse);
    }

    #[test]
    fn a_peer_that_connects_again_has_lost_the_old_connection() {
        let (small, large) = (address(1), address(2));
        assert_eq!(decide(small, large, Existing::ByThem), Decision::Replace);
        assert_eq!(decide(large, small, Existing::ByThem), Decision::Replace);
        assert_eq!(decide(large, small, Existing::ByUs), Decision::Replace);
        assert_eq!(decide(small, large, Existing::None), Decision::Accept);
    }
}

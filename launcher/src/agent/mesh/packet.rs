//! The datagrams of a check.

/// What every datagram begins with.
const MAGIC: &[u8; 4] = b"FLKC";
/// Bytes that carry something; the rest is padding.
const HEADER: usize = 28;
const PROBE: u8 = 1;
const ANSWER: u8 = 2;

/// The fields of a probe, which its answer repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    /// The prober's number of the target.
    pub(super) target: u32,
    /// Which attempt it is.
    pub(super) attempt: u8,
    /// Whether it is of the full size.
    pub(super) whole: bool,
    /// Length of the probe's datagram, in bytes.
    pub(super) size: u16,
}

/// What a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packet {
    /// A question that arrived in full.
    Probe(Probe),
    /// The answer to one.
    Answer(Probe),
}

/// A probe as it is sent, padded to its size.
pub(super) fn probe(nonce: &[u8; 16], probe: Probe) -> Vec<u8> {
    let mut bytes = header(nonce, PROBE, probe);
    bytes.resize(usize::from(probe.size).max(HEADER), 0);
    bytes
}

/// The answer to a probe.
pub(super) fn answer(nonce: &[u8; 16], probe: Probe) -> Vec<u8> {
    header(nonce, ANSWER, probe)
}

fn header(nonce: &[u8; 16], kind: u8, probe: Probe) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(nonce);
    bytes.extend_from_slice(&probe.target.to_le_bytes());
    bytes.extend_from_slice(&probe.size.to_le_bytes());
    bytes.extend_from_slice(&[kind, (probe.attempt << 1) | u8::from(probe.whole)]);
    bytes
}

/// What a datagram is, if it is of the check with this nonce and in one piece.
pub(super) fn read(nonce: &[u8; 16], bytes: &[u8]) -> Option<Packet> {
    let rest = bytes.strip_prefix(MAGIC)?.strip_prefix(nonce)?;
    let (target, rest) = rest.split_first_chunk::<4>()?;
    let (size, rest) = rest.split_first_chunk::<2>()?;
    let [kind, flags, ..] = *rest else {
        return None;
    };
    let probe = Probe {
        target: u32::from_le_bytes(*target),
        attempt: flags >> 1,
        whole: flags & 1 == 1,
        size: u16::from_le_bytes(*size),
    };
    match kind {
        PROBE if usize::from(probe.size) == bytes.len() => Some(Packet::Probe(probe)),
        ANSWER if bytes.len() == HEADER => Some(Packet::Answer(probe)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; 16] = [7; 16];

    #[test]
    fn probes_and_answers_are_read_back() {
        for (size, whole) in [(1200, false), (8952, true)] {
            let sent = Probe {
                target: 70_000,
                attempt: 5,
                whole,
                size,
            };
            let bytes = probe(&NONCE, sent);
            assert_eq!(bytes.len(), usize::from(size));
            assert_eq!(read(&NONCE, &bytes), Some(Packet::Probe(sent)));
            let bytes = answer(&NONCE, sent);
            assert_eq!(bytes.len(), HEADER);
            assert_eq!(read(&NONCE, &bytes), Some(Packet::Answer(sent)));
        }
    }

    #[test]
    fn what_is_foreign_or_cut_is_nothing() {
        let bytes = probe(
            &NONCE,
            Probe {
                target: 1,
                attempt: 0,
                whole: false,
                size: 1200,
            },
        );
        assert_eq!(read(&[8; 16], &bytes), None);
        for length in 0..bytes.len() {
            assert_eq!(read(&NONCE, &bytes[..length]), None, "{length}");
        }
        assert_eq!(read(&NONCE, b"hello"), None);
    }
}

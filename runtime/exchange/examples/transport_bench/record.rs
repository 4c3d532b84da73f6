//! The records that are sent: fixed layout, as `#[derive(Record)]` would lay them out.

use flink_record::{DecodeError, Record};

/// A record of a key and a payload of `N` bytes.
pub(crate) struct Row<const N: usize> {
    pub(crate) key: u64,
    pub(crate) payload: [u8; N],
}

/// 103 bytes encoded.
pub(crate) type Small = Row<95>;

/// 1 KiB encoded.
pub(crate) type Large = Row<1016>;

impl<const N: usize> Row<N> {
    pub(crate) fn new(key: u64) -> Self {
        Self {
            key,
            payload: [key as u8; N],
        }
    }
}

impl<const N: usize> Record for Row<N> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        self.key.encode(out);
        out.extend_from_slice(&self.payload);
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let key = u64::decode(input)?;
        let (payload, rest) = input.split_first_chunk().ok_or(DecodeError::UnexpectedEnd)?;
        *input = rest;
        Ok(Self { key, payload: *payload })
    }
}

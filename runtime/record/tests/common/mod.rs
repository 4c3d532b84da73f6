//! What the tests of the codec share.

use std::fmt::Debug;

use flink_record::{DecodeError, Record};

pub(crate) fn encode<T: Record>(record: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

/// Decodes exactly one record.
pub(crate) fn decode<T: Record>(mut bytes: &[u8]) -> Result<T, DecodeError> {
    let record = T::decode(&mut bytes)?;
    assert!(bytes.is_empty(), "everything is used up");
    Ok(record)
}

/// Whether the record survives, and no part of its encoding is taken for it.
pub(crate) fn check<T: Record + PartialEq + Debug>(record: &T) {
    let bytes = encode(record);
    assert!(!bytes.is_empty(), "a record takes at least one byte");
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(record));
    for cut in 0..bytes.len() {
        assert!(T::decode(&mut &bytes[..cut]).is_err(), "{record:?} cut at {cut}");
    }
}

//! Names of the user's do not get in the way, and what is generated raises no lint.
#![deny(warnings, missing_docs, unused_qualifications, elided_lifetimes_in_paths, single_use_lifetimes)]

use flink_record::{DecodeError, Key as StableKey, Record as Codec, RecordView};

type Result = ();
#[allow(dead_code)]
trait Record {}
#[allow(dead_code)]
struct Vec;
#[allow(dead_code)]
enum Option {
    Some,
    None,
}

/// A record.
#[derive(flink_record::Record, flink_record::Key, PartialEq, Eq, Hash, Clone)]
#[record(view, crate = "::flink_record")]
pub struct Named {
    /// Named as a variable could be.
    pub input: u64,
    /// Too.
    pub out: u32,
    /// Text.
    pub block: String,
    __out: u8,
    __input: u8,
}

/// An alternative.
#[derive(flink_record::Record, flink_record::Key, PartialEq, Eq, Hash, Clone)]
#[record(crate = "flink_record")]
pub enum Alternative {
    /// One.
    Ok(u8),
    /// Other.
    Err {
        /// A keyword.
        r#type: bool,
        /// A local's name.
        __field_0: u8,
    },
}

fn main() -> std::result::Result<(), DecodeError> {
    let () = Result::default();
    let record = Named { input: 1, out: 2, block: "b".to_owned(), __out: 3, __input: 4 };
    let mut bytes = std::vec::Vec::new();
    record.encode(&mut bytes);
    assert!(Named::decode(&mut bytes.as_slice())? == record);
    assert_eq!(Named::decode_view(&mut bytes.as_slice())?.block, "b");
    assert_ne!(record.stable_hash(), Alternative::Ok(1).stable_hash());
    let _ = Alternative::Err { r#type: true, __field_0: 1 };
    Ok(())
}

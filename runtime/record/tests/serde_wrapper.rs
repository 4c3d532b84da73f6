//! `Serde`: records of types that have serde's traits only.

mod common;

use common::{check, decode, encode};
use flink_record::{DecodeError, Key, Record, Serde};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Foreign {
    id: u32,
    names: Vec<String>,
    nested: Option<Box<Self>>,
}

#[derive(Record, Key, Clone, PartialEq, Eq, Hash, Debug)]
#[record(crate = "flink_record")]
struct Holder {
    before: u8,
    foreign: Serde<Foreign>,
    after: u8,
}

#[test]
fn golden_bytes() {
    let record = Holder {
        before: 1,
        foreign: Foreign {
            id: 300,
            names: vec!["a".to_owned()],
            nested: None,
        }
        .into(),
        after: 2,
    };
    assert_eq!(encode(&record), [1, 6, 0, 0, 0, 0xac, 2, 1, 1, b'a', 0, 2]);
    assert_eq!(record.foreign.id, 300, "it dereferences");
    check(&record);
    check(&vec![Serde(()); 3]);
    assert_eq!(record.stable_hash(), record.clone().stable_hash());
    assert_eq!(
        Serde(7u8).stable_hash(),
        vec![7u8].stable_hash(),
        "the hash of its bytes"
    );
}

#[test]
fn bytes_behind_the_value_are_refused() {
    let expected = DecodeError::Invalid("value of a type that is read by serde");
    assert_eq!(decode::<Serde<u8>>(&[2, 0, 0, 0, 7, 7]), Err(expected));
    assert_eq!(decode::<Serde<u8>>(&[0, 0, 0, 0]), Err(expected));
}

struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no"))
    }
}

impl<'de> Deserialize<'de> for Unwritable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

#[test]
#[should_panic(expected = "a value of type `serde_wrapper::Unwritable` cannot be serialized")]
fn a_value_that_cannot_be_serialized_is_not_lost_silently() {
    encode(&Serde(Unwritable));
}

proptest! {
    #[test]
    fn round_trips(id: u32, names: Vec<String>, nested: bool) {
        let inner = nested.then(|| Box::new(Foreign::default()));
        let record = Serde(Foreign { id, names, nested: inner });
        prop_assert_eq!(decode(&encode(&record)), Ok(record));
    }

    #[test]
    fn hostile_bytes_do_not_panic(bytes: Vec<u8>) {
        let mut record = encode(&u32::try_from(bytes.len()).unwrap());
        record.extend(bytes);
        let _ = Vec::<Holder>::decode(&mut record.as_slice());
        let _ = Serde::<Foreign>::decode(&mut record.as_slice());
    }
}

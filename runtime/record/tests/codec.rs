//! The record codec: golden bytes, round trips, hostile input.

mod common;

use std::sync::Arc;

use flink_record::{DecodeError, Record};
use proptest::prelude::*;

use common::{check, decode, encode};

#[test]
fn the_encoding_is_little_endian_and_fixed_width() {
    assert_eq!(encode(&0x0102_0304u32), [4, 3, 2, 1]);
    assert_eq!(encode(&-2i16), [0xfe, 0xff]);
    assert_eq!(encode(&1.0f64), [0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    assert_eq!(encode(&(true, 'A')), [1, 0x41, 0, 0, 0]);
    assert_eq!(encode(&"hi".to_owned()), [2, 0, 0, 0, b'h', b'i']);
    assert_eq!(encode(&vec![1u16, 2]), [2, 0, 0, 0, 1, 0, 2, 0]);
    assert_eq!(encode(&Some(7u8)), [1, 7]);
    assert_eq!(encode(&None::<u8>), [0]);
    assert_eq!(encode(&[1u8, 2, 3]), [1, 2, 3]);
}

#[test]
fn records_without_content_take_a_byte() {
    check(&());
    check(&[0u8; 0]);
    check(&vec![(); 5]);
    check(&vec![[1u64; 0]; 5]);
    assert_eq!(encode(&()), [0]);
}

#[test]
fn every_supported_type_survives() {
    check(&(
        1u8, 2u16, 3u32, 4u64, 5u128, -1i8, -2i16, -3i32, -4i64, -5i128, 1.5f32, -2.5f64,
    ));
    check(&(
        Box::<str>::from("a"),
        Arc::<str>::from("b"),
        Box::new(String::from("c")),
    ));
    check(&[Some('x'), None, Some('\u{10ffff}')]);
    check(&vec![vec![String::from("nested")], vec![]]);
    check(&([7u64; 3], [false; 2], [String::new(), String::from("text")]));
}

#[test]
fn byte_patterns_that_a_type_does_not_have_are_refused() {
    assert_eq!(decode::<bool>(&[2]), Err(DecodeError::Invalid("bool")));
    assert_eq!(decode::<char>(&[0, 0xd8, 0, 0]), Err(DecodeError::Invalid("char")));
    assert_eq!(decode::<()>(&[1]), Err(DecodeError::Invalid("unit")));
    assert_eq!(decode::<Option<u8>>(&[9]), Err(DecodeError::Invalid("option")));
    assert_eq!(
        decode::<String>(&[1, 0, 0, 0, 0xff]),
        Err(DecodeError::Invalid("UTF-8 text"))
    );
}

#[test]
fn a_length_is_checked_before_anything_is_reserved() {
    let expected = Err(DecodeError::Length {
        length: u32::MAX as usize,
        remaining: 1,
    });
    let bytes = [0xff, 0xff, 0xff, 0xff, 0];
    assert_eq!(decode::<Vec<u8>>(&bytes), expected);
    assert_eq!(decode::<Vec<[u64; 1000]>>(&bytes).err(), expected.clone().err());
    assert_eq!(decode::<String>(&bytes).err(), expected.err());
    // Announces as many elements as there are bytes, of a type that is much larger.
    let mut bytes = encode(&1_000_000u32);
    bytes.resize(1_000_004, 0);
    assert_eq!(decode::<Vec<[u64; 10]>>(&bytes), Err(DecodeError::UnexpectedEnd));
    assert_eq!(decode::<Vec<u64>>(&bytes), Err(DecodeError::UnexpectedEnd));
}

type Everything = (
    u64,
    String,
    Vec<u8>,
    Option<(i32, bool)>,
    Vec<(char, Vec<String>)>,
    [u16; 3],
);

fn everything() -> impl Strategy<Value = Everything> {
    let text = "\\PC{0,12}";
    let nested = prop::collection::vec((any::<char>(), prop::collection::vec(text, 0..4)), 0..4);
    (
        any::<u64>(),
        text,
        prop::collection::vec(any::<u8>(), 0..50),
        any::<Option<(i32, bool)>>(),
        nested,
        any::<[u16; 3]>(),
    )
}

proptest! {
    #[test]
    fn round_trips(record in everything()) {
        prop_assert_eq!(decode::<Everything>(&encode(&record)), Ok(record));
    }

    #[test]
    fn floats_keep_their_bits(bits: u64) {
        prop_assert_eq!(decode::<f64>(&encode(&f64::from_bits(bits))).unwrap().to_bits(), bits);
    }

    #[test]
    fn hostile_bytes_do_not_panic(bytes: Vec<u8>) {
        let _ = Everything::decode(&mut bytes.as_slice());
        let _ = Vec::<Vec<Vec<()>>>::decode(&mut bytes.as_slice());
        let _ = <[Option<Box<str>>; 4]>::decode(&mut bytes.as_slice());
    }
}

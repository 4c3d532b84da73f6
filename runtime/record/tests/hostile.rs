//! Hostile bytes: decoding them never panics and never reserves memory that they do not announce honestly.
//!
//! The process's address space is limited, so that a reservation beyond what the input could hold aborts the test.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use flink_record::{Record, RecordView};
use proptest::{prelude::*, test_runner::TestRunner};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Bytes that the process may map: far more than the inputs need, far less than one false length could ask for.
const ADDRESS_SPACE: u64 = 1 << 30;

/// An element that is much larger in memory than its encoding is at least.
type Large = Option<[u64; 64]>;

#[derive(Record, Clone, Debug)]
#[record(view, crate = "flink_record")]
struct Message {
    id: u64,
    title: String,
    large: Vec<Large>,
    body: Body,
    parts: Vec<Self>,
    index: HashMap<String, Large>,
    sorted: BTreeMap<u16, Vec<u128>>,
}

#[derive(Record, Clone, Debug)]
#[record(crate = "flink_record")]
enum Body {
    Nothing,
    Bytes(Vec<u8>),
    Boxed(Box<Self>),
    Shared(Arc<Self>, Option<Box<Message>>),
    Sets {
        hashed: HashSet<u64>,
        sorted: BTreeSet<(u8, u32)>,
    },
    Queue(VecDeque<Self>),
    Fixed(u8, u32, f64, char, bool),
}

fn decode_all(bytes: &[u8]) {
    let _ = Message::decode(&mut &*bytes);
    let _ = Message::decode_view(&mut &*bytes);
    let _ = Body::decode(&mut &*bytes);
    let _ = Vec::<Body>::decode(&mut &*bytes);
    let _ = HashMap::<Box<str>, Large>::decode(&mut &*bytes);
    let _ = BTreeMap::<u8, Large>::decode(&mut &*bytes);
    let _ = HashSet::<u16>::decode(&mut &*bytes);
    let _ = VecDeque::<[u128; 1000]>::decode(&mut &*bytes);
    let _ = <[Large; 1000]>::decode(&mut &*bytes);
    let _ = Result::<Arc<[u64]>, Box<[Large]>>::decode(&mut &*bytes);
}

/// Random bytes; small ones are likely, as they are the indices of variants and short lengths.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => 0..8u8, 1 => any::<u8>()];
    let length = prop_oneof![Just(u32::MAX), Just(1 << 30), any::<u32>(), 0..5000u32];
    let piece = prop_oneof![
        prop::collection::vec(byte, 0..40),
        length.prop_map(|length| length.to_le_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

#[test]
fn hostile_bytes_neither_panic_nor_exhaust_memory() {
    let limit = Rlimit {
        current: Some(ADDRESS_SPACE),
        maximum: Some(ADDRESS_SPACE),
    };
    setrlimit(Resource::As, limit).unwrap();

    TestRunner::default()
        .run(&bytes(), |bytes| {
            decode_all(&bytes);
            Ok(())
        })
        .unwrap();

    for length in [1u32 << 16, 1 << 20] {
        // As many elements as bytes, so that the length by itself is no lie.
        for fill in 0..8 {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.resize(length as usize + 4, fill);
            decode_all(&bytes);
            decode_all(&bytes[4..]);
        }
    }
}

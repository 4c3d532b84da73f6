//! Decodes hostile bytes as a derived type. Nothing may panic or exhaust memory; what is accepted is encoded as it was read, and a
//! view accepts the same.
#![no_main]

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use flink_record::{Record, RecordView};
use libfuzzer_sys::fuzz_target;

#[derive(Record, Clone, Debug)]
#[record(view, crate = "flink_record")]
struct Message {
    id: u64,
    title: String,
    large: Vec<Option<[u64; 16]>>,
    body: Body,
    payload: Vec<u8>,
    sorted: BTreeMap<u16, Vec<u128>>,
    hashed: HashMap<String, u8>,
    parts: Vec<Self>,
}

#[derive(Record, Clone, Debug)]
#[record(crate = "flink_record")]
enum Body {
    Nothing,
    Text(Box<str>),
    Boxed(Box<Self>),
    Shared(Arc<Self>, Option<Box<Message>>),
    Queue(VecDeque<Result<bool, char>>),
    Times { at: SystemTime, took: Duration },
    Fixed(u8, u32, bool, char, i64),
}

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let message = Message::decode(&mut rest);
    assert_eq!(message.is_ok(), Message::decode_view(&mut { bytes }).is_ok());
    if let Ok(message) = message {
        let mut encoded = Vec::new();
        message.encode(&mut encoded);
        // Maps may be in another order, of the same length.
        assert_eq!(encoded.len(), bytes.len() - rest.len());
    }

    let mut rest = bytes;
    if let Ok(body) = Vec::<Body>::decode(&mut rest) {
        let mut encoded = Vec::new();
        body.encode(&mut encoded);
        assert_eq!(encoded.len(), bytes.len() - rest.len());
    }
});

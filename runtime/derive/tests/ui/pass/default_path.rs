//! Without `#[record(crate = ...)]` the traits are those of the crate `flink`.
extern crate flink_record as flink;

use flink::{Key, Record, RecordView};

#[derive(Record, Key, PartialEq, Eq, Hash, Clone)]
#[record(view)]
struct Named {
    id: u64,
    text: String,
}

fn main() {
    let record = Named { id: 1, text: String::new() };
    assert_eq!(record.view().id, record.id);
    assert_eq!(record.stable_hash(), (1u64, String::new()).stable_hash());
    assert!(Named::from_view(record.view()) == record);
    assert_eq!(Named::schema().to_string(), "Named { id: u64, text: String }");
}

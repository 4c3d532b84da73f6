use flink_record::{Key, Record};

#[derive(Record, Key)]
#[record(crate = "flink_record")]
struct User(u64);

#[derive(Key, PartialEq, Eq, Hash, Clone)]
#[record(crate = "flink_record")]
struct Session(u64);

fn main() {}

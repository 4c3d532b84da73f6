use flink_record::{Key, Record};

#[derive(Record, Key, PartialEq, Eq, Hash, Clone)]
#[record(crate = "flink_record")]
struct Cell {
    row: u64,
    tags: Tags,
}

#[derive(Record, PartialEq, Eq, Hash, Clone)]
#[record(crate = "flink_record")]
struct Tags(Vec<String>);

fn main() {}

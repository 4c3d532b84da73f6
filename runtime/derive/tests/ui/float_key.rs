use flink_record::{Key, Record};

#[derive(Record, Key, PartialEq, Clone)]
#[record(crate = "flink_record")]
struct Price(f64);

fn main() {}

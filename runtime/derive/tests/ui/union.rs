use flink_record::{Key, Record};

#[derive(Record, Key)]
#[record(crate = "flink_record")]
union Either {
    number: u64,
    float: f64,
}

fn main() {}

use flink_record::Record;

struct Plain;

#[derive(Record)]
#[record(crate = "flink_record")]
struct Holder {
    number: u64,
    plain: Plain,
    list: Vec<(u8, Plain)>,
}

#[derive(Record)]
#[record(crate = "flink_record")]
enum Choice {
    Plain(Plain),
}

fn main() {}

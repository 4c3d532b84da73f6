use flink_record::Record;

#[derive(Record)]
#[record(crate = "flink_record")]
struct Borrowed {
    text: &'static str,
    nested: Vec<Option<&'static [u8]>>,
    other: &'static u64,
    pointer: *const u8,
    function: fn(u64) -> u64,
    dynamic: Box<dyn Send>,
}

#[derive(Record)]
#[record(crate = "flink_record")]
struct WithLifetime<'a> {
    text: &'a str,
}

fn main() {}

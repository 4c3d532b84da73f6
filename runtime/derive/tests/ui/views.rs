use flink_record::Record;

#[derive(Record)]
#[record(crate = "flink_record", view)]
enum NoEnums {
    A(String),
}

#[derive(Record)]
#[record(crate = "flink_record", view)]
struct BorrowsNothing {
    id: u64,
}

#[derive(Record)]
#[record(crate = "flink_record")]
struct FieldOnly {
    #[record(view)]
    text: String,
}

#[derive(Record)]
#[record(crate = "flink_record")]
struct NoView(String);

#[derive(Record)]
#[record(crate = "flink_record", view)]
struct NotClone {
    text: String,
    inner: NoView,
}

fn main() {}

use flink_record::Record;

struct Plain;

#[derive(Record)]
#[record(crate = "flink_record")]
struct Holder<T>(T);

fn needs_record<T: Record>() {}

fn main() {
    needs_record::<Holder<u64>>();
    needs_record::<Holder<Plain>>();
}

use flink_record::Record;

#[derive(Record)]
#[record(crate = "flink_record", veiw)]
struct Misspelt(u64);

#[derive(Record)]
#[record(crate = "flink_record", derive(Copy))]
struct DerivesWithoutView(u64);

#[derive(Record)]
#[record(crate = "flink_record")]
enum OnVariant {
    #[record(view)]
    A,
}

#[derive(Record)]
#[record(crate = "flink_record", view)]
struct OnField {
    #[record(skip)]
    text: String,
}

fn main() {}

use flink_record::{Record, Serde};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Foreign(u64);

fn needs_record<T: Record>() {}

fn main() {
    needs_record::<Serde<Foreign>>();
    needs_record::<Foreign>();
}

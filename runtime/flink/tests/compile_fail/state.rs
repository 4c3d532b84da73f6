//! A type that is kept in state needs `#[derive(Record)]`.

use flink::{KeyedRuntimeContext, ValueState, ValueStateDescriptor};

struct Visits {
    count: u64,
}

fn state(context: &KeyedRuntimeContext<'_, u64>) -> ValueState<Visits> {
    context.value_state(&ValueStateDescriptor::new("visits")).unwrap()
}

fn main() {}

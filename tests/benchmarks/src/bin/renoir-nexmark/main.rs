//! Queries of Nexmark with Renoir, on the events of the example `nexmark`: `renoir-nexmark QUERY EVENTS PARALLELISM`.
//!
//! QUERY is 0 to 8 or 13, or `generator`: threads that make the events and drop them, without any engine.

mod queries;

use std::{
    env,
    hint::black_box,
    process::ExitCode,
    sync::{Arc, atomic::AtomicU64},
    thread,
};

use flink_benchmarks::{Tally, events, measure, usage};
use renoir::prelude::*;

const USAGE: &str = "renoir-nexmark 0..8|13|generator EVENTS PARALLELISM";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [query, events, parallelism] = &arguments[..] else {
        return usage(USAGE);
    };
    let (Ok(events), Ok(parallelism)) = (events.parse(), parallelism.parse()) else {
        return usage(USAGE);
    };
    let answers = Arc::default();
    if query == "generator" {
        return measure(&answers, || generate(events, parallelism, &answers));
    }
    let Ok(config) = RuntimeConfig::local(parallelism) else {
        return usage(USAGE);
    };
    let context = StreamContext::new(config);
    if !queries::declare(&context, query, events, Tally::new(&answers)) {
        return usage(USAGE);
    }
    measure(&answers, || context.execute_blocking())
}

/// What the events alone cost.
fn generate(total: u64, parallelism: u64, count: &Arc<AtomicU64>) {
    thread::scope(|scope| {
        for first in 0..parallelism {
            scope.spawn(move || {
                let mut tally = Tally::new(count);
                for event in events(total, first, parallelism) {
                    black_box(event);
                    tally.add_one();
                }
            });
        }
    });
}

//! What operators cost a record: each case is a job of one task, or the plain loop that it is compared with. `scripts/bench
//! operators` runs them and makes the differences.
//!
//! ```text
//! cargo run --release --example operators_bench -- --case tumbling --records 3000000 --keys 1000
//! ```
//!
//! The last line of the output is JSON: how many results there were, and their sum, which tells whether all was done.

mod cases;
mod events;
mod tally;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use flink::{Result, StreamExecutionEnvironment};
use serde::{Deserialize, Serialize};

use events::Events;

/// Runs one case in one task.
#[derive(Debug, Clone, Parser, Serialize, Deserialize)]
struct Args {
    /// What to run.
    #[arg(long, value_enum)]
    case: Case,
    /// How many records to generate.
    #[arg(long, default_value_t = 3_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Number of different keys.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// How many records happen in a second of event time. Above the number of records, all of them are in one window.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
enum Case {
    /// A map, a filter and a map in a plain loop.
    Loop,
    /// The same in a job.
    Chain,
    /// A job that drops records with keys, timestamps and watermarks: what the cases below have in common.
    Events,
    /// Counts per key and window of a minute.
    Tumbling,
    /// Counts per key and window of a minute that slides by a second.
    Sliding,
    /// Counts per key and session with a gap of a minute.
    Session,
    /// Counts per key in a hash map of a closure.
    Map,
    /// Counts per key in value state.
    State,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let code = if args.case == Case::Loop {
        cases::plain_loop(args.records);
        ExitCode::SUCCESS
    } else {
        flink::run(build)
    };
    tally::print();
    code
}

fn build(env: &mut StreamExecutionEnvironment, args: Args) -> Result<()> {
    env.set_job_name("operators").set_parallelism(1);
    let events = Events {
        records: args.records,
        keys: args.keys,
        rate: args.rate,
    };
    match args.case {
        Case::Loop => return Err(flink::Error::msg("the plain loop is no job")),
        Case::Chain => cases::chain(env, args.records),
        Case::Events => cases::tally_events(events.stream(env)),
        Case::Tumbling => cases::tumbling(events.stream(env)),
        Case::Sliding => cases::sliding(events.stream(env)),
        Case::Session => cases::session(events.stream(env)),
        Case::Map => cases::hash_map(events.stream(env)),
        Case::State => cases::value_state(events.stream(env)),
    }
    Ok(())
}

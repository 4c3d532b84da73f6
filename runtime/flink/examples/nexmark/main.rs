//! The Nexmark benchmark: queries over the events of an online auction house. docs/nexmark.md says what each of them computes.
//!
//! ```text
//! cargo run --release --example nexmark -- --query 5 --events 10000000
//! ```

mod delay;
mod model;
mod queries;
mod source;

use std::{fmt::Display, path::PathBuf, process::ExitCode};

use clap::Parser;
use flink::{DataStream, FileSink, Record, Result, StreamExecutionEnvironment, WatermarkStrategy};
use serde::{Deserialize, Serialize};

use model::Event;
use source::{Generation, STRIDE};

/// Runs a query of the Nexmark benchmark on generated events.
#[derive(Debug, Parser, Serialize, Deserialize)]
struct Args {
    /// Query to run: 0 to 8 or 11 to 13.
    #[arg(long, value_parser = query)]
    query: u8,
    /// How many events to generate, in all.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// How many events happen in a second of event time.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How many events to generate per second by the clock, in all. Without it, as fast as possible.
    #[arg(long, value_parser = pace)]
    pace: Option<f64>,
    /// Shuffle the events in groups of so many.
    #[arg(long, default_value_t = 1, value_parser = group_size)]
    out_of_order: u32,
    /// Have each N-th event come 25 s late. It counts no more, in queries that go by event time, where it is in no window or
    /// session that is still open.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    late: Option<u32>,
    /// Directory to write the answer to, new or empty, on the workers' hosts. Without it, the answer is discarded.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Print the answer.
    #[arg(long, conflicts_with = "output")]
    print: bool,
}

fn query(text: &str) -> std::result::Result<u8, String> {
    match text.parse() {
        Ok(number @ (0..=8 | 11..=13)) => Ok(number),
        _ => Err("expected 0 to 8 or 11 to 13".to_owned()),
    }
}

fn group_size(text: &str) -> std::result::Result<u32, String> {
    match text.parse::<u32>() {
        Ok(size) if size > 0 && !size.is_multiple_of(STRIDE) => Ok(size),
        _ => Err(format!("expected a number above 0 that is no multiple of {STRIDE}")),
    }
}

fn pace(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(pace) if pace > 0.0 && f64::is_finite(pace) => Ok(pace),
        _ => Err("expected a number above 0".to_owned()),
    }
}

fn main() -> ExitCode {
    flink::run(build)
}

fn build(env: &mut StreamExecutionEnvironment, args: Args) -> Result<()> {
    env.set_job_name(format!("nexmark-q{}", args.query));
    let events = generate(env, &args);
    match args.query {
        0 => finish(queries::q0::pass_through(events), &args),
        1 => finish(queries::q1::currency_conversion(events), &args),
        2 => finish(queries::q2::selection(events), &args),
        3 => finish(queries::q3::local_item_suggestion(events), &args),
        4 => finish(queries::q4::average_price_for_category(events).results, &args),
        5 => finish(queries::q5::hot_items(events).results, &args),
        6 => finish(queries::q6::average_selling_price_by_seller(events).results, &args),
        7 => finish(queries::q7::highest_bid(events).results, &args),
        8 => finish(queries::q8::new_users(events), &args),
        11 => finish(queries::q11::user_sessions(events).results, &args),
        12 => finish(queries::q12::processing_time_windows(events, queries::WINDOW), &args),
        13 => finish(queries::q13::side_input_join(events), &args),
        // The command line has no other.
        query => return Err(flink::Error::msg(format!("there is no query {query}"))),
    }
    Ok(())
}

/// The events, with timestamps if the query asks for event time.
fn generate(env: &mut StreamExecutionEnvironment, args: &Args) -> DataStream<Event> {
    let generation = Generation {
        events: args.events,
        rate: args.rate,
        out_of_order: args.out_of_order,
    };
    let watermarks = if matches!(args.query, 4..=8 | 11) {
        generation.watermarks()
    } else {
        WatermarkStrategy::no_watermarks()
    };
    let source = generation.source(args.pace);
    match args.late {
        None => env.from_source(source, watermarks, "events"),
        Some(every) => {
            let events = env.from_source(source, WatermarkStrategy::no_watermarks(), "events");
            delay::delayed(events, generation, every)
        }
    }
}

/// Ends a query in the sink that was asked for.
fn finish<T: Record + Display>(answer: DataStream<T>, args: &Args) {
    match &args.output {
        Some(directory) => answer.sink_to(FileSink::new(directory)),
        None if args.print => answer.print(),
        None => answer.discard(),
    };
}

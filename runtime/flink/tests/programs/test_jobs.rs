//! The job program of this crate's tests: `TEST_JOB` names the job.

#[path = "applications.rs"]
mod applications;
#[path = "summing_sink.rs"]
mod summing_sink;

use std::process::ExitCode;

use clap::Parser;
use flink::{
    Collector, FileSink, FunctionResult, LongCounter, LongMaximum, ProcessContext, ProcessFunction, Result,
    RuntimeContext, RuntimeMode, StreamExecutionEnvironment,
};
use serde::{Deserialize, Serialize};
use summing_sink::{Mood, SummingSink};

#[derive(Debug, Parser, Serialize, Deserialize)]
struct Args {
    /// How many records.
    #[arg(long, default_value_t = 1000)]
    records: u64,
    /// Where to write.
    #[arg(long)]
    output: Option<std::path::PathBuf>,
}

fn main() -> ExitCode {
    match std::env::var("TEST_JOB").unwrap_or_default().as_str() {
        "count" => flink::run(count),
        "accumulators" => flink::run(accumulators),
        "panic" => flink::run(panic),
        "error" => flink::run(error),
        "endless" => flink::run(endless),
        "numbers" => flink::run(numbers),
        "stuck" => flink::run(stuck),
        "unstable" => flink::run(unstable),
        "build-error" => flink::run(build_error),
        "no-sink" => flink::run(no_sink),
        "coordinated" => flink::run(|env: &mut _, args| coordinated(env, args, Mood::Good)),
        "coordinator-error" => flink::run(|env: &mut _, args| coordinated(env, args, Mood::Fails)),
        "coordinator-panic" => flink::run(|env: &mut _, args| coordinated(env, args, Mood::Panics)),
        "coordinator-stuck" => flink::run(|env: &mut _, args| coordinated(env, args, Mood::Hangs)),
        "coordinator-start-error" => flink::run(|env: &mut _, args| coordinated(env, args, Mood::FailsToStart)),
        "coordinator-end-error" => flink::run(|env: &mut _, args| coordinated(env, args, Mood::FailsAtTheEnd)),
        "application" => applications::run(),
        _ => ExitCode::from(99),
    }
}

/// How often each remainder modulo 10 occurs.
fn count(env: &mut StreamExecutionEnvironment, args: Args) -> Result<()> {
    env.set_job_name("count").set_runtime_mode(RuntimeMode::Batch);
    let counts = env
        .from_sequence(0..=args.records - 1)
        .key_by(|number| number % 10)
        // Not `count`, of which each producer would send one record per key only.
        .fold(0_u64, |count, _| *count += 1)
        .map(|(key, count)| format!("{key},{count}"));
    match args.output {
        Some(output) => counts.sink_to(FileSink::new(output)),
        None => counts.print(),
    };
    Ok(())
}

/// What two operators in tasks of their own add to an accumulator that they share, and to one that they disagree about.
fn accumulators(env: &mut StreamExecutionEnvironment, args: Args) -> Result<()> {
    env.set_job_name("accumulators");
    env.from_sequence(1..=args.records)
        .rebalance()
        .process(|context: &RuntimeContext| {
            context.add_accumulator::<LongMaximum>("disputed")?;
            Ok(Adding(
                context.add_accumulator("numbers")?,
                context.add_accumulator("largest")?,
            ))
        })
        .rebalance()
        .process(|context: &RuntimeContext| {
            context.add_accumulator::<LongCounter>("disputed")?;
            Ok(Adding(
                context.add_accumulator("numbers")?,
                context.add_accumulator("largest")?,
            ))
        })
        .discard();
    Ok(())
}

struct Adding(LongCounter, LongMaximum);

impl ProcessFunction<u64> for Adding {
    type Out = u64;

    fn process_element(
        &mut self,
        number: u64,
        _: &mut ProcessContext<'_>,
        out: &mut Collector<'_, u64>,
    ) -> FunctionResult {
        self.0.add(1);
        self.1.add(i64::try_from(number)?);
        out.collect(number);
        Ok(())
    }
}

fn panic(env: &mut StreamExecutionEnvironment, args: Args) -> Result<()> {
    let middle = args.records / 2;
    env.from_sequence(0..=args.records - 1)
        .rebalance()
        .map(|number| number + 1)
        .name("before")
        .map(move |number| {
            if number == middle {
                panic!("cannot stand {number}")
            } else {
                number
            }
        })
        .name("touchy")
        .map(|number| number)
        .name("after")
        .discard();
    Ok(())
}

fn error(env: &mut StreamExecutionEnvironment, args: Args) -> Result<()> {
    let sink = env
        .from_sequence(0..=args.records - 1)
        .map(|number| {
            if number == 777 {
                "x".to_owned()
            } else {
                number.to_string()
            }
        })
        .try_map(|text| text.parse::<u64>())
        .name("parse")
        .key_by(|number| number % 10)
        .count()
        .map(|(key, count)| format!("{key},{count}"));
    match args.output {
        Some(output) => sink.sink_to(FileSink::new(output)),
        None => sink.discard(),
    };
    Ok(())
}

/// Never ends by itself.
fn endless(env: &mut StreamExecutionEnvironment, args: Args) -> Result<()> {
    let numbers = env
        .from_parallel_iterator(|_, _| 0_u64..)
        .key_by(|number| number % 10)
        .reduce(u64::max);
    match args.output {
        Some(output) => numbers.sink_to(FileSink::new(output)),
        None => numbers.discard(),
    };
    Ok(())
}

/// Prints without end.
fn numbers(env: &mut StreamExecutionEnvironment, _: Args) -> Result<()> {
    env.from_parallel_iterator(|_, _| 0_u64..).print();
    Ok(())
}

/// Does not even look whether it is cancelled.
fn stuck(env: &mut StreamExecutionEnvironment, _: Args) -> Result<()> {
    env.from_sequence(0..=9)
        .map(|number| {
            loop {
                std::hint::black_box(number);
            }
        })
        .map(|number: u64| number)
        .discard();
    Ok(())
}

/// Declares another job in each role.
fn unstable(env: &mut StreamExecutionEnvironment, _: Args) -> Result<()> {
    let role = std::env::var("FLINK_ROLE").unwrap_or_default();
    env.from_sequence(0..=9).map(|number| number).name(role).discard();
    Ok(())
}

fn build_error(_: &mut StreamExecutionEnvironment, _: Args) -> Result<()> {
    "7x".parse::<u64>()?;
    Ok(())
}

fn no_sink(env: &mut StreamExecutionEnvironment, _: Args) -> Result<()> {
    let _stream = env.from_sequence(0..=9).map(|number| number);
    Ok(())
}

/// The sum of all records, once per subtask: only a coordinator can know it.
fn coordinated(env: &mut StreamExecutionEnvironment, args: Args, mood: Mood) -> Result<()> {
    env.from_sequence(0..=args.records - 1).sink_to(SummingSink(mood));
    Ok(())
}

//! A job program that goes wrong where and how its arguments say, for the end-to-end tests.

use std::{process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};
use flink::{Result, StreamExecutionEnvironment};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

/// Numbers, looked at one by one, then counted by their last digit.
#[derive(Debug, Clone, Parser, Serialize, Deserialize)]
struct Args {
    /// What goes wrong.
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// In which subtask.
    #[arg(long, default_value_t = 0)]
    subtask: u32,
    /// At which number.
    #[arg(long, default_value_t = 100)]
    at: u64,
    /// How many numbers each subtask takes; without it, they never end.
    #[arg(long)]
    records: Option<u64>,
    /// How long the source takes for each number.
    #[arg(long, default_value_t = 0)]
    source_ms: u64,
    /// How long the operator behind the exchange takes for each number.
    #[arg(long, default_value_t = 0)]
    count_ms: u64,
    /// Print what was counted.
    #[arg(long)]
    print: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum, Serialize, Deserialize)]
enum Mode {
    /// Nothing.
    #[default]
    Fine,
    /// A panic in user code.
    Panic,
    /// An error from user code.
    Error,
    /// SIGABRT.
    Abort,
    /// SIGSEGV.
    Segfault,
    /// The process ends with exit code 3.
    Exit,
    /// Another graph on each host.
    Unstable,
    /// The worker panics while it builds the graph.
    BuildPanic,
    /// A record that takes forever, in code that does not look whether it is cancelled.
    Stuck,
}

fn main() -> ExitCode {
    flink::run(build)
}

fn build(env: &mut StreamExecutionEnvironment, args: Args) -> Result<()> {
    env.set_job_name("misbehave");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let look = match args.mode {
        Mode::Unstable => format!("look on {host}"),
        // The client builds on the operator's host.
        Mode::BuildPanic => {
            assert_eq!(host, "ops", "cannot be built here");
            "look".to_owned()
        }
        _ => "look".to_owned(),
    };
    let (records, source, count, print) = (args.records, args.source_ms, args.count_ms, args.print);
    let counts = env
        .from_parallel_iterator(move |subtask, _| {
            (0..records.unwrap_or(u64::MAX)).map(move |number| {
                rest(source);
                (subtask, number)
            })
        })
        .name("numbers")
        .try_map(move |(subtask, number)| look_at(&args, subtask, number))
        .name(look)
        .key_by(|number| number % 10)
        .count()
        .name("count")
        .map(move |(digit, sum)| {
            rest(count);
            format!("{digit},{sum}")
        })
        .name("format");
    if print {
        counts.print()
    } else {
        counts.discard()
    };
    Ok(())
}

/// The number itself, unless this is the place where things go wrong.
fn look_at(args: &Args, subtask: u32, number: u64) -> std::result::Result<u64, String> {
    if subtask != args.subtask || number != args.at {
        return Ok(number);
    }
    match args.mode {
        Mode::Fine | Mode::Unstable | Mode::BuildPanic => Ok(number),
        Mode::Panic => panic!("cannot stand {number}"),
        Mode::Error => Err(format!("{number} is no good")),
        Mode::Abort => std::process::abort(),
        Mode::Segfault => die_of(Signal::SEGV),
        Mode::Exit => leave(),
        Mode::Stuck => loop {
            std::hint::black_box(number);
        },
    }
}

#[expect(clippy::exit, reason = "what user code should not do is what this is about")]
fn leave() -> ! {
    std::process::exit(3)
}

/// Rust's own handler, which looks for stack overflows, takes the first signal of this kind for one and stands down.
fn die_of(signal: Signal) -> ! {
    loop {
        let _sent = kill_process(getpid(), signal);
    }
}

fn rest(ms: u64) {
    if ms > 0 {
        std::thread::park_timeout(Duration::from_millis(ms));
    }
}

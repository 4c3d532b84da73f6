//! Measures the data plane beside one bare TCP+TLS stream on the same path, in the same run. The latency of a small stream
//! beside bulk has a measure of its own: one TCP+TLS connection that multiplexes the same traffic.
//!
//! Sender and receiver are two processes. `run` starts both for every case and prints a table with ratios; `--sender-via` and
//! `--receiver-via` put a command before them, for example `ip netns exec left`, together with their addresses there.
//! CPU is user and system time of both processes, from the first record to the last.
//!
//!     cargo run --release -p flink-exchange --example transport_bench -- run
//!     cargo run --release -p flink-exchange --example transport_bench -- run --json --seconds 5 --only stalled
//!
//! A machine of two cores is full with the four threads of one case: compare ratios, not GB/s, and run it alone.

mod case;
mod clock;
mod mux;
mod ping;
mod quic;
mod record;
mod report;
mod run;
mod tls;

use std::io;

use clap::{Parser, Subcommand};

/// As in a job program, whose allocator this is.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Transport benchmark of the data plane.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all cases and compare.
    Run(run::Options),
    /// One side of one case, told on standard input what to do. Started by `run`.
    Send,
    /// The other side.
    Receive,
}

fn main() -> io::Result<()> {
    match Cli::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Send => case::send(),
        Command::Receive => case::receive(),
    }
}

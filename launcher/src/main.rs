//! The binary; see the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: these must be quick, and one of them needs a single thread.
    flinkctl::agent::entry(std::env::args_os().skip(1)).unwrap_or_else(flinkctl::dispatch::main)
}

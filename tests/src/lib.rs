//! The harness of the end-to-end tests: real hosts, the real `flinkctl`, real job programs.
//!
//! A test is an ordinary `#[test]` that hands its body to [`in_testbed`]. What `cargo test` runs makes hosts with `scripts/testbed`
//! and starts itself anew on the operator's host, for this one test; there the body runs with a [`Bed`] in its hands. So a body may
//! switch hosts off and kill what it likes: when it ends, by a panic or otherwise, the test bed takes everything with it.
//!
//! The programs are those of `target/release`, built before; see [`binaries`].

mod bed;
mod binaries;
mod command;
mod enter;
mod evidence;
mod leftovers;
mod processes;
mod text;
mod turnstile;
mod wait;

pub use bed::Bed;
pub use command::{Command, Output, Running};
pub use enter::{Options, in_testbed, on_hosts};
pub use leftovers::Traces;
pub use processes::{Process, Role};
pub use rustix::process::Signal;
pub use text::{count_words, generate_text, read_counts};
pub use wait::{PATIENCE, iso_ms, now_ms, wait_until};

//! Stream processing jobs as ordinary Rust programs.
//!
//! A job program declares its dataflow in a `build` function and hands it to [`run`], its whole `main`:
//!
//! ```
//! use std::process::ExitCode;
//!
//! use flink::{Result, RuntimeMode, StreamExecutionEnvironment};
//!
//! fn build(env: &mut StreamExecutionEnvironment) -> Result<()> {
//!     env.set_runtime_mode(RuntimeMode::Batch);
//!     env.from_collection(["to be or", "not to be"].map(String::from))
//!         .flat_map_with(|line, out| out.extend(line.split(' ').map(str::to_owned)))
//!         .key_by_ref(|word| word)
//!         .count()
//!         .map(|(word, count)| format!("{word},{count}"))
//!         .print();
//!     Ok(())
//! }
//!
//! fn main() -> ExitCode {
//!     flink::run(build)
//! }
//! ```
//!
//! Started by itself (`cargo run`), the program runs its job in a local cluster inside the process. Started by
//! `flinkctl job run`, the same program file declares the job for the cluster and runs its tasks on the workers' hosts.
//! `build` is called in each of these processes and must declare the same job everywhere: it depends on nothing but its
//! arguments, and changes nothing. Arguments are the program's own clap type; see [`run`].
//!
//! The names are those of Apache Flink's DataStream API: [`StreamExecutionEnvironment`], [`DataStream`], [`KeyedStream`].
//! Records are values of types that implement [`Record`]: numbers, strings, tuples, vectors, options of such.

mod declared;
mod environment;
mod error;
mod run;
mod stream;

pub use environment::{RuntimeMode, StreamExecutionEnvironment};
pub use error::{Error, Result};
pub use flink_connectors::{FileSink, Sink};
pub use flink_exchange::{DecodeError, Key, Record};
pub use flink_worker::operators::{Collector, KeyBy, KeyByRef, KeySelector, Summable};
pub use run::{Build, run};
pub use stream::{DataStream, DataStreamSink, KeyedStream};

#[doc(hidden)]
pub use run::{doc_test, run_for_test};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The snippets of the user guide are compiled, and run where they can be.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-a-job.md")]
struct WritingAJob;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/quickstart.md")]
struct QuickStart;

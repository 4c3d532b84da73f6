//! What a job program does when it is started: that depends on its role, which whoever starts it sets.

mod client;
mod driving;
mod exit_code;
mod local;
mod shipped;

use std::{io::Write as _, process::ExitCode};

use clap::Parser;
use flink_rpc::messages::program_marker;
use flink_worker::JobProgram;
use serde::{Serialize, de::DeserializeOwned};

pub(crate) use shipped::Shipped;

use crate::{
    Result, StreamExecutionEnvironment,
    application::{BoundDriver, Jobs},
};

/// Name of the environment variable with the role of a job program's process: `client`, `worker` or `coordinator`. Without it,
/// the program runs its job by itself.
const ROLE_VARIABLE: &str = "FLINK_ROLE";

/// What the process was started for.
enum Role {
    /// To run the job by itself.
    Local,
    /// To declare the job for the launcher, or to drive its application.
    Client,
    /// To run tasks.
    Worker,
    /// To run coordinators.
    Coordinator,
}

/// A function that declares a job: `Fn(&mut StreamExecutionEnvironment) -> Result<()>`, or
/// `Fn(&mut StreamExecutionEnvironment, Args) -> Result<()>` with the program's own type of arguments.
///
/// `Args` implements [`Serialize`] and [`DeserializeOwned`], and for [`run`] also [`clap::Parser`]. It travels in a compact format that does not name
/// fields: serde attributes that need names (`flatten`, `untagged`, `skip_serializing_if`) do not work in it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not declare a job",
    label = "not a `build` function",
    note = "write `fn build(env: &mut StreamExecutionEnvironment, args: Args) -> flink::Result<()>`, where `Args` derives `clap::Parser`, `serde::Serialize` and `serde::Deserialize`; or leave `args` out"
)]
pub trait Build<Marker> {
    /// The program's arguments.
    #[doc(hidden)]
    type Args: Serialize + DeserializeOwned;

    /// Declares the job.
    #[doc(hidden)]
    fn build(&self, env: &mut StreamExecutionEnvironment, args: Self::Args) -> Result<()>;
}

impl<A, F> Build<(A,)> for F
where
    A: Serialize + DeserializeOwned,
    F: Fn(&mut StreamExecutionEnvironment, A) -> Result<()>,
{
    type Args = A;

    fn build(&self, env: &mut StreamExecutionEnvironment, args: A) -> Result<()> {
        self(env, args)
    }
}

impl<F: Fn(&mut StreamExecutionEnvironment) -> Result<()>> Build<()> for F {
    type Args = NoArguments;

    fn build(&self, env: &mut StreamExecutionEnvironment, _: NoArguments) -> Result<()> {
        self(env)
    }
}

/// The arguments of a program that has none.
#[doc(hidden)]
#[derive(Debug, Parser, serde::Serialize, serde::Deserialize)]
#[command(about = "A flinkctl job program")]
pub struct NoArguments {}

/// Runs the job that `build` declares: the whole `main` of a job program.
///
/// The command line is parsed once, by the process that the user starts; the arguments then go wherever the job goes.
/// Exit codes of a job that runs in this process: 0 when it has finished, 2 for wrong arguments, 5 when it has failed, 130 when
/// it was interrupted, 1 for everything else.
///
/// ```no_run
/// use std::{path::PathBuf, process::ExitCode};
///
/// use clap::Parser;
/// use flink::{Result, StreamExecutionEnvironment};
/// use serde::{Deserialize, Serialize};
///
/// /// Prints the longer lines of a text.
/// #[derive(Parser, Serialize, Deserialize)]
/// struct Args {
///     /// Text to read: file, directory or pattern.
///     input: PathBuf,
///     /// Shortest line to print, characters.
///     #[arg(long, default_value_t = 80)]
///     length: usize,
/// }
///
/// fn build(env: &mut StreamExecutionEnvironment, args: Args) -> Result<()> {
///     env.read_text_file(args.input).filter(move |line| line.chars().count() >= args.length).print();
///     Ok(())
/// }
///
/// fn main() -> ExitCode {
///     flink::run(build)
/// }
/// ```
pub fn run<Marker, B: Build<Marker>>(build: B) -> ExitCode
where
    B::Args: Parser,
{
    match begin() {
        Ok(Role::Local) => match parse::<B::Args>() {
            Ok(args) => local::run(|parallelism| declare_own(&build, args, parallelism)),
            Err(code) => code,
        },
        Ok(Role::Client) => match parse::<B::Args>() {
            Ok(args) => client::run(|parallelism| declare_to_ship(&build, args, parallelism)),
            Err(code) => code,
        },
        Ok(Role::Worker) => {
            flink_worker::run_worker(|bytes| declare_shipped(&build, bytes).map_err(|error| error.to_string()))
        }
        Ok(Role::Coordinator) => {
            flink_worker::run_coordinator(|bytes| declare_shipped(&build, bytes).map_err(|error| error.to_string()))
        }
        Err(code) => code,
    }
}

/// Runs an application, whose driver `parse` makes from the command line.
pub(crate) fn application(jobs: Jobs, parse: impl FnOnce() -> std::result::Result<BoundDriver, ExitCode>) -> ExitCode {
    let role = match begin() {
        Ok(role) => role,
        Err(code) => return code,
    };
    if let Err(error) = jobs.check() {
        tell(&format!("error[job.build]: {error}"));
        return ExitCode::from(exit_code::INTERNAL);
    }
    match role {
        Role::Local => parse().map_or_else(|code| code, |driver| local::drive(jobs, driver)),
        Role::Client => parse().map_or_else(|code| code, |driver| client::drive(jobs, driver)),
        Role::Worker => {
            flink_worker::run_worker(|bytes| jobs.declare_shipped(bytes).map_err(|error| error.to_string()))
        }
        Role::Coordinator => {
            flink_worker::run_coordinator(|bytes| jobs.declare_shipped(bytes).map_err(|error| error.to_string()))
        }
    }
}

/// The beginning of every job program: its role, or the exit code when there is no such role.
fn begin() -> std::result::Result<Role, ExitCode> {
    // The launcher looks for this text in the file before it executes it.
    std::hint::black_box(program_marker());
    init_log();
    match std::env::var(ROLE_VARIABLE).as_deref() {
        Err(_) => Ok(Role::Local),
        Ok("client") => Ok(Role::Client),
        Ok("worker") => Ok(Role::Worker),
        Ok("coordinator") => Ok(Role::Coordinator),
        Ok(role) => {
            tracing::error!("{ROLE_VARIABLE} is `{role}`: there is no such role");
            Err(ExitCode::FAILURE)
        }
    }
}

/// Runs a job to its end in this process, for tests.
///
/// # Errors
/// Why it could not be declared, or why it failed.
#[doc(hidden)]
pub fn run_for_test<Marker, B: Build<Marker, Args = NoArguments>>(build: B, parallelism: u32) -> Result<()> {
    declare_own(&build, NoArguments {}, parallelism).and_then(local::run_to_end)
}

/// Runs the job of an example in the documentation: the lines that it printed, sorted, as tasks print in no particular order.
///
/// # Panics
/// When the job could not be declared, or failed.
#[doc(hidden)]
pub fn doc_test<Marker, B: Build<Marker, Args = NoArguments>>(build: B) -> Vec<String> {
    match declare_own(&build, NoArguments {}, 2).and_then(local::run_and_collect) {
        Ok(lines) => lines,
        Err(error) => panic!("{error}"),
    }
}

/// Parses the command line; the exit code to end with when that is wrong, or asks for help.
pub(crate) fn parse<A: Parser>() -> std::result::Result<A, ExitCode> {
    A::try_parse().map_err(|error| {
        // When the terminal is gone, nobody reads the message.
        let _unread = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit_code::USAGE))
    })
}

/// The name that a job has until it sets one.
fn program_name() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    std::path::Path::new(&path)
        .file_name()
        .map_or_else(|| "job".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn declare<M, B: Build<M>>(build: &B, args: B::Args, job_name: String, parallelism: u32) -> Result<JobProgram> {
    let mut env = StreamExecutionEnvironment::new(job_name, parallelism);
    build.build(&mut env, args)?;
    env.finish()
}

/// Declares the job that is run in this process.
fn declare_own<M, B: Build<M>>(build: &B, args: B::Args, parallelism: u32) -> Result<JobProgram> {
    declare(build, args, program_name(), parallelism)
}

/// Declares the job for a cluster, with what workers need to declare it again.
fn declare_to_ship<M, B: Build<M>>(build: &B, args: B::Args, parallelism: u32) -> Result<(JobProgram, Vec<u8>)> {
    let shipped = Shipped::of_program(program_name(), parallelism, &args)?;
    let bytes = shipped.encode()?;
    // As a worker does it, so that arguments that do not survive the journey are noticed here.
    Ok((declare_shipped(build, &bytes)?, bytes))
}

fn declare_shipped<M, B: Build<M>>(build: &B, bytes: &[u8]) -> Result<JobProgram> {
    let shipped = Shipped::decode(bytes)?;
    declare(build, shipped.args()?, shipped.job_name, shipped.parallelism)
}

/// Tells the user, who may be gone: then nobody reads it, and whoever tells goes on.
fn tell(message: &str) {
    let _unread = writeln!(std::io::stderr().lock(), "{message}");
}

/// Log lines go to standard error: warnings and errors, or what `RUST_LOG` asks for.
fn init_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    // The program may have set up its own.
    let _set = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

//! `flinkctl job ...`

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{FalseyValueParser, NonEmptyStringValueParser};
use clap::{Args, Subcommand};

use super::{DefineArgs, HostArgs};

const RUN_EXAMPLES: &str = "\
Examples:
  flinkctl job run wordcount -- --input /data    a cluster for this job, torn down afterwards
  flinkctl job run -d -o name wordcount          print the job's id and return
  flinkctl job run --session etl -p 8 wordcount  in the running session `etl`
  flinkctl job run --local -p 2 wordcount        on this machine, without an inventory";

/// Verbs of `flinkctl job`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Run a job program.
    ///
    /// Attached (the default): waits for the job, prints its output, and Ctrl-C cancels it. A cluster started for the
    /// job ends with it.
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// List jobs.
    #[command(visible_aliases = ["ls", "ps"])]
    List(JobListArgs),
    /// Show one job: its vertices, their states and figures.
    Status(StatusArgs),
    /// Wait until a job has ended; the exit code says how.
    Wait(WaitArgs),
    /// Cancel a job.
    Cancel(CancelArgs),
    /// Print what a detached job has printed.
    Logs(LogsArgs),
    /// Print the job graph without starting anything.
    #[command(after_help = "Example:\n  flinkctl job plan -o json wordcount -- --input /data/text")]
    Plan(PlanArgs),
}

/// Arguments of `job run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Start a cluster for this job alone (the default).
    #[arg(long, group = "target", env = "FLINKCTL_PER_JOB", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) per_job: bool,

    /// Run in the session NAME, with the hosts and the settings that it was started with.
    #[arg(
        long,
        value_name = "NAME",
        group = "target",
        conflicts_with_all = ["define", "hosts", "exclude"],
        env = "FLINKCTL_SESSION",
        hide_env = true
    )]
    pub(crate) session: Option<String>,

    /// Run in a local cluster inside the job program's own process; no inventory, no SSH. What it prints is the program's
    /// own, whatever the form of answers is.
    #[arg(long, group = "target", conflicts_with_all = ["detach", "define", "hosts", "exclude"], env = "FLINKCTL_LOCAL", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) local: bool,

    /// Return as soon as the JobManager has the job; print its id.
    #[arg(short, long, env = "FLINKCTL_DETACH", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) detach: bool,

    /// Parallelism of operators that set none; default: every slot there is or can be.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32768), env = "FLINKCTL_PARALLELISM", hide_env = true)]
    pub(crate) parallelism: Option<u32>,

    /// How long to wait until enough slots are there.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration, env = "FLINKCTL_SLOT_TIMEOUT", hide_env = true)]
    pub(crate) slot_timeout: Duration,

    /// Overrides of the inventory.
    #[command(flatten)]
    pub(crate) define: DefineArgs,

    /// Hosts for a per-job cluster.
    #[command(flatten)]
    pub(crate) hosts: HostArgs,

    /// The program and its arguments.
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
}

/// A job program with its arguments.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProgramArgs {
    /// The job program: an executable, or a Cargo package directory (built in release mode first).
    #[arg(value_name = "JOB")]
    pub(crate) job: PathBuf,

    /// Arguments of the job program.
    #[arg(value_name = "ARGS", last = true)]
    pub(crate) args: Vec<OsString>,
}

/// Arguments of `job list`.
#[derive(Clone, Debug, Args)]
pub(crate) struct JobListArgs {
    /// Also jobs that have ended.
    #[arg(short, long, env = "FLINKCTL_ALL_JOBS", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) all: bool,

    /// Only jobs of the session NAME.
    #[arg(long, value_name = "NAME", env = "FLINKCTL_SESSION", hide_env = true)]
    pub(crate) session: Option<String>,
}

/// Arguments of `job status`.
#[derive(Clone, Debug, Args)]
pub(crate) struct StatusArgs {
    /// The job's id, or an unambiguous beginning of it.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) id: String,

    /// Keep showing it until it has ended.
    #[arg(long, env = "FLINKCTL_WATCH", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) watch: bool,
}

/// Arguments of `job wait`.
#[derive(Clone, Debug, Args)]
pub(crate) struct WaitArgs {
    /// The job's id, or an unambiguous beginning of it.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) id: String,

    /// Wait no longer than this, and exit with 7 then; the job goes on. Default: as long as it takes.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, env = "FLINKCTL_TIMEOUT", hide_env = true)]
    pub(crate) timeout: Option<Duration>,
}

/// Arguments of `job cancel`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CancelArgs {
    /// The job's id, or an unambiguous beginning of it.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) id: String,
}

/// Arguments of `job logs`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LogsArgs {
    /// The job's id, or an unambiguous beginning of it.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) id: String,

    /// Go on as the job prints more, until it has ended.
    #[arg(short, long, env = "FLINKCTL_FOLLOW", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) follow: bool,
}

/// Arguments of `job plan`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PlanArgs {
    /// Parallelism of operators that set none.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32768), env = "FLINKCTL_PARALLELISM", hide_env = true)]
    pub(crate) parallelism: Option<u32>,

    /// The program and its arguments.
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
}

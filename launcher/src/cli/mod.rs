//! The command line: clap types and nothing else. The doc comments here are the reference documentation of the options.

mod cluster;
mod config;
mod job;
mod parse;
mod process;
mod session;

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::cluster::{CheckArgs, CleanArgs, ClusterCommand, ExecArgs, HostsArgs, InitArgs};
pub(crate) use self::config::{ConfigCommand, ShowArgs, ValidateArgs};
pub(crate) use self::job::{CancelArgs, JobCommand, JobListArgs, LogsArgs, PlanArgs, RunArgs, StatusArgs, WaitArgs};
pub(crate) use self::parse::asks_for_json;
pub(crate) use self::process::{AgentArgs, JobManagerArgs, TaskManagerArgs};
pub(crate) use self::session::{SessionCommand, SessionStartArgs, SessionStatusArgs, SessionStopArgs};

const EXAMPLES: &str = "\
Examples:
  flinkctl job run --local -p 2 target/release/examples/wordcount    without any cluster
  flinkctl cluster init jm01 'tm[01-16]' > cluster.toml              write an inventory
  flinkctl cluster check                                             are the hosts fit?
  flinkctl job run wordcount -- --input /data/text                   a cluster for this job alone
  flinkctl session start etl -d                                      a cluster for many jobs
  flinkctl job run --session etl -d wordcount -- --input /data/text

Every option but -D can be given as a variable: FLINKCTL_ and its long name, such as FLINKCTL_CLUSTER_FILE
or FLINKCTL_PARALLELISM; a flag wins. Named otherwise are FLINKCTL_ALL_JOBS, FLINKCTL_CLEAN_ALL,
FLINKCTL_CLEAN_ORPHANS, FLINKCTL_JOIN (--join-file) and FLINKCTL_TASKMANAGER_NAME (--name).
Exit codes: flinkctl help exit-codes";

/// Flink-style stream processing on plain Linux hosts that have nothing but sshd.
#[derive(Clone, Debug, Parser)]
#[command(name = "flinkctl", version, after_help = EXAMPLES, propagate_version = false, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command understands.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// The inventory of hosts.
    ///
    /// Without it: ./cluster.toml, then ~/.config/flinkctl/cluster.toml.
    #[arg(
        short = 'c',
        long = "cluster-file",
        value_name = "FILE",
        global = true,
        env = "FLINKCTL_CLUSTER_FILE",
        hide_env = true
    )]
    pub(crate) cluster_file: Option<PathBuf>,

    /// The form of the answer on standard output; with `json`, errors on standard error are JSON as well.
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        global = true,
        env = "FLINKCTL_OUTPUT",
        hide_env = true
    )]
    pub(crate) output: OutputFormat,

    /// Print the answer and errors only, no progress.
    #[arg(short, long, global = true, env = "FLINKCTL_QUIET", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) quiet: bool,

    /// Log what flinkctl does on standard error; twice: in detail.
    #[arg(short, long, action = ArgAction::Count, global = true, env = "FLINKCTL_VERBOSE", hide_env = true)]
    pub(crate) verbose: u8,

    /// How to show progress on standard error; `auto` draws bars on a terminal and prints plain lines elsewhere.
    #[arg(
        long,
        value_name = "MODE",
        value_enum,
        default_value_t,
        global = true,
        env = "FLINKCTL_PROGRESS",
        hide_env = true
    )]
    pub(crate) progress: ProgressMode,

    /// When to use colours; `auto` asks the terminal and respects NO_COLOR.
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        global = true,
        env = "FLINKCTL_COLOR",
        hide_env = true
    )]
    pub(crate) color: ColorMode,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// A table with the columns people look at.
    #[default]
    Table,
    /// A table with all columns.
    Wide,
    /// One JSON document.
    Json,
    /// Names or ids only, one per line.
    Name,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// Bars on a terminal, plain lines elsewhere.
    #[default]
    Auto,
    /// One line per finished phase, and what is waited for every 10 s.
    Plain,
    /// Nothing.
    None,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorMode {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The nouns.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Run jobs and look after them.
    #[command(subcommand)]
    Job(JobCommand),
    /// Long-running clusters that take many jobs.
    #[command(subcommand)]
    Session(SessionCommand),
    /// The hosts: inventory, health, leftovers.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// The inventory file.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Run a JobManager in the foreground, for service managers and scripts.
    ///
    /// To be called on the host that has the role jobmanager in the inventory. It starts nothing elsewhere: TaskManagers join
    /// it by themselves (`flinkctl taskmanager`), with the file that it writes.
    Jobmanager(JobManagerArgs),
    /// Run a TaskManager in the foreground, for service managers and scripts.
    ///
    /// It needs no inventory: the join file of its JobManager says all. It ends with its JobManager, or without it after
    /// `death_timeout`.
    Taskmanager(TaskManagerArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Print the version of flinkctl and of its protocol.
    Version,
    /// The far end of an SSH channel; started by flinkctl itself.
    #[command(hide = true)]
    Agent(AgentArgs),
    /// What the exit codes mean.
    #[command(hide = true, override_help = crate::exit_code::ExitCode::help())]
    ExitCodes,
}

/// Arguments of `completions`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  flinkctl completions bash > /etc/bash_completion.d/flinkctl")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// `-D key=value`, wherever a command reads the inventory to start something.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct DefineArgs {
    /// Override a key of the inventory, such as `taskmanager.idle_timeout=5s`.
    ///
    /// The variable FLINKCTL_TASKMANAGER_IDLE_TIMEOUT does the same. -D wins over the variable, the variable over the file.
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub(crate) define: Vec<String>,
}

/// Which hosts of the inventory a command uses.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct HostArgs {
    /// Only these hosts: names, ranges such as `tm[01-04]`, groups such as `@big`; comma-separated or repeated.
    #[arg(
        short = 'H',
        long = "hosts",
        value_name = "SEL",
        env = "FLINKCTL_HOSTS",
        hide_env = true
    )]
    pub(crate) hosts: Vec<String>,

    /// Not these hosts, in the same notation.
    #[arg(long, value_name = "SEL", env = "FLINKCTL_EXCLUDE", hide_env = true)]
    pub(crate) exclude: Vec<String>,
}

#[cfg(test)]
mod tests;

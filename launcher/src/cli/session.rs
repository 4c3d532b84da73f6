//! `flinkctl session ...`

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand};

use super::{DefineArgs, HostArgs};

const START_EXAMPLES: &str = "\
Examples:
  flinkctl session start etl -d                          start it and return
  flinkctl session start -H @big -D taskmanager.max=4    attached: Ctrl-C stops the session";

/// Verbs of `flinkctl session`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Start a session: a JobManager that takes jobs and starts TaskManagers as they need slots.
    #[command(after_help = START_EXAMPLES)]
    Start(SessionStartArgs),
    /// Stop a session and everything that runs in it.
    Stop(SessionStopArgs),
    /// List sessions.
    #[command(visible_aliases = ["ls", "ps"])]
    List,
    /// Show one session: TaskManagers, slots, jobs.
    Status(SessionStatusArgs),
}

/// Arguments of `session start`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SessionStartArgs {
    /// Name of the session.
    #[arg(default_value = "default", env = "FLINKCTL_SESSION", hide_env = true)]
    pub(crate) name: String,

    /// Return as soon as the session is up; without it, Ctrl-C stops the session.
    #[arg(short, long, env = "FLINKCTL_DETACH", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) detach: bool,

    /// Hosts of the session.
    #[command(flatten)]
    pub(crate) hosts: HostArgs,

    /// Overrides of the inventory.
    #[command(flatten)]
    pub(crate) define: DefineArgs,
}

/// Arguments of `session stop`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SessionStopArgs {
    /// Name of the session.
    pub(crate) name: String,
}

/// Arguments of `session status`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SessionStatusArgs {
    /// Name of the session.
    pub(crate) name: String,

    /// Keep showing it.
    #[arg(long, env = "FLINKCTL_WATCH", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) watch: bool,
}

//! `flinkctl cluster ...`

use std::ffi::OsString;

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand};

use super::HostArgs;

/// Verbs of `flinkctl cluster`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Print an inventory for these hosts.
    #[command(after_help = "Example:\n  flinkctl cluster init ops@jm01 'tm[01-16]:2222' > cluster.toml")]
    Init(InitArgs),
    /// Check that the hosts are fit: SSH, UDP between them, ports, clocks, limits, disks.
    Check(CheckArgs),
    /// List the hosts of the inventory.
    Hosts(HostsArgs),
    /// Run a command on hosts.
    ///
    /// On one host the remote exit code is passed through; on several the highest. 125: `exec` itself failed.
    #[command(after_help = "Example:\n  flinkctl cluster exec -H 'tm[01-04]' -- df -h /var/tmp")]
    Exec(ExecArgs),
    /// Remove what no running session or job needs.
    ///
    /// Looks on every host for processes and directories of this cluster whose JobManager does not answer, shows them, asks,
    /// and ends or removes them. The cache of uploaded files and the records of ended jobs stay.
    Clean(CleanArgs),
}

/// Arguments of `cluster init`.
#[derive(Clone, Debug, Args)]
pub(crate) struct InitArgs {
    /// Hosts as `[user@]host[:port]`; ranges such as `tm[01-16]` are understood. The first one gets the JobManager.
    #[arg(required = true, value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
}

/// Arguments of `cluster check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    /// Hosts to check.
    #[command(flatten)]
    pub(crate) hosts: HostArgs,
}

/// Arguments of `cluster hosts`.
#[derive(Clone, Debug, Args)]
pub(crate) struct HostsArgs {
    /// Hosts to list.
    #[command(flatten)]
    pub(crate) hosts: HostArgs,
}

/// Arguments of `cluster exec`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExecArgs {
    /// Hosts to run on.
    #[command(flatten)]
    pub(crate) hosts: HostArgs,

    /// The command with its arguments; not interpreted by a shell.
    #[arg(value_name = "CMD", last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// Arguments of `cluster clean`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CleanArgs {
    /// Only processes of ours that belong to no live session or job.
    #[arg(long, group = "what", env = "FLINKCTL_CLEAN_ORPHANS", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) orphans: bool,

    /// Everything: live sessions, records of ended jobs and the cache of uploaded files as well.
    #[arg(long, group = "what", env = "FLINKCTL_CLEAN_ALL", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) all: bool,

    /// Do not ask.
    #[arg(short, long, env = "FLINKCTL_YES", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) yes: bool,

    /// Hosts to clean.
    #[command(flatten)]
    pub(crate) hosts: HostArgs,
}

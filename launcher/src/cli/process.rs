//! `flinkctl jobmanager`, `flinkctl taskmanager` and the hidden `flinkctl agent`: the processes themselves.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::DefineArgs;

/// Arguments of `jobmanager`.
#[derive(Clone, Debug, Args)]
pub(crate) struct JobManagerArgs {
    /// Name of the session that it serves.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "standalone",
        env = "FLINKCTL_SESSION",
        hide_env = true
    )]
    pub(crate) session: String,

    /// UDP port of the control plane; default: `rpc_port` of the inventory.
    #[arg(long, value_name = "PORT", env = "FLINKCTL_RPC_PORT", hide_env = true)]
    pub(crate) rpc_port: Option<u16>,

    /// Where to write the file that lets TaskManagers join: address and certificate, mode 0600. Removed at the end.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "flinkctl-join.json",
        env = "FLINKCTL_JOIN",
        hide_env = true
    )]
    pub(crate) join_file: PathBuf,

    /// Overrides of the inventory.
    #[command(flatten)]
    pub(crate) define: DefineArgs,

    /// Take everything from the launch channel on standard input.
    #[arg(long, hide = true)]
    pub(crate) launched: bool,
}

/// Arguments of `taskmanager`.
#[derive(Clone, Debug, Args)]
pub(crate) struct TaskManagerArgs {
    /// The join file that the JobManager wrote.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "flinkctl-join.json",
        env = "FLINKCTL_JOIN",
        hide_env = true
    )]
    pub(crate) join: PathBuf,

    /// Name of this host in messages; default: its host name.
    #[arg(long, value_name = "HOST", env = "FLINKCTL_TASKMANAGER_NAME", hide_env = true)]
    pub(crate) name: Option<String>,

    /// Address at which other hosts reach the data plane of this one; default: the one on the way to the JobManager.
    #[arg(long, value_name = "ADDRESS", env = "FLINKCTL_DATA_ADDRESS", hide_env = true)]
    pub(crate) data_address: Option<IpAddr>,

    /// Slots to offer.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024), env = "FLINKCTL_SLOTS", hide_env = true)]
    pub(crate) slots: u32,

    /// Directory for artifacts and logs.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "~/.local/share/flinkctl",
        env = "FLINKCTL_BASE",
        hide_env = true
    )]
    pub(crate) base: String,

    /// Directory for temporary files of jobs.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/tmp",
        env = "FLINKCTL_TMP",
        hide_env = true
    )]
    pub(crate) tmp: String,

    /// Take everything from the launch channel on standard input.
    #[arg(long, hide = true)]
    pub(crate) launched: bool,
}

/// Arguments of `agent`.
#[derive(Clone, Debug, Args)]
pub(crate) struct AgentArgs {
    /// Handed to the agent as they are.
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

//! `flinkctl config ...`

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand};

use super::DefineArgs;

/// Verbs of `flinkctl config`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check an inventory without connecting to any host; reports every problem at once.
    Validate(ValidateArgs),
    /// Show the values in force.
    #[command(after_help = "Example:\n  flinkctl config show --host tm03 --origin")]
    Show(ShowArgs),
}

/// Arguments of `config validate`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The file; default: the inventory that every command would use.
    pub(crate) file: Option<PathBuf>,

    /// Overrides to check with it.
    #[command(flatten)]
    pub(crate) define: DefineArgs,
}

/// Arguments of `config show`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    /// Only the values of one host.
    #[arg(long, value_name = "HOST", env = "FLINKCTL_HOST", hide_env = true)]
    pub(crate) host: Option<String>,

    /// Also say where each value comes from.
    #[arg(long, env = "FLINKCTL_ORIGIN", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) origin: bool,

    /// Overrides to apply.
    #[command(flatten)]
    pub(crate) define: DefineArgs,
}

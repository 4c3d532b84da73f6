//! `flinkctl cluster ...`

mod check;
mod clean;
mod exec;
mod hosts;

use super::{Context, cluster_init};
use crate::{cli::ClusterCommand, error::UserError, exit_code::ExitCode};

pub(super) async fn run(context: &Context, command: ClusterCommand) -> Result<ExitCode, UserError> {
    match command {
        ClusterCommand::Init(args) => cluster_init::run(&args, context.output).map(|()| ExitCode::Ok),
        ClusterCommand::Hosts(args) => hosts::hosts(context, &args),
        ClusterCommand::Check(args) => check::check(context, &args).await,
        ClusterCommand::Exec(args) => exec::exec(context, &args).await,
        ClusterCommand::Clean(args) => clean::clean(context, &args).await,
    }
}

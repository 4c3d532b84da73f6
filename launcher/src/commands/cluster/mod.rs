//! `flinkctl cluster ...`

mod check;
mod clean;
mod exec;
mod hosts;

use super::{Context, cluster_init};
use crate::{
    cli::ClusterCommand,
    error::UserError,
    exit_code::ExitCode,
    signals::{Interrupts, interrupted},
};

pub(super) async fn run(context: &Context, command: ClusterCommand) -> Result<ExitCode, UserError> {
    match command {
        ClusterCommand::Init(args) => cluster_init::run(&args, context.output).map(|()| ExitCode::Ok),
        ClusterCommand::Hosts(args) => hosts::hosts(context, &args),
        ClusterCommand::Check(args) => {
            let stopped = || interrupted("before all hosts were checked");
            Interrupts::new()?.or(stopped, check::check(context, &args)).await
        }
        ClusterCommand::Exec(args) => {
            let stopped = || {
                interrupted("before the command had ended on all hosts").note("where it still ran, it is ended as well")
            };
            Interrupts::new()?.or(stopped, exec::exec(context, &args)).await
        }
        ClusterCommand::Clean(args) => {
            let stopped = || interrupted("before all hosts were cleaned").help("to clean the rest, run it again");
            Interrupts::new()?.or(stopped, clean::clean(context, &args)).await
        }
    }
}

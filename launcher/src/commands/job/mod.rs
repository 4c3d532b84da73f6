//! `flinkctl job ...`

mod application;
mod cancel;
mod follow;
mod list;
mod logs;
mod plan;
mod run;
mod shown;
mod status;
mod wait;

use super::Context;
use crate::{cli::JobCommand, error::UserError, exit_code::ExitCode};

pub(super) async fn run(context: &Context, command: JobCommand) -> Result<ExitCode, UserError> {
    match command {
        JobCommand::Run(args) => run::run(context, args).await,
        JobCommand::List(args) => list::list(context, args).await,
        JobCommand::Status(args) => status::status(context, args).await,
        JobCommand::Wait(args) => wait::wait(context, args).await,
        JobCommand::Cancel(args) => cancel::cancel(context, args).await,
        JobCommand::Logs(args) => logs::logs(context, args).await,
        JobCommand::Plan(args) => plan::plan(context, args).await,
    }
}

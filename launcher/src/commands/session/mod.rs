//! `flinkctl session ...`

mod list;
mod start;
mod status;
mod stop;

use super::Context;
use crate::{cli::SessionCommand, error::UserError, exit_code::ExitCode};

pub(super) async fn run(context: &Context, command: SessionCommand) -> Result<ExitCode, UserError> {
    match command {
        SessionCommand::Start(args) => start::start(context, args).await,
        SessionCommand::Stop(args) => stop::stop(context, args).await,
        SessionCommand::List => list::list(context).await,
        SessionCommand::Status(args) => status::status(context, args).await,
    }
}

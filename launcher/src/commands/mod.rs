//! What each command does: a file per verb, as in the command tree.

mod cluster;
mod cluster_init;
mod completions;
mod config_show;
mod config_validate;
mod job;
mod session;
mod version;

use crate::{
    cli::{Cli, Command, ConfigCommand, GlobalArgs},
    config::{Inventory, Request},
    error::UserError,
    exit_code::ExitCode,
    output::Output,
    progress::{Mode, Progress, Sink},
};

/// What all commands need.
pub(crate) struct Context {
    /// Options of every command.
    pub(crate) global: GlobalArgs,
    /// Where the answer goes.
    pub(crate) output: Output,
    sink: Sink,
}

impl Context {
    fn new(global: GlobalArgs) -> Self {
        let output = Output::new(global.output, global.quiet);
        let sink = Sink::start(Mode::choose(global.progress, global.quiet, output.is_json()));
        Self { global, output, sink }
    }

    /// Where progress goes.
    pub(crate) fn progress(&self) -> Progress {
        self.sink.handle()
    }

    /// The inventory, with `-D` options applied; what is doubtful about it is said on standard error.
    pub(crate) fn inventory(&self, defines: &[String]) -> Result<Inventory, UserError> {
        let request = Request::from_process(self.global.cluster_file.clone(), defines);
        let inventory = Inventory::load(&request)?;
        for warning in inventory.warnings() {
            self.progress().suspend(|| warning.report(self.output.is_json()));
        }
        Ok(inventory)
    }
}

/// Runs a command that needs the asynchronous runtime. Ends its progress before the error is returned.
pub(crate) async fn run(cli: Cli) -> Result<ExitCode, UserError> {
    let context = Context::new(cli.global);
    let result = match cli.command {
        Command::Job(command) => job::run(&context, command).await,
        Command::Session(command) => session::run(&context, command).await,
        Command::Cluster(command) => cluster::run(&context, command).await,
        Command::Config(command) => config(&context, command).map(|()| ExitCode::Ok),
        Command::Completions(args) => completions::run(&args, context.output).map(|()| ExitCode::Ok),
        Command::Version => version::run(flink_rpc::messages::PROTOCOL_VERSION, context.output).map(|()| ExitCode::Ok),
        Command::ExitCodes => context.output.text(&ExitCode::help()).map(|()| ExitCode::Ok),
        // These are processes of their own: `main` runs them.
        Command::Jobmanager(_) | Command::Taskmanager(_) | Command::Agent(_) => Ok(ExitCode::Internal),
    };
    context.sink.finish();
    result
}

fn config(context: &Context, command: ConfigCommand) -> Result<(), UserError> {
    let request = Request::from_process(context.global.cluster_file.clone(), &[]);
    match command {
        ConfigCommand::Validate(args) => config_validate::run(&args, request, context.output),
        ConfigCommand::Show(args) => config_show::run(&args, request, context.output),
    }
}

//! From the command line to the command: colours, output, one match, the exit code.

use std::ffi::OsString;
use std::process::ExitCode as ProcessExitCode;

use crate::cli::{Cli, ColorMode, Command, OutputFormat, asks_for_json};
use crate::error::UserError;
use crate::exit_code::ExitCode;
use crate::{commands, runtime};

/// Runs the command that the process was called with.
pub fn main() -> ProcessExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::parse_process(args.iter().cloned()) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, asks_for_json(&args)).into(),
    };
    match cli.global.color {
        ColorMode::Auto => {}
        ColorMode::Always => anstream::ColorChoice::Always.write_global(),
        ColorMode::Never => anstream::ColorChoice::Never.write_global(),
    }
    start_log(cli.global.verbose, &cli.command);
    let json = cli.global.output == OutputFormat::Json;
    let result = match cli.command {
        Command::Jobmanager(args) => runtime::jobmanager(&cli.global, &args).map(|()| ExitCode::Ok),
        Command::Taskmanager(args) => runtime::taskmanager(&args).map(|()| ExitCode::Ok),
        _ => command(cli),
    };
    match result {
        Ok(code) => code.into(),
        Err(error) => {
            error.report(json);
            error.exit_code().into()
        }
    }
}

fn command(cli: Cli) -> Result<ExitCode, UserError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::new)?;
    let result = runtime.block_on(commands::run(cli));
    // What still runs in the background (a connection that closes) is not waited for.
    runtime.shutdown_background();
    result
}

/// The processes of a cluster log at level INFO, commands what went wrong; `-v` and RUST_LOG change that.
fn start_log(verbose: u8, command: &Command) {
    use tracing_subscriber::{EnvFilter, filter::LevelFilter};
    let process = matches!(command, Command::Jobmanager(_) | Command::Taskmanager(_));
    let level = match verbose + u8::from(process) {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

/// Reports that the command line does not parse. Help and version are among these "errors".
fn usage(error: &clap::Error, json: bool) -> ExitCode {
    if json && error.use_stderr() {
        let text = error.to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let message = lines
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        let usage = UserError::new("usage", ExitCode::Usage, message).help("flinkctl --help");
        lines.fold(usage, UserError::detail).report(true);
    } else {
        // When the terminal is gone there is no one left to tell.
        let _ = error.print();
    }
    if error.use_stderr() {
        ExitCode::Usage
    } else {
        ExitCode::Ok
    }
}

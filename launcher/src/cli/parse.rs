//! Parsing with the rule "a flag wins over a variable", also where the two exclude each other.
//!
//! To clap a variable is as good as a flag, so `FLINKCTL_SESSION=etl flinkctl job run --local JOB` would be a conflict.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory as _, Error, FromArgMatches as _};

use super::Cli;

/// Where a job runs: options of `job run` that exclude each other.
const TARGETS: &[&str] = &["per_job", "session", "local"];
/// What such a flag makes clap ignore, the least first, until there is no conflict: variables of the other targets, of the
/// hosts that a session has and `--local` has not, and of what `--local` cannot do.
const IGNORED: [&[&str]; 4] = [
    TARGETS,
    &["per_job", "session", "local", "hosts", "exclude"],
    &["per_job", "session", "local", "detach"],
    &["per_job", "session", "local", "detach", "hosts", "exclude"],
];

impl Cli {
    /// Parses the arguments of a process, the first of which is the program's name.
    pub(crate) fn parse_process(args: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let args: Vec<OsString> = args.into_iter().collect();
        let conflict = match parse(Self::command(), &args) {
            Err(error) if error.kind() == ErrorKind::ArgumentConflict => error,
            Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
                return Err(as_without_variables(error, &args));
            }
            other => return other.map(|(cli, _)| cli),
        };
        for ignored in IGNORED {
            if let Ok((cli, matches)) = parse(without_variables(ignored), &args)
                && names_a_target(&matches)
            {
                return Ok(cli);
            }
        }
        Err(conflict)
    }
}

/// Whether these arguments ask for JSON, as far as that can be told when they do not parse.
pub(crate) fn asks_for_json(args: &[OsString]) -> bool {
    let ours = args.iter().take_while(|arg| *arg != "--");
    let mut previous = None;
    let mut last = std::env::var_os("FLINKCTL_OUTPUT").is_some_and(|format| format == "json");
    for arg in ours {
        if matches!(previous, Some("-o" | "--output")) {
            last = arg == "json";
        } else if let Some(format) = arg
            .to_str()
            .and_then(|arg| arg.strip_prefix("--output=").or_else(|| arg.strip_prefix("-o")))
        {
            last = format == "json";
        }
        previous = arg.to_str();
    }
    last
}

fn parse(command: Command, args: &[OsString]) -> Result<(Cli, ArgMatches), Error> {
    let matches = command.try_get_matches_from(args)?;
    let cli = Cli::from_arg_matches(&matches)?;
    Ok((cli, matches))
}

/// The same error with the usage alone: clap's, with what was given, shows options as required that variables have set.
fn as_without_variables(error: Error, args: &[OsString]) -> Error {
    match parse(without_any_variable(Cli::command()), args) {
        Err(plain) if plain.kind() == error.kind() => plain,
        _ => error,
    }
}

fn without_any_variable(command: Command) -> Command {
    command
        .mut_args(|arg| arg.env(None::<&str>))
        .mut_subcommands(without_any_variable)
}

/// The command line without the variables of some options of `job run`.
fn without_variables(ids: &[&str]) -> Command {
    Cli::command().mut_subcommand("job", |job| {
        job.mut_subcommand("run", |run| {
            ids.iter()
                .fold(run, |run, id| run.mut_arg(id, |arg| arg.env(None::<&str>)))
        })
    })
}

/// Whether a flag says where the job runs. Two variables that contradict each other stay a conflict.
fn names_a_target(matches: &ArgMatches) -> bool {
    let run = matches
        .subcommand_matches("job")
        .and_then(|job| job.subcommand_matches("run"));
    run.is_some_and(|run| {
        TARGETS
            .iter()
            .any(|id| run.value_source(id) == Some(ValueSource::CommandLine))
    })
}

//! The ways into `flinkctl agent`: serve a channel, become a detached process, become a child that dies with its parent, try
//! logins.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::{detach, server, stdio};
use crate::runtime;

/// The hidden sub-command, argument 1.
pub const AGENT: &str = "agent";
/// `agent serve BASE`: serves the channel on stdin and stdout.
pub(crate) const SERVE: &str = "serve";
/// `agent detach`: reads what to run on stdin, leaves the session and becomes that process.
pub(crate) const DETACH: &str = "detach";
/// `agent tether PPID PROGRAM ARGS...`: becomes a program that gets SIGTERM when the process PPID ends.
pub(crate) const TETHER: &str = "tether";

/// `agent reach`: tries the logins that a JobManager of this host needs.
pub(crate) const REACH: &str = "reach";

/// How long the agent may take to undo what is unfinished when its channel has ended.
const UNDO_LIMIT: Duration = Duration::from_secs(2);
/// Exit code when the agent cannot do what its arguments say; as `sh` says "found, but cannot be executed".
const CANNOT: u8 = 126;

/// Runs `flinkctl agent ...` if that is what the arguments (without argument 0) say. To be called first thing in `main`,
/// before command line parsing, threads and the asynchronous runtime: it must be quick, and `detach` needs a single thread.
#[must_use]
pub fn entry(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter();
    if arguments.next()? != AGENT {
        return None;
    }
    let action = arguments.next().unwrap_or_default();
    let result = match action.to_str() {
        Some(SERVE) => serve(arguments.next().map(PathBuf::from)),
        Some(DETACH) => detach::become_detached(),
        Some(TETHER) => tether(arguments),
        Some(REACH) => runtime::reach().map_err(|error| format!("{error:#}")),
        _ => Err("this command is for flinkctl's own use".to_owned()),
    };
    Some(result.map_or_else(
        |reason| {
            // Nobody is left to tell when stderr is gone too.
            let _ = writeln!(std::io::stderr(), "flinkctl agent: {reason}");
            ExitCode::from(CANNOT)
        },
        |()| ExitCode::SUCCESS,
    ))
}

fn serve(base: Option<PathBuf>) -> Result<(), String> {
    let base = base.ok_or("no base directory")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let result = runtime.block_on(async {
        let (reader, writer) = stdio::channel().map_err(|error| error.to_string())?;
        server::serve(base, reader, writer)
            .await
            .map_err(|error| error.to_string())
    });
    // Interrupted uploads remove their files in here; a call that is still busy (a slow stop) must not keep the agent alive.
    runtime.shutdown_timeout(UNDO_LIMIT);
    result
}

/// `std` can start a child with a death signal only through an unsafe hook, so the child sets it on itself and then becomes the
/// program. When the parent died in between, the signal will never come: hence the comparison afterwards.
fn tether(mut arguments: impl Iterator<Item = OsString>) -> Result<(), String> {
    let parent: i32 = arguments
        .next()
        .and_then(|text| text.to_str()?.parse().ok())
        .ok_or("no parent pid")?;
    let program = arguments.next().ok_or("no program")?;
    set_parent_process_death_signal(Some(Signal::TERM)).map_err(|errno| errno.to_string())?;
    if getppid().is_none_or(|now| now.as_raw_nonzero().get() != parent) {
        return Err("the parent is gone".to_owned());
    }
    let error = Command::new(&program).args(arguments).exec();
    Err(format!("{}: {error}", program.display()))
}

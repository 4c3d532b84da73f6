//! How a process is detached from the session of its starter.
//!
//! The agent starts `flinkctl agent detach` with one end of a socket pair as stdin. That process reads what it shall become,
//! leaves the session (`setsid`), replaces its outputs by the log, and executes the program *in place*: one process, whose pid
//! the agent knows from the start and whose exit status it gets exactly, as long as the agent lives. When the agent ends, init
//! takes over. A second fork, as daemons of old did, would only hide the status. stdin stays: it is the launch channel, on
//! which the payload follows ([`crate::process::Startup`]).
//!
//! No foreign file descriptor survives: `std` opens everything close-on-exec, the bootstrap script closes 3 to 9, and
//! 0 to 2 are replaced here.

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::{self, Read, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use flink_process::unless_busy;
use flink_rpc::messages::UMASK_VARIABLE;
use rustix::fs::Mode;
use rustix::process::{setsid, umask};
use serde::{Deserialize, Serialize};

use crate::process::{TAG_VARIABLE, encode_message, read_message};

/// Variables of the agent's environment that a detached process keeps; all others stay behind. `XDG_RUNTIME_DIR` is left out on
/// purpose: logind removes that directory at logout, which the process outlives.
const KEPT: [&str; 10] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    UMASK_VARIABLE,
];

/// What the detached process becomes. All paths are absolute.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DetachSpec {
    pub(super) program: PathBuf,
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) tag: String,
    pub(super) log: PathBuf,
    pub(super) working_dir: PathBuf,
}

impl DetachSpec {
    /// As it stands on the launch channel, before the payload.
    pub(super) fn encode(&self) -> Result<Vec<u8>, String> {
        let bytes = postcard::to_stdvec(self).map_err(|error| error.to_string())?;
        encode_message(&bytes).map_err(|error| error.to_string())
    }
}

/// Never returns `Ok`: the process has become another one then. An error goes to the stderr that the agent reads, never to the log.
pub(super) fn become_detached() -> Result<(), String> {
    let spec = read_message(&mut Unbuffered).map_err(|error| error.to_string())?;
    let spec: DetachSpec = postcard::from_bytes(&spec).map_err(|error| error.to_string())?;
    setsid().map_err(|errno| format!("setsid: {errno}"))?;
    umask(Mode::from_raw_mode(0o077));
    std::env::set_current_dir(&spec.working_dir).map_err(|error| format!("{}: {error}", spec.working_dir.display()))?;
    let log_error = |error: io::Error| format!("{}: {error}", spec.log.display());
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&spec.log)
        .map_err(log_error)?;
    // `exec` below replaces 1 and 2 before it tries the program, and must still be able to say why it failed.
    let report = rustix::io::fcntl_dupfd_cloexec(io::stderr().as_fd(), 3).map_err(|errno| errno.to_string())?;
    let kept = KEPT
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut program = Command::new(&spec.program);
    program
        .arg0(&spec.name)
        .args(&spec.args)
        .env_clear()
        .envs(kept)
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .env(TAG_VARIABLE, &spec.tag)
        .stdout(log.try_clone().map_err(log_error)?)
        .stderr(log);
    let Err(error) = unless_busy(|| Err::<Infallible, _>(program.exec()));
    let mut report = std::fs::File::from(report);
    // The agent is gone if this fails, and with it everybody who wants to know.
    let _ = write!(report, "{error}");
    Ok(())
}

/// Standard input without `std`'s buffer, which would swallow the payload of the program to come.
struct Unbuffered;

impl Read for Unbuffered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(io::stdin().as_fd(), buffer)?)
    }
}

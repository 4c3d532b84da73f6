//! The agent's side of a launch: starts the detached process, hands it its secrets, waits until it is ready or dead.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::detach::DetachSpec;
use super::entry::{AGENT, DETACH};
use super::files::{make_directory, remove_empty_parents, resolve, tail};
use super::protocol::{AgentError, Bytes, LaunchOutcome, LaunchSpec, Program};
use crate::process::{self, MAX_STARTUP_MESSAGE, ProcessIdentity, encode_message};

/// How long a process that was killed may take to be gone.
const KILL_WAIT: Duration = Duration::from_secs(1);

/// Starts a detached process. When the future is dropped before the process was ready, the process is killed and the directory of
/// its log is removed if it was made for it: a launch either ends with an answer or has never happened.
pub(super) async fn launch(base: &Path, spec: LaunchSpec) -> Result<LaunchOutcome, AgentError> {
    let program = program_path(base, &spec.program)?;
    let not_started = |text: String| AgentError::NotStarted {
        program: program.display().to_string(),
        text,
    };
    let log = resolve(base, &spec.log);
    let working_dir = spec
        .working_dir
        .as_deref()
        .map_or_else(|| PathBuf::from("/"), |path| resolve(base, path));
    let made = Made::new(base, log.parent().unwrap_or_else(|| Path::new("/")))?;
    make_directory(&working_dir)?;
    let log_start = std::fs::metadata(&log).map_or(0, |file| file.len());
    let detach = DetachSpec {
        name: process_name(&spec.program, &program),
        program: program.clone(),
        args: spec.args,
        env: spec.env,
        tag: spec.tag,
        log: log.clone(),
        working_dir,
    };
    let mut opening = detach.encode().map_err(not_started)?;
    let payload = encode_message(&spec.payload.0).map_err(|error| AgentError::BadRequest(error.to_string()))?;
    opening.extend(payload);

    let started = Instant::now();
    let mut starting = Starting::spawn(made).map_err(|error| not_started(error.to_string()))?;
    let outcome = timeout(spec.ready_timeout, starting.finish(&opening)).await;
    match outcome {
        Ok(Ok(Progress::Ready { identity, message })) => {
            starting.let_go();
            Ok(LaunchOutcome::Ready {
                identity,
                message: Bytes(message),
            })
        }
        Ok(Ok(Progress::Died(exit))) => {
            starting.let_go();
            Ok(LaunchOutcome::Died {
                exit,
                log_tail: tail(&log, log_start),
                after: started.elapsed(),
            })
        }
        Ok(Err(text)) => Err(not_started(text)),
        Err(_elapsed) => {
            starting.made.keep();
            Ok(LaunchOutcome::NotReady {
                log_tail: tail(&log, log_start),
            })
        }
    }
}

fn program_path(base: &Path, program: &Program) -> Result<PathBuf, AgentError> {
    match program {
        Program::Flinkctl => std::env::current_exe().map_err(|error| AgentError::file("/proc/self/exe", &error)),
        Program::Path(path) => Ok(resolve(base, path)),
    }
}

/// What `ps` shows as argument 0: a digest would tell nobody anything.
fn process_name(program: &Program, path: &Path) -> String {
    match program {
        Program::Flinkctl => "flinkctl".to_owned(),
        Program::Path(_) => path.display().to_string(),
    }
}

enum Progress {
    Ready {
        identity: ProcessIdentity,
        message: Vec<u8>,
    },
    Died(super::protocol::Exit),
}

/// A process between its start and its readiness; killed when dropped.
struct Starting {
    child: Option<Child>,
    channel: UnixStream,
    made: Made,
}

/// The directory of a process's log, removed with all that is in it when dropped, unless it was there before.
struct Made {
    base: PathBuf,
    directory: Option<PathBuf>,
}

impl Made {
    fn new(base: &Path, directory: &Path) -> Result<Self, AgentError> {
        let is_new = !directory.exists();
        make_directory(directory)?;
        Ok(Self {
            base: base.to_owned(),
            directory: is_new.then(|| directory.to_owned()),
        })
    }

    /// It stays: somebody has got an answer, and will see to it.
    fn keep(&mut self) {
        self.directory = None;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            // Nobody is left to be told.
            let _in_use = std::fs::remove_dir_all(directory);
            remove_empty_parents(&self.base, directory);
        }
    }
}

impl Starting {
    fn spawn(made: Made) -> std::io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new("/proc/self/exe")
            .args([AGENT, DETACH])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Self {
            child: Some(child),
            channel: UnixStream::from_std(ours)?,
            made,
        })
    }

    /// Hands everything over and waits. `Err` = the program could not be executed.
    async fn finish(&mut self, opening: &[u8]) -> Result<Progress, String> {
        let Some(child) = self.child.as_mut() else {
            return Err("already finished".to_owned());
        };
        let pid = child.id().unwrap_or_default();
        // A process that dies at once breaks the pipe; how it died is told below.
        let _broken = self.channel.write_all(opening).await;
        let mut complaint = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            // Its end means that the program is being executed: the descriptor is close-on-exec.
            stderr
                .read_to_string(&mut complaint)
                .await
                .map_err(|error| error.to_string())?;
        }
        if !complaint.is_empty() {
            return Err(complaint.trim().to_owned());
        }
        let identity = ProcessIdentity::of(pid);
        match read_ready(&mut self.channel).await {
            Some(message) => {
                let identity = identity.map_err(|error| error.to_string())?;
                Ok(Progress::Ready { identity, message })
            }
            // It ended, or at least closed the channel without a word: then its end is awaited (up to the time limit).
            None => {
                let status = child.wait().await.map_err(|error| error.to_string())?;
                Ok(Progress::Died(status.into()))
            }
        }
    }

    /// From here on the process lives its own life. tokio reaps it should it end before the agent does.
    fn let_go(&mut self) {
        self.child = None;
        self.made.keep();
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let pid = self.child.as_ref().and_then(Child::id);
        let identity = pid.and_then(|pid| ProcessIdentity::of(pid).ok());
        if let Some(pid) = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            // The child is not reaped yet, so the pid is still its own. Once detached it leads a group; before that it has none.
            let _gone = kill_process_group(pid, Signal::KILL);
            let _gone = rustix::process::kill_process(pid, Signal::KILL);
        }
        if let Some(identity) = identity {
            // What it was just writing must not come after the removal of its directory.
            let _ended = process::await_exit(&identity, KILL_WAIT);
        }
    }
}

/// The process's ready message; `None` when it closed the channel instead.
async fn read_ready(channel: &mut UnixStream) -> Option<Vec<u8>> {
    let length = channel.read_u32_le().await.ok()? as usize;
    if length > MAX_STARTUP_MESSAGE {
        return None;
    }
    let mut message = vec![0; length];
    channel.read_exact(&mut message).await.ok()?;
    Some(message)
}

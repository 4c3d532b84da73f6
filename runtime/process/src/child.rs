//! One process of a job program: starting it, talking to it, hearing of its end.
//!
//! # It dies with us
//! The process asks the kernel to be killed with its parent (`PR_SET_PDEATHSIG`), as the first thing in its role, and
//! then compares its parent with [`ENV_PARENT_PID`], for the parent may have died before. The kernel ties this to the
//! parent *thread* that forked: [`ChildProcess::spawn`] must be called on a thread that lives as long as the parent
//! process. Should the child miss the signal, it still reads the end of its control socket.
//!
//! # Its end
//! The exit is seen (`waitid` with `WNOWAIT`) before the process is reaped. While it is a zombie its pid, and so the
//! id of its process group, cannot be used again: that is when what it started (and has not moved to a session of its
//! own) is killed. Only then it is reaped. For the same reason signals are sent by the task that reaps, never by pid
//! from elsewhere. (A pidfd would do as well, but tokio can wait for foreign descriptors only by an `unsafe` call.)
//!
//! # Bounds
//! Messages to the child wait in a queue of a length that is set ([`ChildCommand::queue`]); one that lets it run full
//! does not read its socket and is given up. Messages from it go through its parent's event queue; when that is full,
//! they wait in the socket, and the child with them.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt, unix::net::UnixStream as StdUnixStream, unix::process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use flink_graph::WorkerExit;
use flink_rpc::{FrameReader, FrameWriter};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{debug, warn};

use crate::busy::unless_busy;

/// The role that a job program plays: `worker`, `coordinator`.
pub const ENV_ROLE: &str = "FLINK_ROLE";

/// The parent's process id, in decimal digits.
pub const ENV_PARENT_PID: &str = "FLINK_PARENT_PID";

/// The process tag, by which `flinkctl` finds what belongs to a cluster.
pub const ENV_TAG: &str = "FLINKCTL";

/// Lines and bytes of output that are reported with a process's death.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 8 << 10;

/// After a process's end its socket is read for this long without anything coming: a process that it started, and
/// that left its group, may hold the other end open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Status or signal; `None` when it could not be learnt.
    pub exit: Option<WorkerExit>,
    /// Whether the kernel wrote a core dump.
    pub core_dumped: bool,
    /// The last lines of its output.
    pub output: Vec<String>,
}

impl Death {
    /// Of a process whose end nobody has seen.
    pub const fn unseen() -> Self {
        Self {
            exit: None,
            core_dumped: false,
            output: Vec::new(),
        }
    }

    /// How it ended, with the last lines of its output. `why` is what was wrong with it while it lived.
    pub fn describe(&self, why: Option<&str>) -> String {
        let mut text = why.map(|why| format!("{why}; ")).unwrap_or_default();
        match self.exit {
            Some(exit) => text.push_str(&exit.to_string()),
            None => text.push_str("its exit status is not known"),
        }
        if self.core_dumped {
            text.push_str(", core dumped");
        }
        if !self.output.is_empty() {
            text.push_str("\nlast lines of its output:");
        }
        for line in &self.output {
            text.push_str("\n  ");
            text.push_str(line);
        }
        text
    }
}

/// How hard a process is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// What is heard of a process.
#[derive(Debug, Clone)]
pub enum ChildEvent<From> {
    /// It said something.
    Told(From),
    /// Its control socket is of no use any more, though it may live.
    Broken {
        /// Why.
        reason: String,
    },
    /// It has ended; everything that it said before was delivered. The last event.
    Exited(Death),
}

/// How to start a process.
#[derive(Debug)]
pub struct ChildCommand {
    /// The file to execute, without arguments.
    pub program: PathBuf,
    /// Environment variables, beside our own.
    pub env: Vec<(String, String)>,
    /// Its working directory; exists.
    pub dir: PathBuf,
    /// Takes its standard output and error.
    pub log: PathBuf,
    /// How many messages may wait for it to read them.
    pub queue: usize,
}

/// The parent's hold on a running process.
#[derive(Debug)]
pub struct ChildHandle<To> {
    messages: mpsc::Sender<To>,
    signals: watch::Sender<Option<StopSignal>>,
}

impl<To> ChildHandle<To> {
    /// Sends a message; false when the process has let the queue run full, or is gone.
    #[must_use]
    pub fn send(&self, message: To) -> bool {
        self.messages.try_send(message).is_ok()
    }

    /// Sends a signal to the process group, unless the process has ended.
    pub fn signal(&self, signal: StopSignal) {
        self.signals.send_replace(Some(signal));
    }
}

/// A process that was just started. [`run`](Self::run) must be driven until it ends; dropped before, it kills the
/// process.
#[derive(Debug)]
pub struct ChildProcess<To> {
    child: Child,
    pid: Option<Pid>,
    socket: UnixStream,
    messages: mpsc::Receiver<To>,
    signals: watch::Receiver<Option<StopSignal>>,
    log: PathBuf,
    log_start: u64,
}

fn not_executed(program: &Path, error: &io::Error) -> String {
    let hint = match error.kind() {
        // The file itself was seen a moment ago.
        io::ErrorKind::NotFound => " (its dynamic loader or interpreter is not installed on this host)",
        io::ErrorKind::PermissionDenied => " (is the directory on a file system that is mounted noexec?)",
        _ => "",
    };
    format!("could not execute {}: {error}{hint}", program.display())
}

impl<To: Serialize> ChildProcess<To> {
    /// Starts a process. To be called on a thread that lives as long as ours does, see the module.
    ///
    /// # Errors
    /// When the log file cannot be opened or the kernel does not execute the program.
    pub fn spawn(command: &ChildCommand) -> Result<(ChildHandle<To>, Self), String> {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&command.log);
        let log = log.map_err(|error| format!("could not open {}: {error}", command.log.display()))?;
        let failed = |error: io::Error| format!("could not start the process: {error}");
        let log_start = log.metadata().map_err(failed)?.len();
        let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let socket = UnixStream::from_std(ours).map_err(failed)?;
        let mut program = Command::new(&command.program);
        program
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&command.dir)
            .stdin(OwnedFd::from(theirs))
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(Stdio::from(log))
            .process_group(0)
            .kill_on_drop(true);
        let child = unless_busy(|| program.spawn()).map_err(|error| not_executed(&command.program, &error))?;
        let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let (messages, queue) = mpsc::channel(command.queue);
        let (signals, signalled) = watch::channel(None);
        let process = Self {
            child,
            pid,
            socket,
            messages: queue,
            signals: signalled,
            log: command.log.clone(),
            log_start,
        };
        Ok((ChildHandle { messages, signals }, process))
    }

    /// The process id, for the log.
    pub fn pid(&self) -> Option<i32> {
        self.pid.map(Pid::as_raw_pid)
    }

    /// Carries messages both ways until the process has ended, and says so as the last event. `wrap` makes what the
    /// parent's event queue takes.
    pub async fn run<From: DeserializeOwned, E>(self, events: mpsc::Sender<E>, wrap: impl Fn(ChildEvent<From>) -> E) {
        let Self {
            mut child,
            pid,
            socket,
            messages,
            mut signals,
            log,
            log_start,
        } = self;
        let (reading, writing) = socket.into_split();
        let mut hearing = Hearing {
            wrap,
            reader: FrameReader::new(reading),
            unheard: None,
            events,
        };
        let is_zombie = {
            let talking =
                async { tokio::join!(hearing.run(), write(messages, writing), send_signals(pid, &mut signals)) };
            let zombie = async {
                match ended(pid).await {
                    Ok(()) => true,
                    Err(error) => {
                        warn!(pid = pid.map(Pid::as_raw_pid), %error, "waiting for the exit itself");
                        let _status = child.wait().await;
                        false
                    }
                }
            };
            tokio::select! {
                ((), (), ()) = talking => false,
                is_zombie = zombie => is_zombie,
            }
        };
        if is_zombie && let Some(pid) = pid {
            // Fails when no other process is left in the group: fine.
            let _none = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        let status = child
            .wait()
            .await
            .inspect_err(|error| warn!(pid = pid.map(Pid::as_raw_pid), %error, "no exit status"))
            .ok();
        hearing.last_words().await;
        let output = tokio::task::spawn_blocking(move || tail(&log, log_start)).await;
        let death = Death {
            exit: status.and_then(exit_of),
            core_dumped: status.is_some_and(|status| status.core_dumped()),
            output: output.ok().and_then(Result::ok).unwrap_or_default(),
        };
        hearing.tell(ChildEvent::Exited(death)).await;
    }
}

/// What a process says, on its way to its parent.
struct Hearing<R, E, W> {
    reader: FrameReader<R>,
    /// Read, but not passed on yet: here, so that nothing is lost when [`run`](Self::run) is dropped.
    unheard: Option<E>,
    events: mpsc::Sender<E>,
    wrap: W,
}

impl<R: AsyncRead + Unpin, E, W> Hearing<R, E, W> {
    /// Passes on what is said, then that nothing more will be. Never ends. Cancel safe.
    async fn run<From: DeserializeOwned>(&mut self)
    where
        W: Fn(ChildEvent<From>) -> E,
    {
        let mut over = false;
        loop {
            if self.unheard.is_none() && !over {
                let event = match self.reader.next::<From>().await {
                    Ok(Some(message)) => ChildEvent::Told(message),
                    Ok(None) => broken("it closed its control socket".to_owned()),
                    Err(error) => broken(format!("its control socket broke: {error}")),
                };
                over = matches!(event, ChildEvent::Broken { .. });
                self.unheard = Some((self.wrap)(event));
            }
            self.pass_on().await;
            if over {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Cancel safe.
    async fn pass_on(&mut self) {
        // The event queue is closed only when the parent is ending, and this with it.
        if let Ok(permit) = self.events.reserve().await
            && let Some(event) = self.unheard.take()
        {
            permit.send(event);
        }
    }

    /// What the process had said when it ended.
    async fn last_words<From: DeserializeOwned>(&mut self)
    where
        W: Fn(ChildEvent<From>) -> E,
    {
        self.pass_on().await;
        while let Ok(Ok(Some(message))) = timeout(LAST_WORDS, self.reader.next::<From>()).await {
            self.tell(ChildEvent::Told(message)).await;
        }
    }

    async fn tell<From>(&self, event: ChildEvent<From>)
    where
        W: Fn(ChildEvent<From>) -> E,
    {
        let _gone = self.events.send((self.wrap)(event)).await;
    }
}

fn broken<From>(reason: String) -> ChildEvent<From> {
    ChildEvent::Broken { reason }
}

/// Never ends: a socket that takes no more shows on its reading side.
async fn write(mut messages: mpsc::Receiver<impl Serialize>, socket: impl AsyncWrite + Unpin) {
    let mut writer = FrameWriter::new(socket);
    while let Some(message) = messages.recv().await {
        if let Err(error) = writer.send(&message).await {
            debug!(%error, "the process takes no more messages");
            break;
        }
    }
    drop(messages);
    std::future::pending().await
}

/// Never ends.
async fn send_signals(pid: Option<Pid>, signals: &mut watch::Receiver<Option<StopSignal>>) {
    while signals.changed().await.is_ok() {
        let signal = match *signals.borrow_and_update() {
            Some(StopSignal::Terminate) => Signal::TERM,
            Some(StopSignal::Kill) => Signal::KILL,
            None => continue,
        };
        if let Some(pid) = pid
            && let Err(error) = rustix::process::kill_process_group(pid, signal)
        {
            warn!(pid = pid.as_raw_pid(), %error, "could not signal the process");
        }
    }
    std::future::pending().await
}

/// Resolves when the process has ended. It is a zombie then, and stays one until its `Child` is waited for. Cancel
/// safe.
///
/// # Errors
/// When it cannot be known: then there is nothing to wait for but the `Child`.
async fn ended(pid: Option<Pid>) -> io::Result<()> {
    let pid = pid.ok_or(io::ErrorKind::NotFound)?;
    // Listening comes before looking: an exit after the look wakes us up.
    let mut exits = signal(SignalKind::child())?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while rustix::process::waitid(WaitId::Pid(pid), options)?.is_none() {
        exits.recv().await;
    }
    Ok(())
}

fn exit_of(status: ExitStatus) -> Option<WorkerExit> {
    status
        .code()
        .map(WorkerExit::Code)
        .or_else(|| status.signal().map(WorkerExit::Signal))
}

/// The last lines of what was written to `log` from `start` on.
fn tail(log: &Path, start: u64) -> io::Result<Vec<String>> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    let from = start.max(length.saturating_sub(TAIL_BYTES));
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // A line that is cut at its beginning is left out, unless there is no other.
    let whole = if from > start {
        text.split_once('\n').map_or(&*text, |(_, rest)| rest)
    } else {
        &*text
    };
    let lines: Vec<_> = whole
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines_of_this_process() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let old = "of an older process\n";
        let text: String = (0..30).map(|line| format!("line {line}\n\n")).collect();
        std::fs::write(&log, format!("{old}{text}")).unwrap();
        let lines = tail(&log, old.len() as u64).unwrap();
        assert_eq!(lines.len(), TAIL_LINES);
        assert_eq!((lines[0].as_str(), lines[19].as_str()), ("line 10", "line 29"));
        std::fs::write(&log, format!("{old}only line")).unwrap();
        assert_eq!(tail(&log, old.len() as u64).unwrap(), ["only line"]);
    }

    #[test]
    fn the_tail_of_much_output_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::write(&log, b"\xff".repeat(1 << 20)).unwrap();
        assert_eq!(tail(&log, 0).unwrap().len(), 1);
        std::fs::write(&log, "a long line of output\n".repeat(1 << 16)).unwrap();
        assert!(
            tail(&log, 0)
                .unwrap()
                .iter()
                .all(|line| line == "a long line of output")
        );
    }
}

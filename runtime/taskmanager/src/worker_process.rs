//! One worker process: starting it, talking to it, hearing of its end.
//!
//! # It dies with us
//! A worker asks the kernel to be killed with its parent (`PR_SET_PDEATHSIG`), as the first thing in role `worker`, and
//! then compares its parent with [`ENV_PARENT_PID`], for the parent may have died before. The kernel ties this to the
//! parent *thread* that forked: [`spawn`] must be called on a thread that lives as long as the TaskManager, which
//! `TaskManager::run` sees to. Should a worker miss the signal, it still reads the end of its control socket.
//!
//! # Its end
//! The exit is seen (`waitid` with `WNOWAIT`) before the process is reaped. While it is a zombie its pid, and so the
//! id of its process group, cannot be used again: that is when what it started (and has not moved to a session of its
//! own) is killed. Only then it is reaped. For the same reason signals are sent by the task that reaps, never by pid
//! from elsewhere. (A pidfd would do as well, but tokio can wait for foreign descriptors only by an `unsafe` call.)
//!
//! # Bounds
//! Messages to a worker wait in a queue of [`QUEUE`]; one that lets it run full does not read its socket and is given
//! up. Messages from a worker go through the TaskManager's event queue; when that is full, they wait in the socket,
//! and the worker with them.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt, unix::net::UnixStream as StdUnixStream, unix::process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use flink_graph::WorkerExit;
use flink_rpc::{
    FrameReader, FrameWriter,
    messages::{FromWorker, ToWorker},
};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{debug, warn};

use crate::supervision::{Death, Event, StopSignal, WorkerId};

/// The role that a job program plays; a worker's is `worker`.
pub const ENV_ROLE: &str = "FLINK_ROLE";

/// The TaskManager's process id, in decimal digits.
pub const ENV_PARENT_PID: &str = "FLINK_PARENT_PID";

/// The process tag, by which `flinkctl` finds what belongs to a cluster.
pub const ENV_TAG: &str = "FLINKCTL";

/// Messages that wait for a worker which does not read.
const QUEUE: usize = 256;

/// Lines and bytes of output that are reported with a worker's death.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 8 << 10;

/// After a process's end its socket is read for this long without anything coming: a process that it started, and
/// that left its group, may hold the other end open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How to start a worker.
#[derive(Debug)]
pub(crate) struct WorkerCommand {
    /// The file to execute, without arguments.
    pub(crate) program: PathBuf,
    /// Environment variables, beside our own.
    pub(crate) env: Vec<(String, String)>,
    /// Its working directory; exists.
    pub(crate) dir: PathBuf,
    /// Takes its standard output and error.
    pub(crate) log: PathBuf,
}

/// The TaskManager's hold on a running worker.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    messages: mpsc::Sender<ToWorker>,
    signals: watch::Sender<Option<StopSignal>>,
}

impl WorkerHandle {
    /// Sends a message; false when the worker has let the queue run full, or is gone.
    pub(crate) fn send(&self, message: ToWorker) -> bool {
        self.messages.try_send(message).is_ok()
    }

    /// Sends a signal to the process group, unless the process has ended.
    pub(crate) fn signal(&self, signal: StopSignal) {
        self.signals.send_replace(Some(signal));
    }
}

/// A worker process that was just started. [`run`](Self::run) must be driven until it ends; dropped before, it kills
/// the process.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    id: WorkerId,
    child: Child,
    pid: Option<Pid>,
    socket: UnixStream,
    messages: mpsc::Receiver<ToWorker>,
    signals: watch::Receiver<Option<StopSignal>>,
    log: PathBuf,
    log_start: u64,
}

/// Starts a worker. To be called on the thread that the TaskManager runs on, see the module.
///
/// # Errors
/// When the log file cannot be opened or the kernel does not execute the program.
pub(crate) fn spawn(id: WorkerId, command: &WorkerCommand) -> Result<(WorkerHandle, WorkerProcess), String> {
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&command.log);
    let log = log.map_err(|error| format!("could not open {}: {error}", command.log.display()))?;
    let failed = |error: io::Error| format!("could not start the worker process: {error}");
    let log_start = log.metadata().map_err(failed)?.len();
    let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let socket = UnixStream::from_std(ours).map_err(failed)?;
    let child = Command::new(&command.program)
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&command.dir)
        .stdin(OwnedFd::from(theirs))
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(Stdio::from(log))
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| not_executed(&command.program, &error))?;
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let (messages, queue) = mpsc::channel(QUEUE);
    let (signals, signalled) = watch::channel(None);
    let log = command.log.clone();
    let process = WorkerProcess {
        id,
        child,
        pid,
        socket,
        messages: queue,
        signals: signalled,
        log,
        log_start,
    };
    Ok((WorkerHandle { messages, signals }, process))
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

impl WorkerProcess {
    /// The process id, for the log.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.pid.map(Pid::as_raw_pid)
    }

    /// Carries messages both ways until the process has ended, and says so as the last event.
    pub(crate) async fn run(self, events: mpsc::Sender<Event>) {
        let Self {
            id,
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
            id,
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
                        warn!(worker = %id, %error, "waiting for the exit itself");
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
            .inspect_err(|error| warn!(worker = %id, %error, "no exit status"))
            .ok();
        hearing.last_words().await;
        let output = tokio::task::spawn_blocking(move || tail(&log, log_start)).await;
        let death = Death {
            exit: status.and_then(exit_of),
            core_dumped: status.is_some_and(|status| status.core_dumped()),
            output: output.ok().and_then(Result::ok).unwrap_or_default(),
        };
        hearing.tell(Event::Exited { worker: id, death }).await;
    }
}

/// What a worker says, on its way to the TaskManager.
struct Hearing<R> {
    id: WorkerId,
    reader: FrameReader<R>,
    /// Read, but not passed on yet: here, so that nothing is lost when [`run`](Self::run) is dropped.
    unheard: Option<Event>,
    events: mpsc::Sender<Event>,
}

impl<R: AsyncRead + Unpin> Hearing<R> {
    /// Passes on what is said, then that nothing more will be. Never ends. Cancel safe.
    async fn run(&mut self) {
        let mut over = false;
        loop {
            if self.unheard.is_none() && !over {
                let event = match self.reader.next::<FromWorker>().await {
                    Ok(Some(message)) => Event::Told {
                        worker: self.id,
                        message,
                    },
                    Ok(None) => self.broken("it closed its control socket".to_owned()),
                    Err(error) => self.broken(format!("its control socket broke: {error}")),
                };
                over = matches!(event, Event::Broken { .. });
                self.unheard = Some(event);
            }
            self.pass_on().await;
            if over {
                std::future::pending::<()>().await;
            }
        }
    }

    fn broken(&self, reason: String) -> Event {
        Event::Broken {
            worker: self.id,
            reason,
        }
    }

    /// Cancel safe.
    async fn pass_on(&mut self) {
        // The event queue is closed only when the TaskManager is gone, and this with it.
        if let Ok(permit) = self.events.reserve().await
            && let Some(event) = self.unheard.take()
        {
            permit.send(event);
        }
    }

    /// What the process had said when it ended.
    async fn last_words(&mut self) {
        self.pass_on().await;
        while let Ok(Ok(Some(message))) = timeout(LAST_WORDS, self.reader.next::<FromWorker>()).await {
            self.tell(Event::Told {
                worker: self.id,
                message,
            })
            .await;
        }
    }

    async fn tell(&self, event: Event) {
        let _gone = self.events.send(event).await;
    }
}

/// Never ends: a socket that takes no more shows on its reading side.
async fn write(mut messages: mpsc::Receiver<ToWorker>, socket: impl AsyncWrite + Unpin) {
    let mut writer = FrameWriter::new(socket);
    while let Some(message) = messages.recv().await {
        if let Err(error) = writer.send(&message).await {
            debug!(%error, "worker takes no more messages");
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
            warn!(pid = pid.as_raw_pid(), %error, "could not signal worker");
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
    fn the_tail_is_the_last_lines_of_this_worker() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let old = "of an older worker\n";
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

//! One OpenSSH master: our child in the foreground, ready when it says so, gone when we are.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::classify::{Failure, classify};
use super::error::SshErrorKind;
use super::spawner;
use super::target::{SshTarget, master_arguments};
use crate::agent::{AGENT, TETHER};
use crate::process::TAG_VARIABLE;

/// What the master prints (as its LocalCommand) when the login is done and the control socket is open.
pub(super) const READY: &str = "FLINKCTL-READY";

/// How much of what a master says is kept.
const MAX_TEXT: usize = 16 << 10;
/// How long a master that was asked to end may take. It ends at once unless it hangs in the kernel.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// How often it is asked. ssh looks whether it was told to end and then waits for its sockets: a signal in between is not
/// noticed before something else happens (OpenSSH 9.2; seen in one of a dozen launches on six hosts, each 3 s longer).
const STOP_INTERVAL: Duration = Duration::from_millis(50);
/// How long its last words may take after its end: a ProxyCommand may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A running master. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Master {
    child: Mutex<Child>,
    control: PathBuf,
    text: Arc<Mutex<Vec<u8>>>,
    listening: Option<JoinHandle<()>>,
}

/// Which programs make a master.
#[derive(Debug, Clone)]
pub(super) struct MasterPrograms {
    /// This very binary, for `agent tether`.
    pub(super) helper: PathBuf,
    /// OpenSSH's client.
    pub(super) ssh: PathBuf,
}

impl Master {
    /// Starts a master and waits until its login is done.
    pub(super) async fn start(
        programs: &MasterPrograms,
        target: &SshTarget,
        control: PathBuf,
        proxy_command: Option<&str>,
    ) -> Result<Self, Failure> {
        let arguments = master_arguments(target, &control, proxy_command)
            .map_err(|error| Failure::of(SshErrorKind::Invalid(error.to_string())))?;
        let mut command = Command::new(&programs.helper);
        command
            .args([AGENT, TETHER, &std::process::id().to_string()])
            .arg(&programs.ssh)
            .args(arguments)
            // LocalCommand goes through this shell; the user's own may take its time.
            .env("SHELL", "/bin/sh")
            .env_remove(TAG_VARIABLE)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for us: the connections are needed for the orderly end.
            .process_group(0);
        let mut child = spawner::spawn(command)
            .await
            .map_err(|error| Failure::with_text(SshErrorKind::Other, error.to_string()))?;
        let stdout = child.stdout.take();
        let text = Arc::default();
        let listening = child
            .stderr
            .take()
            .map(|stderr| tokio::spawn(collect(stderr, Arc::clone(&text))));
        let mut master = Self {
            child: Mutex::new(child),
            control,
            text,
            listening,
        };
        let limit = target.connect_timeout + target.auth_timeout;
        match timeout(limit, said_ready(stdout)).await {
            Ok(true) => Ok(master),
            Ok(false) => Err(master.explain(target).await),
            // ssh itself limits everything up to the key exchange, so it is the login that hangs.
            Err(_elapsed) => Err(Failure::of(SshErrorKind::AuthTimeout(target.auth_timeout))),
        }
    }

    /// The control socket.
    pub(super) fn control(&self) -> &Path {
        &self.control
    }

    /// Whether the master still runs.
    pub(super) fn is_alive(&self) -> bool {
        self.child
            .lock()
            .is_ok_and(|mut child| matches!(child.try_wait(), Ok(None)))
    }

    /// Why a master that was not ready has ended.
    async fn explain(&mut self, target: &SshTarget) -> Failure {
        let status = self.wait(STOP_LIMIT).await;
        let text = self.last_words().await;
        classify(&text, status.and_then(|status| status.code()), target)
    }

    async fn last_words(&mut self) -> String {
        if let Some(mut listening) = self.listening.take()
            && timeout(LAST_WORDS, &mut listening).await.is_err()
        {
            listening.abort();
        }
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }

    async fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let child = self.child.get_mut().ok()?;
        timeout(limit, child.wait()).await.ok()?.ok()
    }

    /// Ends the master and waits until it is gone, with its control socket.
    pub(super) async fn stop(mut self) {
        let until = Instant::now() + STOP_LIMIT;
        while Instant::now() < until {
            self.terminate();
            let Ok(child) = self.child.get_mut() else {
                return;
            };
            match timeout(STOP_INTERVAL, child.wait()).await {
                Ok(Ok(_status)) => return,
                Ok(Err(_it_cannot_be_waited_for)) => break,
                Err(_elapsed) => {}
            }
        }
        if let Ok(child) = self.child.get_mut() {
            let _killed = timeout(STOP_LIMIT, child.kill()).await;
        }
    }

    /// Asks the master to end.
    fn terminate(&mut self) {
        let Ok(child) = self.child.get_mut() else {
            return;
        };
        // `id` is known only as long as the child is not reaped: nobody else can have the pid.
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _gone = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.terminate();
        // ssh removes its socket, unless the signal met it between the READY line and its main loop.
        let _gone = std::fs::remove_file(&self.control);
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

/// Waits for the READY line; `false` when stdout ended without it. Other lines are noise of the user's own configuration.
async fn said_ready(stdout: Option<impl AsyncRead + Unpin>) -> bool {
    let Some(stdout) = stdout else {
        return false;
    };
    let mut lines = BufReader::new(stdout.take(MAX_TEXT as u64)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.trim() == READY {
            return true;
        }
    }
    false
}

/// Reads everything, so that the master never blocks, and keeps the beginning.
async fn collect(mut stderr: impl AsyncRead + Unpin, text: Arc<Mutex<Vec<u8>>>) {
    let mut piece = [0; 1024];
    // An error of the pipe ends the text like its end does.
    while let Ok(count @ 1..) = stderr.read(&mut piece).await {
        let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_TEXT.saturating_sub(text.len());
        text.extend_from_slice(&piece[..count.min(room)]);
    }
}

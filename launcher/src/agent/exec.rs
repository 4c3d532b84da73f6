//! Commands that run attached to a call: `cluster exec`.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::protocol::{AgentError, Bytes, Downstream, Output, Reply};
use super::server::Call;
use crate::process::TAG_VARIABLE;

/// Largest piece of output in one frame.
const PIECE: usize = 32 << 10;
/// How long output is awaited after the command's end: something in the background may hold the pipe open for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// Runs a command in the user's home directory with no input. Dropping the future kills its process group.
pub(super) async fn exec(words: Vec<String>, call: Call) -> Result<Reply, AgentError> {
    let mut words = words.into_iter();
    let Some(program) = words.next() else {
        return Err(AgentError::BadRequest("no command".to_owned()));
    };
    let mut command = Command::new(&program);
    command
        .args(words)
        .env_remove(TAG_VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(home) = std::env::var_os("HOME").filter(|home| std::path::Path::new(home).is_dir()) {
        command.current_dir(home);
    }
    let child = command.spawn().map_err(|error| AgentError::NotStarted {
        program,
        text: error.to_string(),
    })?;
    let mut running = Running(child);
    let stdout = running.0.stdout.take();
    let stderr = running.0.stderr.take();
    let pumps = async {
        tokio::join!(
            pump(stdout, call.id, Output::Stdout, &call.outgoing),
            pump(stderr, call.id, Output::Stderr, &call.outgoing)
        )
    };
    tokio::pin!(pumps);
    let status = tokio::select! {
        status = running.0.wait() => {
            // What is left to read after the grace belongs to somebody in the background.
            let _cut = timeout(DRAIN, &mut pumps).await;
            status
        }
        _ = &mut pumps => running.0.wait().await,
    };
    status
        .map(|status| Reply::Exited(status.into()))
        .map_err(|error| AgentError::Internal(error.to_string()))
}

async fn pump(source: Option<impl AsyncRead + Unpin>, id: u32, output: Output, outgoing: &mpsc::Sender<Downstream>) {
    let Some(mut source) = source else {
        return;
    };
    let mut buffer = vec![0; PIECE];
    while let Ok(count @ 1..) = source.read(&mut buffer).await {
        let piece = Bytes(buffer[..count].to_vec());
        if outgoing.send(Downstream::Output(id, output, piece)).await.is_err() {
            return;
        }
    }
}

/// A command that is killed, with its process group, when dropped before it was waited for.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // `id` is known only as long as the child is not reaped, so the group is still its own.
        let pid = self.0.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _gone = kill_process_group(pid, Signal::KILL);
        }
    }
}

//! Starts masters from one thread that lives as long as this process.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that forked ends, not the process. tokio's workers end with their runtime, and its
//! blocking threads after some idle seconds: a master that such a thread had started would die with it.

use std::io;
use std::process::Stdio;
use std::sync::OnceLock;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// Starts that wait; at the bound, callers wait.
const QUEUE: usize = 32;

struct Job {
    command: Command,
    runtime: Handle,
    started: oneshot::Sender<io::Result<Child>>,
}

static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();

/// Starts a command from the long-lived thread. When the caller is gone by then, the child is killed.
pub(super) async fn spawn(command: Command) -> io::Result<Child> {
    let (started, result) = oneshot::channel();
    let job = Job {
        command,
        runtime: Handle::current(),
        started,
    };
    let gone = || io::Error::other("the thread that starts ssh has ended");
    spawner()?.send(job).await.map_err(|_closed| gone())?;
    result.await.map_err(|_closed| gone())?
}

fn spawner() -> io::Result<&'static mpsc::Sender<Job>> {
    if let Some(sender) = SPAWNER.get() {
        return Ok(sender);
    }
    let (sender, mut jobs) = mpsc::channel::<Job>(QUEUE);
    // Two callers at once start two threads; the second one's sender is dropped, and so it ends without having started anything.
    std::thread::Builder::new()
        .name("ssh-spawner".to_owned())
        .spawn(move || {
            while let Some(job) = jobs.blocking_recv() {
                run(job);
            }
        })?;
    Ok(SPAWNER.get_or_init(|| sender))
}

fn run(mut job: Job) {
    let _context = job.runtime.enter();
    let result = job.command.stdin(Stdio::null()).spawn();
    if let Err(Ok(mut child)) = job.started.send(result) {
        // Reaped by tokio.
        let _ended = child.start_kill();
    }
}

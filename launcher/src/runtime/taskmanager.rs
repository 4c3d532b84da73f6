//! `flinkctl taskmanager` as an agent launches it.

use std::{future::Future, path::Path};

use anyhow::Context;
use flink_rpc::messages::{Fault, PROTOCOL_VERSION, TaskManagerStartup};
use flink_taskmanager::{Exit, TaskManager, TaskManagerError};
use tokio::sync::oneshot;

use super::layout::remove_with_empty_parents;
use crate::{process::Startup, ssh::expand_home};

/// Runs the TaskManager that the launch channel on standard input describes, until it ends.
///
/// # Errors
/// When the channel holds no such description, or the TaskManager fails after it was ready. Before that, whoever
/// launched it is told instead.
pub(crate) fn run_launched() -> anyhow::Result<()> {
    let (channel, payload) = Startup::receive()?;
    let mut startup: TaskManagerStartup = postcard::from_bytes(&payload).context("decode the start-up message")?;
    // As cluster.toml has it: whose home directory is meant is known here.
    startup.tmp_dir = expand_home(&startup.tmp_dir);
    anyhow::ensure!(
        startup.protocol == PROTOCOL_VERSION,
        "protocol {} is not spoken here",
        startup.protocol
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work_dir = startup.work_dir.clone();
    let result = runtime.block_on(async {
        let (registered, wait) = oneshot::channel();
        let running = run(startup, registered);
        tokio::pin!(running);
        let exit = tokio::select! {
            exit = &mut running => exit,
            Ok(()) = wait => {
                channel.ready(&postcard::to_stdvec(&Ok::<(), Fault>(()))?)?;
                return running.await.map(drop).map_err(Into::into);
            }
        };
        let fault = match exit {
            Ok(exit) => Fault::new(
                "taskmanager.died",
                format!("the TaskManager ended before it registered: {exit:?}"),
            ),
            Err(error) => Fault::new(code(&error), error.to_string()),
        };
        channel.ready(&postcard::to_stdvec(&Err::<(), _>(fault))?)?;
        Ok(())
    });
    if result.is_err() {
        // Whoever launched it is gone, and it was dropped in the middle of things.
        remove_work_dir(&work_dir);
    }
    result
}

/// Removes what is left of `<base>/clusters/<cluster>/sessions/<session>/tm-<host>`, and of those above it what is empty.
fn remove_work_dir(work_dir: &Path) {
    let base = work_dir.ancestors().nth(5).unwrap_or(work_dir);
    remove_with_empty_parents(base, work_dir);
}

/// Runs a TaskManager until it ends; afterwards nothing of it is left but the cache.
pub(super) async fn run(
    startup: TaskManagerStartup,
    registered: oneshot::Sender<()>,
) -> Result<Exit, TaskManagerError> {
    let work_dir = startup.work_dir.clone();
    let exit = TaskManager::run(startup, terminated(), |_| {
        // Whoever waited for it has stopped waiting.
        let _gone = registered.send(());
    })
    .await;
    remove_work_dir(&work_dir);
    exit
}

/// Completes at the first SIGTERM or SIGINT.
pub(super) fn terminated() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = signal(SignalKind::terminate());
    let interrupt = signal(SignalKind::interrupt());
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// Stable code of a TaskManager's error.
pub(super) const fn code(error: &TaskManagerError) -> &'static str {
    match error {
        TaskManagerError::WorkDir(_) | TaskManagerError::Blobs(_) => "host.file",
        TaskManagerError::Refused { .. } => "taskmanager.refused",
        TaskManagerError::Unregistered { .. } => "taskmanager.unregistered",
        _ => "taskmanager.failed",
    }
}

//! The control thread of a coordinator process: passes on what the JobManager and the coordinators say.

use std::{process::ExitCode, sync::Arc};

use flink_graph::{TaskFailure, TaskFailureKind};
use flink_rpc::{
    FrameError, FrameReader, FrameWriter,
    messages::{CoordinatorStartup, FromCoordinator, ToCoordinator},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

use super::{
    end_at_once,
    load::{Origin, Role},
};
use crate::{CoordinatorThread, coordination::no_thread, program::JobProgram};

/// A whole coordinator process's life.
pub(super) async fn run<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    mut reader: FrameReader<R>,
    mut writer: FrameWriter<W>,
    build: impl FnOnce(&[u8]) -> Result<JobProgram, String>,
) -> Result<ExitCode, FrameError> {
    let ToCoordinator::Start(startup) = reader.expect().await? else {
        return Err(FrameError::Closed);
    };
    let (output, messages) = mpsc::channel(CoordinatorThread::output_capacity());
    let thread = match start(&startup, build, output) {
        Ok(thread) => thread,
        Err(failure) => {
            writer.send(&FromCoordinator::Failed(failure)).await?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let code = serve(&mut reader, &mut writer, &thread, messages).await?;
    thread.join();
    Ok(code)
}

fn start(
    startup: &CoordinatorStartup,
    build: impl FnOnce(&[u8]) -> Result<JobProgram, String>,
    output: mpsc::Sender<FromCoordinator>,
) -> Result<CoordinatorThread, TaskFailure> {
    let origin = Origin {
        protocol: startup.protocol,
        args: &startup.args,
        graph: &startup.graph,
    };
    let program = Role::COORDINATOR.load(&origin, build)?;
    CoordinatorThread::start(Arc::new(program), startup.job, output).map_err(|error| no_thread(&error))
}

/// Until the coordinators' thread has ended.
async fn serve<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
    thread: &CoordinatorThread,
    mut messages: mpsc::Receiver<FromCoordinator>,
) -> Result<ExitCode, FrameError> {
    let mut code = ExitCode::SUCCESS;
    loop {
        tokio::select! {
            message = reader.next() => match message {
                Ok(Some(ToCoordinator::Shutdown)) => thread.stop(),
                Ok(Some(message)) => {
                    if let Err(full) = thread.send(message) {
                        let failure = TaskFailure::new(TaskFailureKind::Runtime, full.to_string());
                        writer.send(&FromCoordinator::Failed(failure)).await?;
                        code = ExitCode::FAILURE;
                        thread.stop();
                    }
                }
                Ok(None) | Err(_) => end_at_once(Role::COORDINATOR, "the JobManager is gone"),
            },
            message = messages.recv() => match message {
                Some(message) => {
                    if matches!(message, FromCoordinator::Failed(_)) {
                        code = ExitCode::FAILURE;
                    }
                    writer.send(&message).await?;
                }
                None => return Ok(code),
            }
        }
    }
}

//! The processes in which a job program runs parts of a job for a cluster: a worker, which runs tasks on one
//! TaskManager, and the coordinator, which runs beside the JobManager what must run once.
//!
//! Whoever starts one (its parent: a TaskManager, the JobManager) gives it a socket as its standard input. On it come a
//! startup message, then work; back go `Ready` and what comes of the work. The process lives by its parent: the kernel
//! kills it when the parent's process ends, and it ends by itself when the socket does. One thread is the control
//! thread, with a single-threaded runtime; the others are the tasks' and the data plane's, or the coordinators'.

mod collect;
mod control;
mod coordinator;
mod load;
mod socket;

use std::{os::unix::net::UnixStream, process::ExitCode};

use flink_rpc::{FrameError, FrameReader, FrameWriter, messages::UMASK_VARIABLE};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::program::JobProgram;
use load::Role;

/// Name of the environment variable with the process id of the parent.
pub const PARENT_PID_VARIABLE: &str = "FLINK_PARENT_PID";

/// Runs this process as a worker. `build` makes the job from the program's encoded arguments, or says why not.
///
/// Returns when the TaskManager asks for it; ends the process when the TaskManager is gone.
pub fn run_worker(build: impl FnOnce(&[u8]) -> Result<JobProgram, String>) -> ExitCode {
    run(Role::WORKER, async |reader, writer| {
        control::run(reader, writer, build).await
    })
}

/// Runs this process as the coordinator of a job. `build` makes the job from the program's encoded arguments, or says
/// why not.
///
/// Returns when the coordinators are done, one of them has failed, or the JobManager asks for it; ends the process when
/// the JobManager is gone.
pub fn run_coordinator(build: impl FnOnce(&[u8]) -> Result<JobProgram, String>) -> ExitCode {
    run(Role::COORDINATOR, async |reader, writer| {
        coordinator::run(reader, writer, build).await
    })
}

/// Runs a process in its role: `serve` is its control thread.
fn run(
    role: Role,
    serve: impl AsyncFnOnce(FrameReader<OwnedReadHalf>, FrameWriter<OwnedWriteHalf>) -> Result<ExitCode, FrameError>,
) -> ExitCode {
    restore_umask();
    let served = socket::take_control_socket(role)
        .map_err(FrameError::from)
        .and_then(|socket| serve_on(socket, serve));
    match served {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{}: {error}", role.name);
            ExitCode::FAILURE
        }
    }
}

fn serve_on(
    socket: UnixStream,
    serve: impl AsyncFnOnce(FrameReader<OwnedReadHalf>, FrameWriter<OwnedWriteHalf>) -> Result<ExitCode, FrameError>,
) -> Result<ExitCode, FrameError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (read, write) = tokio::net::UnixStream::from_std(socket)?.into_split();
        serve(FrameReader::new(read), FrameWriter::new(write)).await
    })
}

/// The job's files get the permissions that the user's other files on this host get.
fn restore_umask() {
    let umask = std::env::var(UMASK_VARIABLE).ok();
    if let Some(mask) = umask.and_then(|text| u32::from_str_radix(&text, 8).ok()) {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
    }
}

/// Says why this process ends, without waiting for its other threads.
#[expect(clippy::exit, reason = "threads in the job's own code cannot be waited for")]
fn end_at_once(role: Role, reason: &str) -> ! {
    tracing::error!("{}: {reason}", role.name);
    std::process::exit(1)
}

//! The worker process: one job's tasks on one TaskManager.
//!
//! A TaskManager starts the job program in role `worker` with a socket as its standard input. On it come a
//! [`WorkerStartup`], then tasks to run; back go `Ready`, state changes and counters. The worker lives by its
//! TaskManager: the kernel kills it when the TaskManager's process ends, and it ends by itself when the socket does.
//! One thread is the control thread, with a single-threaded runtime; the others are the tasks' and the data plane's.

mod collect;
mod control;
mod socket;

use std::process::ExitCode;

use flink_rpc::{FrameReader, FrameWriter, messages::UMASK_VARIABLE};

use crate::program::JobProgram;

/// Name of the environment variable with the process id of the TaskManager that starts a worker.
pub const PARENT_PID_VARIABLE: &str = "FLINK_PARENT_PID";

/// Runs this process as a worker. `build` makes the job from the program's encoded arguments, or says why not.
///
/// Returns when the TaskManager asks for it; ends the process when the TaskManager is gone.
pub fn run_worker(build: impl FnOnce(&[u8]) -> Result<JobProgram, String>) -> ExitCode {
    restore_umask();
    let result = socket::take_control_socket().and_then(|socket| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let stream = tokio::net::UnixStream::from_std(socket)?;
            let (read, write) = stream.into_split();
            Ok(control::run(FrameReader::new(read), FrameWriter::new(write), build).await)
        })
    });
    let ended = result
        .map_err(|error| error.to_string())
        .and_then(|ended| ended.map_err(|error| error.to_string()));
    match ended {
        Ok(code) => code,
        Err(message) => {
            tracing::error!("worker: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The job's files get the permissions that the user's other files on this host get.
fn restore_umask() {
    let umask = std::env::var(UMASK_VARIABLE).ok();
    if let Some(mask) = umask.and_then(|text| u32::from_str_radix(&text, 8).ok()) {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
    }
}

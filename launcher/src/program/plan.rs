//! Having a job program build its graph: role `client`.

use std::{os::unix::process::CommandExt, path::Path};

use flink_graph::JobGraph;
use flink_rpc::{
    FrameReader, FrameWriter,
    messages::{FromProgram, ToProgram},
};
use tokio::{net::UnixStream, process::Command};

use super::ProgramError;

/// What a job program declared.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The dataflow.
    pub(crate) graph: JobGraph,
    /// The program's encoded arguments, for its workers.
    pub(crate) args: Vec<u8>,
}

/// Runs the program at `path` in role `client`. It parses `args` itself; what it prints (usage errors, `--help`) goes to
/// our standard output and error.
///
/// # Errors
/// When it cannot be run, ends without a plan, or declines. Cancel safe: the program is killed.
pub(crate) async fn plan(
    path: &Path,
    args: &[std::ffi::OsString],
    default_parallelism: u32,
) -> Result<Plan, ProgramError> {
    let run_error = |source| ProgramError::Run {
        path: path.to_owned(),
        source,
    };
    let (ours, theirs) = UnixStream::pair().map_err(run_error)?;
    let theirs = theirs.into_std().map_err(run_error)?;
    theirs.set_nonblocking(false).map_err(run_error)?;
    let mut command = std::process::Command::new(path);
    command
        .args(args)
        .env("FLINK_ROLE", "client")
        .stdin(std::os::fd::OwnedFd::from(theirs))
        .process_group(0);
    let mut child = Command::from(command).kill_on_drop(true).spawn().map_err(run_error)?;
    let (reader, writer) = ours.into_split();
    // A program that ends at once, on a usage error say, may be gone before it was asked.
    let _gone = FrameWriter::new(writer)
        .send(&ToProgram::Plan { default_parallelism })
        .await;
    let answer = FrameReader::new(reader).next::<FromProgram>().await;
    let status = child.wait().await.map_err(run_error)?;
    match answer {
        Ok(Some(FromProgram::Planned { graph, args, .. })) => Ok(Plan { graph, args }),
        Ok(Some(FromProgram::Failed { message })) => Err(ProgramError::Declined {
            path: path.to_owned(),
            message,
        }),
        Ok(None) | Err(_) => Err(ProgramError::Ended {
            path: path.to_owned(),
            status,
        }),
    }
}

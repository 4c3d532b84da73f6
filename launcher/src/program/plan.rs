//! Having a job program declare its job: role `client`.

use std::path::Path;

use flink_graph::JobGraph;
use flink_rpc::{
    FrameReader, FrameWriter,
    messages::{FromProgram, ToProgram},
};
use tokio::{net::UnixStream, process::Command};

use super::{Application, ProgramError, process::ProgramProcess};

/// What a job program declared.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The dataflow.
    pub(crate) graph: JobGraph,
    /// The program's encoded arguments, for its workers.
    pub(crate) args: Vec<u8>,
}

/// What a program turned out to be.
#[derive(Debug)]
pub(crate) enum Declared {
    /// The program of one job.
    Job(Plan),
    /// A program with a driver, which runs and waits.
    Application(Box<Application>),
}

/// Runs the program at `path` in role `client`. It parses `args` itself; what it prints (usage errors, `--help`) goes to
/// our standard output and error.
///
/// # Errors
/// When it cannot be run, ends without an answer, or declines. Cancel safe: the program is killed.
pub(crate) async fn declare(
    path: &Path,
    args: &[std::ffi::OsString],
    default_parallelism: u32,
) -> Result<Declared, ProgramError> {
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
        .stdin(std::os::fd::OwnedFd::from(theirs));
    let mut command = Command::from(command);
    let mut process = ProgramProcess::spawn(&mut command).map_err(run_error)?;
    // It holds the program's end of the socket.
    drop(command);
    let (reader, writer) = ours.into_split();
    let (mut reader, mut writer) = (FrameReader::new(reader), FrameWriter::new(writer));
    // A program that ends at once, on a usage error say, may be gone before it was asked.
    let _gone = writer.send(&ToProgram::Plan { default_parallelism }).await;
    let answer = reader.next::<FromProgram>().await;
    if let Ok(Some(FromProgram::Application { jobs })) = answer {
        return Ok(Declared::Application(Box::new(Application {
            path: path.to_owned(),
            jobs,
            process,
            reader,
            writer,
        })));
    }
    let status = process.wait().await.map_err(run_error)?;
    match answer {
        Ok(Some(FromProgram::Planned { graph, args, .. })) => Ok(Declared::Job(Plan { graph, args })),
        Ok(Some(FromProgram::Failed { message })) => Err(ProgramError::Declined {
            path: path.to_owned(),
            message,
        }),
        _ => Err(ProgramError::Ended {
            path: path.to_owned(),
            status,
        }),
    }
}

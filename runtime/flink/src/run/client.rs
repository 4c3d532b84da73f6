//! Role `client`: declares the job for the launcher, or drives an application in its cluster. The launcher waits at the
//! other end of the standard input.

mod application;

use std::{io, os::unix::net::UnixStream, process::ExitCode};

use flink_rpc::{
    FrameError, FrameReader, FrameWriter,
    messages::{FromProgram, PROTOCOL_VERSION, ToProgram},
};
use flink_worker::JobProgram;
use tokio::{
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    runtime::Runtime,
};

use super::{driving::Driving, exit_code};
use crate::{
    Result,
    application::{BoundDriver, Jobs},
};
use application::LaunchedJobs;

type Reader = FrameReader<OwnedReadHalf>;
type Writer = FrameWriter<OwnedWriteHalf>;

/// Answers one request for the job, which `declare` makes for a default parallelism.
pub(super) fn run(declare: impl FnOnce(u32) -> Result<(JobProgram, Vec<u8>)>) -> ExitCode {
    told(answer(declare))
}

/// Drives an application, if the launcher wants it.
pub(super) fn drive(jobs: Jobs, driver: BoundDriver) -> ExitCode {
    told(drive_if_wanted(jobs, driver))
}

fn told(answered: std::result::Result<(), FrameError>) -> ExitCode {
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("role `client` is for flinkctl to start: {error}");
            ExitCode::from(exit_code::INTERNAL)
        }
    }
}

fn answer(declare: impl FnOnce(u32) -> Result<(JobProgram, Vec<u8>)>) -> std::result::Result<(), FrameError> {
    let (runtime, mut reader, mut writer) = open()?;
    runtime.block_on(async {
        let default_parallelism = expect_plan(&mut reader).await?;
        let reply = match declare(default_parallelism) {
            Ok((program, args)) => FromProgram::Planned {
                protocol: PROTOCOL_VERSION,
                graph: program.graph().as_ref().clone(),
                args,
            },
            Err(error) => FromProgram::Failed {
                message: error.to_string(),
            },
        };
        writer.send(&reply).await
    })
}

fn drive_if_wanted(jobs: Jobs, driver: BoundDriver) -> std::result::Result<(), FrameError> {
    let (runtime, mut reader, mut writer) = open()?;
    let asked = runtime.block_on(async {
        let parallelism = expect_plan(&mut reader).await?;
        writer.send(&FromProgram::Application { jobs: jobs.names() }).await?;
        // The launcher that only wanted a plan, or cannot use a driver, hangs up.
        let is_wanted = matches!(reader.next().await?, Some(ToProgram::Drive));
        Ok::<_, FrameError>(is_wanted.then_some(parallelism))
    })?;
    let Some(parallelism) = asked else { return Ok(()) };
    // What is read from the standard input would be taken from the launcher's messages.
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing).map_err(io::Error::from)?;
    let driving = Driving {
        jobs,
        driver,
        parallelism,
    };
    let launched = LaunchedJobs::new(reader, writer);
    let (end, mut writer) = driving.run(&runtime, |calls, over| launched.serve(calls, over))?;
    runtime.block_on(writer.send(&FromProgram::DriverEnded(end)))
}

/// The socket to the launcher, with a runtime to use it in.
fn open() -> std::result::Result<(Runtime, Reader, Writer), FrameError> {
    let socket = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map_err(io::Error::from)?);
    socket.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let socket = runtime.block_on(async { tokio::net::UnixStream::from_std(socket) })?;
    let (read, write) = socket.into_split();
    Ok((runtime, FrameReader::new(read), FrameWriter::new(write)))
}

/// The launcher's first message: the default parallelism.
async fn expect_plan(reader: &mut Reader) -> std::result::Result<u32, FrameError> {
    match reader.expect().await? {
        ToProgram::Plan { default_parallelism } => Ok(default_parallelism),
        _ => Err(unexpected()),
    }
}

/// The launcher says what it should not say now.
fn unexpected() -> FrameError {
    FrameError::Io(io::Error::other("the launcher said something unexpected"))
}

//! Role `client`: declares the job for the launcher, which waits at the other end of the standard input.

use std::{io, os::unix::net::UnixStream, process::ExitCode};

use flink_rpc::{
    FrameError, FrameReader, FrameWriter,
    messages::{FromProgram, PROTOCOL_VERSION, ToProgram},
};
use flink_worker::JobProgram;

use super::exit_code;
use crate::Result;

/// Answers one request for the job, which `declare` makes for a default parallelism.
pub(super) fn run(declare: impl FnOnce(u32) -> Result<(JobProgram, Vec<u8>)>) -> ExitCode {
    match answer(declare) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("role `client` is for flinkctl to start: {error}");
            ExitCode::from(exit_code::INTERNAL)
        }
    }
}

fn answer(declare: impl FnOnce(u32) -> Result<(JobProgram, Vec<u8>)>) -> std::result::Result<(), FrameError> {
    let socket = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map_err(io::Error::from)?);
    socket.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (read, write) = tokio::net::UnixStream::from_std(socket)?.into_split();
        let ToProgram::Plan { default_parallelism } = FrameReader::new(read).expect().await?;
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
        FrameWriter::new(write).send(&reply).await
    })
}

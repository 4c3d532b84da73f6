//! What a detached job printed, read from its file.

use std::{
    io::{self, SeekFrom},
    path::PathBuf,
};

use flink_rpc::{
    Responder,
    messages::{Fault, OutputChunk},
};
use quinn::SendStream;
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};

use super::deliver;
use crate::job_master::output::OutputSource;

/// Bytes read at once. A chunk is as long, or as long as the line that does not fit.
const READ: u64 = 64 << 10;

/// Sends what the file has; with `follow` also what is still to come.
pub(super) async fn serve(source: OutputSource, follow: bool, mut responder: Responder<SendStream>) {
    let broken_off = responder.get_mut().stopped();
    tokio::select! {
        () = send_all(source, follow, &mut responder) => drop(deliver(responder).await),
        _ = broken_off => {}
    }
}

async fn send_all(mut source: OutputSource, follow: bool, responder: &mut Responder<SendStream>) {
    let mut sent = 0;
    loop {
        let written = *source.written.borrow_and_update();
        if sent < written {
            match send(&source.paths, sent..written, responder).await {
                Ok(()) => sent = written,
                Err(ReadError::Gone) => return,
                Err(ReadError::File(error)) => {
                    let message = format!(
                        "could not read the job's output: {}: {error}",
                        source.paths[0].display()
                    );
                    // When the caller is gone too there is nobody to tell.
                    let _gone = responder.fail(&Fault::new("job.output", message)).await;
                    return;
                }
            }
        } else if !follow || source.written.changed().await.is_err() {
            // The writer's last word may have come with its end.
            if sent == *source.written.borrow() {
                return;
            }
        }
    }
}

enum ReadError {
    /// The caller is.
    Gone,
    File(io::Error),
}

/// Sends a range of the file, which ends at the end of a line, in chunks of whole lines.
async fn send(
    paths: &[PathBuf; 2],
    range: std::ops::Range<u64>,
    responder: &mut Responder<SendStream>,
) -> Result<(), ReadError> {
    let mut file = open(paths).await.map_err(ReadError::File)?;
    file.seek(SeekFrom::Start(range.start)).await.map_err(ReadError::File)?;
    let mut left = file.take(range.end - range.start);
    let mut pending = Vec::new();
    loop {
        let read = (&mut left)
            .take(READ)
            .read_to_end(&mut pending)
            .await
            .map_err(ReadError::File)?;
        let is_last = read == 0 || left.limit() == 0;
        let lines = match pending.iter().rposition(|byte| *byte == b'\n') {
            _ if is_last => pending.len(),
            Some(at) => at + 1,
            None => 0,
        };
        if lines > 0 {
            let rest = pending.split_off(lines);
            let bytes = std::mem::replace(&mut pending, rest);
            responder
                .send(&OutputChunk { bytes })
                .await
                .map_err(|_| ReadError::Gone)?;
        }
        if is_last {
            return Ok(());
        }
    }
}

/// The file, wherever it is just now: it is moved when the job has ended.
async fn open(paths: &[PathBuf; 2]) -> io::Result<File> {
    match File::open(&paths[0]).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => File::open(&paths[1]).await,
        result => result,
    }
}

//! What a job prints, on its way from the workers to the client with the lease, or to a file.
//!
//! All collect streams of a job feed one bounded queue. Its far end is the call of the client that holds the lease,
//! or, of a detached job, [`write_file`]. A queue that is full holds up the workers. A flush that comes out of the
//! queue proves that what was put in before it has arrived; the worker is told so only then.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use flink_rpc::messages::{Fault, OutputChunk};
use tokio::{
    fs::{File, OpenOptions},
    io::AsyncWriteExt,
    sync::{mpsc, oneshot, watch},
};
use tokio_util::sync::CancellationToken;

/// Chunks between the workers and their destination; each is what a worker sends at once, some 10 KiB.
const QUEUE: usize = 16;

/// What travels in the queue.
#[derive(Debug)]
pub(crate) enum OutputItem {
    /// A piece of output.
    Chunk(OutputChunk),
    /// To be answered when everything before has arrived.
    Flush(oneshot::Sender<()>),
}

/// The near end of a job's output.
#[derive(Debug, Clone)]
pub(crate) struct OutputSender {
    queue: mpsc::Sender<OutputItem>,
    failure: Arc<OnceLock<Fault>>,
}

/// The far end of a job's output.
#[derive(Debug)]
pub(crate) struct OutputReceiver {
    queue: mpsc::Receiver<OutputItem>,
    failure: Arc<OnceLock<Fault>>,
}

/// Both ends.
pub(crate) fn channel() -> (OutputSender, OutputReceiver) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let failure = Arc::default();
    (
        OutputSender {
            queue: sender,
            failure: Arc::clone(&failure),
        },
        OutputReceiver {
            queue: receiver,
            failure,
        },
    )
}

impl OutputSender {
    /// Passes a piece on, when there is room.
    ///
    /// # Errors
    /// Why nobody takes it.
    pub(crate) async fn send(&self, chunk: OutputChunk) -> Result<(), Fault> {
        self.queue
            .send(OutputItem::Chunk(chunk))
            .await
            .map_err(|_| self.failure())
    }

    /// Waits until everything has arrived.
    ///
    /// # Errors
    /// Why it has not, and will not.
    pub(crate) async fn flush(&self) -> Result<(), Fault> {
        let (reply, arrived) = oneshot::channel();
        self.queue
            .send(OutputItem::Flush(reply))
            .await
            .map_err(|_| self.failure())?;
        arrived.await.map_err(|_| self.failure())
    }

    fn failure(&self) -> Fault {
        let gone = || {
            Fault::new(
                "job.output",
                "nobody takes the job's output any more: its client is gone, or it has ended",
            )
        };
        self.failure.get().cloned().unwrap_or_else(gone)
    }
}

impl OutputReceiver {
    /// What comes next; `None` when nothing will. Cancel safe.
    pub(crate) async fn recv(&mut self) -> Option<OutputItem> {
        self.queue.recv().await
    }

    /// What is there already.
    pub(crate) fn try_recv(&mut self) -> Option<OutputItem> {
        self.queue.try_recv().ok()
    }
}

/// Where a detached job's output can be read.
#[derive(Debug, Clone)]
pub(crate) struct OutputSource {
    /// The file, at the places where it may be: while the job runs, and afterwards.
    pub(crate) paths: [PathBuf; 2],
    /// Bytes written so far; closed when nothing follows.
    pub(crate) written: watch::Receiver<u64>,
}

/// What [`write_file`] needs.
#[derive(Debug)]
pub(crate) struct OutputWriter {
    path: PathBuf,
    queue: OutputReceiver,
    written: watch::Sender<u64>,
    end: CancellationToken,
}

/// The output of a detached job: where to read it, the token that ends its writing, and what does the writing.
pub(super) fn to_file(paths: [PathBuf; 2], queue: OutputReceiver) -> (OutputSource, CancellationToken, OutputWriter) {
    let (written, progress) = watch::channel(0);
    let end = CancellationToken::new();
    let writer = OutputWriter {
        path: paths[0].clone(),
        queue,
        written,
        end: end.clone(),
    };
    (
        OutputSource {
            paths,
            written: progress,
        },
        end,
        writer,
    )
}

/// Appends to a detached job's file what comes out of the queue, until it is told to end, and then what is left in it.
/// After a failure it takes nothing more; whoever has something to print then learns why.
pub(crate) async fn write_file(writer: OutputWriter) {
    let OutputWriter {
        path,
        mut queue,
        written,
        end,
    } = writer;
    let mut file = None;
    loop {
        let item = tokio::select! {
            item = queue.recv() => item,
            () = end.cancelled(), if !queue.queue.is_closed() => {
                queue.queue.close();
                continue;
            }
        };
        match item {
            None => return,
            Some(OutputItem::Flush(reply)) => {
                // Whoever asked may be gone.
                let _gone = reply.send(());
            }
            Some(OutputItem::Chunk(chunk)) => {
                if let Err(error) = append(&path, &mut file, &chunk.bytes).await {
                    let fault = write_failed(&path, &error);
                    tracing::warn!(path = %path.display(), %error, "could not write what the job prints");
                    // Nobody else sets it.
                    let _set = queue.failure.set(fault);
                    return;
                }
                written.send_modify(|written| *written += chunk.bytes.len() as u64);
            }
        }
    }
}

async fn append(path: &Path, file: &mut Option<File>, bytes: &[u8]) -> io::Result<()> {
    let file = match file {
        Some(file) => file,
        None => file.insert(create(path).await?),
    };
    file.write_all(bytes).await?;
    // What tokio still holds back is neither written nor known to fit.
    file.flush().await
}

async fn create(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        tokio::fs::create_dir_all(directory).await?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .await
}

fn write_failed(path: &Path, error: &io::Error) -> Fault {
    let message = format!("could not write the job's output to {}: {error}", path.display());
    Fault::new("job.output", message).with_help("make room there, or run the job attached")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(text: &str) -> OutputChunk {
        OutputChunk {
            bytes: text.as_bytes().to_vec(),
        }
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_in_the_file_and_the_end_waits_for_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs/x/output");
        let (sender, receiver) = channel();
        let (source, end, writer) = to_file([path.clone(), directory.path().join("archived")], receiver);
        let writing = tokio::spawn(write_file(writer));
        sender.send(chunk("a\n")).await.unwrap();
        sender.flush().await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a\n");
        assert_eq!(*source.written.borrow(), 2);
        sender.send(chunk("b\n")).await.unwrap();
        end.cancel();
        writing.await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a\nb\n");
        assert_eq!(sender.send(chunk("c\n")).await.unwrap_err().code, "job.output");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_named_to_whoever_prints() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("jobs"), b"in the way").unwrap();
        let path = directory.path().join("jobs/x/output");
        let (sender, receiver) = channel();
        let (_source, _end, writer) = to_file([path.clone(), path.clone()], receiver);
        let writing = tokio::spawn(write_file(writer));
        sender.send(chunk("a\n")).await.unwrap();
        let fault = sender.flush().await.unwrap_err();
        assert!(fault.message.contains(&path.display().to_string()), "{fault}");
        writing.await.unwrap();
    }
}

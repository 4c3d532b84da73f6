//! What a job prints, on its way to the JobManager, which passes it on to the client.
//!
//! A task hands its lines to a queue of a few chunks, which a task of the control thread's runtime empties into a QUIC
//! stream. When the client does not read, the stream fills up, then the queue, and then the task waits.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use flink_exchange::TaskSignal;
use flink_graph::ExecutionAttemptId;
use flink_rpc::{
    CallError, EndpointError, FrameError, FrameReader, FrameWriter, Heartbeat, Identity, Role,
    messages::{CollectAck, CollectHeader, OutputChunk, WorkerRequest, WorkerStartup},
    read_reply,
};
use quinn::{Connection, Endpoint, SendStream};
use tokio::{
    runtime::Handle,
    sync::{OnceCell, mpsc},
    task::JoinHandle,
};

use crate::{
    error::TaskError,
    job_output::{JobOutput, OutputStream},
    wait::block_on,
};

/// Chunks that may wait for the stream of one task.
const QUEUE: usize = 4;

/// The JobManager did not take what the job prints.
#[derive(Debug, thiserror::Error)]
enum CollectError {
    #[error("could not reach the JobManager: {0}")]
    Connect(#[from] EndpointError),
    #[error("the JobManager does not take what the job prints: {0}")]
    Refused(#[from] CallError),
    #[error("the worker is ending")]
    Ending,
}

impl From<quinn::ConnectionError> for CollectError {
    fn from(error: quinn::ConnectionError) -> Self {
        Self::Refused(CallError::Broken(error.to_string()))
    }
}

/// The way to the JobManager, connected when the first task prints.
pub(super) struct CollectOutput {
    runtime: Handle,
    connection: Arc<Lazy>,
}

struct Lazy {
    job_manager: SocketAddr,
    identity: Identity,
    heartbeat: Heartbeat,
    cell: OnceCell<(Endpoint, Connection)>,
}

impl CollectOutput {
    /// Must be called on the control thread's runtime.
    pub(super) fn new(startup: &WorkerStartup) -> Self {
        let timeout = Duration::from_millis(startup.heartbeat_timeout_ms);
        let connection = Lazy {
            job_manager: startup.job_manager,
            identity: startup.identity.clone(),
            heartbeat: Heartbeat {
                interval: timeout / 6,
                timeout,
            },
            cell: OnceCell::new(),
        };
        Self {
            runtime: Handle::current(),
            connection: Arc::new(connection),
        }
    }
}

impl JobOutput for CollectOutput {
    fn open(&self, attempt: ExecutionAttemptId, signal: &TaskSignal) -> Result<Box<dyn OutputStream>, TaskError> {
        let (queue, chunks) = mpsc::channel(QUEUE);
        let sending = self.runtime.spawn(send(Arc::clone(&self.connection), attempt, chunks));
        Ok(Box::new(CollectStream {
            signal: signal.clone(),
            queue: Some(queue),
            sending: Some(sending),
        }))
    }
}

impl Lazy {
    async fn get(&self) -> Result<&Connection, EndpointError> {
        let connect = || flink_rpc::connect(self.job_manager, Role::JobManager, &self.identity, self.heartbeat);
        self.cell
            .get_or_try_init(connect)
            .await
            .map(|(_, connection)| connection)
    }
}

/// Sends chunks until the queue is closed, then waits for the JobManager to have them all.
async fn send(
    connection: Arc<Lazy>,
    attempt: ExecutionAttemptId,
    mut chunks: mpsc::Receiver<Vec<u8>>,
) -> Result<(), CollectError> {
    // A task that prints nothing needs no stream.
    let Some(first) = chunks.recv().await else {
        return Ok(());
    };
    let (send, receive) = connection.get().await?.open_bi().await?;
    let (mut writer, mut reader) = (FrameWriter::new(send), FrameReader::new(receive));
    let sent = send_chunks(&mut writer, attempt, first, chunks).await;
    // A JobManager that stops the stream says why.
    match (sent, read_reply(&mut reader).await) {
        (Err(_), Err(fault @ CallError::Fault(_))) => Err(fault.into()),
        (Err(error), _) => Err(CallError::from(error).into()),
        (Ok(()), Ok(Some(CollectAck))) => Ok(()),
        (Ok(()), Ok(None)) => Err(CallError::from(FrameError::Closed).into()),
        (Ok(()), Err(error)) => Err(error.into()),
    }
}

async fn send_chunks(
    writer: &mut FrameWriter<SendStream>,
    attempt: ExecutionAttemptId,
    first: Vec<u8>,
    mut chunks: mpsc::Receiver<Vec<u8>>,
) -> Result<(), FrameError> {
    writer.send(&WorkerRequest::Collect(CollectHeader { attempt })).await?;
    let mut next = Some(first);
    while let Some(bytes) = next {
        writer.send(&OutputChunk { bytes }).await?;
        next = chunks.recv().await;
    }
    // A stream that was stopped shows when the answer is read.
    let _stopped = writer.get_mut().finish();
    Ok(())
}

/// The task's end. Dropped before it has finished, the stream is broken off.
struct CollectStream {
    signal: TaskSignal,
    queue: Option<mpsc::Sender<Vec<u8>>>,
    sending: Option<JoinHandle<Result<(), CollectError>>>,
}

impl CollectStream {
    /// Why the sending task ended.
    fn outcome(&mut self) -> Result<(), TaskError> {
        let Some(sending) = self.sending.take() else {
            return Ok(());
        };
        block_on(&self.signal, sending)?
            .unwrap_or(Err(CollectError::Ending))
            .map_err(TaskError::runtime)
    }
}

impl OutputStream for CollectStream {
    fn write(&mut self, lines: Vec<u8>) -> Result<(), TaskError> {
        let Some(queue) = &self.queue else { return Ok(()) };
        if block_on(&self.signal, queue.send(lines))?.is_ok() {
            return Ok(());
        }
        self.queue = None;
        self.outcome()?;
        Err(TaskError::runtime(CollectError::Ending))
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        self.queue = None;
        self.outcome()
    }
}

impl Drop for CollectStream {
    fn drop(&mut self) {
        if let Some(sending) = self.sending.take() {
            sending.abort();
        }
    }
}

//! The agent's loop: takes calls off the channel, runs each as a task of its own, and undoes the unfinished at the end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use flink_rpc::{FrameError, FrameReader, FrameWriter};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::locks::Locks;
use super::protocol::{AgentError, Downstream, Hello, MAX_CALLS, PROTOCOL, Reply, Request, SILENCE_LIMIT, Upstream};
use super::{blobs, exec, files, jobmanager, launch, mesh, probe, resolve};
use crate::process::{self, ProcessIdentity};

/// Answers and pieces of output that wait for the channel; at the bound, whoever produces them waits.
const OUTGOING: usize = 16;
/// Pieces of a blob that wait for the disk; at the bound, the channel is not read.
const INCOMING: usize = 4;

/// What all calls of an agent share.
#[derive(Debug)]
pub(super) struct Agent {
    /// The base directory, absolute.
    pub(super) base: PathBuf,
    /// The locks that this channel holds.
    pub(super) locks: Locks,
}

/// One call: what it may receive and where it writes.
#[derive(Debug)]
pub(super) struct Call {
    /// Its id.
    pub(super) id: u32,
    /// The bytes that belong to it.
    pub(super) data: mpsc::Receiver<Vec<u8>>,
    /// To the caller.
    pub(super) outgoing: mpsc::Sender<Downstream>,
}

struct Running {
    task: AbortHandle,
    data: Option<mpsc::Sender<Vec<u8>>>,
}

/// Serves one channel until it ends or falls silent.
pub(super) async fn serve(
    base: PathBuf,
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Send + Unpin + 'static,
) -> Result<(), FrameError> {
    let mut reader = FrameReader::new(reader);
    let mut writer = FrameWriter::new(writer);
    let identity = ProcessIdentity::current().map_err(std::io::Error::other)?;
    writer
        .send(&Downstream::Hello(Hello {
            protocol: PROTOCOL,
            identity,
            base: base.to_string_lossy().into_owned(),
        }))
        .await?;
    let (outgoing, queue) = mpsc::channel(OUTGOING);
    let mut writing = tokio::spawn(write_frames(queue, writer));
    let agent = Arc::new(Agent {
        base,
        locks: Locks::default(),
    });
    let mut calls = Calls {
        agent,
        outgoing,
        tasks: JoinSet::new(),
        running: HashMap::new(),
    };
    loop {
        tokio::select! {
            message = timeout(SILENCE_LIMIT, reader.next()) => match message {
                Ok(Ok(Some(message))) => calls.take(message).await,
                Ok(Ok(None)) | Err(_) => return Ok(()),
                Ok(Err(error)) => return Err(error),
            },
            Some(ended) = calls.tasks.join_next_with_id(), if !calls.tasks.is_empty() => calls.ended(ended).await,
            written = &mut writing => return written.unwrap_or(Err(FrameError::Closed)),
        }
    }
}

async fn write_frames(
    mut queue: mpsc::Receiver<Downstream>,
    mut writer: FrameWriter<impl AsyncWrite + Unpin>,
) -> Result<(), FrameError> {
    while let Some(message) = queue.recv().await {
        writer.send(&message).await?;
    }
    Ok(())
}

struct Calls {
    agent: Arc<Agent>,
    outgoing: mpsc::Sender<Downstream>,
    tasks: JoinSet<u32>,
    running: HashMap<u32, Running>,
}

impl Calls {
    /// A call's task has ended. One that panicked has not answered.
    async fn ended(&mut self, ended: Result<(Id, u32), JoinError>) {
        let error = match ended {
            Ok((_, id)) => {
                self.running.remove(&id);
                return;
            }
            Err(error) => error,
        };
        let panicked = self.running.iter().find(|(_, call)| call.task.id() == error.id());
        if let Some(id) = panicked.map(|(id, _)| *id) {
            self.running.remove(&id);
            let answer = Err(AgentError::Internal(error.to_string()));
            let _closed = self.outgoing.send(Downstream::Reply(id, answer)).await;
        }
    }

    async fn take(&mut self, message: Upstream) {
        match message {
            Upstream::Call(id, request) => self.start(id, request).await,
            Upstream::Data(id, bytes) => {
                let data = self.running.get(&id).and_then(|call| call.data.clone());
                if let Some(data) = data {
                    // A call that has failed takes no more; its answer is on its way.
                    let _ended = data.send(bytes.0).await;
                }
            }
            Upstream::End(id) => {
                if let Some(call) = self.running.get_mut(&id) {
                    call.data = None;
                }
            }
            Upstream::Cancel(id) => {
                if let Some(call) = self.running.remove(&id) {
                    call.task.abort();
                }
            }
            Upstream::Ping => {}
        }
    }

    async fn start(&mut self, id: u32, request: Request) {
        // Twice what a caller has in flight: calls that it has given up may not have ended yet.
        if self.running.len() >= 2 * MAX_CALLS || self.running.contains_key(&id) {
            let refusal = AgentError::BadRequest(format!("call {id}: too many calls"));
            let _closed = self.outgoing.send(Downstream::Reply(id, Err(refusal))).await;
            return;
        }
        let (sender, data) = mpsc::channel(INCOMING);
        let call = Call {
            id,
            data,
            outgoing: self.outgoing.clone(),
        };
        let agent = self.agent.clone();
        let outgoing = self.outgoing.clone();
        let task = self.tasks.spawn(async move {
            let result = answer(&agent, request, call).await;
            // When the channel is gone the loop ends by itself.
            let _closed = outgoing.send(Downstream::Reply(id, result)).await;
            id
        });
        self.running.insert(
            id,
            Running {
                task,
                data: Some(sender),
            },
        );
    }
}

async fn answer(agent: &Arc<Agent>, request: Request, call: Call) -> Result<Reply, AgentError> {
    let base = agent.base.clone();
    match request {
        Request::Probe(what) => blocking(move || Ok(Reply::Host(Box::new(probe::probe(&base, &what))))).await,
        Request::HasBlobs(blobs) => blocking(move || Ok(blobs::present(&base, &blobs))).await,
        Request::PutBlob { digest, size } => blocking(move || blobs::put(&base, digest, size, call.data)).await,
        Request::Launch(spec) => launch::launch(&agent.base, spec).await.map(Reply::Launched),
        Request::Stop(identity, grace) => {
            blocking(move || {
                process::stop(&identity, grace)
                    .map(Reply::Stopped)
                    .map_err(|error| AgentError::Process(error.to_string()))
            })
            .await
        }
        Request::ListTagged(prefix) => blocking(move || Ok(Reply::Processes(process::list_tagged(&prefix)))).await,
        Request::ReadFile { path, offset, max } => blocking(move || files::read(&base, &path, offset, max)).await,
        Request::ListDir(path) => blocking(move || files::list(&base, &path)).await,
        Request::RemoveTree(path) => blocking(move || files::remove(&base, &path)).await,
        Request::Lock { path, holder, wait } => agent.locks.take(&agent.base, &path, &holder, wait).await,
        Request::Unlock(path) => agent.locks.release(&agent.base, &path),
        Request::Exec(words) => exec::exec(words, call).await,
        Request::Resolve(names) => Ok(Reply::Resolved(resolve::all(names).await)),
        Request::Mesh(spec) => mesh::serve(spec, call).await,
        Request::JobManager { session, request } => jobmanager::call(&base, &session, request, call).await,
        Request::AwaitExit(identity, limit) => {
            blocking(move || {
                process::await_exit(&identity, limit)
                    .map(Reply::Gone)
                    .map_err(|error| AgentError::Process(error.to_string()))
            })
            .await
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AgentError> + Send + 'static,
) -> Result<T, AgentError> {
    spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(AgentError::Internal(error.to_string())))
}

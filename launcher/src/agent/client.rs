//! The caller's end of an agent: typed calls over one bootstrap channel, several at a time.

use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flink_rpc::messages::BlobDigest;
use flink_rpc::{FrameReader, FrameWriter};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::protocol::{
    AgentError, Bytes, DirEntry, Downstream, Exit, Hello, HostFacts, LaunchOutcome, LaunchSpec, MAX_CALLS, MAX_CHUNK,
    Output, PROTOCOL, ProbeRequest, Reply, Request, Upstream,
};
use super::wire::{Calls, Event, lock, receive, transmit};
use crate::process::{ProcessIdentity, StopOutcome, TaggedProcess};
use crate::ssh::{BootstrapError, Program};

/// Frames that wait for the channel; at the bound, callers wait.
const OUTGOING: usize = 16;
/// Frames of one call that its caller has not taken; at the bound, the answers to all calls wait.
const EVENTS: usize = 16;
/// How long the agent may take to say hello, and to end once its stdin has.
const TURN: Duration = Duration::from_secs(20);

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The agent could not do it.
    #[error("{host}: {error}")]
    Agent {
        /// The host's name in the inventory.
        host: String,
        /// Why.
        error: AgentError,
    },
    /// The channel to the agent is gone; whether the call was carried out is unknown.
    #[error("{host}: connection lost: {reason}")]
    Lost {
        /// The host's name in the inventory.
        host: String,
        /// What was the last to be heard.
        reason: String,
    },
    /// A local file could not be read.
    #[error("{path}: {text}")]
    Local {
        /// The file.
        path: String,
        /// The system's words.
        text: String,
    },
}

impl CallError {
    /// The error's code, as in `error[code]`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Agent { error, .. } => error.code(),
            Self::Lost { .. } => "ssh.lost",
            Self::Local { .. } => "upload.read",
        }
    }
}

#[derive(Debug)]
struct Shared {
    host: String,
    noise: Option<String>,
    hello: Hello,
    next: AtomicU32,
    permits: Semaphore,
    calls: Arc<Mutex<Calls>>,
}

/// An agent on a host. Calls take `&self` and may run side by side; at most [`MAX_CALLS`] do, further ones wait.
///
/// Dropping the future of a call cancels it on the host. Dropping the client ends the agent without waiting for it.
#[derive(Debug)]
pub struct AgentClient {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Upstream>,
    reading: JoinHandle<()>,
    writing: JoinHandle<()>,
}

impl AgentClient {
    /// Waits for the agent's greeting on a channel where it has just been started.
    pub(crate) async fn greet(host: String, program: Program) -> Result<Self, BootstrapError> {
        let Program {
            reader,
            writer,
            mut stderr,
            noise,
        } = program;
        let mut reader = FrameReader::new(reader);
        let hello = match timeout(TURN, reader.next()).await {
            Ok(Ok(Some(Downstream::Hello(hello)))) if hello.protocol == PROTOCOL => hello,
            Ok(Ok(Some(_))) => {
                return Err(BootstrapError::protocol(host, "another protocol version"));
            }
            Ok(Err(error)) => return Err(BootstrapError::protocol(host, error.to_string())),
            Ok(Ok(None)) => {
                let mut text = String::new();
                // Its last words, if there are any.
                let _cut = timeout(Duration::from_secs(1), stderr.read_to_string(&mut text)).await;
                return Err(BootstrapError::not_executed(host, text.trim()));
            }
            Err(_elapsed) => return Err(BootstrapError::silent(host, "start the agent", TURN)),
        };
        let calls = Arc::new(Mutex::new(Calls::default()));
        let (outgoing, queue) = mpsc::channel(OUTGOING);
        let reading = tokio::spawn(receive(reader, stderr, calls.clone()));
        let writing = tokio::spawn(transmit(queue, FrameWriter::new(writer)));
        Ok(Self {
            shared: Arc::new(Shared {
                host,
                noise,
                hello,
                next: AtomicU32::new(1),
                permits: Semaphore::new(MAX_CALLS),
                calls,
            }),
            outgoing,
            reading,
            writing,
        })
    }

    /// The host's name in the inventory.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.shared.host
    }

    /// The first line that the host's login files printed before the agent could be started.
    #[must_use]
    pub fn noise(&self) -> Option<&str> {
        self.shared.noise.as_deref()
    }

    /// What the agent said about itself.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.shared.hello
    }

    /// The host's facts.
    ///
    /// # Errors
    /// See [`CallError`]; so for all calls.
    pub async fn probe(&self, request: ProbeRequest) -> Result<HostFacts, CallError> {
        match self.call(Request::Probe(request)).await? {
            Reply::Host(facts) => Ok(*facts),
            other => Err(self.unexpected(&other)),
        }
    }

    /// For each digest, whether the host has the blob, a file of this size in bytes. A cut one counts as missing: it is stored anew.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn has_blobs(&self, blobs: Vec<(BlobDigest, u64)>) -> Result<Vec<bool>, CallError> {
        match self.call(Request::HasBlobs(blobs)).await? {
            Reply::Present(present) => Ok(present),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Uploads a file under its digest; `progress` is told the number of bytes handed over so far.
    ///
    /// # Errors
    /// See [`CallError`]. Whatever the error, nothing is left on the host.
    pub async fn put_blob(
        &self,
        file: &Path,
        digest: BlobDigest,
        size: u64,
        mut progress: impl FnMut(u64),
    ) -> Result<(), CallError> {
        let local = |error: std::io::Error| CallError::Local {
            path: file.display().to_string(),
            text: error.to_string(),
        };
        let mut source = tokio::fs::File::open(file).await.map_err(local)?;
        let mut call = self.start(Request::PutBlob { digest, size }).await?;
        let mut sent = 0;
        loop {
            let mut chunk = Vec::with_capacity(MAX_CHUNK);
            let count = (&mut source)
                .take(MAX_CHUNK as u64)
                .read_to_end(&mut chunk)
                .await
                .map_err(local)?;
            if count == 0 {
                break;
            }
            tokio::select! {
                biased;
                // A full disk is answered at once; the rest need not travel.
                event = call.events.recv() => return self.stored(call.take(event)?),
                result = self.send(Upstream::Data(call.id, Bytes(chunk))) => result?,
            }
            sent += count as u64;
            progress(sent);
        }
        self.send(Upstream::End(call.id)).await?;
        let event = call.events.recv().await;
        self.stored(call.take(event)?)
    }

    fn stored(&self, event: Event) -> Result<(), CallError> {
        match event {
            Event::Reply(Ok(Reply::Done)) => Ok(()),
            Event::Reply(Ok(other)) => Err(self.unexpected(&other)),
            Event::Reply(Err(error)) => Err(self.agent_error(error)),
            Event::Output(..) => Err(self.unexpected(&"output")),
        }
    }

    /// Starts a detached process and waits until it is ready or has failed.
    ///
    /// # Errors
    /// See [`CallError`]; that the process died is no error but an outcome.
    pub async fn launch(&self, spec: LaunchSpec) -> Result<LaunchOutcome, CallError> {
        match self.call(Request::Launch(spec)).await? {
            Reply::Launched(outcome) => Ok(outcome),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Ends exactly this process and its session: SIGTERM, after `grace` SIGKILL. Returns when it is gone.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn stop(&self, identity: ProcessIdentity, grace: Duration) -> Result<StopOutcome, CallError> {
        match self.call(Request::Stop(identity, grace)).await? {
            Reply::Stopped(outcome) => Ok(outcome),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Waits until exactly this process is gone, at most `limit`; whether it is.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn await_exit(&self, identity: ProcessIdentity, limit: Duration) -> Result<bool, CallError> {
        match self.call(Request::AwaitExit(identity, limit)).await? {
            Reply::Gone(gone) => Ok(gone),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Our live processes whose tag starts with `prefix`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn list_tagged(&self, prefix: &str) -> Result<Vec<TaggedProcess>, CallError> {
        match self.call(Request::ListTagged(prefix.to_owned())).await? {
            Reply::Processes(processes) => Ok(processes),
            other => Err(self.unexpected(&other)),
        }
    }

    /// A part of a file below the base directory (at most [`MAX_CHUNK`] bytes) and the file's size.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn read_part(&self, path: &str, offset: u64, max: u32) -> Result<(Vec<u8>, u64), CallError> {
        let path = path.to_owned();
        match self.call(Request::ReadFile { path, offset, max }).await? {
            Reply::Bytes { bytes, size } => Ok((bytes.0, size)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// A whole file below the base directory, cut after `max` bytes.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn read_file(&self, path: &str, max: usize) -> Result<Vec<u8>, CallError> {
        let mut content = Vec::new();
        while content.len() < max {
            let want = u32::try_from((max - content.len()).min(MAX_CHUNK)).unwrap_or(u32::MAX);
            let (part, _size) = self.read_part(path, content.len() as u64, want).await?;
            if part.is_empty() {
                break;
            }
            content.extend(part);
        }
        Ok(content)
    }

    /// Names in a directory below the base directory, sorted.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn list_dir(&self, path: &str) -> Result<Vec<DirEntry>, CallError> {
        match self.call(Request::ListDir(path.to_owned())).await? {
            Reply::Entries(entries) => Ok(entries),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Removes a file or directory tree below the base directory. Nothing there is no error.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn remove_tree(&self, path: &str) -> Result<(), CallError> {
        self.done(Request::RemoveTree(path.to_owned())).await
    }

    /// Takes a lock below the base directory. It lasts until released, or until this client or its connection ends.
    ///
    /// # Errors
    /// [`AgentError::LockHeld`] with what the holder says about itself, when it keeps the lock for longer than `wait`.
    pub async fn lock(&self, path: &str, holder: &str, wait: Duration) -> Result<AgentLock<'_>, CallError> {
        let (path, holder) = (path.to_owned(), holder.to_owned());
        self.done(Request::Lock {
            path: path.clone(),
            holder,
            wait,
        })
        .await?;
        Ok(AgentLock { client: self, path })
    }

    /// Runs a program with its arguments in the login user's home directory. Dropping what it returns kills the program.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn exec(&self, words: Vec<String>) -> Result<RunningCommand<'_>, CallError> {
        let call = self.start(Request::Exec(words)).await?;
        Ok(RunningCommand { call })
    }

    /// The addresses of names, as processes on the host find them, or why there is none.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn resolve(&self, names: Vec<String>) -> Result<Vec<Result<IpAddr, String>>, CallError> {
        match self.call(Request::Resolve(names)).await? {
            Reply::Resolved(addresses) => Ok(addresses),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Ends the agent and waits until it is gone from the host, at most 20 seconds. Locks are released.
    pub async fn close(mut self) {
        // Without its only sender the queue ends, then the writer, then the agent (its stdin has), then the reader.
        self.outgoing = mpsc::channel(1).0;
        let _ended = timeout(TURN, &mut self.writing).await;
        let _ended = timeout(TURN, &mut self.reading).await;
    }

    async fn done(&self, request: Request) -> Result<(), CallError> {
        match self.call(request).await? {
            Reply::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    async fn call(&self, request: Request) -> Result<Reply, CallError> {
        let mut call = self.start(request).await?;
        loop {
            let event = call.events.recv().await;
            match call.take(event)? {
                Event::Reply(result) => return result.map_err(|error| self.agent_error(error)),
                Event::Output(..) => {}
            }
        }
    }

    pub(super) async fn start(&self, request: Request) -> Result<Call<'_>, CallError> {
        let lost = |reason: &str| self.shared.lost(reason);
        let permit = self.shared.permits.acquire().await.map_err(|_closed| lost("closed"))?;
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = mpsc::channel(EVENTS);
        {
            let mut calls = lock(&self.shared.calls);
            if let Some(reason) = &calls.lost {
                return Err(lost(reason));
            }
            calls.waiting.insert(id, sender);
        }
        let call = Call {
            id,
            events,
            ended: false,
            client: self,
            _permit: permit,
        };
        self.send(Upstream::Call(id, request)).await?;
        Ok(call)
    }

    pub(super) async fn send(&self, message: Upstream) -> Result<(), CallError> {
        self.outgoing.send(message).await.map_err(|_closed| {
            let reason = lock(&self.shared.calls).lost.clone();
            self.shared.lost(reason.as_deref().unwrap_or("the channel was closed"))
        })
    }

    pub(super) fn agent_error(&self, error: AgentError) -> CallError {
        CallError::Agent {
            host: self.shared.host.clone(),
            error,
        }
    }

    pub(super) fn unexpected(&self, answer: &dyn std::fmt::Debug) -> CallError {
        self.agent_error(AgentError::Internal(format!("unexpected answer {answer:?}")))
    }
}

impl Drop for AgentClient {
    fn drop(&mut self) {
        self.reading.abort();
        self.writing.abort();
    }
}

impl Shared {
    fn lost(&self, reason: &str) -> CallError {
        CallError::Lost {
            host: self.host.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// A lock on the agent's host.
#[derive(Debug)]
#[must_use = "a lock that nobody keeps in mind is released only when the client ends"]
pub struct AgentLock<'a> {
    client: &'a AgentClient,
    path: String,
}

impl AgentLock<'_> {
    /// Releases the lock.
    ///
    /// # Errors
    /// See [`CallError`]; a lost connection has released it too.
    pub async fn release(self) -> Result<(), CallError> {
        self.client.done(Request::Unlock(self.path)).await
    }
}

/// A program that runs on the host.
#[derive(Debug)]
pub struct RunningCommand<'a> {
    call: Call<'a>,
}

/// What comes of a program.
#[derive(Debug)]
pub enum CommandEvent {
    /// It printed this. While it is not taken, the program is held up.
    Output(Output, Vec<u8>),
    /// It has ended; nothing follows.
    Exited(Exit),
}

impl RunningCommand<'_> {
    /// What comes next. Cancel safe.
    ///
    /// # Errors
    /// See [`CallError`]; a program that fails is no error.
    pub async fn next(&mut self) -> Result<CommandEvent, CallError> {
        match self.call.next().await? {
            Event::Output(stream, bytes) => Ok(CommandEvent::Output(stream, bytes)),
            Event::Reply(Ok(Reply::Exited(exit))) => Ok(CommandEvent::Exited(exit)),
            Event::Reply(Ok(other)) => Err(self.call.client.unexpected(&other)),
            Event::Reply(Err(error)) => Err(self.call.client.agent_error(error)),
        }
    }
}

/// A call in flight; cancelled when dropped before its end.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// Its id.
    pub(super) id: u32,
    events: mpsc::Receiver<Event>,
    ended: bool,
    client: &'a AgentClient,
    _permit: SemaphorePermit<'a>,
}

impl Call<'_> {
    /// The next thing that comes of the call.
    pub(super) async fn next(&mut self) -> Result<Event, CallError> {
        let event = self.events.recv().await;
        self.take(event)
    }

    fn take(&mut self, event: Option<Event>) -> Result<Event, CallError> {
        self.ended = !matches!(event, Some(Event::Output(..)));
        event.ok_or_else(|| {
            let reason = lock(&self.client.shared.calls).lost.clone();
            self.client.shared.lost(&reason.unwrap_or_default())
        })
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        lock(&self.client.shared.calls).waiting.remove(&self.id);
        if !self.ended {
            // With a full queue the agent finishes the call, and its answer finds nobody.
            let _full = self.client.outgoing.try_send(Upstream::Cancel(self.id));
        }
    }
}

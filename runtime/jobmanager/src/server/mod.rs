//! The JobManager's door: QUIC connections, and who may say what on them.
//!
//! A peer's role is in the certificate that it proved itself with in the handshake. Each role has a module here that
//! reads its requests, and only its: a stream that carries anything else is the end of the connection, and a warning
//! in the log. All state is the Dispatcher's; a task here has a stream, asks the Dispatcher, and answers.

mod client;
mod output;
mod task_manager;
mod watch;
mod worker;

use std::{path::PathBuf, sync::Arc, time::Duration};

use flink_rpc::{FrameError, FrameReader, Responder, Role, close, messages::Fault, peer_certificate};
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, warn};

use crate::{
    blob::BlobStore,
    dispatcher::{Event, Reply},
};

/// Connections at a time, handshakes included; more are refused.
const MAX_CONNECTIONS: usize = 32_768;

/// Streams that a worker may open beyond those that it has.
const SPARE_STREAMS: usize = 64;

/// Streams of one worker at a time: more subtasks that print than a TaskManager has slots for a hundred sinks.
const MAX_WORKER_STREAMS: usize = 1 << 17;

/// How long the last replies may take to be delivered when the cluster has ended.
const FAREWELL: Duration = Duration::from_secs(5);

/// Takes connections until the cluster has ended.
pub(crate) struct Server {
    endpoint: Endpoint,
    door: Arc<Door>,
}

/// What the task of every connection needs.
struct Door {
    events: mpsc::Sender<Event>,
    blobs: BlobStore,
    /// Cancelled when the cluster has ended.
    closing: CancellationToken,
}

/// A connection whose peer is known.
struct Peer {
    connection: Connection,
    kind: PeerKind,
}

enum PeerKind {
    TaskManager,
    Client,
    /// A worker, of the job that its certificate names.
    Worker(CertificateDer<'static>),
}

impl Server {
    pub(crate) fn new(
        endpoint: Endpoint,
        events: mpsc::Sender<Event>,
        blob_dir: PathBuf,
        closing: CancellationToken,
    ) -> Self {
        let door = Door {
            events,
            blobs: BlobStore::new(blob_dir),
            closing,
        };
        Self {
            endpoint,
            door: Arc::new(door),
        }
    }

    pub(crate) async fn run(self) {
        let Self { endpoint, door } = self;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) if connections.len() >= MAX_CONNECTIONS => {
                        warn!(peer = %incoming.remote_address(), "too many connections; refusing one");
                        incoming.refuse();
                    }
                    Some(incoming) => {
                        connections.spawn(serve(Arc::clone(&door), incoming).in_current_span());
                    }
                    None => break,
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                () = door.closing.cancelled() => break,
            }
        }
        endpoint.set_server_config(None);
        let farewell = async { while connections.join_next().await.is_some() {} };
        if timeout(FAREWELL, farewell).await.is_err() {
            debug!(
                connections = connections.len(),
                "not waiting any longer for the last replies to be taken"
            );
        }
        connections.shutdown().await;
        // Peers that do not hear of it notice by the silence.
        flink_rpc::close_endpoint(&endpoint, "the cluster has ended").await;
    }
}

/// Serves one connection to its end.
async fn serve(door: Arc<Door>, incoming: Incoming) {
    let address = incoming.remote_address();
    let connection = match incoming.await {
        Ok(connection) => connection,
        Err(error) => {
            // Another cluster's certificate, or none.
            warn!(peer = %address, %error, "a connection was refused");
            return;
        }
    };
    let Some(kind) = peer_kind(&connection) else {
        warn!(peer = %address, "a connection with a certificate of no use here was closed");
        return close(&connection, "this role has nothing to say here");
    };
    let prints = matches!(kind, PeerKind::Worker(_));
    let peer = Arc::new(Peer { connection, kind });
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            stream = peer.connection.accept_bi() => match stream {
                Ok((send, receive)) => {
                    let call = handle(Arc::clone(&door), Arc::clone(&peer), send, receive);
                    calls.spawn(call.in_current_span());
                    if prints {
                        // Every subtask that prints has a stream to its end, and there must be room for the next.
                        let streams = (calls.len() + SPARE_STREAMS).min(MAX_WORKER_STREAMS);
                        let streams = u32::try_from(streams).unwrap_or(u32::MAX);
                        peer.connection.set_max_concurrent_bi_streams(VarInt::from_u32(streams));
                    }
                }
                Err(_) => break,
            },
            Some(_) = calls.join_next(), if !calls.is_empty() => {}
            () = door.closing.cancelled() => break,
        }
    }
    match peer.kind {
        // What it was about to print has nowhere to go.
        PeerKind::Worker(_) => calls.shutdown().await,
        // They notice by themselves, and have something to tell the Dispatcher.
        PeerKind::TaskManager | PeerKind::Client => while calls.join_next().await.is_some() {},
    }
}

fn peer_kind(connection: &Connection) -> Option<PeerKind> {
    let certificate = peer_certificate(connection)?;
    if Role::TaskManager.matches(&certificate) {
        Some(PeerKind::TaskManager)
    } else if Role::Client.matches(&certificate) {
        Some(PeerKind::Client)
    } else if Role::JobManager.matches(&certificate) {
        None
    } else {
        Some(PeerKind::Worker(certificate))
    }
}

async fn handle(door: Arc<Door>, peer: Arc<Peer>, send: SendStream, receive: RecvStream) {
    let (reader, responder) = (FrameReader::new(receive), Responder::new(send));
    match &peer.kind {
        PeerKind::TaskManager => task_manager::handle(&door, &peer, reader, responder).await,
        PeerKind::Client => client::handle(&door, &peer, reader, responder).await,
        PeerKind::Worker(certificate) => worker::handle(&door, &peer, certificate, reader, responder).await,
    }
}

impl Peer {
    /// The first message of a stream. `None` when there is none to be had; the connection is closed when it is not one
    /// of the peer's role.
    async fn request<T: DeserializeOwned>(&self, reader: &mut FrameReader<RecvStream>) -> Option<T> {
        match reader.next().await {
            Ok(request) => request,
            Err(error) => {
                self.refuse(&error);
                None
            }
        }
    }

    /// What a failure to read means. A message that is not one of the peer's role ends the connection.
    fn refuse(&self, error: &FrameError) {
        if let FrameError::Decode(error) = error {
            self.expel(&format!("a message that is not one of its role: {error}"));
        }
    }

    /// Closes the connection of a peer that says what it must not.
    fn expel(&self, why: &str) {
        warn!(peer = %self.connection.remote_address(), role = self.role(), why, "a connection was closed");
        close(&self.connection, why);
    }

    fn role(&self) -> &'static str {
        match self.kind {
            PeerKind::TaskManager => "TaskManager",
            PeerKind::Client => "client",
            PeerKind::Worker(_) => "worker",
        }
    }
}

impl Door {
    /// Asks the Dispatcher.
    ///
    /// # Errors
    /// Its fault, or that the cluster has ended.
    async fn ask<T>(&self, event: impl FnOnce(Reply<T>) -> Event) -> Result<T, Fault> {
        let ended = || Fault::new("cluster.stopping", "the cluster has ended");
        let (reply, answer) = oneshot::channel();
        self.events.send(event(reply)).await.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Tells the Dispatcher. When it is gone, so is the cluster.
    async fn tell(&self, event: Event) {
        let _ended = self.events.send(event).await;
    }
}

/// Sends the one reply to a call, and sees that it arrives.
async fn answer<T: Serialize>(mut responder: Responder<SendStream>, result: &Result<T, Fault>) {
    if responder.answer(result).await.is_ok() {
        deliver(responder).await;
    }
}

/// Ends a stream of replies and waits until all have arrived; false when they have not.
async fn deliver(mut responder: Responder<SendStream>) -> bool {
    let stream = responder.get_mut();
    stream.finish().is_ok() && matches!(stream.stopped().await, Ok(None))
}

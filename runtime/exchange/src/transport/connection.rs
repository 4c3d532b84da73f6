//! What runs on one connection: making it, taking in its streams, telling of failed producers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use flink_graph::JobId;
use flink_rpc::Role;
use quinn::{
    Connecting, Connection, ConnectionError, Incoming, RecvStream, SendStream, VarInt,
    rustls::pki_types::CertificateDer,
};
use tokio::{sync::oneshot, task::JoinSet, time::timeout};

use super::{
    Opened,
    hello::{Answer, HELLO_BYTES, Hello},
};
use flink_record::Record;

use crate::{
    channel::{CHANNEL_ID_BYTES, ChannelId},
    error::ExchangeError,
    registry::{Arrival, Registry},
};

/// Streams that a peer may open beyond those that consumers here wait for. They wait for their consumers, each with at most
/// one stream window of data.
pub(super) const UNCLAIMED_STREAMS: u32 = 64;

/// Why streams are reset and connections closed, as numbers on the wire.
pub(crate) const RESET_PRODUCER_FAILED: VarInt = VarInt::from_u32(1);
pub(super) const CLOSE_SHUT_DOWN: VarInt = VarInt::from_u32(0);
pub(super) const CLOSE_REFUSED: VarInt = VarInt::from_u32(2);
pub(super) const CLOSE_DUPLICATE: VarInt = VarInt::from_u32(3);

/// How long a connection that was turned away may take to read so.
const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// A connection whose hello waits for an answer.
pub(super) struct Greeting {
    pub(super) connection: Connection,
    pub(super) hello: Hello,
    answer: SendStream,
}

/// Why connecting failed.
pub(super) enum DialError {
    /// The peer uses another connection between us, or is about to open one.
    Duplicate,
    /// Anything else, in words.
    Failed(String),
}

impl<E: std::error::Error> From<E> for DialError {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Connects and introduces ourselves. Without an error the peer has proved to be a worker of this job and counts on the connection.
pub(super) async fn dial(connecting: Connecting, hello: Hello) -> Result<Connection, DialError> {
    let connection = connecting.await?;
    let (mut ask, mut answer) = connection.open_bi().await?;
    ask.write_all(&hello.to_bytes()).await?;
    ask.finish()?;
    let mut byte = [0];
    answer.read_exact(&mut byte).await.map_err(|error| {
        // The reason of the connection's end says more than that the stream ended with it.
        DialError::Failed(
            connection
                .close_reason()
                .map_or_else(|| error.to_string(), |reason| reason.to_string()),
        )
    })?;
    match Answer::from_byte(byte[0]) {
        Some(Answer::Accepted) => return Ok(connection),
        Some(Answer::Duplicate) => connection.close(CLOSE_DUPLICATE, b"duplicate"),
        Some(Answer::Refused) | None => {
            connection.close(CLOSE_REFUSED, b"refused");
            return Err(DialError::Failed(
                "the peer refused us: other job or other protocol version".to_owned(),
            ));
        }
    }
    Err(DialError::Duplicate)
}

/// Takes in a connection up to its hello. `None` when it came to nothing, which only the peer has to care about.
pub(super) async fn greet(incoming: Incoming, job: JobId, limit: Duration) -> Option<Greeting> {
    let from = incoming.remote_address();
    let greeting = timeout(limit, read_hello(incoming, job)).await;
    match greeting {
        Ok(Ok(greeting)) => Some(greeting),
        Ok(Err(DialError::Failed(cause))) => {
            tracing::warn!(%from, "turned away a connection: {cause}");
            None
        }
        Ok(Err(DialError::Duplicate)) | Err(_) => None,
    }
}

async fn read_hello(incoming: Incoming, job: JobId) -> Result<Greeting, DialError> {
    let connection = incoming.await?;
    if !is_worker(&connection, job) {
        connection.close(CLOSE_REFUSED, b"not a worker of this job");
        return Err(DialError::Failed(
            "its certificate is not one of a worker of this job".to_owned(),
        ));
    }
    let (answer, mut ask) = connection.accept_bi().await?;
    let mut bytes = [0; HELLO_BYTES];
    ask.read_exact(&mut bytes).await?;
    let hello = Hello::from_bytes(&bytes).map_err(|error| error.to_string());
    match hello {
        Ok(hello) if hello.job == job => Ok(Greeting {
            connection,
            hello,
            answer,
        }),
        other => {
            let cause = other.err().unwrap_or_else(|| "its hello is for another job".to_owned());
            refuse(connection, answer, Answer::Refused).await;
            Err(DialError::Failed(cause))
        }
    }
}

fn is_worker(connection: &Connection, job: JobId) -> bool {
    connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .is_some_and(|chain| chain.first().is_some_and(|leaf| Role::Worker(job).matches(leaf)))
}

impl Greeting {
    /// Answers that the connection is used from now on.
    pub(super) async fn accept(mut self) -> Result<(), DialError> {
        self.answer.write_all(&[Answer::Accepted as u8]).await?;
        self.answer.finish()?;
        Ok(())
    }

    /// Turns the connection away and lets the peer close it.
    pub(super) async fn refuse(self) {
        refuse(self.connection, self.answer, Answer::Duplicate).await;
    }
}

async fn refuse(connection: Connection, mut answer: SendStream, reason: Answer) {
    // Errors mean that the peer is gone already.
    let _ = answer.write_all(&[reason as u8]).await;
    let _ = answer.finish();
    let _ = timeout(REFUSAL_TIME, connection.closed()).await;
    connection.close(CLOSE_REFUSED, b"refused");
}

/// Takes in streams and notices until the connection ends, and stays for the streams that still wait for their consumers then.
pub(super) async fn serve(connection: Connection, peer: SocketAddr, registry: Arc<Registry>) {
    let mut streams = JoinSet::new();
    let cause = loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => { streams.spawn(receive(stream, Arc::clone(&registry))); }
                Err(cause) => break cause,
            },
            notice = connection.accept_bi() => match notice {
                Ok((_, notice)) => { streams.spawn(receive_notice(notice, Arc::clone(&registry))); }
                Err(cause) => break cause,
            },
            Some(_) = streams.join_next() => {}
        }
    };
    // One that we closed ourselves was replaced by another, or the whole environment shuts down: nobody is lost.
    if cause != ConnectionError::LocallyClosed {
        // Workers end one after another when their job has: who still waits for data is told by the registry.
        match &cause {
            ConnectionError::ApplicationClosed(close) if close.error_code == CLOSE_SHUT_DOWN => {
                tracing::debug!(%peer, "a worker has shut down");
            }
            cause => tracing::warn!(%peer, "lost the connection to a worker: {cause}"),
        }
        registry.peer_lost(peer, &lost(peer, &cause));
    }
    while streams.join_next().await.is_some() {}
}

/// The error of every channel of a connection that ended.
pub(crate) fn lost(peer: SocketAddr, cause: &ConnectionError) -> ExchangeError {
    let cause = match cause {
        ConnectionError::LocallyClosed => "closed on this side".to_owned(),
        other => other.to_string(),
    };
    ExchangeError::PeerLost { peer, cause }
}

async fn read_channel(stream: &mut RecvStream) -> Option<ChannelId> {
    let mut bytes = [0; CHANNEL_ID_BYTES];
    stream.read_exact(&mut bytes).await.ok()?;
    ChannelId::decode(&mut bytes.as_slice()).ok()
}

/// Reads the channel of a new stream and hands the stream to its consumer, or guards it until that comes.
async fn receive(mut stream: RecvStream, registry: Arc<Registry>) {
    // A stream that is reset before its header needs no care: a notice names its channel.
    let Some(channel) = read_channel(&mut stream).await else {
        return;
    };
    if let Some((stream, claim)) = registry.arrive(channel, stream) {
        guard(channel, stream, claim, &registry).await;
    }
}

async fn guard(
    channel: ChannelId,
    mut stream: RecvStream,
    mut claim: oneshot::Receiver<oneshot::Sender<Arrival>>,
    registry: &Registry,
) {
    let reset = tokio::select! {
        biased;
        reply = &mut claim => {
            // Without a reply the entry was dropped: nobody will ask for the stream any more.
            if let Ok(reply) = reply {
                let _ = reply.send(Ok(stream));
            }
            return;
        }
        reset = stream.received_reset() => matches!(reset, Ok(Some(_))),
    };
    if reset {
        registry.producer_failed(channel);
    }
    // Complete data outlive their connection. After a reset a reply can still come from a consumer that was just too fast.
    if let Ok(reply) = claim.await {
        let _ = reply.send(if reset {
            Err(ExchangeError::ProducerFailed { channel })
        } else {
            Ok(stream)
        });
    }
}

async fn receive_notice(mut notice: RecvStream, registry: Arc<Registry>) {
    if let Some(channel) = read_channel(&mut notice).await {
        registry.producer_failed(channel);
    }
}

/// Opens the stream of a channel for a producer that may be gone by then.
pub(super) async fn open_channel(
    connection: Connection,
    channel: ChannelId,
    peer: SocketAddr,
    mut reply: oneshot::Sender<Opened>,
) {
    let opened = tokio::select! {
        () = reply.closed() => return,
        opened = try_open(&connection, channel) => opened,
    };
    let opened = opened.map_err(|()| match connection.close_reason() {
        Some(cause) => lost(peer, &cause),
        None => ExchangeError::ConsumerGone { channel },
    });
    if let Err(Ok(mut stream)) = reply.send(opened) {
        let _ = stream.reset(RESET_PRODUCER_FAILED);
    }
}

async fn try_open(connection: &Connection, channel: ChannelId) -> Result<SendStream, ()> {
    let mut header = Vec::with_capacity(CHANNEL_ID_BYTES);
    channel.encode(&mut header);
    let mut stream = connection.open_uni().await.map_err(drop)?;
    stream.write_all(&header).await.map_err(drop)?;
    Ok(stream)
}

/// Tells the peer that a producer failed. Its stream is reset as well, but a reset may overtake the stream's header, and the
/// peer would not know which channel it was.
pub(super) async fn send_notice(connection: Connection, channel: ChannelId) {
    let mut bytes = Vec::with_capacity(CHANNEL_ID_BYTES);
    channel.encode(&mut bytes);
    // A lost connection tells the peer as well.
    if let Ok((mut notice, _)) = connection.open_bi().await
        && notice.write_all(&bytes).await.is_ok()
    {
        let _ = notice.finish();
        let _ = notice.stopped().await;
    }
}

//! The connection to the JobManager: looking for it, registering, carrying messages.
//!
//! One task owns the connection. It is told what to do by [`LinkCommand`]s and tells what happens by [`Event`]s; both
//! queues are bounded, and each direction of the control stream is carried without waiting for the other.
//! Commands that were given for a connection that is gone by now are passed over: a registration is always the first
//! thing that counts on a new one.

use std::{
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    time::Duration,
};

use flink_rpc::{
    CallError, FrameReader, FrameWriter, Heartbeat, Identity, Role,
    messages::{FromTaskManager, Registered, Registration, TaskManagerRequest, ToTaskManager},
    read_reply,
};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::debug;

use crate::supervision::Event;

/// What the link is told.
#[derive(Debug)]
pub(crate) enum LinkCommand {
    /// Register on the connection that [`Event::Reached`] stands for.
    Register(Box<Registration>),
    /// Send a message.
    Report(FromTaskManager),
    /// Give the connection up and look for the JobManager again.
    Reconnect,
    /// Send what is queued, close the connection, and end.
    Finish,
}

/// What the link tells.
#[derive(Debug)]
pub(crate) enum LinkNews {
    /// For the supervision.
    Event(Event),
    /// The registration was taken; artifacts can be fetched on the connection.
    Registered(Registered, Connection),
}

/// How the peer is reached.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) identity: Identity,
    pub(crate) heartbeat: Heartbeat,
}

/// After `Finish`, the JobManager has this long to acknowledge the last messages.
const FAREWELL: Duration = Duration::from_secs(1);

/// The link's task. Ends after [`LinkCommand::Finish`], or when whoever listens is gone.
pub(crate) async fn run(peer: Peer, mut commands: mpsc::Receiver<LinkCommand>, news: mpsc::Sender<LinkNews>) {
    let mut backoff = Backoff::default();
    loop {
        let event = match flink_rpc::connect(peer.address, Role::JobManager, &peer.identity, peer.heartbeat).await {
            Ok((endpoint, connection)) => {
                match serve(&connection, &mut commands, &news, &mut backoff).await {
                    Ended::Finished => return farewell(&endpoint).await,
                    Ended::GivenUp => {
                        flink_rpc::close(&connection, "given up");
                        None
                    }
                    Ended::Lost(reason) => {
                        // The stream may break a moment before its connection does, which knows why.
                        let silent_for = silence(&connection, peer.heartbeat);
                        flink_rpc::close(&connection, "lost");
                        Some(Event::Disconnected { reason, silent_for })
                    }
                }
            }
            Err(error) => Some(Event::Unreachable {
                reason: error.to_string(),
            }),
        };
        if let Some(event) = event
            && news.send(LinkNews::Event(event)).await.is_err()
        {
            return;
        }
        sleep(backoff.next()).await;
    }
}

/// For how long the peer had been silent when the connection was lost.
fn silence(connection: &Connection, heartbeat: Heartbeat) -> Duration {
    match connection.close_reason() {
        Some(ConnectionError::TimedOut) => heartbeat.timeout,
        _ => Duration::ZERO,
    }
}

/// Closes the connection so that the JobManager hears of it.
async fn farewell(endpoint: &Endpoint) {
    flink_rpc::close_endpoint(endpoint, "leaving").await;
}

enum Ended {
    Finished,
    GivenUp,
    Lost(String),
}

/// One connection, from its handshake to its end.
async fn serve(
    connection: &Connection,
    commands: &mut mpsc::Receiver<LinkCommand>,
    news: &mpsc::Sender<LinkNews>,
    backoff: &mut Backoff,
) -> Ended {
    if news.send(LinkNews::Event(Event::Reached)).await.is_err() {
        return Ended::Finished;
    }
    let registration = tokio::select! {
        registration = next_registration(commands) => registration,
        error = connection.closed() => return Ended::Lost(error.to_string()),
    };
    let Some(registration) = registration else {
        return Ended::Finished;
    };
    let (send, reader) = match register(connection, registration, news).await {
        Ok(streams) => streams,
        Err(CallError::Fault(fault)) => {
            // The supervision decides; it ends the link.
            let _gone = news.send(LinkNews::Event(Event::Refused(fault))).await;
            return Ended::GivenUp;
        }
        Err(error) => {
            let closed = connection.close_reason().map(|reason| reason.to_string());
            return Ended::Lost(closed.unwrap_or_else(|| error.to_string()));
        }
    };
    backoff.reset();
    let ended = tokio::select! {
        reason = read(reader, news) => Ended::Lost(reason),
        ended = write(send, connection, commands) => ended,
    };
    match (ended, connection.close_reason()) {
        (Ended::Lost(_), Some(reason)) => Ended::Lost(reason.to_string()),
        (ended, _) => ended,
    }
}

/// The next registration; `None` when the link is to end.
async fn next_registration(commands: &mut mpsc::Receiver<LinkCommand>) -> Option<Registration> {
    loop {
        match commands.recv().await? {
            LinkCommand::Register(registration) => return Some(*registration),
            LinkCommand::Report(_) | LinkCommand::Reconnect => {}
            LinkCommand::Finish => return None,
        }
    }
}

async fn register(
    connection: &Connection,
    registration: Registration,
    news: &mpsc::Sender<LinkNews>,
) -> Result<(FrameWriter<SendStream>, FrameReader<RecvStream>), CallError> {
    let broken = |error: ConnectionError| CallError::Broken(error.to_string());
    let (send, receive) = connection.open_bi().await.map_err(broken)?;
    let mut writer = FrameWriter::new(send);
    writer.send(&TaskManagerRequest::Register(registration)).await?;
    let mut reader = FrameReader::new(receive);
    let reply: Option<Registered> = read_reply(&mut reader).await?;
    let registered = reply.ok_or_else(|| CallError::Broken("the registration was not answered".to_owned()))?;
    let _gone = news.send(LinkNews::Registered(registered, connection.clone())).await;
    Ok((writer, reader))
}

/// Passes the JobManager's messages on; returns why there are no more.
async fn read(mut reader: FrameReader<RecvStream>, news: &mpsc::Sender<LinkNews>) -> String {
    loop {
        match reader.next::<ToTaskManager>().await {
            Ok(Some(order)) => {
                if news.send(LinkNews::Event(Event::Ordered(order))).await.is_err() {
                    return "nobody listens".to_owned();
                }
            }
            Ok(None) => return "the JobManager closed the connection".to_owned(),
            Err(error) => return error.to_string(),
        }
    }
}

async fn write(
    mut writer: FrameWriter<SendStream>,
    connection: &Connection,
    commands: &mut mpsc::Receiver<LinkCommand>,
) -> Ended {
    loop {
        match commands.recv().await {
            Some(LinkCommand::Report(message)) => {
                if let Err(error) = writer.send(&message).await {
                    if connection.close_reason().is_some() {
                        // What the JobManager said before it closed may not have been read yet: the end is found there.
                        return std::future::pending().await;
                    }
                    return Ended::Lost(error.to_string());
                }
            }
            Some(LinkCommand::Register(_)) => debug!("registered already"),
            Some(LinkCommand::Reconnect) => return Ended::GivenUp,
            Some(LinkCommand::Finish) | None => break,
        }
    }
    let stream = writer.get_mut();
    if stream.finish().is_ok() {
        let _unheard = timeout(FAREWELL, stream.stopped()).await;
    }
    Ended::Finished
}

/// Waiting times between attempts to reach the JobManager: 100 ms, doubled up to 1 s, each shortened by up to a half
/// at random, so that the TaskManagers of a cluster do not come back all at once.
#[derive(Debug, Default)]
struct Backoff {
    attempt: u32,
    random: RandomState,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(1);

    fn reset(&mut self) {
        self.attempt = 0;
    }

    fn next(&mut self) -> Duration {
        let full = Self::FIRST.saturating_mul(1 << self.attempt.min(4)).min(Self::LONGEST);
        let jitter = self.random.hash_one(self.attempt) % 512;
        self.attempt = self.attempt.saturating_add(1);
        full - full * u32::try_from(jitter).unwrap_or(0) / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_times_grow_to_a_second_and_start_anew() {
        let mut backoff = Backoff::default();
        let bounds = [100, 200, 400, 800, 1000, 1000, 1000];
        for full in bounds {
            let wait = backoff.next().as_millis();
            assert!((full / 2..=full).contains(&wait), "{wait} ms of {full}");
        }
        backoff.attempt = u32::MAX;
        assert!(backoff.next() <= Duration::from_secs(1));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}

//! TaskManagers: the one control stream of each, and the artifacts that it fetches.

use flink_graph::TaskManagerId;
use flink_rpc::{
    FrameError, FrameReader, FrameWriter, Responder, close,
    messages::{FromTaskManager, Registration, TaskManagerRequest, ToTaskManager},
};
use quinn::{ConnectionError, RecvStream, SendStream};
use tokio::sync::mpsc;
use tracing::debug;

use super::{Door, Peer, answer, deliver};
use crate::dispatcher::{ConnectionEnd, Event, TASK_MANAGER_QUEUE, TaskManagerLink};

pub(super) async fn handle(
    door: &Door,
    peer: &Peer,
    mut reader: FrameReader<RecvStream>,
    mut responder: Responder<SendStream>,
) {
    match peer.request(&mut reader).await {
        Some(TaskManagerRequest::Register(registration)) => {
            control(door, peer, registration, reader, responder).await;
        }
        Some(TaskManagerRequest::FetchBlob(request)) => {
            match door.blobs.serve(request.digest, &mut responder).await {
                Ok(()) => drop(deliver(responder).await),
                Err(error) => {
                    debug!(digest = %request.digest, %error, "an artifact was not fetched to its end");
                    // Without this the stream would look complete.
                    let _gone = responder.get_mut().reset(quinn::VarInt::from_u32(1));
                }
            }
        }
        None => {}
    }
}

/// The control stream: registration, then messages both ways until the connection ends. Its end is the TaskManager's.
async fn control(
    door: &Door,
    peer: &Peer,
    registration: Registration,
    mut reader: FrameReader<RecvStream>,
    mut responder: Responder<SendStream>,
) {
    let id = registration.id;
    let (outgoing, queue) = mpsc::channel(TASK_MANAGER_QUEUE);
    let link = TaskManagerLink {
        outgoing,
        connection: peer.connection.clone(),
    };
    let registered = match door
        .ask(|reply| Event::Register {
            registration,
            link,
            reply,
        })
        .await
    {
        Ok(registered) => registered,
        Err(fault) => return answer(responder, &Err::<(), _>(fault)).await,
    };
    let end = match responder.send(&registered).await {
        Ok(()) => {
            let writer = FrameWriter::new(responder.get_mut());
            tokio::select! {
                end = receive(door, peer, id, &mut reader) => end,
                error = forward(queue, writer) => broken(&error),
                () = door.closing.cancelled() => ConnectionEnd::Broken { reason: "the cluster has ended".to_owned() },
            }
        }
        Err(error) => broken(&error),
    };
    // The connection knows better than the stream why it ended; without an end of its own it has no purpose any more.
    let end = peer.connection.close_reason().map_or(end, connection_end);
    close(&peer.connection, "the control stream has ended");
    door.tell(Event::Disconnected {
        id,
        connection: peer.connection.stable_id(),
        end,
    })
    .await;
}

async fn receive(door: &Door, peer: &Peer, id: TaskManagerId, reader: &mut FrameReader<RecvStream>) -> ConnectionEnd {
    loop {
        match reader.next::<FromTaskManager>().await {
            Ok(Some(message)) => {
                door.tell(Event::Told {
                    id,
                    connection: peer.connection.stable_id(),
                    message,
                })
                .await
            }
            Ok(None) => return ConnectionEnd::Closed { reason: String::new() },
            Err(error) => {
                peer.refuse(&error);
                return broken(&error);
            }
        }
    }
}

/// Sends what the Dispatcher has for the TaskManager; ends only by an error.
async fn forward(mut queue: mpsc::Receiver<ToTaskManager>, mut writer: FrameWriter<&mut SendStream>) -> FrameError {
    while let Some(message) = queue.recv().await {
        if let Err(error) = writer.send(&message).await {
            return error;
        }
    }
    // The Dispatcher lets go of the queue when it has ended.
    FrameError::Closed
}

fn broken(error: &FrameError) -> ConnectionEnd {
    ConnectionEnd::Broken {
        reason: error.to_string(),
    }
}

fn connection_end(error: ConnectionError) -> ConnectionEnd {
    match error {
        ConnectionError::ApplicationClosed(close) => ConnectionEnd::Closed {
            reason: String::from_utf8_lossy(&close.reason).into_owned(),
        },
        ConnectionError::ConnectionClosed(close) => ConnectionEnd::Closed {
            reason: String::from_utf8_lossy(&close.reason).into_owned(),
        },
        ConnectionError::TimedOut => ConnectionEnd::Silent,
        error => ConnectionEnd::Broken {
            reason: error.to_string(),
        },
    }
}

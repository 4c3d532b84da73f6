//! Calls to the JobManager of a session, carried for a client that reaches this host only by SSH.
//!
//! One call is one QUIC connection and one stream on it: when the client cancels the call, or is gone, both end with it,
//! which is how the JobManager sees that a lease is lost.

use std::path::Path;

use flink_rpc::{FrameReader, FrameWriter, Identity, Role};

use super::protocol::{AgentError, Bytes, Downstream, Output, Reply};
use super::server::Call;
use crate::runtime::{CLIENT_IDENTITY, SESSION_RECORD, SessionRecord};

/// Sends `request` to the JobManager whose session directory is `session` (below `base`) and passes its replies on, a frame each.
pub(super) async fn call(base: &Path, session: &str, request: Bytes, call: Call) -> Result<Reply, AgentError> {
    let directory = super::files::below(base, session)?;
    let record: SessionRecord = serde_json::from_slice(&read(&directory.join(SESSION_RECORD)).await?)
        .map_err(|error| AgentError::JobManager(format!("{session}/{SESSION_RECORD}: {error}")))?;
    let identity: Identity = postcard::from_bytes(&read(&directory.join(CLIENT_IDENTITY)).await?)
        .map_err(|error| AgentError::JobManager(format!("{session}/{CLIENT_IDENTITY}: {error}")))?;
    let lost = |error: &dyn std::fmt::Display| AgentError::JobManager(format!("session \"{}\": {error}", record.name));
    let (endpoint, connection) = flink_rpc::connect(record.address, Role::JobManager, &identity, record.heartbeat)
        .await
        .map_err(|error| lost(&error))?;
    let (send, receive) = connection.open_bi().await.map_err(|error| lost(&error))?;
    let mut writer = FrameWriter::new(send);
    writer
        .send_bytes(request.0.into())
        .await
        .map_err(|error| lost(&error))?;
    let mut reader = FrameReader::new(receive);
    while let Some(frame) = reader.next_bytes().await.map_err(|error| lost(&error))? {
        let reply = Downstream::Output(call.id, Output::Stdout, Bytes(frame.to_vec()));
        if call.outgoing.send(reply).await.is_err() {
            return Err(AgentError::Cancelled);
        }
    }
    flink_rpc::close_endpoint(&endpoint, "done").await;
    Ok(Reply::Done)
}

async fn read(path: &Path) -> Result<Vec<u8>, AgentError> {
    tokio::fs::read(path)
        .await
        .map_err(|error| AgentError::file(path.display(), &error))
}

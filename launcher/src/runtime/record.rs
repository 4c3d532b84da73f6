//! What a JobManager leaves in its session's directory, so that launchers find it.

use std::net::SocketAddr;

use flink_graph::ClusterId;
use serde::{Deserialize, Serialize};

use crate::process::ProcessIdentity;

use super::SessionKind;

/// File name of the record, JSON.
pub(crate) const SESSION_RECORD: &str = "session.json";

/// File name of what clients prove themselves with: an encoded [`flink_rpc::Identity`], mode 0600.
pub(crate) const CLIENT_IDENTITY: &str = "client.identity";

/// A live session or per-job cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    /// The cluster's id.
    pub(crate) cluster: ClusterId,
    /// The session's name.
    pub(crate) name: String,
    /// What it is there for.
    pub(crate) kind: SessionKind,
    /// Host of the JobManager.
    pub(crate) host: String,
    /// Where the JobManager takes connections.
    pub(crate) address: SocketAddr,
    /// The JobManager's process.
    pub(crate) process: ProcessIdentity,
    /// Who started it, `user@host`.
    pub(crate) owner: String,
    /// Its start, ms since the epoch.
    pub(crate) start_ms: u64,
    /// Heartbeat settings for those who connect.
    pub(crate) heartbeat: flink_rpc::Heartbeat,
}

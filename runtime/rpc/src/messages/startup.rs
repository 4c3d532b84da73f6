//! What a TaskManager is given at its start: on its standard input, by whoever starts it; or in the join file of a
//! standalone cluster.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use flink_graph::{ClusterId, TaskManagerId};
use serde::{Deserialize, Serialize};

use crate::{Heartbeat, Identity};

/// What makes a TaskManager.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskManagerStartup {
    /// [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION) of who starts it.
    pub protocol: u32,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its id.
    pub id: TaskManagerId,
    /// Its host's name in the inventory.
    pub host: String,
    /// How many slots it offers.
    pub slots: u32,
    /// Where the JobManager takes connections.
    pub job_manager: SocketAddr,
    /// What it proves itself with.
    pub identity: Identity,
    /// How silence is noticed, on control and data connections.
    pub heartbeat: Heartbeat,
    /// It ends itself when it has been without its JobManager for this long, ms.
    pub death_timeout_ms: u64,
    /// TERM, this long, then KILL, when it ends a worker, ms.
    pub stop_grace_ms: u64,
    /// Address at which workers take data connections.
    pub data_address: IpAddr,
    /// UDP ports for them, first and last; `(0, 0)` = any.
    pub data_ports: (u16, u16),
    /// Largest IP packet of the data network, bytes: 1500 or 9000.
    pub mtu: u16,
    /// Directory of content-addressed blobs: `<blob_dir>/<sha256>`, kept across clusters.
    pub blob_dir: PathBuf,
    /// Its own directory, for logs; it makes it and removes it when it ends.
    pub work_dir: PathBuf,
    /// For the temporary files of its workers. It must not be there; it is made for the first of them, and removed in
    /// the end.
    pub tmp_dir: PathBuf,
    /// Environment variables for its workers, beside its own.
    pub worker_env: Vec<(String, String)>,
    /// Prefix of its workers' process tags (`FLINKCTL=<prefix>/worker/<job>`).
    pub tag_prefix: String,
}

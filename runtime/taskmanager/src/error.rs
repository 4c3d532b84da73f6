//! How a TaskManager ends, well or not.

use std::net::SocketAddr;

use flink_graph::ClusterId;
use flink_process::{blobs::BlobError, dirs::WorkDirError};
use flink_rpc::messages::Fault;

/// Why a TaskManager ended, when nothing was wrong with it. All its workers are gone then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The JobManager told it to end.
    ShutDown,
    /// The `shutdown` future resolved (a signal on its host); the JobManager was told.
    Terminated,
    /// Its JobManager stayed away for the death timeout.
    Orphaned,
}

/// A TaskManager could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskManagerError {
    /// Whoever started it is of another version.
    #[error("the TaskManager speaks protocol {ours}, whoever starts it {theirs}")]
    Protocol {
        /// This program's version.
        ours: u32,
        /// The version in the startup.
        theirs: u32,
    },
    /// Its own directory could not be made.
    #[error(transparent)]
    WorkDir(#[from] WorkDirError),
    /// The artifact cache is not usable.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The JobManager does not take it.
    #[error("the JobManager at {address} refused the TaskManager: {fault}")]
    Refused {
        /// The JobManager.
        address: SocketAddr,
        /// Why.
        fault: Box<Fault>,
    },
    /// A JobManager of another cluster answered.
    #[error("the JobManager at {address} is of cluster {got}, not {expected}")]
    OtherCluster {
        /// The JobManager.
        address: SocketAddr,
        /// The TaskManager's cluster.
        expected: ClusterId,
        /// The JobManager's.
        got: ClusterId,
    },
    /// It could not register in time.
    #[error("could not register at the JobManager at {address} within {waited_s} s: {reason}")]
    Unregistered {
        /// The JobManager.
        address: SocketAddr,
        /// How long it tried, s.
        waited_s: u64,
        /// What went wrong last.
        reason: String,
    },
    /// The task that holds the connection ended unasked: a bug.
    #[error("the task that holds the connection to the JobManager failed")]
    Link,
}

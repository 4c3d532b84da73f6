//! What a JobManager is started with.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use flink_graph::ClusterId;
use flink_rpc::Heartbeat;

/// What makes a JobManager. The launcher fills it from cluster.toml and its command line.
#[derive(Debug, Clone)]
pub struct JobManagerConfig {
    /// The cluster's id.
    pub cluster: ClusterId,
    /// `[cluster] name`: for messages.
    pub cluster_name: String,
    /// The session's name, when it has one: for messages.
    pub session_name: Option<String>,
    /// For how many jobs, and until when.
    pub mode: ClusterMode,
    /// This host's name in the inventory: for messages.
    pub host: String,
    /// Address to take connections on. Port 0 = any; a port that is taken is an error.
    pub bind: SocketAddr,
    /// Address at which TaskManagers and workers reach this host.
    pub advertise: IpAddr,
    /// Artifacts: `<blob_dir>/<sha256>`, put there before a job that needs them is submitted.
    pub blob_dir: PathBuf,
    /// The cluster's own directory; `jobs/<job>/output` is made in it for detached jobs, and `coordinators/` for those that need
    /// coordinators.
    pub session_dir: PathBuf,
    /// For the temporary files of coordinators. It must not be there; it is made for the first of them, and removed in
    /// the end.
    pub tmp_dir: PathBuf,
    /// Environment variables for coordinators, beside our own.
    pub coordinator_env: Vec<(String, String)>,
    /// Prefix of the coordinators' process tags (`FLINKCTL=<prefix>/coordinator/<job>`).
    pub tag_prefix: String,
    /// Where records of ended detached jobs stay when the cluster is gone: see [`crate::archive`].
    pub archive_dir: PathBuf,
    /// Which TaskManagers' slots are taken.
    pub placement: PlacementStrategy,
    /// Most TaskManagers at a time that this JobManager starts; `None` = as many as there are hosts.
    pub max_task_managers: Option<u32>,
    /// A TaskManager without a job is ended after this long, unless it is a standalone one.
    pub idle_timeout: Duration,
    /// From the request for a TaskManager to its registration; one that takes longer is stopped, and its host
    /// is not tried again for a while.
    pub start_timeout: Duration,
    /// How silence is noticed.
    pub heartbeat: Heartbeat,
    /// How long tasks may take to react to cancelling before their worker is ended, and TaskManagers and coordinators to
    /// end before they are killed.
    pub stop_grace: Duration,
    /// Validity of the cluster's certificates.
    pub tls_validity: Duration,
}

/// For how many jobs a cluster is there, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterMode {
    /// For one job. When that was submitted attached, the cluster ends once the client with the lease has its result,
    /// or when the lease is lost; else when the job has ended. Without any job it ends after
    /// [`FIRST_CONTACT_TIMEOUT`].
    PerJob,
    /// For any number of jobs, until it is stopped.
    Session {
        /// Also ends when the client that holds it (`HoldCluster`) is gone, or has not come within
        /// [`FIRST_CONTACT_TIMEOUT`].
        attached: bool,
    },
}

/// How long an attached session waits for the client that holds it, and a per-job cluster for its job, when nobody
/// holds it.
pub const FIRST_CONTACT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an attached job waits for the client with its lease.
pub const LEASE_TIMEOUT: Duration = Duration::from_secs(10);

/// Which TaskManagers' slots are taken first (`[taskmanager] placement`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlacementStrategy {
    /// As many TaskManagers as possible, the least utilised first.
    #[default]
    Spread,
    /// As few TaskManagers as possible.
    Pack,
}

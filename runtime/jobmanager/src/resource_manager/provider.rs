//! Where TaskManagers come from: the one trait that `ssh`, `local` and `standalone` implement.
//!
//! A provider is told and answers by events; it decides nothing. It may take as long as it needs for whatever it was
//! told: timeouts are the active resource manager's business, which answers a start that takes too long with a stop.

use std::{future::Future, net::SocketAddr, pin::Pin};

use flink_graph::{ClusterId, TaskManagerId};
use flink_rpc::{
    Identity,
    messages::{HostFault, ProvisioningStage},
};
use tokio::sync::mpsc;

/// Starts and stops TaskManager processes.
pub trait ResourceProvider: Send + 'static {
    /// The hosts that can be given a TaskManager each, in the inventory's order; empty when nothing can be started.
    /// Asked once.
    fn capacity(&self) -> Vec<HostCapacity>;

    /// Whether TaskManagers that this provider did not start may join: the cluster is a standalone one.
    fn accepts_unknown(&self) -> bool {
        false
    }

    /// Starts a TaskManager. Returns at once; [`ProviderEvent::Progress`] tells how far it is, and
    /// [`ProviderEvent::Failed`] that it will not be. That it is there is told by its registration alone.
    fn start(&mut self, request: StartTaskManager);

    /// Makes sure that a TaskManager's process and its workers are gone: it did not end by itself, or its connection is
    /// lost, or its start is no longer wanted. Returns at once; exactly one [`ProviderEvent::Stopped`] or
    /// [`ProviderEvent::Failed`] follows within a bounded time, also when the host cannot be reached.
    fn stop(&mut self, task_manager: TaskManagerId);

    /// The cluster ends: gives up starts, finishes stops, lets go of what it holds (SSH masters), within a bounded
    /// time.
    fn shutdown(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A host and how many slots its TaskManager has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCapacity {
    /// The host's name in the inventory.
    pub host: String,
    /// The slots, at least 1.
    pub slots: u32,
}

/// A TaskManager to start.
#[derive(Debug, Clone)]
pub struct StartTaskManager {
    /// Its id.
    pub id: TaskManagerId,
    /// Where.
    pub host: String,
    /// What it proves itself with.
    pub identity: Identity,
    /// Where the JobManager takes connections.
    pub job_manager: SocketAddr,
    /// The cluster.
    pub cluster: ClusterId,
}

/// The sending half of a provider's events. Bounded ([`PROVIDER_EVENTS`]); the JobManager always takes them in the end.
pub type ProviderEvents = mpsc::Sender<ProviderEvent>;

/// How many of a provider's events wait for the JobManager before the provider does.
pub const PROVIDER_EVENTS: usize = 256;

/// What a provider has to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum ProviderEvent {
    /// A start has come this far.
    Progress {
        /// The TaskManager.
        id: TaskManagerId,
        /// How far.
        stage: ProvisioningStage,
    },
    /// A TaskManager could not be started, or its process ended before it registered. Nothing of it is left.
    Failed {
        /// The TaskManager.
        id: TaskManagerId,
        /// Why.
        fault: HostFault,
    },
    /// The answer to a stop.
    Stopped {
        /// The TaskManager.
        id: TaskManagerId,
        /// Set when it could not be verified that its process is gone.
        left_behind: Option<HostFault>,
    },
}

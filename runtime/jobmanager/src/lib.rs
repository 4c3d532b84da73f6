//! The JobManager: Dispatcher, ResourceManager and JobMasters in one process.
//!
//! [`JobManager::start`] begins to serve; the [`JobManagerHandle`] says where, hands out the credentials with which
//! clients and standalone TaskManagers join, and waits for the end. TaskManagers come from a [`ResourceProvider`].
//!
//! The last 64 jobs that have ended are remembered; of detached ones a [record](archive) stays beyond that, and beyond
//! the cluster.
//!
//! Everything runs on the tokio runtime of the caller, a current-thread one suffices: what decides is small
//! and pure, what waits is the network. The coordinators of jobs are processes of their own. They die with the thread that
//! drives the runtime ([`flink_process::child`] says why), which should therefore be one that lives as long as the process.

pub mod archive;
mod blob;
mod clock;
mod config;
mod dispatcher;
mod job_manager;
mod job_master;
mod resource_manager;
mod server;

pub use config::{ClusterMode, FIRST_CONTACT_TIMEOUT, JobManagerConfig, LEASE_TIMEOUT, PlacementStrategy};
pub use job_manager::{ClusterExit, EndedJob, ExitCause, JobManager, JobManagerHandle, StartError};
pub use resource_manager::{
    StandaloneProvider,
    provider::{HostCapacity, PROVIDER_EVENTS, ProviderEvent, ProviderEvents, ResourceProvider, StartTaskManager},
};

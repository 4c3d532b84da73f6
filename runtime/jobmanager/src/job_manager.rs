//! Starting a JobManager, and waiting for its end.

use std::{io, net::SocketAddr, path::PathBuf};

use flink_graph::JobOutcome;
use flink_rpc::{
    ClusterCa, EndpointError, Identity, IdentityError, Role, listen,
    messages::{HostFault, JobSummary},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument, error, info, info_span};

use crate::{
    config::JobManagerConfig,
    dispatcher::{Dispatcher, EVENT_QUEUE},
    resource_manager::provider::{PROVIDER_EVENTS, ProviderEvents, ResourceProvider},
    server::Server,
};

/// A JobManager could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address is taken.
    #[error("{address} is taken by another process")]
    AddressInUse {
        /// Which.
        address: SocketAddr,
    },
    /// No connections can be taken there.
    #[error("could not take connections: {0}")]
    Endpoint(EndpointError),
    /// The cluster's certificates could not be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A directory could not be made.
    #[error("could not create {path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The bound address is unknown to the system.
    #[error("could not find out the address of the socket: {0}")]
    Address(io::Error),
}

impl From<EndpointError> for StartError {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::Bind { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                Self::AddressInUse { address }
            }
            error => Self::Endpoint(error),
        }
    }
}

/// A JobManager. See [`Self::start`].
#[derive(Debug)]
pub struct JobManager;

impl JobManager {
    /// Makes the cluster's CA, begins to take connections, and runs until the cluster ends (see
    /// [`ClusterMode`](crate::ClusterMode)). `provider` is given the queue for the events that it will have to tell.
    ///
    /// # Errors
    /// When the address is taken, a directory cannot be made, or certificates cannot be issued.
    pub async fn start(
        config: JobManagerConfig,
        provider: impl FnOnce(ProviderEvents) -> Box<dyn ResourceProvider>,
    ) -> Result<JobManagerHandle, StartError> {
        let made = crate::archive::create_private_dir(&config.session_dir).await;
        made.map_err(|source| StartError::Directory {
            path: config.session_dir.clone(),
            source,
        })?;
        let ca = ClusterCa::generate(config.cluster, config.tls_validity)?;
        let endpoint = listen(config.bind, &ca.issue(Role::JobManager)?, config.heartbeat)?;
        let port = endpoint.local_addr().map_err(StartError::Address)?.port();
        let address = SocketAddr::new(config.advertise, port);
        let (client_identity, task_manager_identity) = (ca.issue(Role::Client)?, ca.issue(Role::TaskManager)?);
        let span = info_span!("jobmanager", cluster = %config.cluster);
        info!(parent: &span, %address, mode = ?config.mode, "JobManager is up");

        let (stop, closing) = (CancellationToken::new(), CancellationToken::new());
        let (events, event_queue) = mpsc::channel(EVENT_QUEUE);
        let (provider_events, provider_queue) = mpsc::channel(PROVIDER_EVENTS);
        let server = Server::new(endpoint, events, config.blob_dir.clone(), closing.clone());
        let provider = provider(provider_events);
        let dispatcher = Dispatcher::new(config, ca, address, provider, closing);
        let running = {
            let stop = stop.clone();
            async move {
                let serving = AbortOnDropHandle::new(tokio::spawn(server.run().in_current_span()));
                let exit = dispatcher.run(event_queue, provider_queue, stop).await;
                if let Err(error) = serving.await {
                    error!(%error, "the server failed");
                }
                exit
            }
        };
        let task = tokio::spawn(running.instrument(span));
        Ok(JobManagerHandle {
            address,
            client_identity,
            task_manager_identity,
            stop,
            task,
        })
    }
}

/// A running JobManager. Dropping it ends the JobManager where it stands; its TaskManagers then end themselves.
#[derive(Debug)]
pub struct JobManagerHandle {
    address: SocketAddr,
    client_identity: Identity,
    task_manager_identity: Identity,
    stop: CancellationToken,
    task: JoinHandle<ClusterExit>,
}

impl JobManagerHandle {
    /// Where it takes connections: the advertised address and the port that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients prove themselves with. To be kept in files with mode 0600 only.
    pub fn client_identity(&self) -> &Identity {
        &self.client_identity
    }

    /// What the TaskManagers of a standalone cluster prove themselves with. To be kept in files with mode 0600 only.
    pub fn task_manager_identity(&self) -> &Identity {
        &self.task_manager_identity
    }

    /// Begins the end: jobs are cancelled, TaskManagers ended. [`Self::join`] waits for it. Asking again changes
    /// nothing.
    pub fn shutdown(&self) {
        self.stop.cancel();
    }

    /// Waits until the cluster has ended. Cancel safe. Must not be called again after it has returned.
    pub async fn join(&mut self) -> ClusterExit {
        match (&mut self.task).await {
            Ok(exit) => exit,
            Err(error) => {
                error!(%error, "the JobManager failed");
                ClusterExit {
                    cause: ExitCause::Failed(error.to_string()),
                    jobs: Vec::new(),
                    left_behind: Vec::new(),
                }
            }
        }
    }
}

impl Drop for JobManagerHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a cluster ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterExit {
    /// What ended it.
    pub cause: ExitCause,
    /// Its jobs, as far as they are remembered.
    pub jobs: Vec<EndedJob>,
    /// TaskManagers of which something may be left on their hosts.
    pub left_behind: Vec<HostFault>,
}

/// A job of an ended cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedJob {
    /// The job.
    pub summary: JobSummary,
    /// How it ended; `None` when the cluster ended without waiting any longer for it.
    pub outcome: Option<JobOutcome>,
}

/// What ended a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitCause {
    /// The one job of a per-job cluster has ended.
    JobEnded,
    /// A client asked for it.
    Stopped,
    /// [`JobManagerHandle::shutdown`] was called.
    ShutDown,
    /// The client that held the cluster is gone.
    LeaseLost,
    /// Nobody came: no client to hold it, no job to run.
    NoContact,
    /// A bug in the JobManager.
    Failed(String),
}

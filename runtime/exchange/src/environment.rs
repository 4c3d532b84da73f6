//! The data plane of one worker process.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use flink_graph::JobId;
use flink_rpc::Identity;
use quinn::Endpoint;

use crate::{
    config::NetworkConfig,
    error::StartError,
    flush::FlushClock,
    registry::Registry,
    transport::{self, Inbox, Request},
};

/// The data plane of one worker process: one UDP socket, one I/O thread, one connection per other worker. Cheap to clone.
///
/// Writers and gates keep it alive; the I/O thread ends with [`shutdown`](Self::shutdown), or when the last of them is dropped.
#[derive(Clone)]
pub struct NetworkEnvironment(Arc<Shared>);

struct Shared {
    core: Core,
    address: SocketAddr,
    /// `None` once shut down.
    running: Mutex<Option<Running>>,
}

struct Running {
    thread: JoinHandle<()>,
    endpoint: Endpoint,
}

/// What the I/O thread and the task threads share.
#[derive(Clone)]
pub(crate) struct Core {
    pub(crate) registry: Arc<Registry>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) clock: Arc<FlushClock>,
}

impl NetworkEnvironment {
    /// Binds the socket and starts the I/O thread. `identity` must be one of `Role::Worker(job)`; only workers of the same
    /// job and cluster are talked to.
    ///
    /// # Errors
    /// When no port is free, a setting is out of range, or the identity cannot be used.
    pub fn start(config: NetworkConfig, identity: &Identity, job: JobId) -> Result<Self, StartError> {
        let core = Core {
            registry: Arc::new(Registry::default()),
            inbox: Arc::new(Inbox::default()),
            clock: Arc::new(FlushClock::default()),
        };
        let io = transport::prepare(&config, identity, job, core.clone())?;
        let (address, endpoint) = (io.address(), io.endpoint());
        let thread = thread::Builder::new()
            .name("flink-network".to_owned())
            .spawn(move || io.run())
            .map_err(StartError::Thread)?;
        Ok(Self(Arc::new(Shared {
            core,
            address,
            running: Mutex::new(Some(Running { thread, endpoint })),
        })))
    }

    /// The address to give to other workers.
    pub fn local_address(&self) -> SocketAddr {
        self.0.address
    }

    /// Connections to other workers at this moment, those that are being made or closed included.
    pub fn connections(&self) -> usize {
        self.0
            .running()
            .as_ref()
            .map_or(0, |running| running.endpoint.open_connections())
    }

    /// Waits until peers have received everything that writers finished, at most the configured linger time; then closes all
    /// connections and joins the I/O thread. Channels that are still open fail at both ends. Blocks; later calls do nothing.
    pub fn shutdown(&self) {
        self.0.shutdown();
    }

    pub(crate) fn core(&self) -> &Core {
        &self.0.core
    }
}

impl Core {
    pub(crate) fn request(&self, request: Request) {
        self.inbox.push(request);
    }
}

impl Shared {
    fn shutdown(&self) {
        let running = self.running().take();
        if let Some(Running { thread, endpoint }) = running {
            // The socket is closed with the last handle, which shall be the I/O thread's.
            drop(endpoint);
            self.core.request(Request::ShutDown);
            if thread.join().is_err() {
                tracing::error!("the network I/O thread panicked");
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for NetworkEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkEnvironment")
            .field("address", &self.0.address)
            .finish_non_exhaustive()
    }
}

//! The provider of clusters whose TaskManagers are started by somebody else: service managers, or by hand.

use std::{future::Future, pin::Pin};

use flink_graph::TaskManagerId;
use tracing::warn;

use super::provider::{HostCapacity, ResourceProvider, StartTaskManager};

/// Takes what registers, starts nothing and stops nothing: the resource manager asks it for neither.
#[derive(Debug, Clone, Copy, Default)]
pub struct StandaloneProvider;

impl ResourceProvider for StandaloneProvider {
    fn capacity(&self) -> Vec<HostCapacity> {
        Vec::new()
    }

    fn accepts_unknown(&self) -> bool {
        true
    }

    fn start(&mut self, request: StartTaskManager) {
        warn!(host = request.host, "a standalone cluster cannot start a TaskManager");
    }

    fn stop(&mut self, task_manager: TaskManagerId) {
        warn!(%task_manager, "a standalone cluster cannot stop a TaskManager");
    }

    fn shutdown(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

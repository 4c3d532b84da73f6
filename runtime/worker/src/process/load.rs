//! The job, as a process builds it that others have started: the same as the client's, or none.

use flink_graph::{JobGraph, TaskFailure, TaskFailureKind};
use flink_rpc::messages::PROTOCOL_VERSION;

use crate::{panics, program::JobProgram};

/// What a process is, and who starts it, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Role {
    /// `worker`.
    pub(super) name: &'static str,
    /// `TaskManager`.
    pub(super) parent: &'static str,
}

/// What the job is built from and compared with.
pub(super) struct Origin<'a> {
    pub(super) protocol: u32,
    pub(super) args: &'a [u8],
    pub(super) graph: &'a JobGraph,
}

impl Role {
    pub(super) const WORKER: Self = Self {
        name: "worker",
        parent: "TaskManager",
    };
    pub(super) const COORDINATOR: Self = Self {
        name: "coordinator",
        parent: "JobManager",
    };

    /// Builds the job.
    ///
    /// # Errors
    /// When it cannot be built, or is not what the client has built.
    pub(super) fn load(
        self,
        origin: &Origin<'_>,
        build: impl FnOnce(&[u8]) -> Result<JobProgram, String>,
    ) -> Result<JobProgram, TaskFailure> {
        let failure = |message: String| TaskFailure::new(TaskFailureKind::WorkerStart, message);
        let Self { name, parent } = self;
        if origin.protocol != PROTOCOL_VERSION {
            return Err(failure(format!(
                "the job program speaks protocol {PROTOCOL_VERSION}, the {parent} protocol {}",
                origin.protocol
            )));
        }
        let program = panics::catch(|| build(origin.args))
            .unwrap_or_else(|panic| {
                let place = panic
                    .location
                    .map_or_else(String::new, |location| format!(" at {location}"));
                Err(format!("panicked{place}: {}", panic.message))
            })
            .map_err(|error| failure(format!("`build` failed: {error}")))?;
        if let Some(difference) = program.graph().first_difference(origin.graph) {
            let message = format!(
                "the {name} built another graph than the client: {difference} (`build` must depend on its arguments \
                 alone)"
            );
            return Err(TaskFailure::new(TaskFailureKind::GraphMismatch, message));
        }
        Ok(program)
    }
}

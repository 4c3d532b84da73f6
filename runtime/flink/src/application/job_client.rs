//! The handle of a job that a driver has submitted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use flink_graph::{Accumulators, JobId, JobStatus};
use flink_rpc::messages::JobTermination;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

use super::{
    JobError,
    calls::{Accepted, Call, JobState},
};

/// A job that was submitted with [`execute_async`](crate::ApplicationContext::execute_async).
///
/// Dropping it leaves the job to itself: the application ends when all its jobs have.
#[derive(Debug, Clone)]
pub struct JobClient(Arc<Submitted>);

#[derive(Debug)]
struct Submitted {
    id: JobId,
    name: String,
    state: watch::Receiver<JobState>,
    calls: mpsc::Sender<Call>,
    runtime: Handle,
    /// The driver knows how it ends, or has cancelled it: that it did not finish is no news to it.
    seen: AtomicBool,
}

/// What came of a job that has finished.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobExecutionResult {
    /// The job.
    pub job_id: JobId,
    /// Its name.
    pub job_name: String,
    /// From its submission to its end.
    pub duration: Duration,
    /// What its functions have added up, by name.
    pub accumulators: Accumulators,
}

impl JobClient {
    pub(super) fn new(name: String, accepted: Accepted, calls: mpsc::Sender<Call>, runtime: Handle) -> Self {
        Self(Arc::new(Submitted {
            id: accepted.job,
            name,
            state: accepted.state,
            calls,
            runtime,
            seen: AtomicBool::new(false),
        }))
    }

    /// The job's id.
    pub fn job_id(&self) -> JobId {
        self.0.id
    }

    /// The job's name.
    pub fn job_name(&self) -> &str {
        &self.0.name
    }

    /// The job's state, as last heard: at once in a local cluster, else some milliseconds ago.
    pub fn status(&self) -> JobStatus {
        self.0.state.borrow().status()
    }

    /// Has the job cancelled, and returns without waiting for its end: [`wait`](Self::wait) then returns
    /// [`JobError::Canceled`], unless the job ended otherwise before. Nothing happens when it has ended.
    ///
    /// # Errors
    /// [`JobError::ClusterLost`].
    pub fn cancel(&self) -> Result<(), JobError> {
        self.0.seen.store(true, Ordering::Relaxed);
        if self.has_ended() {
            return Ok(());
        }
        let sent = self.0.calls.blocking_send(Call::Cancel(self.0.id));
        sent.map_err(|_closed| self.lost())
    }

    /// Waits until the job has ended. It blocks the thread: not for asynchronous code.
    ///
    /// # Errors
    /// [`JobError::Failed`] and [`JobError::Canceled`] when the job did not finish, [`JobError::ClusterLost`] when that
    /// is not known.
    pub fn wait(&self) -> Result<JobExecutionResult, JobError> {
        let termination = self.termination()?;
        self.0.seen.store(true, Ordering::Relaxed);
        self.result(termination)
    }

    /// Waits until the job has ended, and tells what the driver does not know: that it did not finish, unless the
    /// driver has waited for it or cancelled it.
    pub(super) fn wait_unseen(&self) -> Result<(), JobError> {
        let is_known = self.0.seen.load(Ordering::Relaxed);
        let termination = self.termination()?;
        if is_known {
            Ok(())
        } else {
            self.result(termination).map(drop)
        }
    }

    /// Whether there is nothing more to learn about the job.
    pub(super) fn is_settled(&self) -> bool {
        self.0.seen.load(Ordering::Relaxed) && self.has_ended()
    }

    fn has_ended(&self) -> bool {
        matches!(&*self.0.state.borrow(), JobState::Ended(_))
    }

    fn termination(&self) -> Result<JobTermination, JobError> {
        let mut state = self.0.state.clone();
        let ended = self
            .0
            .runtime
            .block_on(state.wait_for(|state| matches!(state, JobState::Ended(_))));
        match ended.as_deref() {
            Ok(JobState::Ended(termination)) => Ok(termination.clone()),
            _ => Err(self.lost()),
        }
    }

    fn result(&self, termination: JobTermination) -> Result<JobExecutionResult, JobError> {
        let (id, name) = (self.0.id, self.0.name.clone());
        match termination.status {
            JobStatus::Finished => Ok(JobExecutionResult {
                job_id: id,
                job_name: name,
                duration: Duration::from_millis(termination.duration_ms),
                accumulators: termination.accumulators,
            }),
            JobStatus::Canceled => Err(JobError::Canceled { id, name }),
            _ => Err(JobError::Failed {
                id,
                name,
                reason: termination.message.unwrap_or_else(|| "for no known reason".to_owned()),
            }),
        }
    }

    fn lost(&self) -> JobError {
        JobError::ClusterLost {
            job: self.0.name.clone(),
        }
    }
}

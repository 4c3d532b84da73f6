//! Why a job that a driver submits did not finish.

use flink_graph::JobId;
use flink_rpc::messages::Fault;

/// Why [`execute`](crate::ApplicationContext::execute) or [`execute_async`](crate::ApplicationContext::execute_async)
/// of an application's job did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// No job was added to the application under this name.
    #[error("the application has no job `{job}`, only {known}: add it with Application::job")]
    Unknown {
        /// The name that the driver used.
        job: String,
        /// The names there are.
        known: String,
    },
    /// The driver passes other arguments than the job's function takes.
    #[error("job `{job}` takes `{expected}`, the driver gives it `{given}`")]
    Arguments {
        /// The job's name in the application.
        job: String,
        /// The type that the job's function takes.
        expected: &'static str,
        /// The type that it was given.
        given: &'static str,
    },
    /// The job's function returned an error, or its arguments cannot be sent to workers.
    #[error("job `{job}` could not be declared: {reason}")]
    Declined {
        /// The job's name in the application.
        job: String,
        /// The error with its causes.
        reason: String,
    },
    /// The cluster does not take the job: it has not enough slots for it, is stopping, or the user has interrupted the
    /// program.
    #[error("job `{job}` was not started: {refusal}")]
    Refused {
        /// The job's name in the application.
        job: String,
        /// Why.
        refusal: Refusal,
    },
    /// The job has failed.
    #[error("job `{name}` ({id}) failed: {reason}")]
    Failed {
        /// The job.
        id: JobId,
        /// Its name.
        name: String,
        /// The task, the host and the operator, as far as they are known, and what happened there.
        reason: String,
    },
    /// The job was cancelled: by the driver, by the user, or by `flinkctl job cancel`.
    #[error("job `{name}` ({id}) was cancelled")]
    Canceled {
        /// The job.
        id: JobId,
        /// Its name.
        name: String,
    },
    /// What runs the jobs has ended before the job did: how it ended is not known.
    #[error("the cluster was lost while job `{job}` was in it")]
    ClusterLost {
        /// The job's name.
        job: String,
    },
}

/// Why a cluster did not take a job.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub(crate) Box<Fault>);

impl Refusal {
    /// The stable code of the reason, such as `slots.insufficient`.
    pub fn code(&self) -> &str {
        &self.0.code
    }
}

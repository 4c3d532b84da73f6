//! What a driver submits its jobs with.

use std::any::TypeId;

use serde::Serialize;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{JobClient, JobError, JobExecutionResult, Refusal, calls::Call, jobs::Jobs};
use crate::{Result as FlinkResult, run::Shipped};

/// Submits the jobs of an [`Application`](crate::Application): what its driver is given.
pub struct ApplicationContext {
    jobs: Jobs,
    /// Of operators that set none.
    parallelism: u32,
    calls: mpsc::Sender<Call>,
    runtime: Handle,
    /// The jobs whose end the driver does not know.
    submitted: Vec<JobClient>,
}

impl ApplicationContext {
    pub(crate) fn new(jobs: Jobs, parallelism: u32, calls: mpsc::Sender<Call>, runtime: Handle) -> Self {
        Self {
            jobs,
            parallelism,
            calls,
            runtime,
            submitted: Vec::new(),
        }
    }

    /// Runs a job of the application and waits until it has ended. A job can run any number of times.
    ///
    /// # Errors
    /// When it is not taken, fails, or is cancelled: see [`JobError`].
    pub fn execute<A: Serialize + 'static>(&mut self, job: &str, args: A) -> Result<JobExecutionResult, JobError> {
        self.execute_async(job, args)?.wait()
    }

    /// Submits a job of the application, and returns once the cluster has it. A job whose function takes no arguments
    /// gets `()`.
    ///
    /// # Errors
    /// When it cannot be declared, or is not taken: see [`JobError`].
    pub fn execute_async<A: Serialize + 'static>(&mut self, job: &str, args: A) -> Result<JobClient, JobError> {
        self.submitted.retain(|job| !job.is_settled());
        let takes = self.jobs.get(job)?.takes();
        if takes.0 != TypeId::of::<A>() {
            return Err(JobError::Arguments {
                job: job.to_owned(),
                expected: takes.1,
                given: std::any::type_name::<A>(),
            });
        }
        let declined = |error: crate::Error| JobError::Declined {
            job: job.to_owned(),
            reason: error.to_string(),
        };
        let declare = || -> FlinkResult<_> {
            let shipped = Shipped::of_application(job, self.parallelism, &args)?.encode()?;
            // As a worker does it, so that arguments that do not survive the journey are noticed here.
            Ok((self.jobs.declare_shipped(&shipped)?, shipped))
        };
        let (program, shipped) = declare().map_err(declined)?;
        let name = program.graph().name.clone();
        let (reply, answer) = oneshot::channel();
        let call = Call::Submit {
            program: Box::new(program),
            args: shipped,
            reply,
        };
        let lost = || JobError::ClusterLost { job: job.to_owned() };
        self.calls.blocking_send(call).map_err(|_closed| lost())?;
        let accepted = answer.blocking_recv().map_err(|_closed| lost())?;
        let accepted = accepted.map_err(|fault| JobError::Refused {
            job: job.to_owned(),
            refusal: Refusal(Box::new(fault)),
        })?;
        let client = JobClient::new(name, accepted, self.calls.clone(), self.runtime.clone());
        self.submitted.push(client.clone());
        Ok(client)
    }

    /// The driver has ended well: waits for the jobs that it has left to themselves.
    ///
    /// # Errors
    /// The first of them that did not finish, when all have ended.
    pub(crate) fn wait_for_all(&self) -> Result<(), JobError> {
        let ends: Vec<_> = self.submitted.iter().map(JobClient::wait_unseen).collect();
        ends.into_iter().collect()
    }

    /// The driver has ended badly: cancels what still runs, and waits for its end.
    pub(crate) fn cancel_all(&self) {
        for job in &self.submitted {
            // When the cluster is lost there is nothing left to cancel.
            let _lost = job.cancel();
        }
        for job in &self.submitted {
            let _how = job.wait_unseen();
        }
    }
}

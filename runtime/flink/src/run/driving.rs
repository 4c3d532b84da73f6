//! An application's driver on this thread, whoever runs its jobs on another.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    thread,
};

use flink_graph::JobStatus;
use flink_rpc::messages::DriverFailure;
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
};

use crate::{
    Error,
    application::{ApplicationContext, BoundDriver, JobError, Jobs, calls, calls::Call},
};

/// An application that is about to run.
pub(super) struct Driving {
    pub(super) jobs: Jobs,
    pub(super) driver: BoundDriver,
    /// Of operators that set none.
    pub(super) parallelism: u32,
}

/// How its driver and the jobs have ended.
pub(super) type DriverEnd = Result<(), DriverFailure>;

impl Driving {
    /// Runs the driver until it and all jobs have ended. Meanwhile what `serve` makes answers the calls, on a thread of
    /// its own, until it is told that there are no more: calls, and then the end. Returns how the driver ended, and
    /// what became of the server.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn run<S, F, T>(self, runtime: &Runtime, serve: S) -> io::Result<(DriverEnd, T)>
    where
        S: FnOnce(mpsc::Receiver<Call>, oneshot::Receiver<()>) -> F + Send,
        F: Future<Output = T>,
        T: Send,
    {
        let (calls, taken) = calls::channel();
        let (over, is_over) = oneshot::channel();
        let handle = runtime.handle().clone();
        thread::scope(|scope| {
            let server = thread::Builder::new()
                .name("jobs".to_owned())
                .spawn_scoped(scope, || runtime.block_on(serve(taken, is_over)))?;
            let app = ApplicationContext::new(self.jobs, self.parallelism, calls, handle);
            let end = drive(self.driver, app);
            // A client of a job that the driver has put away keeps the channel of calls open.
            drop(over);
            let served = server.join().unwrap_or_else(|panic| resume_unwind(panic));
            Ok((end, served))
        })
    }
}

fn drive(driver: BoundDriver, mut app: ApplicationContext) -> DriverEnd {
    match catch_unwind(AssertUnwindSafe(|| driver(&mut app))) {
        Ok(Ok(())) => app.wait_for_all().map_err(|error| failure(&error.into())),
        Ok(Err(error)) => {
            app.cancel_all();
            Err(failure(&error))
        }
        Err(panic) => {
            app.cancel_all();
            Err(DriverFailure::Panicked {
                message: panic_message(panic.as_ref()),
            })
        }
    }
}

fn failure(error: &Error) -> DriverFailure {
    let message = error.to_string();
    match error.find::<JobError>() {
        Some(JobError::Failed { id, .. }) => DriverFailure::Job {
            job: *id,
            status: JobStatus::Failed,
            message,
        },
        Some(JobError::Canceled { id, .. }) => DriverFailure::Job {
            job: *id,
            status: JobStatus::Canceled,
            message,
        },
        Some(JobError::Refused { refusal, .. }) => DriverFailure::Refused(refusal.0.as_ref().clone()),
        _ => DriverFailure::Error { message },
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "with something that is no text".to_owned())
}

#[cfg(test)]
mod tests {
    use flink_graph::JobId;
    use flink_rpc::messages::Fault;

    use super::*;
    use crate::Refusal;

    #[derive(Debug, thiserror::Error)]
    #[error("the night run stopped")]
    struct Stopped(#[source] JobError);

    #[test]
    fn the_failure_of_a_job_is_found_behind_other_errors() {
        let id = JobId::random();
        let (name, reason) = ("load".to_owned(), "disk full".to_owned());
        let failed = JobError::Failed { id, name, reason };
        let DriverFailure::Job { job, status, message } = failure(&Stopped(failed).into()) else {
            panic!("not taken for the failure of a job");
        };
        assert_eq!((job, status), (id, JobStatus::Failed));
        assert_eq!(
            message,
            format!("the night run stopped: job `load` ({id}) failed: disk full")
        );
    }

    #[test]
    fn what_a_cluster_refused_comes_back_as_it_was() {
        let fault = Fault::new("slots.insufficient", "too few").with_help("-p 2");
        let refused = JobError::Refused {
            job: "load".to_owned(),
            refusal: Refusal(Box::new(fault.clone())),
        };
        assert_eq!(failure(&refused.into()), DriverFailure::Refused(fault));
        let other = failure(&Error::msg("no input today"));
        assert!(matches!(other, DriverFailure::Error { message } if message == "no input today"));
    }
}

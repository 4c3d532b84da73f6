//! Running an application: its driver says what is to run, its jobs are submitted, followed and cancelled for it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    process::ExitStatus,
};

use flink_graph::{JobGraph, JobId, JobStatus};
use flink_rpc::messages::{ClientRequest, DriverFailure, Fault, FromProgram, ToProgram};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::{
    follow::{Ending, Follow, JOB_FAILED, cancel},
    run::{submission, too_many_slots},
    shown::Shown,
};
use crate::{
    agent::{ClientError, protocol::MAX_CALLS},
    cli::RunArgs,
    commands::Context,
    control::{Control, client_error, fault_error},
    error::UserError,
    exit_code::ExitCode,
    program::{Application, Driver, Plan, Program},
    signals::Interrupts,
};

/// Jobs of one program that may run at once: each takes a call to the JobManager's host for as long as it runs.
const MAX_JOBS: usize = 24;

/// Room for the calls that submit and cancel jobs, and that hold the cluster.
const _: () = assert!(MAX_JOBS + 4 <= MAX_CALLS);

/// States of jobs that wait to be passed on.
const STATES: usize = 16;

/// Failures of jobs that are kept for the driver to return one of them; of older ones only the text is left.
const KEPT_FAILURES: usize = 64;

type Work<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What it takes to run an application's jobs.
pub(super) struct Cluster<'a> {
    pub(super) context: &'a Context,
    pub(super) args: &'a RunArgs,
    pub(super) control: &'a Control,
    pub(super) program: &'a Program,
    pub(super) session: &'a str,
    /// The cluster is the program's own: it ends with it, and these are all the slots that it can have.
    pub(super) own: Option<u32>,
}

/// How an application's command ends.
pub(super) type Verdict = Result<ExitCode, UserError>;

impl Cluster<'_> {
    /// Runs the driver until it and its jobs have ended.
    ///
    /// # Errors
    /// When the JobManager is lost, or at the second Ctrl-C: what runs then ends for want of this client.
    pub(super) async fn drive(
        &self,
        application: Application,
        interrupts: &mut Interrupts,
    ) -> Result<Verdict, UserError> {
        let shown = RefCell::new(Shown::several(self.context.progress()));
        Driving::new(self, application.drive(), &shown).run(interrupts).await
    }

    async fn submit(&self, plan: Plan) -> Result<JobId, ClientError> {
        let submission = submission(self.program, plan, self.args);
        self.control
            .ask(self.session, &ClientRequest::Submit(Box::new(submission)))
            .await
    }

    fn forced(&self) -> UserError {
        let what = "gave up waiting for the application to stop";
        let error = UserError::new("interrupted", ExitCode::Interrupted, what);
        match self.own {
            Some(_) => error
                .detail("its cluster was told to stop and goes on stopping; processes may be left if it cannot")
                .help("flinkctl cluster clean --orphans"),
            None => error.help(format!("flinkctl job list --session {}", self.session)),
        }
    }
}

/// An application on its way to its end.
struct Driving<'a> {
    cluster: &'a Cluster<'a>,
    driver: Driver,
    shown: &'a RefCell<Shown>,
    /// The submission under way. The driver is not listened to meanwhile.
    submitting: Option<Work<'a, Result<JobId, ClientError>>>,
    following: FuturesUnordered<Work<'a, (JobId, Result<Ending, UserError>)>>,
    cancelling: FuturesUnordered<Work<'a, Result<(), ClientError>>>,
    /// Where those that follow jobs tell their states.
    states: mpsc::Sender<(JobId, JobStatus)>,
    changes: mpsc::Receiver<(JobId, JobStatus)>,
    active: BTreeSet<JobId>,
    failures: BTreeMap<JobId, UserError>,
    stopping: Option<Stopping>,
    /// A job was cancelled, or refused, because nobody reads our standard output any more.
    cut_short: bool,
    /// A job failed since then by itself.
    failed_unread: bool,
    /// Interrupted while no job ran: the driver is not waited for.
    abandoned: bool,
    end: Option<End>,
}

/// Why no further job is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    Interrupted,
    /// The reader of our standard output is gone.
    StdoutClosed,
}

/// How the driver ended.
enum End {
    Said(Result<(), DriverFailure>),
    /// Its process hung up without a word.
    Died,
}

/// What happens to it.
enum Happening {
    Said(Option<FromProgram>),
    Submitted(Result<JobId, ClientError>),
    Changed(JobId, JobStatus),
    Ended(JobId, Box<Result<Ending, UserError>>),
    CancelAnswered(Result<(), ClientError>),
    Interrupt,
}

impl<'a> Driving<'a> {
    fn new(cluster: &'a Cluster<'a>, driver: Driver, shown: &'a RefCell<Shown>) -> Self {
        let (states, changes) = mpsc::channel(STATES);
        Self {
            cluster,
            driver,
            shown,
            submitting: None,
            following: FuturesUnordered::new(),
            cancelling: FuturesUnordered::new(),
            states,
            changes,
            active: BTreeSet::new(),
            failures: BTreeMap::new(),
            stopping: None,
            cut_short: false,
            failed_unread: false,
            abandoned: false,
            end: None,
        }
    }

    async fn run(mut self, interrupts: &mut Interrupts) -> Result<Verdict, UserError> {
        while !self.is_over() {
            let happening = self.next(interrupts).await;
            self.handle(happening)?;
        }
        let Some(end) = self.end else {
            // The driver is killed.
            return Ok(Ok(ExitCode::Interrupted));
        };
        let path = self.driver.path().display().to_string();
        let status = self.driver.end().await?;
        Ok(match self.stopping {
            Some(Stopping::Interrupted) => Ok(ExitCode::Interrupted),
            // What a driver makes of a job that was cancelled for this reason does not matter.
            Some(Stopping::StdoutClosed) if self.cut_short && !self.failed_unread => Ok(ExitCode::JobCanceled),
            Some(Stopping::StdoutClosed) | None => verdict(end, self.failures, &path, status),
        })
    }

    /// Whether there is nothing left to wait for.
    fn is_over(&self) -> bool {
        let is_idle = self.active.is_empty() && self.submitting.is_none();
        is_idle && (self.end.is_some() || self.abandoned)
    }

    async fn next(&mut self, interrupts: &mut Interrupts) -> Happening {
        let Self {
            driver,
            submitting,
            following,
            cancelling,
            changes,
            end,
            ..
        } = self;
        tokio::select! {
            said = driver.next(), if submitting.is_none() && end.is_none() => Happening::Said(said),
            Some(answer) = async { Some(submitting.as_mut()?.await) }, if submitting.is_some() => {
                Happening::Submitted(answer)
            }
            Some((job, status)) = changes.recv() => Happening::Changed(job, status),
            Some((job, ending)) = following.next() => Happening::Ended(job, Box::new(ending)),
            Some(answer) = cancelling.next() => Happening::CancelAnswered(answer),
            () = interrupts.next() => Happening::Interrupt,
        }
    }

    fn handle(&mut self, happening: Happening) -> Result<(), UserError> {
        match happening {
            Happening::Said(said) => self.said(said)?,
            Happening::Submitted(answer) => self.submitted(answer)?,
            Happening::Changed(job, status) => self.driver.tell(ToProgram::JobStatusChanged { job, status })?,
            Happening::Ended(job, ending) => self.ended(job, (*ending)?)?,
            Happening::CancelAnswered(answer) => answer.map_err(client_error)?,
            Happening::Interrupt => self.interrupt()?,
        }
        Ok(())
    }

    fn said(&mut self, said: Option<FromProgram>) -> Result<(), UserError> {
        match said {
            Some(FromProgram::Submit { graph, args }) => self.submit(*graph, args)?,
            Some(FromProgram::Cancel(job)) => self.cancel(job),
            Some(FromProgram::DriverEnded(result)) => self.end = Some(End::Said(result)),
            Some(FromProgram::Planned { .. } | FromProgram::Failed { .. } | FromProgram::Application { .. }) | None => {
                self.end = Some(End::Died);
                self.cancel_all();
            }
        }
        Ok(())
    }

    fn submit(&mut self, graph: JobGraph, args: Vec<u8>) -> Result<(), UserError> {
        let plan = Plan { graph, args };
        if let Some(refusal) = self.refusal(&plan) {
            self.cut_short |= self.stopping == Some(Stopping::StdoutClosed);
            return Ok(self.driver.tell(ToProgram::Submitted(Err(refusal)))?);
        }
        self.submitting = Some(Box::pin(self.cluster.submit(plan)));
        Ok(())
    }

    fn refusal(&self, plan: &Plan) -> Option<Fault> {
        match self.stopping {
            Some(Stopping::Interrupted) => return Some(Fault::new("interrupted", "the program was interrupted")),
            Some(Stopping::StdoutClosed) => {
                return Some(Fault::new(
                    "application.unread",
                    "nobody reads the program's output any more",
                ));
            }
            None => {}
        }
        if self.active.len() >= MAX_JOBS {
            let message = format!("{MAX_JOBS} jobs of this program are running, and no more can at once");
            return Some(
                Fault::new("application.too-many-jobs", message).with_help("wait for one of them in the driver"),
            );
        }
        let capacity = self.cluster.own?;
        let is_too_large = plan.graph.slots_required() > capacity;
        is_too_large.then(|| {
            too_many_slots(
                plan,
                capacity,
                self.cluster.control.cluster(),
                "the job was not started",
            )
        })
    }

    fn submitted(&mut self, answer: Result<JobId, ClientError>) -> Result<(), UserError> {
        self.submitting = None;
        let job = match answer {
            Ok(job) => job,
            Err(ClientError::Fault(fault)) => return Ok(self.driver.tell(ToProgram::Submitted(Err(fault)))?),
            Err(error) => return Err(client_error(error)),
        };
        self.driver.tell(ToProgram::Submitted(Ok(job)))?;
        self.active.insert(job);
        let (cluster, shown, states) = (self.cluster, self.shown, self.states.clone());
        self.following.push(Box::pin(async move {
            let follow = Follow {
                context: cluster.context,
                control: cluster.control,
                session: cluster.session,
                job,
                per_job: cluster.own.is_some(),
                shown,
                states: Some(states),
            };
            (job, follow.to_the_end(None).await)
        }));
        if self.stopping.is_some() || self.end.is_some() {
            self.cancel(job);
        }
        Ok(())
    }

    fn ended(&mut self, job: JobId, ending: Ending) -> Result<(), UserError> {
        self.active.remove(&job);
        let termination = ending.termination();
        if ending.is_stdout_closed() && self.stopping.is_none() {
            self.stopping = Some(Stopping::StdoutClosed);
            self.cancel_all();
        }
        if self.stopping == Some(Stopping::StdoutClosed) {
            self.cut_short |= termination.status == JobStatus::Canceled;
            self.failed_unread |= termination.status == JobStatus::Failed;
        }
        if let Err(failure) = ending.report(self.cluster.context) {
            if self.failures.len() >= KEPT_FAILURES {
                self.failures.pop_first();
            }
            self.failures.insert(job, failure);
        }
        Ok(self.driver.tell(ToProgram::JobTerminated { job, termination })?)
    }

    /// Cancels what runs; the second time it is no longer waited for.
    fn interrupt(&mut self) -> Result<(), UserError> {
        if self.stopping == Some(Stopping::Interrupted) {
            return Err(self.cluster.forced());
        }
        self.stopping = Some(Stopping::Interrupted);
        self.abandoned = self.active.is_empty() && self.submitting.is_none();
        let what = if self.abandoned {
            "Stopping the driver; no job was running"
        } else {
            "Stopping the jobs (again to force)"
        };
        self.cluster.context.progress().note(what);
        self.cancel_all();
        Ok(())
    }

    fn cancel_all(&mut self) {
        let active: Vec<JobId> = self.active.iter().copied().collect();
        active.into_iter().for_each(|job| self.cancel(job));
    }

    fn cancel(&self, job: JobId) {
        if self.active.contains(&job) {
            let Cluster { control, session, .. } = self.cluster;
            self.cancelling.push(Box::pin(cancel(control, session, job)));
        }
    }
}

/// What the driver's end means for the command.
fn verdict(end: End, mut failures: BTreeMap<JobId, UserError>, path: &str, status: ExitStatus) -> Verdict {
    let failed = |code, what| UserError::new(code, ExitCode::JobFailed, what).at(path);
    match end {
        End::Said(Ok(())) => Ok(ExitCode::Ok),
        End::Said(Err(DriverFailure::Job { job, status, message })) => Err(match status {
            JobStatus::Canceled => UserError::new("job.cancelled", ExitCode::JobCanceled, message),
            _ => failures
                .remove(&job)
                .unwrap_or_else(|| UserError::new(JOB_FAILED, ExitCode::JobFailed, message)),
        }),
        End::Said(Err(DriverFailure::Refused(fault))) => Err(fault_error(fault)),
        End::Said(Err(DriverFailure::Error { message })) => {
            Err(failed("application.failed", "the driver returned an error").detail(message))
        }
        End::Said(Err(DriverFailure::Panicked { message })) => {
            Err(failed("application.panicked", "the driver panicked").detail(message))
        }
        End::Died => {
            let error = failed("application.died", "the program ended before its driver had");
            Err(error.detail(status.to_string()).note("its jobs were cancelled"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn end(failure: DriverFailure) -> End {
        End::Said(Err(failure))
    }

    #[test]
    fn a_driver_s_end_decides_the_exit_code() {
        let (job, message) = (JobId::random(), || "what it said".to_owned());
        let of_job = |status| DriverFailure::Job {
            job,
            status,
            message: message(),
        };
        let cases = [
            (end(of_job(JobStatus::Failed)), "job.failed", ExitCode::JobFailed),
            (end(of_job(JobStatus::Canceled)), "job.cancelled", ExitCode::JobCanceled),
            (
                end(DriverFailure::Refused(Fault::new("slots.insufficient", "too few"))),
                "slots.insufficient",
                ExitCode::Slots,
            ),
            (
                end(DriverFailure::Error { message: message() }),
                "application.failed",
                ExitCode::JobFailed,
            ),
            (
                end(DriverFailure::Panicked { message: message() }),
                "application.panicked",
                ExitCode::JobFailed,
            ),
            (End::Died, "application.died", ExitCode::JobFailed),
        ];
        for (end, code, exit) in cases {
            let error = verdict(end, BTreeMap::new(), "program", ExitStatus::from_raw(9)).unwrap_err();
            assert_eq!((error.code(), error.exit_code()), (code, exit));
        }
        let fine = verdict(End::Said(Ok(())), BTreeMap::new(), "program", ExitStatus::from_raw(0));
        assert_eq!(fine.unwrap(), ExitCode::Ok);
    }

    #[test]
    fn a_job_s_failure_is_told_as_if_it_had_run_alone() {
        let (job, other) = (JobId::random(), JobId::random());
        let failure = |what: &str| UserError::new("taskmanager.lost", ExitCode::Unreachable, what);
        let failures = BTreeMap::from([(job, failure("h2 is lost")), (other, failure("h3 is lost"))]);
        let end = end(DriverFailure::Job {
            job,
            status: JobStatus::Failed,
            message: "the night run: h2 is lost".to_owned(),
        });
        let error = verdict(end, failures, "program", ExitStatus::from_raw(0)).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.exit_code()),
            ("h2 is lost", ExitCode::Unreachable)
        );
    }
}

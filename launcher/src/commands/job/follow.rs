//! Following an attached job to its end: progress, its output, Ctrl-C.

use std::{
    cell::RefCell,
    future::pending,
    io::{IsTerminal, Write},
    pin::Pin,
};

use flink_graph::{JobId, JobStatus};
use flink_rpc::messages::{AttachMode, ClientRequest, JobEvent, JobReport, JobTermination, OutputChunk};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle},
};

use super::shown::Shown;

use crate::{
    agent::ClientError,
    cli::OutputFormat,
    commands::Context,
    control::{Control, client_error, fault_error},
    error::{UserError, stdout_error},
    exit_code::ExitCode,
    output::duration,
    signals::Interrupts,
    views::{JobDetail, accumulator_lines},
};

/// The code of the error that a failed job is.
pub(super) const JOB_FAILED: &str = "job.failed";

/// What helps to understand a job's failure when its cluster is gone.
const IN_ONE_PROCESS: &str = "to run it in one process on this machine: flinkctl job run --local JOB [-- ARGS]";

/// A cancel call under way.
type Cancelling<'a> = Pin<Box<dyn Future<Output = Result<(), UserError>> + 'a>>;

/// An attached job.
pub(super) struct Follow<'a> {
    pub(super) context: &'a Context,
    pub(super) control: &'a Control,
    pub(super) session: &'a str,
    pub(super) job: JobId,
    /// The cluster is the job's own, or that of its program, and ends with it.
    pub(super) per_job: bool,
    /// What is shown of all jobs that are followed.
    pub(super) shown: &'a RefCell<Shown>,
    /// Where each new state of the job is told; it is waited for.
    pub(super) states: Option<mpsc::Sender<(JobId, JobStatus)>>,
}

/// How an attached job ended.
pub(super) struct Ending {
    report: JobReport,
    session: String,
    per_job: bool,
    /// TaskManagers that were on their way when it ended, and how far they were.
    starting: Vec<String>,
    interrupted: bool,
    /// The reader of our standard output is gone, and the job was cancelled for it.
    stdout_closed: bool,
}

impl Follow<'_> {
    /// Holds the job's lease until the job has ended. `interrupts` cancel it; without them somebody else does.
    ///
    /// # Errors
    /// When the JobManager is lost, or at the second Ctrl-C.
    pub(super) async fn to_the_end(&self, mut interrupts: Option<&mut Interrupts>) -> Result<Ending, UserError> {
        let request = ClientRequest::WatchJob {
            job: self.job,
            mode: AttachMode::Lease,
        };
        let mut events = self
            .control
            .watch::<JobEvent>(self.session, &request)
            .await
            .map_err(client_error)?;
        let mut attached = Attached::new(self);
        loop {
            let Attached {
                writing, cancelling, ..
            } = &mut attached;
            let event = tokio::select! {
                event = events.next(), if writing.is_none() => event.map_err(client_error)?,
                written = async { Some(writing.as_mut()?.await) }, if writing.is_some() => {
                    attached.written(written)?;
                    continue;
                }
                result = async { Some(cancelling.as_mut()?.await) }, if cancelling.is_some() => {
                    attached.cancelling = None;
                    result.unwrap_or(Ok(()))?;
                    continue;
                }
                () = next(&mut interrupts) => {
                    attached.interrupt()?;
                    continue;
                }
            };
            match event {
                Some(JobEvent::Output(chunk)) => attached.write(chunk),
                Some(JobEvent::Provisioning(event)) => self.shown.borrow_mut().provisioning(event),
                Some(JobEvent::Progress(details)) => {
                    self.shown.borrow_mut().progress(&details);
                    attached.tell(details.summary.status).await;
                }
                Some(JobEvent::Terminated(report)) => return Ok(attached.ended(report)),
                None => return Err(self.lost()),
            }
        }
    }

    fn output(&self) -> JobOutput {
        match self.context.output.format() {
            OutputFormat::Json | OutputFormat::Name => JobOutput::Stderr,
            OutputFormat::Table | OutputFormat::Wide => JobOutput::Stdout,
        }
    }

    async fn cancel(&self) -> Result<(), UserError> {
        cancel(self.control, self.session, self.job).await.map_err(client_error)
    }

    fn lost(&self) -> UserError {
        let what = format!("the JobManager ended before job {} had a result", self.job);
        UserError::new("jobmanager.lost", ExitCode::Unreachable, what).help("flinkctl cluster clean --orphans")
    }

    fn forced(&self) -> UserError {
        let what = format!("gave up waiting for job {} to stop", self.job);
        UserError::new("interrupted", ExitCode::Interrupted, what)
            .detail("its cluster was told to stop and goes on stopping; processes may be left if it cannot")
            .help("flinkctl cluster clean --orphans")
    }
}

/// Cancels a job, unless it was faster and has ended.
pub(super) async fn cancel(control: &Control, session: &str, job: JobId) -> Result<(), ClientError> {
    match control.ask(session, &ClientRequest::CancelJob(job)).await {
        Err(ClientError::Fault(fault)) if fault.code == "job.ended" => Ok(()),
        other => other,
    }
}

/// The next of them; never, when there are none.
async fn next(interrupts: &mut Option<&mut Interrupts>) {
    match interrupts {
        Some(interrupts) => interrupts.next().await,
        None => pending().await,
    }
}

/// An attached job on its way to its end.
struct Attached<'a> {
    follow: &'a Follow<'a>,
    /// The last that was told.
    status: Option<JobStatus>,
    interrupted: bool,
    stdout_closed: bool,
    /// What the job prints is written aside: its reader may take its time, and Ctrl-C must be heard meanwhile. No further
    /// event is taken until it is written.
    writing: Option<JoinHandle<std::io::Result<()>>>,
    /// Events go on being taken while the cancel call waits for its answer: the answer comes behind them.
    cancelling: Option<Cancelling<'a>>,
}

impl<'a> Attached<'a> {
    fn new(follow: &'a Follow<'a>) -> Self {
        Self {
            follow,
            status: None,
            interrupted: false,
            stdout_closed: false,
            writing: None,
            cancelling: None,
        }
    }

    async fn tell(&mut self, status: JobStatus) {
        if let Some(states) = &self.follow.states
            && self.status.replace(status) != Some(status)
        {
            // Nobody listens any more when the program has ended.
            let _gone = states.send((self.follow.job, status)).await;
        }
    }

    fn write(&mut self, chunk: OutputChunk) {
        if self.stdout_closed {
            return;
        }
        let (progress, to) = (self.follow.context.progress(), self.follow.output());
        // What is drawn makes room on a terminal only; a pipe may be full for long, and drawing must go on meanwhile.
        let write = move || match to {
            JobOutput::Stdout if !std::io::stdout().is_terminal() => to.write(&chunk.bytes),
            _ => progress.suspend(|| to.write(&chunk.bytes)),
        };
        self.writing = Some(tokio::task::spawn_blocking(write));
    }

    /// The job is cancelled when the reader of our standard output is gone.
    fn written(&mut self, result: Option<Result<std::io::Result<()>, JoinError>>) -> Result<(), UserError> {
        self.writing = None;
        let Some(Ok(Err(error))) = result else {
            return Ok(());
        };
        let error = stdout_error(&error);
        if !error.is_silent() {
            return Err(error);
        }
        self.stdout_closed = true;
        let note = "Stopping the job: nobody reads its output any more";
        self.follow.context.progress().note(note);
        self.cancelling = Some(Box::pin(self.follow.cancel()));
        Ok(())
    }

    /// Cancels the job; the second time it is no longer waited for.
    fn interrupt(&mut self) -> Result<(), UserError> {
        if self.interrupted {
            return Err(self.follow.forced());
        }
        self.interrupted = true;
        self.follow.context.progress().note("Stopping the job (again to force)");
        self.cancelling = Some(Box::pin(self.follow.cancel()));
        Ok(())
    }

    fn ended(self, report: JobReport) -> Ending {
        let mut shown = self.follow.shown.borrow_mut();
        shown.progress(&report.details);
        let starting = shown.starting();
        shown.end(self.follow.job);
        Ending {
            report,
            session: self.follow.session.to_owned(),
            per_job: self.follow.per_job,
            starting,
            interrupted: self.interrupted,
            stdout_closed: self.stdout_closed,
        }
    }
}

/// Where a job's own output goes.
#[derive(Clone, Copy)]
enum JobOutput {
    Stdout,
    /// Standard output is for the answer, which a program reads.
    Stderr,
}

impl JobOutput {
    fn write(self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Self::Stderr => std::io::stderr().lock().write_all(bytes),
        }
    }
}

impl Ending {
    /// The same for the program that submitted the job.
    pub(super) fn termination(&self) -> JobTermination {
        let JobReport {
            details,
            outcome,
            fault,
        } = &self.report;
        let (start, end) = (details.summary.start_ms, details.summary.end_ms);
        let failure = || outcome.failure.as_ref().map(ToString::to_string);
        JobTermination {
            status: outcome.status,
            duration_ms: end.unwrap_or(start).saturating_sub(start),
            message: fault.as_ref().map(ToString::to_string).or_else(failure),
            accumulators: details.accumulators.clone(),
        }
    }

    /// Whether nobody reads our standard output any more.
    pub(super) const fn is_stdout_closed(&self) -> bool {
        self.stdout_closed
    }

    /// Says how the job ended.
    ///
    /// # Errors
    /// When it failed.
    pub(super) fn report(self, context: &Context) -> Result<ExitCode, UserError> {
        let summary = &self.report.details.summary;
        let took = summary
            .end_ms
            .unwrap_or(summary.start_ms)
            .saturating_sub(summary.start_ms);
        let took = duration(std::time::Duration::from_millis(took));
        context.progress().note(format!(
            "Job {} ({}) {} in {took}",
            summary.name, summary.id, self.report.outcome.status
        ));
        for line in accumulator_lines(&self.report.details.accumulators) {
            context.progress().note(line);
        }
        match context.output.format() {
            OutputFormat::Json => {
                let end = summary.end_ms.unwrap_or(summary.start_ms);
                context
                    .output
                    .one(&JobDetail::of(&self.report.details, &self.session, end), String::new)?;
            }
            OutputFormat::Name => context.output.text(&format!("{}\n", summary.id))?,
            OutputFormat::Table | OutputFormat::Wide => {}
        }
        ended(&self.report, self.interrupted).map_err(|error| match error.code() {
            "slots.insufficient" if !self.starting.is_empty() => {
                error.note(format!("still starting: {}", self.starting.join(", ")))
            }
            JOB_FAILED if self.per_job => error.help(IN_ONE_PROCESS),
            JOB_FAILED => error
                .help(format!("flinkctl job status {}", self.report.details.summary.id))
                .help(IN_ONE_PROCESS),
            _ => error,
        })
    }
}

/// The exit code of a job's end.
///
/// # Errors
/// When it failed.
pub(super) fn ended(report: &JobReport, interrupted: bool) -> Result<ExitCode, UserError> {
    match report.outcome.status {
        _ if interrupted => Ok(ExitCode::Interrupted),
        JobStatus::Finished => Ok(ExitCode::Ok),
        JobStatus::Canceled => Ok(ExitCode::JobCanceled),
        _ => Err(failed(report)),
    }
}

fn failed(report: &JobReport) -> UserError {
    if let Some(fault) = &report.fault {
        return fault_error(fault.clone());
    }
    let summary = &report.details.summary;
    let Some(failure) = &report.outcome.failure else {
        let what = format!("job \"{}\" ({}) {}", summary.name, summary.id, report.outcome.status);
        return UserError::new(JOB_FAILED, ExitCode::JobFailed, what);
    };
    let what = format!("job \"{}\" ({}) FAILED", summary.name, summary.id);
    let mut error = UserError::new(JOB_FAILED, ExitCode::JobFailed, what);
    let place = [
        failure.task.as_ref().map(ToString::to_string),
        failure
            .failure
            .operator
            .as_ref()
            .map(|operator| format!("operator {operator}")),
        failure.host.as_ref().map(|host| format!("on {host}")),
    ];
    let place: Vec<String> = place.into_iter().flatten().collect();
    if !place.is_empty() {
        error = error.at(place.join(", "));
    }
    error.detail(failure.failure.message.clone())
}

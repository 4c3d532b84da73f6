//! Following an attached job to its end: progress, its output, Ctrl-C.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    pin::Pin,
    sync::Arc,
    time::Instant,
};

use flink_graph::{ExecutionState, JobId, JobStatus};
use flink_rpc::messages::{
    AttachMode, ClientRequest, JobDetails, JobEvent, JobReport, OutputChunk, ProvisioningEvent, ProvisioningStage,
    VertexDetails,
};
use tokio::task::{JoinError, JoinHandle};

use crate::{
    cli::OutputFormat,
    commands::Context,
    control::{Control, client_error, fault_error},
    error::{UserError, stdout_error},
    exit_code::ExitCode,
    output::duration,
    progress::{Event, Phase, Progress, Vertex},
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
    /// The cluster is the job's own, and ends with it.
    pub(super) per_job: bool,
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
    /// Holds the job's lease until the job has ended.
    ///
    /// # Errors
    /// When the JobManager is lost, or at the second Ctrl-C.
    pub(super) async fn to_the_end(&self, interrupts: &mut Interrupts) -> Result<Ending, UserError> {
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
                () = interrupts.next() => {
                    attached.interrupt()?;
                    continue;
                }
            };
            match event {
                Some(JobEvent::Output(chunk)) => attached.write(chunk),
                Some(JobEvent::Provisioning(event)) => attached.shown.provisioning(event),
                Some(JobEvent::Progress(details)) => attached.shown.progress(&details),
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
        self.control
            .ask::<()>(self.session, &ClientRequest::CancelJob(self.job))
            .await
            .map_err(client_error)
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

/// An attached job on its way to its end.
struct Attached<'a> {
    follow: &'a Follow<'a>,
    shown: Shown,
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
            shown: Shown::new(follow.context.progress()),
            interrupted: false,
            stdout_closed: false,
            writing: None,
            cancelling: None,
        }
    }

    fn write(&mut self, chunk: OutputChunk) {
        if self.stdout_closed {
            return;
        }
        let (progress, to) = (self.shown.progress.clone(), self.follow.output());
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
        self.cancelling = Some(Box::pin(self.follow.cancel()));
        Ok(())
    }

    /// Cancels the job; the second time it is no longer waited for.
    fn interrupt(&mut self) -> Result<(), UserError> {
        if self.interrupted {
            return Err(self.follow.forced());
        }
        self.interrupted = true;
        self.shown.progress.note("Stopping the job (again to force)");
        self.cancelling = Some(Box::pin(self.follow.cancel()));
        Ok(())
    }

    fn ended(mut self, report: JobReport) -> Ending {
        self.shown.progress(&report.details);
        self.shown.end();
        Ending {
            report,
            session: self.follow.session.to_owned(),
            per_job: self.follow.per_job,
            starting: self.shown.starting(),
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

/// What is shown while the job starts and runs.
struct Shown {
    progress: Progress,
    /// What each host is doing for its TaskManager; `None` when that is over.
    hosts: BTreeMap<String, Option<String>>,
    slots_begun: bool,
    running: bool,
    last: Option<(Instant, Arc<JobDetails>)>,
}

impl Shown {
    fn new(progress: Progress) -> Self {
        Self {
            progress,
            hosts: BTreeMap::new(),
            slots_begun: false,
            running: false,
            last: None,
        }
    }

    fn provisioning(&mut self, event: ProvisioningEvent) {
        if !self.slots_begun {
            self.slots_begun = true;
            self.progress.begin(Phase::Slots, 0);
        }
        let host = event.host;
        let step = match event.stage {
            ProvisioningStage::Connecting => Some("connecting".to_owned()),
            ProvisioningStage::Uploading { sent, total } => {
                Some(format!("uploading flinkctl {}%", sent * 100 / total.max(1)))
            }
            ProvisioningStage::Starting => Some("starting".to_owned()),
            ProvisioningStage::Registered { .. } => {
                self.progress.done(Phase::Slots, &host);
                None
            }
            ProvisioningStage::Failed(fault) => {
                self.progress.failed(Phase::Slots, &host, &fault.message);
                None
            }
        };
        if let Some(step) = &step {
            self.progress.step(Phase::Slots, &host, step);
        }
        self.hosts.insert(host, step);
        let ready = self.hosts.values().filter(|step| step.is_none()).count();
        self.progress
            .report(Event::Count(Phase::Slots, ready, self.hosts.len()));
    }

    /// The hosts whose TaskManagers are on their way.
    fn starting(&self) -> Vec<String> {
        let starting = self.hosts.iter().filter_map(|(host, step)| {
            let step = step.as_ref()?;
            Some(format!("{host} ({step})"))
        });
        starting.collect()
    }

    fn progress(&mut self, details: &Arc<JobDetails>) {
        let deployed = details
            .vertices
            .iter()
            .flat_map(|vertex| &vertex.subtasks)
            .any(|subtask| subtask.host.is_some());
        if deployed && !self.running {
            self.running = true;
            if self.slots_begun {
                self.progress.end(Phase::Slots);
            }
            self.progress.begin(Phase::Running, details.vertices.len());
        }
        let now = Instant::now();
        let before = self
            .last
            .as_ref()
            .map(|(then, details)| (now.duration_since(*then).as_secs_f64(), &details.vertices));
        let vertices = details.vertices.iter().enumerate().map(|(index, vertex)| {
            let before = before.and_then(|(seconds, vertices)| Some((seconds, vertices.get(index)?)));
            vertex_line(vertex, before)
        });
        let vertices: Vec<Vertex> = vertices.collect();
        if self.running {
            let is_finished = |vertex: &&Vertex| vertex.state == ExecutionState::Finished.to_string();
            let finished = vertices.iter().filter(is_finished).count();
            self.progress
                .report(Event::Count(Phase::Running, finished, vertices.len()));
            self.progress.report(Event::Vertices(vertices));
        }
        self.last = Some((now, details.clone()));
    }

    fn end(&self) {
        if self.running {
            self.progress.end(Phase::Running);
        }
    }
}

/// A vertex's line: the state that says most about it, and records per second since `before` (seconds ago).
fn vertex_line(vertex: &VertexDetails, before: Option<(f64, &VertexDetails)>) -> Vertex {
    let sum = |vertex: &VertexDetails| {
        let records = vertex
            .subtasks
            .iter()
            .map(|subtask| (subtask.records_in, subtask.records_out));
        records.fold((0, 0), |sum, (taken, sent)| (sum.0 + taken, sum.1 + sent))
    };
    let (taken, sent) = sum(vertex);
    let rate = |now: u64, before: u64, seconds: f64| {
        #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
        let difference = now.saturating_sub(before) as f64;
        if seconds > 0.0 { difference / seconds } else { 0.0 }
    };
    let (records_in, records_out) = before.map_or((0.0, 0.0), |(seconds, then)| {
        let (taken_then, sent_then) = sum(then);
        (rate(taken, taken_then, seconds), rate(sent, sent_then, seconds))
    });
    let state = vertex
        .subtasks
        .iter()
        .map(|subtask| subtask.state)
        .max_by_key(|state| weight(*state));
    let state = state.unwrap_or(ExecutionState::Created);
    let subtasks = vertex.subtasks.iter().filter(|subtask| subtask.state == state).count();
    Vertex {
        name: vertex.name.clone(),
        state: state.to_string(),
        subtasks: u32::try_from(subtasks).unwrap_or(u32::MAX),
        parallelism: vertex.parallelism,
        records_in,
        records_out,
    }
}

/// What is worth saying first: trouble, then work in progress, then what is done.
const fn weight(state: ExecutionState) -> u8 {
    match state {
        ExecutionState::Failed => 8,
        ExecutionState::Canceling => 7,
        ExecutionState::Canceled => 6,
        ExecutionState::Running => 5,
        ExecutionState::Initializing => 4,
        ExecutionState::Deploying => 3,
        ExecutionState::Scheduled => 2,
        ExecutionState::Created => 1,
        ExecutionState::Finished => 0,
    }
}

impl Ending {
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
        if self.stdout_closed {
            return Err(UserError::stdout_closed());
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

//! `flinkctl job run`: a job in a cluster of its own, in a session, or in its own process.

use std::{cell::RefCell, path::Path, time::Duration};

use flink_graph::JobId;
use flink_rpc::messages::{ClientRequest, Fault, JobSubmission};
use tokio::time::{Instant, timeout_at};

use super::{
    application,
    follow::{Ending, Follow},
    shown::Shown,
};
use crate::{
    agent::{ClientError, Replies},
    cli::{OutputFormat, RunArgs},
    commands::Context,
    config::Cluster,
    control::{Control, call_error, client_error, fault_error},
    error::{HostFailure, UserError},
    exit_code::ExitCode,
    process::ProcessIdentity,
    program::{self, Application, Declared, Plan, Program, ProgramError},
    progress::Phase,
    runtime::SessionKind,
    signals::{Interrupts, interrupted},
};

/// How much longer than `stop_grace` a per-job cluster may take to end once its job has: the JobManager gives
/// its TaskManagers a minute, and its last replies some seconds.
const TEARDOWN_SLACK: Duration = Duration::from_secs(70);

pub(super) async fn run(context: &Context, args: RunArgs) -> Result<ExitCode, UserError> {
    if args.local {
        return run_local(&args).await;
    }
    let inventory = context.inventory(&args.define.define)?;
    let cluster = inventory.cluster.restrict(&args.hosts.hosts, &args.hosts.exclude)?;
    let mut interrupts = Interrupts::new()?;
    let program = interrupts.or(not_connected, open(&args.program.job)).await?;
    match &args.session {
        Some(session) => run_in_session(context, &args, cluster, program, session, &mut interrupts).await,
        None => run_per_job(context, &args, cluster, program, &mut interrupts).await,
    }
}

/// The program, built if it has to be: that takes its time.
async fn open(job: &Path) -> Result<Program, UserError> {
    let program = Program::open(job).await?;
    program.check_machine()?;
    Ok(program)
}

/// The program runs a local cluster in its own process, in place of this one.
async fn run_local(args: &RunArgs) -> Result<ExitCode, UserError> {
    use std::os::unix::process::CommandExt;
    let program = open(&args.program.job).await?;
    let mut command = std::process::Command::new(&program.path);
    command.args(&args.program.args).env_remove("FLINK_ROLE");
    if let Some(parallelism) = args.parallelism {
        command.env("FLINK_PARALLELISM", parallelism.to_string());
    }
    let source = command.exec();
    Err(ProgramError::Run {
        path: program.path,
        source,
    }
    .into())
}

async fn run_per_job(
    context: &Context,
    args: &RunArgs,
    cluster: Cluster,
    program: Program,
    interrupts: &mut Interrupts,
) -> Result<ExitCode, UserError> {
    let capacity = cluster.total_slots();
    let parallelism = args.parallelism.unwrap_or(capacity);
    // A program that refuses its arguments has the last word, whether the hosts can be reached or not.
    let planning = declare(&program, args, parallelism);
    let connecting = async { Ok(connect(context, &cluster).await) };
    let both = async { Ok(tokio::try_join!(planning, connecting)) };
    let (declared, control) = match interrupts.or(not_connected, both).await? {
        Ok((declared, control)) => (declared, control?),
        Err(error) => return error.into_exit(),
    };
    let own = OwnCluster {
        context,
        args,
        control: &control,
        program: &program,
        capacity,
    };
    let result = match declared {
        Declared::Job(plan) => own.run_job(plan, interrupts).await,
        Declared::Application(application) => own.run_application(*application, interrupts).await,
    };
    control.link.hang_up().await;
    result
}

/// What the program is to run. One that has a driver is not run detached: nobody would be there to drive.
async fn declare(program: &Program, args: &RunArgs, parallelism: u32) -> Result<Declared, ProgramError> {
    match program::declare(&program.path, &args.program.args, parallelism).await? {
        Declared::Application(application) if args.detach => {
            let Application { path, jobs, .. } = *application;
            Err(ProgramError::Detached { path, jobs })
        }
        declared => Ok(declared),
    }
}

/// A cluster that was started for this command.
struct Started<'a> {
    kind: SessionKind,
    session: String,
    jobmanager: ProcessIdentity,
    /// The call that tells how the cluster ended.
    hold: Replies<'a, ()>,
}

/// A job, or an application, with a cluster of its own.
struct OwnCluster<'a> {
    context: &'a Context,
    args: &'a RunArgs,
    control: &'a Control,
    program: &'a Program,
    capacity: u32,
}

impl OwnCluster<'_> {
    async fn run_job(&self, plan: Plan, interrupts: &mut Interrupts) -> Result<ExitCode, UserError> {
        if plan.graph.slots_required() > self.capacity {
            return Err(fault_error(too_many_slots(
                &plan,
                self.capacity,
                self.control.cluster(),
                "nothing was started",
            )));
        }
        // What was started by then is undone with its call, or ends for want of its holder; a detached job that has
        // arrived goes on.
        let not_submitted = || not_submitted(self.args.detach);
        let starting = async {
            let started = self.start(SessionKind::PerJob).await?;
            let job = submit(self.control, &started.session, self.program, plan, self.args).await?;
            Ok((started, job))
        };
        let (started, job) = interrupts.or(not_submitted, starting).await?;
        if self.args.detach {
            return detached(self.context, job);
        }
        let follow = Follow {
            context: self.context,
            control: self.control,
            session: &started.session,
            job,
            per_job: true,
            shown: &RefCell::new(Shown::one(self.context.progress())),
            states: None,
        };
        let verdict = follow.to_the_end(Some(interrupts)).await?.report(self.context);
        self.end(verdict, started, interrupts).await
    }

    /// Its cluster is there for the driver, whatever that submits, and ends with it.
    async fn run_application(
        &self,
        application: Application,
        interrupts: &mut Interrupts,
    ) -> Result<ExitCode, UserError> {
        let not_submitted = || not_submitted(false);
        let started = interrupts
            .or(not_submitted, self.start(SessionKind::Application))
            .await?;
        let cluster = application::Cluster {
            context: self.context,
            args: self.args,
            control: self.control,
            program: self.program,
            session: &started.session,
            own: Some(self.capacity),
        };
        let verdict = cluster.drive(application, interrupts).await?;
        self.end(verdict, started, interrupts).await
    }

    /// Says how it went, and takes the cluster down.
    async fn end(
        &self,
        verdict: Result<ExitCode, UserError>,
        started: Started<'_>,
        interrupts: &mut Interrupts,
    ) -> Result<ExitCode, UserError> {
        // Why the job failed is said before its cluster is taken down, which may take a while when hosts are gone.
        let json = self.context.output.is_json();
        let progress = self.context.progress();
        progress.settle();
        let verdict = verdict.map_err(|error| progress.suspend(|| error.tell(json)));
        let session = started.session.clone();
        let torn_down = tokio::select! {
            result = self.tear_down(started) => result,
            () = interrupts.next() => Err(teardown_warning(&session, "not waited for its cluster to end")),
        };
        if let Err(warning) = torn_down {
            self.context.progress().suspend(|| warning.report(json));
        }
        verdict
    }

    /// From the upload to a JobManager that this command holds.
    async fn start(&self, kind: SessionKind) -> Result<Started<'_>, UserError> {
        upload(self.context, self.control, self.program).await?;
        let progress = self.context.progress();
        let id = flink_graph::ClusterId::random().to_string();
        let prefix = if kind == SessionKind::Application { "app" } else { "job" };
        let session = format!("{prefix}-{}", &id[20..]);
        let startup = self.control.startup(&session, kind);
        progress.begin(Phase::Starting, 1);
        progress.step(Phase::Starting, &startup.host, "JobManager");
        let jobmanager = self.control.launch(&startup).await?;
        progress.done(Phase::Starting, &startup.host);
        progress.end(Phase::Starting);
        let mut hold = self
            .control
            .watch::<()>(&session, &ClientRequest::HoldCluster)
            .await
            .map_err(client_error)?;
        hold.next().await.map_err(client_error)?;
        Ok(Started {
            kind,
            session,
            jobmanager,
            hold,
        })
    }

    /// Waits until the cluster has ended. That of one job does so by itself once its result was served; others are told
    /// to.
    async fn tear_down(&self, started: Started<'_>) -> Result<(), UserError> {
        let Started {
            kind,
            session,
            jobmanager,
            mut hold,
        } = started;
        let progress = self.context.progress();
        progress.begin(Phase::Stopping, 1);
        progress.step(Phase::Stopping, &self.control.host().name, "cluster");
        let limit = self.control.cluster().supervise.stop_grace + TEARDOWN_SLACK;
        let deadline = Instant::now() + limit;
        if kind == SessionKind::Application {
            // How it ends is heard from the call that holds it.
            let stopping = self.control.ask::<()>(&session, &ClientRequest::StopCluster);
            let _heard_there = timeout_at(deadline, stopping).await;
        }
        if let Ok(Err(ClientError::Fault(fault))) = timeout_at(deadline, hold.next()).await {
            return Err(left_behind(fault));
        }
        let gone = self
            .control
            .link
            .agent
            .await_exit(jobmanager, deadline.saturating_duration_since(Instant::now()))
            .await
            .map_err(call_error)?;
        if !gone {
            let what = format!("its cluster has not ended within {limit:?}");
            return Err(teardown_warning(&session, &what));
        }
        progress.done(Phase::Stopping, &self.control.host().name);
        progress.end(Phase::Stopping);
        Ok(())
    }
}

/// The cluster has ended, but not everything of it is known to be gone.
fn left_behind(fault: Fault) -> UserError {
    let what = format!("the job has ended; {}", fault.message);
    let warning = UserError::warning("cluster.left-behind", ExitCode::Ok, what)
        .hosts(fault.hosts.into_iter().map(HostFailure::from))
        .note("TaskManagers without their JobManager end by themselves within [supervise] death_timeout");
    match fault.help {
        Some(help) => warning.help(help),
        None => warning,
    }
}

fn teardown_warning(session: &str, what: &str) -> UserError {
    UserError::warning("cluster.teardown", ExitCode::Ok, format!("the job has ended; {what}")).help(format!(
        "flinkctl session stop {session}      flinkctl cluster clean --orphans"
    ))
}

/// The answer to Ctrl-C and SIGTERM while no host knows of the job.
fn not_connected() -> UserError {
    interrupted("before the job was submitted").note("nothing was started")
}

/// The same while the cluster starts and the job is on its way to it.
fn not_submitted(detached: bool) -> UserError {
    if detached {
        interrupted("while the job was being submitted")
            .note("if it had arrived by then, it runs; else what had been started for it ends by itself within seconds")
            .help("flinkctl job list")
    } else {
        interrupted("before the job was submitted").note("what had been started for it ends by itself within seconds")
    }
}

async fn run_in_session(
    context: &Context,
    args: &RunArgs,
    cluster: Cluster,
    program: Program,
    session: &str,
    interrupts: &mut Interrupts,
) -> Result<ExitCode, UserError> {
    let control = interrupts.or(not_connected, connect(context, &cluster)).await?;
    let result = async {
        let unknown = || {
            let goes_on = if args.detach { "it runs" } else { "it is cancelled" };
            interrupted("while the job was being submitted")
                .note(format!("if it had arrived by then, {goes_on}"))
                .help(format!("flinkctl job list --session {session}"))
        };
        let submitting = submit_to_session(context, args, &control, &program, session);
        let job = match interrupts.or(unknown, submitting).await? {
            InSession::Submitted(job) => job,
            InSession::Application(application) => {
                let cluster = application::Cluster {
                    context,
                    args,
                    control: &control,
                    program: &program,
                    session,
                    own: None,
                };
                return cluster.drive(*application, interrupts).await?;
            }
            InSession::Spoken(code) => return Ok(code),
        };
        if args.detach {
            return detached(context, job);
        }
        let follow = Follow {
            context,
            control: &control,
            session,
            job,
            per_job: false,
            shown: &RefCell::new(Shown::one(context.progress())),
            states: None,
        };
        let ending: Ending = follow.to_the_end(Some(interrupts)).await?;
        ending.report(context)
    }
    .await;
    control.link.hang_up().await;
    result
}

/// What a program came to in a session.
enum InSession {
    /// Its job is there.
    Submitted(JobId),
    /// Its driver waits.
    Application(Box<Application>),
    /// It has spoken for itself, and wants this exit code.
    Spoken(ExitCode),
}

/// Has the program declared and brought to the session; its job, if it has one, is submitted.
async fn submit_to_session(
    context: &Context,
    args: &RunArgs,
    control: &Control,
    program: &Program,
    session: &str,
) -> Result<InSession, UserError> {
    let record = control.expect_session(session).await?;
    if !record.kind.takes_jobs() {
        let what = format!("\"{session}\" is the cluster of one program and takes no other jobs");
        return Err(UserError::new("session.per-job", ExitCode::Conflict, what).help("flinkctl session list"));
    }
    let status: flink_rpc::messages::ClusterStatus = control
        .ask(session, &ClientRequest::ClusterStatus)
        .await
        .map_err(client_error)?;
    let present: u32 = status.task_managers.iter().map(|manager| manager.slots).sum();
    let parallelism = args
        .parallelism
        .unwrap_or_else(|| (present + status.startable_slots).max(1));
    let planning = declare(program, args, parallelism);
    let uploading = async { Ok(upload(context, control, program).await) };
    let declared = match tokio::try_join!(planning, uploading) {
        Ok((declared, uploaded)) => uploaded.map(|()| declared)?,
        Err(error) => return error.into_exit().map(InSession::Spoken),
    };
    match declared {
        Declared::Job(plan) => {
            let job = submit(control, session, program, plan, args).await?;
            Ok(InSession::Submitted(job))
        }
        Declared::Application(application) => Ok(InSession::Application(application)),
    }
}

async fn connect(context: &Context, cluster: &Cluster) -> Result<Control, UserError> {
    let progress = context.progress();
    let host = cluster.jobmanager_host().name.clone();
    progress.begin(Phase::Connecting, 1);
    progress.step(Phase::Connecting, &host, "authenticating");
    let control = Control::connect(cluster, |sent, total| {
        progress.step(
            Phase::Connecting,
            &host,
            &format!("uploading flinkctl {}%", sent * 100 / total.max(1)),
        );
    })
    .await;
    match &control {
        Ok(_) => progress.done(Phase::Connecting, &host),
        Err(error) => progress.failed(Phase::Connecting, &host, error.reason()),
    }
    progress.end(Phase::Connecting);
    control
}

/// Brings the program to the JobManager's host, unless it is there.
async fn upload(context: &Context, control: &Control, program: &Program) -> Result<(), UserError> {
    let agent = &control.link.agent;
    if agent
        .has_blobs(vec![(program.digest, program.size)])
        .await
        .map_err(call_error)?
        == [true]
    {
        return Ok(());
    }
    let (progress, host) = (context.progress(), &control.host().name);
    progress.begin(Phase::Uploading, 1);
    let result = agent
        .put_blob(&program.path, program.digest, program.size, |sent| {
            progress.step(
                Phase::Uploading,
                host,
                &format!("{}%", sent * 100 / program.size.max(1)),
            );
        })
        .await
        .map_err(call_error);
    match &result {
        Ok(()) => progress.done(Phase::Uploading, host),
        Err(error) => progress.failed(Phase::Uploading, host, error.reason()),
    }
    progress.end(Phase::Uploading);
    result
}

async fn submit(
    control: &Control,
    session: &str,
    program: &Program,
    plan: Plan,
    args: &RunArgs,
) -> Result<JobId, UserError> {
    let submission = submission(program, plan, args);
    control
        .ask(session, &ClientRequest::Submit(Box::new(submission)))
        .await
        .map_err(client_error)
}

pub(super) fn submission(program: &Program, plan: Plan, args: &RunArgs) -> JobSubmission {
    JobSubmission {
        graph: plan.graph,
        artifact: program.digest,
        args: plan.args,
        attached: !args.detach,
        slot_timeout_ms: u64::try_from(args.slot_timeout.as_millis()).unwrap_or(u64::MAX),
    }
}

fn detached(context: &Context, job: JobId) -> Result<ExitCode, UserError> {
    match context.output.format() {
        OutputFormat::Json => {
            let body = serde_json::json!({ "id": job.to_string() });
            context.output.document("Job", &body)?;
        }
        OutputFormat::Name => context.output.text(&format!("{job}\n"))?,
        OutputFormat::Table | OutputFormat::Wide => {
            context
                .output
                .text(&format!("Job has been submitted with JobID {job}\n"))?;
        }
    }
    Ok(ExitCode::Ok)
}

/// The refusal before anything is started for a job: not even all hosts together have the slots. `but` says what comes
/// of it.
pub(super) fn too_many_slots(plan: &Plan, capacity: u32, cluster: &Cluster, but: &str) -> Fault {
    let needed = plan.graph.slots_required();
    let what = format!(
        "job \"{}\" needs {needed} slots, the cluster can offer {capacity}",
        plan.graph.name
    );
    let managers = cluster.max_taskmanagers();
    let mut fault =
        Fault::new("slots.insufficient", what).with_help(format!("-p {capacity}, or give the hosts more slots"));
    fault
        .notes
        .push(format!("{managers} TaskManagers with {capacity} slots in all; {but}"));
    if let Some(vertex) = plan.graph.largest_vertex() {
        fault.notes.push(format!(
            "largest vertex: `{}` with parallelism {}",
            vertex.name, vertex.parallelism
        ));
    }
    fault
}

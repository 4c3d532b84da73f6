//! `flinkctl job run`: a job in a cluster of its own, in a session, or in its own process.

use std::{path::Path, time::Duration};

use flink_graph::JobId;
use flink_rpc::messages::{ClientRequest, Fault, JobSubmission};
use tokio::time::{Instant, timeout_at};

use super::follow::{Ending, Follow};
use crate::{
    agent::{ClientError, Replies},
    cli::{OutputFormat, RunArgs},
    commands::Context,
    config::Cluster,
    control::{Control, call_error, client_error},
    error::{HostFailure, UserError},
    exit_code::ExitCode,
    process::ProcessIdentity,
    program::{self, Plan, Program, ProgramError},
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
    let planning = program::plan(&program.path, &args.program.args, parallelism);
    let connecting = async { Ok(connect(context, &cluster).await) };
    let both = async { Ok(tokio::try_join!(planning, connecting)) };
    let (plan, control) = match interrupts.or(not_connected, both).await? {
        Ok((plan, control)) => (plan, control?),
        Err(error) => return error.into_exit(),
    };
    let result = PerJob {
        context,
        args,
        control: &control,
        program: &program,
        capacity,
    }
    .run(plan, interrupts)
    .await;
    control.link.hang_up().await;
    result
}

/// A job in a cluster of its own.
struct Started<'a> {
    session: String,
    jobmanager: ProcessIdentity,
    job: JobId,
    /// The call that tells how the cluster ended.
    hold: Replies<'a, ()>,
}

struct PerJob<'a> {
    context: &'a Context,
    args: &'a RunArgs,
    control: &'a Control,
    program: &'a Program,
    capacity: u32,
}

impl PerJob<'_> {
    async fn run(&self, plan: Plan, interrupts: &mut Interrupts) -> Result<ExitCode, UserError> {
        let needed = plan.graph.slots_required();
        if needed > self.capacity {
            return Err(too_many_slots(&plan, self.capacity, self.control.cluster()));
        }
        // What was started by then is undone with its call, or ends for want of its holder; a detached job that has
        // arrived goes on.
        let not_submitted = || not_submitted(self.args.detach);
        let Started {
            session,
            jobmanager,
            job,
            hold,
        } = interrupts.or(not_submitted, self.start(plan)).await?;
        if self.args.detach {
            return detached(self.context, job);
        }
        let follow = Follow {
            context: self.context,
            control: self.control,
            session: &session,
            job,
            per_job: true,
        };
        let verdict = follow.to_the_end(interrupts).await?.report(self.context);
        // Why the job failed is said before its cluster is taken down, which may take a while when hosts are gone.
        let json = self.context.output.is_json();
        let verdict = verdict.map_err(|error| self.context.progress().suspend(|| error.tell(json)));
        let torn_down = tokio::select! {
            result = self.tear_down(jobmanager, &session, hold) => result,
            () = interrupts.next() => Err(teardown_warning(&session, "not waited for its cluster to end")),
        };
        if let Err(warning) = torn_down {
            self.context.progress().suspend(|| warning.report(json));
        }
        verdict
    }

    /// From the upload to the submission.
    async fn start(&self, plan: Plan) -> Result<Started<'_>, UserError> {
        upload(self.context, self.control, self.program).await?;
        let progress = self.context.progress();
        let id = flink_graph::ClusterId::random().to_string();
        let session = format!("job-{}", &id[20..]);
        let startup = self.control.startup(&session, SessionKind::PerJob);
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
        let job = submit(self.control, &session, self.program, plan, self.args).await?;
        Ok(Started {
            session,
            jobmanager,
            job,
            hold,
        })
    }

    /// The cluster ends by itself once its result was served; this waits until it has.
    async fn tear_down(
        &self,
        jobmanager: ProcessIdentity,
        session: &str,
        mut hold: Replies<'_, ()>,
    ) -> Result<(), UserError> {
        let progress = self.context.progress();
        progress.begin(Phase::Stopping, 1);
        progress.step(Phase::Stopping, &self.control.host().name, "cluster");
        let limit = self.control.cluster().supervise.stop_grace + TEARDOWN_SLACK;
        let deadline = Instant::now() + limit;
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
            return Err(teardown_warning(session, &what));
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
            Ok(job) => job,
            Err(spoken) => return Ok(spoken),
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
        };
        let ending: Ending = follow.to_the_end(interrupts).await?;
        ending.report(context)
    }
    .await;
    control.link.hang_up().await;
    result
}

/// The submitted job; `Err` in the answer is the exit code of a program that has spoken for itself.
async fn submit_to_session(
    context: &Context,
    args: &RunArgs,
    control: &Control,
    program: &Program,
    session: &str,
) -> Result<Result<JobId, ExitCode>, UserError> {
    let record = control.expect_session(session).await?;
    if !record.kind.takes_jobs() {
        let what = format!("\"{session}\" is the cluster of one job and takes no other");
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
    let planning = program::plan(&program.path, &args.program.args, parallelism);
    let uploading = async { Ok(upload(context, control, program).await) };
    let plan = match tokio::try_join!(planning, uploading) {
        Ok((plan, uploaded)) => uploaded.map(|()| plan)?,
        Err(error) => return error.into_exit().map(Err),
    };
    submit(control, session, program, plan, args).await.map(Ok)
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
    let submission = JobSubmission {
        graph: plan.graph,
        artifact: program.digest,
        args: plan.args,
        attached: !args.detach,
        slot_timeout_ms: u64::try_from(args.slot_timeout.as_millis()).unwrap_or(u64::MAX),
    };
    control
        .ask(session, &ClientRequest::Submit(Box::new(submission)))
        .await
        .map_err(client_error)
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

/// The refusal before anything is started: not even all hosts together have the slots.
fn too_many_slots(plan: &Plan, capacity: u32, cluster: &Cluster) -> UserError {
    let needed = plan.graph.slots_required();
    let what = format!(
        "job \"{}\" needs {needed} slots, the cluster can offer {capacity}",
        plan.graph.name
    );
    let managers = cluster.max_taskmanagers();
    let mut error = UserError::new("slots.insufficient", ExitCode::Slots, what).detail(format!(
        "{managers} TaskManagers with {capacity} slots in all; nothing was started"
    ));
    if let Some(vertex) = plan.graph.largest_vertex() {
        error = error.detail(format!(
            "largest vertex: `{}` with parallelism {}",
            vertex.name, vertex.parallelism
        ));
    }
    error.help(format!("-p {capacity}, or give the hosts more slots"))
}

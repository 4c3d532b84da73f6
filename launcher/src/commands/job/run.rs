//! `flinkctl job run`: a job in a cluster of its own, in a session, or in its own process.

use std::time::Duration;

use flink_graph::JobId;
use flink_rpc::messages::{ClientRequest, JobSubmission};

use super::follow::{Ending, Follow};
use crate::{
    cli::{OutputFormat, RunArgs},
    commands::Context,
    config::Cluster,
    control::{Control, call_error, client_error},
    error::UserError,
    exit_code::ExitCode,
    process::ProcessIdentity,
    program::{self, Plan, Program, ProgramError},
    progress::Phase,
    runtime::SessionKind,
    signals::Interrupts,
};

/// How long a per-job cluster may take to end once its job has.
const TEARDOWN_LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn run(context: &Context, args: RunArgs) -> Result<ExitCode, UserError> {
    if args.local {
        return run_local(&args);
    }
    let inventory = context.inventory(&args.define.define)?;
    let cluster = inventory.cluster.restrict(&args.hosts.hosts, &args.hosts.exclude)?;
    let program = Program::open(&args.program.job)?;
    program.check_machine()?;
    match &args.session {
        Some(session) => run_in_session(context, &args, cluster, program, session).await,
        None => run_per_job(context, &args, cluster, program).await,
    }
}

/// The program runs a local cluster in its own process, in place of this one.
fn run_local(args: &RunArgs) -> Result<ExitCode, UserError> {
    use std::os::unix::process::CommandExt;
    let program = Program::open(&args.program.job)?;
    program.check_machine()?;
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
) -> Result<ExitCode, UserError> {
    let capacity = cluster.total_slots();
    let parallelism = args.parallelism.unwrap_or(capacity);
    // A program that refuses its arguments has the last word, whether the hosts can be reached or not.
    let planning = program::plan(&program.path, &args.program.args, parallelism);
    let connecting = async { Ok(connect(context, &cluster).await) };
    let (plan, control) = match tokio::try_join!(planning, connecting) {
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
    .run(plan)
    .await;
    control.link.hang_up().await;
    result
}

struct PerJob<'a> {
    context: &'a Context,
    args: &'a RunArgs,
    control: &'a Control,
    program: &'a Program,
    capacity: u32,
}

impl PerJob<'_> {
    async fn run(&self, plan: Plan) -> Result<ExitCode, UserError> {
        let needed = plan.graph.slots_required();
        if needed > self.capacity {
            return Err(too_many_slots(&plan, self.capacity, self.control.cluster()));
        }
        let mut interrupts = Interrupts::new()?;
        let (session, jobmanager, job) = tokio::select! {
            started = self.start(plan) => started?,
            // What was started is undone with its call, or ends for want of its holder.
            () = interrupts.next() => return Err(interrupted()),
        };
        if self.args.detach {
            return detached(self.context, job);
        }
        let follow = Follow {
            context: self.context,
            control: self.control,
            session: &session,
            job,
        };
        let verdict = follow.to_the_end(&mut interrupts).await?.report(self.context);
        // Why the job failed is said before its cluster is taken down, which may take a while when hosts are gone.
        let json = self.context.output.is_json();
        let verdict = verdict.map_err(|error| self.context.progress().suspend(|| error.tell(json)));
        let torn_down = tokio::select! {
            result = self.tear_down(jobmanager, &session) => result,
            () = interrupts.next() => Err(teardown_warning(&session, "not waited for its cluster to end")),
        };
        if let Err(warning) = torn_down {
            self.context.progress().suspend(|| warning.report(json));
        }
        verdict
    }

    /// From the upload to the submission.
    async fn start(&self, plan: Plan) -> Result<(String, ProcessIdentity, JobId), UserError> {
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
        drop(hold);
        Ok((session, jobmanager, job))
    }

    /// The cluster ends by itself once its result was served; this waits until it has.
    async fn tear_down(&self, jobmanager: ProcessIdentity, session: &str) -> Result<(), UserError> {
        let progress = self.context.progress();
        progress.begin(Phase::Stopping, 1);
        progress.step(Phase::Stopping, &self.control.host().name, "cluster");
        let gone = self
            .control
            .link
            .agent
            .await_exit(jobmanager, TEARDOWN_LIMIT)
            .await
            .map_err(call_error)?;
        progress.done(Phase::Stopping, &self.control.host().name);
        progress.end(Phase::Stopping);
        if gone {
            return Ok(());
        }
        Err(teardown_warning(
            session,
            &format!("its cluster has not ended within {TEARDOWN_LIMIT:?}"),
        ))
    }
}

fn teardown_warning(session: &str, what: &str) -> UserError {
    UserError::warning("cluster.teardown", ExitCode::Ok, format!("the job has ended; {what}")).help(format!(
        "flinkctl session stop {session}      flinkctl cluster clean --orphans"
    ))
}

/// The answer to Ctrl-C and SIGTERM while there is no job yet.
fn interrupted() -> UserError {
    UserError::new(
        "interrupted",
        ExitCode::Interrupted,
        "interrupted before the job was submitted",
    )
    .note("what had been started for it ends by itself within seconds")
}

async fn run_in_session(
    context: &Context,
    args: &RunArgs,
    cluster: Cluster,
    program: Program,
    session: &str,
) -> Result<ExitCode, UserError> {
    let control = connect(context, &cluster).await?;
    let result = async {
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
        let uploading = async { Ok(upload(context, &control, &program).await) };
        let plan = match tokio::try_join!(planning, uploading) {
            Ok((plan, uploaded)) => uploaded.map(|()| plan)?,
            Err(error) => return error.into_exit(),
        };
        let mut interrupts = Interrupts::new()?;
        let job = submit(&control, session, &program, plan, args).await?;
        if args.detach {
            return detached(context, job);
        }
        let follow = Follow {
            context,
            control: &control,
            session,
            job,
        };
        let ending: Ending = follow.to_the_end(&mut interrupts).await?;
        ending.report(context)
    }
    .await;
    control.link.hang_up().await;
    result
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
    if agent.has_blobs(vec![program.digest]).await.map_err(call_error)? == [true] {
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

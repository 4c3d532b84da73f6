//! `flinkctl session stop`

use std::time::Duration;

use flink_rpc::messages::ClientRequest;
use serde_json::json;

use crate::{
    agent::ClientError,
    cli::SessionStopArgs,
    commands::Context,
    control::{Control, call_error, owner},
    error::{HostFailure, UserError},
    exit_code::ExitCode,
    hosts::Hosts,
    progress::Phase,
    runtime::SessionRecord,
    signals::{Interrupts, interrupted},
    sweep::{Doomed, Sweep},
};

/// How long another command that changes the same session is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// How long a JobManager that was told to stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn stop(context: &Context, args: SessionStopArgs) -> Result<ExitCode, UserError> {
    let inventory = context.inventory(&[])?;
    let mut interrupts = Interrupts::new()?;
    let progress = context.progress();
    let item = format!("session {}", args.name);
    progress.begin(Phase::Stopping, 1);
    progress.step(Phase::Stopping, &item, "connecting");
    let not_told = || interrupted(format!("before session \"{}\" was told to stop", args.name));
    let connecting = Control::connect(&inventory.cluster, |_, _| ());
    let control = interrupts.or(not_told, connecting).await?;
    progress.step(Phase::Stopping, &item, "TaskManagers and JobManager");
    let not_gone = || {
        interrupted(format!("before session \"{}\" was seen to be gone", args.name))
            .note("what was told to stop goes on stopping")
            .help(format!("flinkctl session stop {}", args.name))
    };
    let result = interrupts
        .or(not_gone, stop_session(context, &control, &args.name))
        .await;
    // What failed, and on which host, is in the error.
    if result.is_ok() {
        progress.done(Phase::Stopping, &item);
        progress.end(Phase::Stopping);
    }
    control.link.hang_up().await;
    result?;
    let body = json!({ "name": args.name, "status": "STOPPED" });
    progress.note(format!("Session {} is stopped", args.name));
    context.output.done("StopResult", &body, &args.name)?;
    Ok(ExitCode::Ok)
}

async fn stop_session(context: &Context, control: &Control, name: &str) -> Result<(), UserError> {
    let holder = format!("{} pid {}: flinkctl session stop {name}", owner(), std::process::id());
    let agent = &control.link.agent;
    // A lock for a session that never was would stay.
    control.expect_session(name).await?;
    let lock = agent
        .lock(&control.layout.session_lock(name), &holder, LOCK_WAIT)
        .await
        .map_err(call_error)?;
    let record = control.expect_session(name).await?;
    let (answers, left) = match control.ask::<()>(name, &ClientRequest::StopCluster).await {
        Ok(()) => (true, Vec::new()),
        // It ends in spite of a fault: of what it could not verify, or because somebody else stops it already.
        Err(ClientError::Fault(fault)) => (true, fault.hosts),
        Err(ClientError::Call(_it_is_gone)) => (false, Vec::new()),
    };
    let gone = answers
        && agent
            .await_exit(record.process.clone(), STOP_LIMIT)
            .await
            .map_err(call_error)?;
    if !gone {
        sweep(context, control, &record).await?;
    } else if !left.is_empty() {
        return Err(leftovers(name, left.into_iter().map(HostFailure::from).collect()));
    }
    lock.release().await.map_err(call_error)?;
    Ok(())
}

/// The JobManager does not answer: everything of the session is ended host by host.
async fn sweep(context: &Context, control: &Control, record: &SessionRecord) -> Result<(), UserError> {
    let cluster = control.cluster();
    context.progress().note(format!(
        "The JobManager of session {} does not answer: all hosts are looked at",
        record.name
    ));
    let hosts = Hosts::from_here(cluster).map_err(anyhow::Error::new)?;
    let sweep = Sweep::new(cluster, Doomed::Sessions(vec![record.name.clone()]));
    let (_, failures) = sweep.run(&cluster.hosts, &hosts, true).await;
    if failures.is_empty() {
        return Ok(());
    }
    Err(leftovers(&record.name, failures))
}

fn leftovers(session: &str, hosts: Vec<HostFailure>) -> UserError {
    let what = format!("session \"{session}\": it could not be verified that nothing is left on every host");
    UserError::new("session.leftovers", ExitCode::Partial, what)
        .hosts(hosts)
        .note("TaskManagers without their JobManager end by themselves within [supervise] death_timeout")
        .help("flinkctl cluster clean --orphans, when the hosts are back")
}

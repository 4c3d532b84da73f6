//! `flinkctl session start`

use std::time::Duration;

use flink_rpc::messages::ClientRequest;

use crate::{
    agent::ClientError,
    cli::{OutputFormat, SessionStartArgs},
    commands::Context,
    control::{Control, call_error, client_error, owner},
    error::UserError,
    exit_code::ExitCode,
    process::ProcessIdentity,
    progress::Phase,
    runtime::SessionKind,
    signals::{Interrupts, interrupted},
};

/// How long another command that changes the same session is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// How long a session may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn start(context: &Context, args: SessionStartArgs) -> Result<ExitCode, UserError> {
    check_name(&args.name)?;
    let inventory = context.inventory(&args.define.define)?;
    let cluster = inventory.cluster.restrict(&args.hosts.hosts, &args.hosts.exclude)?;
    let mut interrupts = Interrupts::new()?;
    let progress = context.progress();
    let host = cluster.jobmanager_host().name.clone();
    progress.begin(Phase::Starting, 1);
    progress.step(Phase::Starting, &host, "connecting");
    let connecting = Control::connect(&cluster, |sent, total| {
        progress.step(
            Phase::Starting,
            &host,
            &format!("uploading flinkctl {}%", sent * 100 / total.max(1)),
        );
    });
    let not_up = || {
        let error = interrupted(format!("before session \"{}\" was up", args.name));
        if args.detach {
            error
                .note("if its JobManager was up by then, it stays; else it ends by itself within seconds")
                .help(format!(
                    "flinkctl session list      flinkctl session stop {}",
                    args.name
                ))
        } else {
            error.note("what had been started of it ends by itself within seconds")
        }
    };
    let control = interrupts.or(not_up, connecting).await?;
    let result = match interrupts.or(not_up, launch(&control, &args)).await {
        Ok(jobmanager) => {
            progress.done(Phase::Starting, &host);
            progress.end(Phase::Starting);
            if args.detach {
                started(context, &args.name)
            } else {
                hold(context, &control, &args.name, jobmanager, &mut interrupts).await
            }
        }
        Err(error) if error.exit_code() == ExitCode::Interrupted => Err(error),
        Err(error) => {
            progress.failed(Phase::Starting, &host, error.reason());
            progress.end(Phase::Starting);
            Err(error)
        }
    };
    control.link.hang_up().await;
    result
}

/// Session names become parts of paths and tags.
fn check_name(name: &str) -> Result<(), UserError> {
    let fits = !name.is_empty()
        && name.len() <= 32
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fits {
        return Ok(());
    }
    let what = format!("`{name}` cannot be the name of a session");
    Err(UserError::new("session.name", ExitCode::Usage, what).help("1 to 32 of a-z, 0-9 and -"))
}

async fn launch(control: &Control, args: &SessionStartArgs) -> Result<ProcessIdentity, UserError> {
    let holder = format!(
        "{} pid {}: flinkctl session start {}",
        owner(),
        std::process::id(),
        args.name
    );
    let agent = &control.link.agent;
    let lock = agent
        .lock(&control.layout.session_lock(&args.name), &holder, LOCK_WAIT)
        .await
        .map_err(call_error)?;
    if let Some(record) = control.session(&args.name).await? {
        if control.status(&args.name).await.is_some() {
            let what = format!("session \"{}\" is running already", args.name);
            let error = UserError::new("session.exists", ExitCode::Conflict, what);
            return Err(error
                .detail(format!(
                    "on {} since {}, started by {}",
                    record.host,
                    crate::output::timestamp(crate::views::time(record.start_ms)),
                    record.owner
                ))
                .help(format!(
                    "flinkctl job run --session {0} JOB      or stop it: flinkctl session stop {0}",
                    args.name
                )));
        }
        let what = format!(
            "a session \"{}\" is on record, but its JobManager does not answer",
            args.name
        );
        return Err(UserError::new("session.dead", ExitCode::Conflict, what)
            .help(format!("flinkctl session stop {}", args.name)));
    }
    let kind = if args.detach {
        SessionKind::Session
    } else {
        SessionKind::AttachedSession
    };
    let identity = control.launch(&control.startup(&args.name, kind)).await?;
    lock.release().await.map_err(call_error)?;
    Ok(identity)
}

fn started(context: &Context, name: &str) -> Result<ExitCode, UserError> {
    match context.output.format() {
        OutputFormat::Json => context
            .output
            .document("Session", &serde_json::json!({ "name": name }))?,
        OutputFormat::Name => context.output.text(&format!("{name}\n"))?,
        OutputFormat::Table | OutputFormat::Wide => {
            context.progress().settle();
            context.output.text(&format!(
                "Session {name} is up; run a job in it: flinkctl job run --session {name} JOB\n"
            ))?;
        }
    }
    Ok(ExitCode::Ok)
}

/// Keeps the session alive until Ctrl-C, or until somebody stops it.
async fn hold(
    context: &Context,
    control: &Control,
    name: &str,
    jobmanager: ProcessIdentity,
    interrupts: &mut Interrupts,
) -> Result<ExitCode, UserError> {
    let mut held = control
        .watch::<()>(name, &ClientRequest::HoldCluster)
        .await
        .map_err(client_error)?;
    held.next().await.map_err(client_error)?;
    started(context, name)?;
    context.progress().note("Ctrl-C stops the session");
    let ended: Result<Option<()>, ClientError> = tokio::select! {
        ended = held.next() => ended,
        () = interrupts.next() => {
            context.progress().note("Stopping the session (again to force)");
            drop(held);
            Ok(None)
        }
    };
    ended.map_err(client_error)?;
    tokio::select! {
        gone = control.link.agent.await_exit(jobmanager, STOP_LIMIT) => {
            if gone.map_err(call_error)? {
                return Ok(ExitCode::Ok);
            }
        }
        () = interrupts.next() => {}
    }
    let what = format!("gave up waiting for session \"{name}\" to end");
    Err(UserError::new("interrupted", ExitCode::Interrupted, what).help(format!("flinkctl session stop {name}")))
}

//! `flinkctl job wait`

use std::time::Duration;

use flink_rpc::messages::{AttachMode, ClientRequest, JobEvent, JobReport};

use tokio::time::timeout;

use super::follow::{JOB_FAILED, ended};
use crate::{
    cli::WaitArgs,
    commands::Context,
    control::{Control, FoundJob, client_error},
    error::UserError,
    exit_code::ExitCode,
    views::JobDetail,
};

pub(super) async fn wait(context: &Context, args: WaitArgs) -> Result<ExitCode, UserError> {
    let inventory = context.inventory(&[])?;
    let control = Control::connect(&inventory.cluster, |_, _| ()).await?;
    let waiting = outcome(context, &control, &args.id);
    let result = match args.timeout {
        None => waiting.await,
        Some(limit) => timeout(limit, waiting)
            .await
            .unwrap_or_else(|_elapsed| Err(too_long(&args.id, limit))),
    };
    control.link.hang_up().await;
    result
}

fn too_long(id: &str, limit: Duration) -> UserError {
    let what = format!("job {id} has not ended within {}", humantime::format_duration(limit));
    UserError::new("job.timeout", ExitCode::Timeout, what)
        .note("it goes on")
        .help(format!(
            "flinkctl job status {id}      or end it: flinkctl job cancel {id}"
        ))
}

async fn outcome(context: &Context, control: &Control, id: &str) -> Result<ExitCode, UserError> {
    let (session, job) = match control.find_job(id).await? {
        FoundJob::Archived(job) => return verdict(context, &job.report, job.session.as_deref().unwrap_or_default()),
        FoundJob::Live { session, id } => (session, id),
    };
    let request = ClientRequest::WatchJob {
        job,
        mode: AttachMode::Watch,
    };
    let mut events = control
        .watch::<JobEvent>(&session.name, &request)
        .await
        .map_err(client_error)?;
    loop {
        match events.next().await.map_err(client_error)? {
            Some(JobEvent::Terminated(report)) => return verdict(context, &report, &session.name),
            Some(_) => {}
            None => {
                let what = format!("the JobManager ended before job {job} had a result");
                return Err(UserError::new("jobmanager.lost", ExitCode::Unreachable, what));
            }
        }
    }
}

/// How the job ended; why it failed can be looked at further, for its record stays.
fn verdict(context: &Context, report: &JobReport, session: &str) -> Result<ExitCode, UserError> {
    if context.output.is_json() {
        let summary = &report.details.summary;
        let end = summary.end_ms.unwrap_or(summary.start_ms);
        context
            .output
            .one(&JobDetail::of(&report.details, session, end), String::new)?;
    }
    ended(report, false).map_err(|error| {
        if error.code() != JOB_FAILED {
            return error;
        }
        let id = report.details.summary.id;
        error
            .help(format!("flinkctl job status {id}"))
            .help(format!("what it printed: flinkctl job logs {id}"))
    })
}

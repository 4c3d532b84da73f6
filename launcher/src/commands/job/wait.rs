//! `flinkctl job wait`

use flink_rpc::messages::{AttachMode, ClientRequest, JobEvent, JobReport};

use super::follow::{JOB_FAILED, ended};
use crate::{
    cli::WaitArgs,
    commands::Context,
    control::{Control, FoundJob, client_error},
    error::UserError,
    exit_code::ExitCode,
};

pub(super) async fn wait(context: &Context, args: WaitArgs) -> Result<ExitCode, UserError> {
    let inventory = context.inventory(&[])?;
    let control = Control::connect(&inventory.cluster, |_, _| ()).await?;
    let result = outcome(&control, &args.id).await;
    control.link.hang_up().await;
    result
}

async fn outcome(control: &Control, id: &str) -> Result<ExitCode, UserError> {
    let (session, job) = match control.find_job(id).await? {
        FoundJob::Archived(job) => return verdict(&job.report),
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
            Some(JobEvent::Terminated(report)) => return verdict(&report),
            Some(_) => {}
            None => {
                let what = format!("the JobManager ended before job {job} had a result");
                return Err(UserError::new("jobmanager.lost", ExitCode::Unreachable, what));
            }
        }
    }
}

/// How the job ended; why it failed can be looked at further, for its record stays.
fn verdict(report: &JobReport) -> Result<ExitCode, UserError> {
    ended(report, false).map_err(|error| {
        if error.code() != JOB_FAILED {
            return error;
        }
        let id = report.details.summary.id;
        error.help(format!("flinkctl job logs {id}      flinkctl job status {id}"))
    })
}

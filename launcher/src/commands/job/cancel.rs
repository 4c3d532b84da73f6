//! `flinkctl job cancel`

use flink_rpc::messages::ClientRequest;
use serde_json::json;

use crate::{
    cli::CancelArgs,
    commands::Context,
    control::{Control, FoundJob, client_error},
    error::UserError,
    exit_code::ExitCode,
};

pub(super) async fn cancel(context: &Context, args: CancelArgs) -> Result<ExitCode, UserError> {
    let inventory = context.inventory(&[])?;
    let control = Control::connect(&inventory.cluster, |_, _| ()).await?;
    let result = async {
        match control.find_job(&args.id).await? {
            FoundJob::Live { session, id } => {
                control
                    .ask::<()>(&session.name, &ClientRequest::CancelJob(id))
                    .await
                    .map_err(client_error)?;
                context
                    .progress()
                    .note(format!("Job {id} is being cancelled; its end: flinkctl job wait {id}"));
                let body = json!({ "id": id, "session": session.name });
                context.output.done("CancelResult", &body, &id.to_string())?;
                Ok(ExitCode::Ok)
            }
            FoundJob::Archived(job) => {
                let summary = &job.report.details.summary;
                let what = format!("job {} has ended already: {}", summary.id, summary.status);
                Err(UserError::new("job.ended", ExitCode::Conflict, what))
            }
        }
    }
    .await;
    control.link.hang_up().await;
    result
}

//! `flinkctl job status`

use flink_rpc::messages::{AttachMode, ClientRequest, JobDetails, JobEvent};

use crate::{
    cli::{OutputFormat, StatusArgs},
    commands::Context,
    control::{Control, FoundJob, client_error},
    error::UserError,
    exit_code::ExitCode,
    runtime::now_ms,
    views::JobDetail,
};

pub(super) async fn status(context: &Context, args: StatusArgs) -> Result<ExitCode, UserError> {
    let inventory = context.inventory(&[])?;
    let control = Control::connect(&inventory.cluster, |_, _| ()).await?;
    let result = show(context, &control, &args).await;
    control.link.hang_up().await;
    result.map(|()| ExitCode::Ok)
}

async fn show(context: &Context, control: &Control, args: &StatusArgs) -> Result<(), UserError> {
    match control.find_job(&args.id).await? {
        FoundJob::Archived(job) => print(context, &job.report.details, job.session.as_deref().unwrap_or_default()),
        FoundJob::Live { session, id } if args.watch => {
            let request = ClientRequest::WatchJob {
                job: id,
                mode: AttachMode::Watch,
            };
            let mut events = control
                .watch::<JobEvent>(&session.name, &request)
                .await
                .map_err(client_error)?;
            while let Some(event) = events.next().await.map_err(client_error)? {
                match event {
                    JobEvent::Progress(details) => print(context, &details, &session.name)?,
                    JobEvent::Terminated(report) => return print(context, &report.details, &session.name),
                    JobEvent::Provisioning(_) | JobEvent::Output(_) => {}
                }
            }
            Ok(())
        }
        FoundJob::Live { session, id } => {
            let details: JobDetails = control
                .ask(&session.name, &ClientRequest::DescribeJob(id))
                .await
                .map_err(client_error)?;
            print(context, &details, &session.name)
        }
    }
}

fn print(context: &Context, details: &JobDetails, session: &str) -> Result<(), UserError> {
    let view = JobDetail::of(details, session, now_ms());
    let wide = context.output.format() == OutputFormat::Wide;
    context.output.one(&view, || view.human(wide))
}

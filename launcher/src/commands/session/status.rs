//! `flinkctl session status`

use std::time::Duration;

use flink_rpc::messages::{ClientRequest, ClusterStatus};

use crate::{
    cli::SessionStatusArgs,
    commands::Context,
    control::{Control, client_error},
    error::UserError,
    exit_code::ExitCode,
    runtime::now_ms,
    views::SessionDetail,
};

/// How often `--watch` looks again.
const INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn status(context: &Context, args: SessionStatusArgs) -> Result<ExitCode, UserError> {
    let inventory = context.inventory(&[])?;
    let control = Control::connect(&inventory.cluster, |_, _| ()).await?;
    let result = show(context, &control, &args).await;
    control.link.hang_up().await;
    result.map(|()| ExitCode::Ok)
}

async fn show(context: &Context, control: &Control, args: &SessionStatusArgs) -> Result<(), UserError> {
    let record = control.expect_session(&args.name).await?;
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        let status: ClusterStatus = control
            .ask(&args.name, &ClientRequest::ClusterStatus)
            .await
            .map_err(client_error)?;
        let view = SessionDetail::of(&record, &status, now_ms());
        context.output.one(&view, || view.human())?;
        if !args.watch {
            return Ok(());
        }
    }
}

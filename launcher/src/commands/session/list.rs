//! `flinkctl session list`

use crate::{commands::Context, control::Control, error::UserError, exit_code::ExitCode, views::SessionRow};

pub(super) async fn list(context: &Context) -> Result<ExitCode, UserError> {
    let inventory = context.inventory(&[])?;
    let control = Control::connect(&inventory.cluster, |_, _| ()).await?;
    let rows = rows(&control).await;
    control.link.hang_up().await;
    context.output.list(&rows?)?;
    Ok(ExitCode::Ok)
}

async fn rows(control: &Control) -> Result<Vec<SessionRow>, UserError> {
    let mut rows = Vec::new();
    for record in control.sessions().await? {
        let status = control.status(&record.name).await;
        rows.push(SessionRow::of(&record, status.as_ref()));
    }
    Ok(rows)
}

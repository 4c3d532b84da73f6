//! `flinkctl job list`

use std::collections::HashSet;

use crate::{
    cli::JobListArgs,
    commands::Context,
    control::{Control, no_answer},
    error::UserError,
    exit_code::ExitCode,
    runtime::now_ms,
    views::JobRow,
};
use flink_graph::JobId;

pub(super) async fn list(context: &Context, args: JobListArgs) -> Result<ExitCode, UserError> {
    let inventory = context.inventory(&[])?;
    let control = Control::connect(&inventory.cluster, |_, _| ()).await?;
    let rows = rows(&control, &args).await;
    control.link.hang_up().await;
    let (rows, silent) = rows?;
    context.output.list(&rows)?;
    if silent.is_empty() {
        return Ok(ExitCode::Ok);
    }
    let error = no_answer(&silent);
    context.progress().suspend(|| error.report(context.output.is_json()));
    Ok(ExitCode::Partial)
}

/// The jobs, and the sessions whose JobManagers do not answer.
async fn rows(control: &Control, args: &JobListArgs) -> Result<(Vec<JobRow>, Vec<String>), UserError> {
    let sessions = match &args.session {
        Some(name) => vec![control.expect_session(name).await?],
        None => control.sessions().await?,
    };
    let now = now_ms();
    let mut jobs: Vec<(u64, JobRow)> = Vec::new();
    let mut known: HashSet<JobId> = HashSet::new();
    let mut silent = Vec::new();
    for session in sessions {
        let Some(summaries) = control.jobs(&session.name).await else {
            silent.push(session.name);
            continue;
        };
        known.extend(summaries.iter().map(|job| job.id));
        let shown = summaries
            .iter()
            .filter(|job| args.all || !job.status.is_globally_terminal());
        jobs.extend(shown.map(|job| (job.start_ms, JobRow::of(job, &session.name, now))));
    }
    if args.all && args.session.is_none() {
        for archived in control.archive("").await? {
            let summary = &archived.report.details.summary;
            // A session's JobManager still knows its jobs when they are in the archive already.
            if !known.insert(summary.id) {
                continue;
            }
            jobs.push((
                summary.start_ms,
                JobRow::of(summary, archived.session.as_deref().unwrap_or_default(), now),
            ));
        }
    }
    jobs.sort_by_key(|(start, _)| std::cmp::Reverse(*start));
    Ok((jobs.into_iter().map(|(_, row)| row).collect(), silent))
}

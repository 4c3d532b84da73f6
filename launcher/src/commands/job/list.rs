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
    let (rows, missing) = rows?;
    context.output.list(&rows)?;
    for error in &missing {
        context.progress().suspend(|| error.report(context.output.is_json()));
    }
    Ok(if missing.is_empty() {
        ExitCode::Ok
    } else {
        ExitCode::Partial
    })
}

/// The jobs, and why some may be missing.
async fn rows(control: &Control, args: &JobListArgs) -> Result<(Vec<JobRow>, Vec<UserError>), UserError> {
    let sessions = match &args.session {
        Some(name) => vec![control.expect_session(name).await?],
        None => control.sessions().await?,
    };
    let now = now_ms();
    let mut jobs: Vec<(u64, JobRow)> = Vec::new();
    let mut known: HashSet<JobId> = HashSet::new();
    let (mut silent, mut missing) = (Vec::new(), Vec::new());
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
    if !silent.is_empty() {
        // A cluster that has ended meanwhile does not answer either; its jobs are in the archive, which is read afterwards.
        let left = control.sessions().await?;
        silent.retain(|name| left.iter().any(|session| session.name == *name));
        if let Some(name) = &args.session {
            control.expect_session(name).await?;
        }
    }
    if args.all && args.session.is_none() {
        for id in control.archived_ids("").await? {
            let archived = match control.archived(id).await {
                Ok(Some(archived)) => archived,
                // It was removed to make room for another.
                Ok(None) => continue,
                Err(error) if error.code() == "record.damaged" => {
                    missing.push(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
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
    if !silent.is_empty() {
        missing.push(no_answer(&silent));
    }
    jobs.sort_by_key(|(start, _)| std::cmp::Reverse(*start));
    Ok((jobs.into_iter().map(|(_, row)| row).collect(), missing))
}

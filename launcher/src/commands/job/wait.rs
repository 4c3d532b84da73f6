//! `flinkctl job wait`

use std::time::Duration;

use flink_graph::JobId;
use flink_rpc::messages::{AttachMode, ClientRequest, JobEvent, JobReport};
use tokio::time::{Instant, timeout_at};

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
    let within = Within::starting_now(args.timeout);
    let not_found_out = |limit| {
        let what = format!("what job {} is doing was not found out within {limit}", args.id);
        UserError::new("job.timeout", ExitCode::Timeout, what).help(format!("allow for more than {limit}"))
    };
    let control = within
        .run(not_found_out, Control::connect(&inventory.cluster, |_, _| ()))
        .await?;
    let result = async {
        let (session, job) = match within.run(not_found_out, control.find_job(&args.id)).await? {
            FoundJob::Archived(job) => {
                return verdict(context, &job.report, job.session.as_deref().unwrap_or_default());
            }
            FoundJob::Live { session, id } => (session, id),
        };
        let too_long = |limit| {
            UserError::new(
                "job.timeout",
                ExitCode::Timeout,
                format!("job {job} has not ended within {limit}"),
            )
            .note("it goes on")
            .help(format!(
                "flinkctl job status {job}      or end it: flinkctl job cancel {job}"
            ))
        };
        within
            .run(too_long, end_of(context, &control, &session.name, job))
            .await
    }
    .await;
    control.link.hang_up().await;
    result
}

/// The time that the command may take.
struct Within(Option<(Instant, Duration)>);

impl Within {
    fn starting_now(limit: Option<Duration>) -> Self {
        // One that is beyond all time is none.
        Self(limit.and_then(|limit| Some((Instant::now().checked_add(limit)?, limit))))
    }

    /// Does something, unless it takes too long.
    async fn run<T>(
        &self,
        too_long: impl FnOnce(humantime::FormattedDuration) -> UserError,
        work: impl Future<Output = Result<T, UserError>>,
    ) -> Result<T, UserError> {
        match self.0 {
            None => work.await,
            Some((deadline, limit)) => timeout_at(deadline, work)
                .await
                .unwrap_or_else(|_elapsed| Err(too_long(humantime::format_duration(limit)))),
        }
    }
}

async fn end_of(context: &Context, control: &Control, session: &str, job: JobId) -> Result<ExitCode, UserError> {
    let request = ClientRequest::WatchJob {
        job,
        mode: AttachMode::Watch,
    };
    let mut events = control
        .watch::<JobEvent>(session, &request)
        .await
        .map_err(client_error)?;
    loop {
        match events.next().await.map_err(client_error)? {
            Some(JobEvent::Terminated(report)) => return verdict(context, &report, session),
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

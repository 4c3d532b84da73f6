//! `flinkctl job logs`: what a detached job printed.

use flink_rpc::messages::{ClientRequest, OutputChunk};

use crate::{
    agent::{CallError, protocol::AgentError},
    cli::LogsArgs,
    commands::Context,
    control::{Control, FoundJob, call_error, client_error},
    error::{UserError, stdout_error},
    exit_code::ExitCode,
};

/// Bytes of an archived output that are fetched at a time.
const PART: u32 = 256 << 10;

pub(super) async fn logs(context: &Context, args: LogsArgs) -> Result<ExitCode, UserError> {
    let inventory = context.inventory(&[])?;
    let control = Control::connect(&inventory.cluster, |_, _| ()).await?;
    let result = print(&control, &args).await;
    control.link.hang_up().await;
    result.map(|()| ExitCode::Ok)
}

async fn print(control: &Control, args: &LogsArgs) -> Result<(), UserError> {
    match control.find_job(&args.id).await? {
        FoundJob::Live { session, id } => {
            let request = ClientRequest::JobOutput {
                job: id,
                follow: args.follow,
            };
            let mut chunks = control
                .watch::<OutputChunk>(&session.name, &request)
                .await
                .map_err(client_error)?;
            while let Some(chunk) = chunks.next().await.map_err(client_error)? {
                write(&chunk.bytes)?;
            }
            Ok(())
        }
        FoundJob::Archived(job) => {
            let path = format!("{}/{}.output", control.layout.archive(), job.report.details.summary.id);
            let mut offset = 0;
            loop {
                match control.link.agent.read_part(&path, offset, PART).await {
                    Ok((bytes, _)) if bytes.is_empty() => return Ok(()),
                    Ok((bytes, _)) => {
                        offset += bytes.len() as u64;
                        write(&bytes)?;
                    }
                    // It printed nothing.
                    Err(CallError::Agent {
                        error: AgentError::NotFound { .. },
                        ..
                    }) => return Ok(()),
                    Err(error) => return Err(call_error(error)),
                }
            }
        }
    }
}

fn write(bytes: &[u8]) -> Result<(), UserError> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| stdout_error(&error))
}

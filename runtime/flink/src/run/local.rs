//! The local cluster: a job's tasks as threads of this process, under the same ExecutionGraph that a JobMaster drives.

mod cluster;
mod collected;
mod coordination;
mod stdout;

use std::{process::ExitCode, sync::Arc, time::Instant};

use flink_graph::{JobFailure, JobStatus};
use flink_worker::{JobOutput, JobProgram};

use super::exit_code;
use crate::{Error, Result};
use cluster::{Ending, LocalCluster};
use collected::Collected;
use stdout::Stdout;

/// Name of the environment variable with the parallelism of operators that set none. Default: the number of cores.
const PARALLELISM_VARIABLE: &str = "FLINK_PARALLELISM";

/// Runs the job that `declare` makes for a default parallelism.
pub(super) fn run(declare: impl FnOnce(u32) -> Result<JobProgram>) -> ExitCode {
    let program = match default_parallelism().and_then(declare) {
        Ok(program) => program,
        Err(error) => {
            tell(&format!("error[job.build]: the job could not be declared: {error}"));
            return ExitCode::from(exit_code::INTERNAL);
        }
    };
    let name = program.graph().name.clone();
    let (started, stdout) = (Instant::now(), Arc::new(Stdout::default()));
    let ending = LocalCluster::run(program, stdout.clone(), true);
    let code = match ending {
        // As a program that SIGPIPE ends: without a word.
        _ if stdout.is_closed() => exit_code::OUTPUT_CLOSED,
        Err(error) => {
            tell(&format!(
                "error[internal]: the local cluster could not run `{name}`: {error}"
            ));
            exit_code::INTERNAL
        }
        Ok(Ending { interrupted: true, .. }) => {
            tell(&format!("job `{name}` was cancelled"));
            exit_code::INTERRUPTED
        }
        Ok(Ending { outcome, .. }) if outcome.status == JobStatus::Finished => {
            tell(&format!(
                "job `{name}` finished in {:.1} s",
                started.elapsed().as_secs_f64()
            ));
            return ExitCode::SUCCESS;
        }
        Ok(Ending { outcome, .. }) => {
            tell(&format!(
                "error[job.failed]: job `{name}` failed\n   {}",
                reason(outcome.failure.as_ref())
            ));
            exit_code::JOB_FAILED
        }
    };
    ExitCode::from(code)
}

/// Runs a job that must finish, and that nobody can interrupt.
pub(super) fn run_to_end(program: JobProgram) -> Result<()> {
    run_with(program, Arc::new(Stdout::default()))
}

/// As [`run_to_end`]; the lines that the job printed, sorted.
pub(super) fn run_and_collect(program: JobProgram) -> Result<Vec<String>> {
    let output = Arc::new(Collected::default());
    run_with(program, output.clone())?;
    Ok(output.sorted_lines())
}

fn run_with(program: JobProgram, output: Arc<dyn JobOutput>) -> Result<()> {
    let ending = LocalCluster::run(program, output, false).map_err(Error::msg)?;
    if ending.outcome.status == JobStatus::Finished {
        return Ok(());
    }
    Err(Error::msg(reason(ending.outcome.failure.as_ref())))
}

fn reason(failure: Option<&JobFailure>) -> String {
    failure.map_or_else(|| "for no known reason".to_owned(), ToString::to_string)
}

fn default_parallelism() -> Result<u32> {
    match std::env::var(PARALLELISM_VARIABLE) {
        Ok(text) => match text.parse() {
            Ok(parallelism) if parallelism > 0 => Ok(parallelism),
            _ => Err(Error::msg(format!(
                "{PARALLELISM_VARIABLE} is `{text}`, not a number above 0"
            ))),
        },
        Err(_) => Ok(std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)),
    }
}

#[expect(clippy::print_stderr, reason = "this is the program's own command line")]
fn tell(message: &str) {
    eprintln!("{message}");
}

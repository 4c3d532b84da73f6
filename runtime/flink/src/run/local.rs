//! The local cluster: a job's tasks as threads of this process, under the same ExecutionGraph that a JobMaster drives.

mod application;
mod cluster;
mod collected;
mod coordination;
mod stdout;

use std::{process::ExitCode, sync::Arc, time::Instant};

use flink_graph::{Accumulators, JobFailure, JobId, JobStatus};
use flink_rpc::messages::DriverFailure;
use flink_worker::{JobOutput, JobProgram};

use super::{
    driving::{DriverEnd, Driving},
    exit_code, tell,
};
use crate::{
    Error, Result,
    application::{BoundDriver, Jobs},
};
use application::LocalJobs;
use cluster::{Ending, Interrupts, LocalCluster, Stops};
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
    let ending = LocalCluster::run(JobId::random(), program, stdout.clone(), Stops::Signals, |_| ());
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
        Ok(Ending {
            outcome, accumulators, ..
        }) if outcome.status == JobStatus::Finished => {
            tell(&format!(
                "job `{name}` finished in {:.1} s",
                started.elapsed().as_secs_f64()
            ));
            tell_accumulators(&accumulators);
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

/// Runs an application, each of its jobs in a cluster of its own.
pub(super) fn drive(jobs: Jobs, driver: BoundDriver) -> ExitCode {
    let parallelism = match default_parallelism() {
        Ok(parallelism) => parallelism,
        Err(error) => {
            tell(&format!("error[application.failed]: {error}"));
            return ExitCode::from(exit_code::INTERNAL);
        }
    };
    let driving = Driving {
        jobs,
        driver,
        parallelism,
    };
    let stdout = Arc::new(Stdout::default());
    let code = match serve(driving, &stdout) {
        // As a program that SIGPIPE ends: without a word.
        _ if stdout.is_closed() => exit_code::OUTPUT_CLOSED,
        Ok((_, true)) => {
            tell("the application was interrupted");
            exit_code::INTERRUPTED
        }
        Ok((Ok(()), false)) => return ExitCode::SUCCESS,
        Ok((Err(failure), false)) => report(&failure),
        Err(error) => {
            tell(&format!("error[internal]: the application could not be run: {error}"));
            exit_code::INTERNAL
        }
    };
    ExitCode::from(code)
}

/// How its driver ended, and whether the user interrupted it.
fn serve(driving: Driving, stdout: &Arc<Stdout>) -> std::io::Result<(DriverEnd, bool)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let interrupts = runtime.block_on(async { Interrupts::new() })?;
    let jobs = LocalJobs::new(Arc::clone(stdout), interrupts);
    driving.run(&runtime, |calls, over| jobs.serve(calls, over))
}

/// Says why an application failed; the exit code.
fn report(failure: &DriverFailure) -> u8 {
    let (what, code) = match failure {
        DriverFailure::Job {
            status: JobStatus::Canceled,
            message,
            ..
        } => (format!("error[job.cancelled]: {message}"), exit_code::JOB_CANCELED),
        DriverFailure::Job { message, .. } => (format!("error[job.failed]: {message}"), exit_code::JOB_FAILED),
        DriverFailure::Refused(fault) => (format!("error[{}]: {fault}", fault.code), exit_code::INTERNAL),
        DriverFailure::Error { message } => (
            format!("error[application.failed]: the driver returned an error: {message}"),
            exit_code::JOB_FAILED,
        ),
        DriverFailure::Panicked { message } => (
            format!("error[application.panicked]: the driver panicked: {message}"),
            exit_code::JOB_FAILED,
        ),
    };
    tell(&what);
    code
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
    let ending = LocalCluster::run(JobId::random(), program, output, Stops::Never, |_| ()).map_err(Error::msg)?;
    if ending.outcome.status == JobStatus::Finished {
        return Ok(());
    }
    Err(Error::msg(reason(ending.outcome.failure.as_ref())))
}

fn tell_accumulators(accumulators: &Accumulators) {
    for (name, value) in accumulators.iter() {
        match value {
            Ok(value) => tell(&format!("   accumulator {name}: {}", value.number())),
            Err(conflict) => tell(&format!("   accumulator {name}: no value: {conflict}")),
        }
    }
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

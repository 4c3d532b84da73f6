//! An application whose driver does what its arguments say, for the end-to-end tests.

#![expect(
    clippy::print_stdout,
    reason = "this is how the driver tells its test what it has seen"
)]

use std::{
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use clap::{Parser, ValueEnum};
use flink::{Application, ApplicationContext, Error, JobError, JobStatus, Result, StreamExecutionEnvironment};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

/// Runs jobs, one way or another.
#[derive(Debug, Parser)]
struct Args {
    /// What the driver does.
    #[arg(long, value_enum)]
    mode: Mode,
    /// Parallelism of the jobs; without it, the default.
    #[arg(long)]
    wide: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// Two jobs at once, then one that needs nothing of them.
    Fine,
    /// A job that never ends, cancelled once it runs.
    Cancel,
    /// Returns the failure of a job.
    Fail,
    /// Expects the failure of a job, and goes on.
    Handle,
    /// Returns an error of its own while a job runs.
    Error,
    /// Panics while a job runs.
    Panic,
    /// Its process is killed while a job runs.
    Die,
    /// Waits for a job that never ends.
    Endless,
    /// The same, and goes on when it was cancelled.
    Stubborn,
    /// Does nothing, for as long as it may.
    Idle,
}

#[derive(Debug, Serialize, Deserialize)]
struct Numbers {
    label: String,
    records: u64,
    wide: Option<u32>,
}

fn main() -> ExitCode {
    Application::new(driver)
        .job("numbers", numbers)
        .job("endless", endless)
        .job("panic", panics)
        .run()
}

fn driver(app: &mut ApplicationContext, args: Args) -> Result<()> {
    let numbers = |label: &str, records| Numbers {
        label: label.to_owned(),
        records,
        wide: args.wide,
    };
    match args.mode {
        Mode::Fine => {
            at_once(app, numbers("left", 10), numbers("right", 20))?;
            app.execute("numbers", numbers("last", 5))?;
            println!("driven");
        }
        Mode::Cancel => {
            let job = app.execute_async("endless", ())?;
            while job.status() != JobStatus::Running {
                thread::yield_now();
            }
            job.cancel()?;
            match job.wait() {
                Err(JobError::Canceled { .. }) => println!("{} is {}", job.job_name(), job.status()),
                other => return Err(Error::msg(format!("not cancelled: {other:?}"))),
            }
        }
        Mode::Fail => {
            app.execute("panic", ())?;
        }
        Mode::Handle => match app.execute("panic", ()) {
            Err(JobError::Failed { reason, .. }) if reason.contains("cannot stand 7") => {
                app.execute("numbers", numbers("instead", 3))?;
            }
            other => return Err(Error::msg(format!("not the failure that was expected: {other:?}"))),
        },
        Mode::Error => {
            let _job = app.execute_async("endless", ())?;
            return Err(Error::msg("nothing to do today"));
        }
        Mode::Panic => {
            let _job = app.execute_async("endless", ())?;
            panic!("no driver like this");
        }
        Mode::Die => {
            let _job = app.execute_async("endless", ())?;
            kill_process(getpid(), Signal::KILL)?;
        }
        Mode::Endless => {
            app.execute("endless", ())?;
        }
        Mode::Stubborn => {
            let _how = app.execute("endless", ());
            idle()?;
        }
        Mode::Idle => idle()?,
    }
    Ok(())
}

fn at_once(app: &mut ApplicationContext, left: Numbers, right: Numbers) -> Result<()> {
    let left = app.execute_async("numbers", left)?;
    let right = app.execute_async("numbers", right)?;
    assert_ne!(left.job_id(), right.job_id());
    let result = right.wait()?;
    assert_eq!(result.job_id, right.job_id());
    assert!(result.duration > Duration::ZERO);
    left.wait()?;
    assert_eq!(left.status(), JobStatus::Finished);
    Ok(())
}

/// Does nothing, and says which process of its own does not either.
fn idle() -> Result<()> {
    let helper = Command::new("sleep").arg("600").spawn()?;
    println!("idle, beside {}", helper.id());
    loop {
        thread::park();
    }
}

/// Prints numbers behind a label.
fn numbers(env: &mut StreamExecutionEnvironment, args: Numbers) -> Result<()> {
    if let Some(wide) = args.wide {
        env.set_parallelism(wide);
    }
    let label = args.label;
    env.from_sequence(1..=args.records)
        .map(move |number| format!("{label} {number}"))
        .print();
    Ok(())
}

/// Says once that it is there.
fn endless(env: &mut StreamExecutionEnvironment) -> Result<()> {
    env.from_parallel_iterator(|_, _| 0_u64..)
        .filter(|number| {
            thread::park_timeout(Duration::from_millis(1));
            *number == 0
        })
        .map(|_| "endless".to_owned())
        .print();
    Ok(())
}

fn panics(env: &mut StreamExecutionEnvironment) -> Result<()> {
    env.from_sequence(1..=9)
        .map(|number| {
            if number == 7 {
                panic!("cannot stand {number}")
            } else {
                number
            }
        })
        .discard();
    Ok(())
}

//! Applications of the test program: the first argument says what the driver does.

#![expect(
    clippy::print_stdout,
    reason = "this is how the driver tells its test what it has seen"
)]

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use flink::{
    Application, ApplicationContext, Collector, Error, FunctionResult, JobError, JobStatus, LongCounter,
    ProcessContext, ProcessFunction, Result, RuntimeContext, RuntimeMode, StreamExecutionEnvironment,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Parser)]
struct Args {
    /// What the driver does.
    act: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Numbers {
    records: u64,
    label: String,
}

pub(crate) fn run() -> ExitCode {
    Application::new(driver)
        .job("count", count)
        .job("panic", panic)
        .job("measured", measured)
        .job("endless", endless)
        .job("flood", flood)
        .job("undeclared", undeclared)
        .run()
}

fn numbers(records: u64, label: &str) -> Numbers {
    Numbers {
        records,
        label: label.to_owned(),
    }
}

fn driver(app: &mut ApplicationContext, args: Args) -> Result<()> {
    match args.act.as_str() {
        "sequence" => sequence(app),
        "at-once" => at_once(app),
        "failure" => app.execute("panic", ()).map(drop).map_err(Error::from),
        "handled" => handled(app),
        "accumulators" => accumulators(app),
        "unwaited" => app.execute_async("panic", ()).map(drop).map_err(Error::from),
        "left-alone" => app
            .execute_async("count", numbers(100, "alone"))
            .map(drop)
            .map_err(Error::from),
        "cancel" => cancel(app),
        "cancel-and-go" => Ok(app.execute_async("endless", ())?.cancel()?),
        "cancelled" => {
            let job = app.execute_async("endless", ())?;
            job.cancel()?;
            Ok(job.wait().map(drop)?)
        }
        "panics" => {
            let _job = app.execute_async("endless", ())?;
            panic!("no driver like this")
        }
        "own-error" => {
            let _job = app.execute_async("endless", ())?;
            Err(Error::msg("nothing to do today"))
        }
        "mistakes" => mistakes(app),
        "endless" => app.execute("endless", ()).map(drop).map_err(Error::from),
        "flood" => app.execute("flood", ()).map(drop).map_err(Error::from),
        "idle" => loop {
            println!("idle");
            std::thread::park();
        },
        act => Err(Error::msg(format!("`{act}` is no act"))),
    }
}

fn sequence(app: &mut ApplicationContext) -> Result<()> {
    let begun = Instant::now();
    let first = app.execute("count", numbers(1000, "first"))?;
    let second = app.execute("count", numbers(10, "second"))?;
    assert_ne!(first.job_id, second.job_id);
    assert_eq!(first.job_name, "count");
    assert!(first.duration + second.duration <= begun.elapsed());
    println!("done");
    Ok(())
}

/// Two jobs that run together, waited for in the other order.
fn at_once(app: &mut ApplicationContext) -> Result<()> {
    let endless = app.execute_async("endless", ())?;
    app.execute("count", numbers(100, "beside"))?;
    assert!(!endless.status().is_globally_terminal());
    endless.cancel()?;
    assert!(matches!(endless.wait(), Err(JobError::Canceled { .. })));
    assert_eq!(endless.status(), JobStatus::Canceled);
    Ok(())
}

fn accumulators(app: &mut ApplicationContext) -> Result<()> {
    let result = app.execute("measured", ())?;
    println!("{:?}", result.accumulators.get("even"));
    Ok(())
}

fn handled(app: &mut ApplicationContext) -> Result<()> {
    match app.execute("panic", ()) {
        Err(JobError::Failed { name, reason, .. }) => {
            assert_eq!(name, "panic");
            assert!(reason.contains("cannot stand 500"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    app.execute("count", numbers(10, "instead"))?;
    Ok(())
}

fn cancel(app: &mut ApplicationContext) -> Result<()> {
    let job = app.execute_async("endless", ())?;
    while job.status() != JobStatus::Running {
        std::thread::yield_now();
    }
    job.cancel()?;
    match job.wait() {
        Err(JobError::Canceled { id, name }) => assert_eq!((id, name.as_str()), (job.job_id(), "endless")),
        other => panic!("{other:?}"),
    }
    // It has ended: nothing happens.
    job.cancel()?;
    println!("{} {}", job.job_name(), job.status());
    Ok(())
}

fn mistakes(app: &mut ApplicationContext) -> Result<()> {
    let results = [
        app.execute("missing", ()),
        app.execute("count", 7_u64),
        app.execute("undeclared", ()),
    ];
    for error in results.into_iter().filter_map(std::result::Result::err) {
        println!("{error}");
    }
    Ok(())
}

/// How many records there are, behind a label.
fn count(env: &mut StreamExecutionEnvironment, args: Numbers) -> Result<()> {
    env.set_runtime_mode(RuntimeMode::Batch);
    env.from_sequence(1..=args.records)
        .key_by(|_| 0_u64)
        .count()
        .map(move |(_, count)| format!("{} {count}", args.label))
        .print();
    Ok(())
}

/// Counts the even ones of a thousand numbers in an accumulator.
struct Even(LongCounter);

impl ProcessFunction<i64> for Even {
    type Out = i64;

    fn process_element(
        &mut self,
        number: i64,
        _: &mut ProcessContext<'_>,
        out: &mut Collector<'_, i64>,
    ) -> FunctionResult {
        self.0.add(i64::from(number % 2 == 0));
        out.collect(number);
        Ok(())
    }
}

fn measured(env: &mut StreamExecutionEnvironment) -> Result<()> {
    env.from_sequence(1..=1000)
        .map(|number| number as i64)
        .process(|context: &RuntimeContext| Ok(Even(context.add_accumulator("even")?)))
        .discard();
    Ok(())
}

fn panic(env: &mut StreamExecutionEnvironment) -> Result<()> {
    env.from_sequence(1..=1000)
        .map(|number| {
            if number == 500 {
                panic!("cannot stand {number}")
            } else {
                number
            }
        })
        .discard();
    Ok(())
}

fn endless(env: &mut StreamExecutionEnvironment) -> Result<()> {
    env.from_parallel_iterator(|_, _| 0_u64..).discard();
    Ok(())
}

/// Prints without end.
fn flood(env: &mut StreamExecutionEnvironment) -> Result<()> {
    env.from_parallel_iterator(|_, _| 0_u64..).print();
    Ok(())
}

fn undeclared(_: &mut StreamExecutionEnvironment) -> Result<()> {
    "7x".parse::<u64>()?;
    Ok(())
}

//! Applications: by themselves, and with a launcher.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Output, Stdio},
};

use flink_graph::{Accumulators, JobId, JobStatus};
use flink_rpc::messages::{DriverFailure, Fault, FromProgram, JobTermination, ToProgram};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{in_role, local, wait};

fn run(act: &str) -> Output {
    local("application", &[act]).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn exits(act: &str, code: i32) -> Output {
    let output = run(act);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    output
}

#[test]
fn jobs_run_in_the_driver_s_order() {
    let output = exits("sequence", 0);
    assert_eq!(stdout(&output), "first 1000\nsecond 10\ndone\n");
    assert_eq!(
        stderr(&output).matches("job `count` finished in ").count(),
        2,
        "{output:?}"
    );
}

#[test]
fn jobs_run_at_once_and_are_cancelled_one_by_one() {
    assert_eq!(stdout(&exits("at-once", 0)), "beside 100\n");
    assert_eq!(stdout(&exits("cancel", 0)), "endless CANCELED\n");
    exits("cancel-and-go", 0);
}

#[test]
fn what_a_job_has_added_up_comes_back_to_its_driver() {
    let output = exits("accumulators", 0);
    assert_eq!(stdout(&output), "Some(Ok(LongCounter(500)))\n");
    assert!(stderr(&output).contains("   accumulator even: 500\n"), "{output:?}");
}

#[test]
fn the_failure_of_a_job_is_the_driver_s_to_handle() {
    let output = exits("failure", 5);
    let told = stderr(&output);
    assert!(told.contains("\nerror[job.failed]: job `panic` ("), "{told}");
    assert!(told.ends_with(": cannot stand 500\n"), "{told}");
    assert_eq!(stdout(&exits("handled", 0)), "instead 10\n");
}

#[test]
fn jobs_that_nobody_waits_for_are_waited_for() {
    assert_eq!(stdout(&exits("left-alone", 0)), "alone 100\n");
    assert!(stderr(&exits("unwaited", 5)).contains("error[job.failed]: job `panic` ("));
}

#[test]
fn what_else_ends_a_driver_is_told_and_cancels_its_jobs() {
    let cases = [
        (
            "panics",
            "error[application.panicked]: the driver panicked: no driver like this\n",
        ),
        (
            "own-error",
            "error[application.failed]: the driver returned an error: nothing to do today\n",
        ),
    ];
    for (act, told) in cases {
        let output = exits(act, 5);
        assert!(stderr(&output).contains("job `endless` was cancelled\n"), "{output:?}");
        assert!(stderr(&output).ends_with(told), "{output:?}");
    }
    let output = exits("cancelled", 6);
    assert!(
        stderr(&output).contains("error[job.cancelled]: job `endless` ("),
        "{output:?}"
    );
}

#[test]
fn mistakes_of_the_driver_are_explained() {
    let output = exits("mistakes", 0);
    let told = stdout(&output);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[0],
        "the application has no job `missing`, only count, endless, flood, measured, panic, undeclared: add it with Application::job"
    );
    assert!(lines[1].starts_with("job `count` takes `") && lines[1].ends_with("Numbers`, the driver gives it `u64`"));
    assert_eq!(
        lines[2],
        "job `undeclared` could not be declared: invalid digit found in string"
    );
    assert_eq!(local("application", &[]).output().unwrap().status.code(), Some(2));
}

#[tokio::test]
async fn an_interrupt_cancels_what_runs() {
    let mut child = local("application", &["endless"])
        .env("RUST_LOG", "debug")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("to=RUNNING") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it never ran");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(wait(&mut child).await.code(), Some(130));
    let mut told = String::new();
    stderr.read_to_string(&mut told).unwrap();
    assert!(
        told.ends_with("job `endless` was cancelled\nthe application was interrupted\n"),
        "{told}"
    );
}

#[tokio::test]
async fn an_interrupt_ends_a_driver_without_jobs() {
    let mut child = local("application", &["idle"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "idle\n");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(wait(&mut child).await.code(), Some(130));
}

#[tokio::test]
async fn who_reads_only_the_beginning_is_no_error() {
    let mut child = local("application", &["flood"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.ends_with('\n'));
    assert_eq!(wait(&mut child).await.code(), Some(141));
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(told, "");
}

/// What a launcher hears from a driver when it answers its submissions so.
async fn driven(act: &str, answer: impl Fn() -> Result<JobId, Fault>, status: JobStatus) -> FromProgram {
    let (mut child, mut reader, mut writer) = in_role("client", "application", &[act]);
    writer.send(&ToProgram::Plan { default_parallelism: 3 }).await.unwrap();
    let FromProgram::Application { jobs } = reader.expect().await.unwrap() else {
        panic!("no application");
    };
    assert_eq!(jobs, ["count", "endless", "flood", "measured", "panic", "undeclared"]);
    writer.send(&ToProgram::Drive).await.unwrap();
    loop {
        match reader.expect().await.unwrap() {
            FromProgram::Submit { graph, .. } => {
                assert_eq!(graph.vertices[0].parallelism, 3);
                let answer = answer();
                writer.send(&ToProgram::Submitted(answer.clone())).await.unwrap();
                let Ok(job) = answer else { continue };
                let (running, duration_ms) = (JobStatus::Running, 0);
                let changed = ToProgram::JobStatusChanged { job, status: running };
                writer.send(&changed).await.unwrap();
                if status == running {
                    continue;
                }
                let message = (status == JobStatus::Failed).then(|| "h1 burns".to_owned());
                let termination = JobTermination {
                    status,
                    duration_ms,
                    message,
                    accumulators: Accumulators::default(),
                };
                writer
                    .send(&ToProgram::JobTerminated { job, termination })
                    .await
                    .unwrap();
            }
            FromProgram::Cancel(job) => {
                let termination = JobTermination {
                    status: JobStatus::Canceled,
                    duration_ms: 9,
                    message: None,
                    accumulators: Accumulators::default(),
                };
                writer
                    .send(&ToProgram::JobTerminated { job, termination })
                    .await
                    .unwrap();
            }
            end => {
                assert!(wait(&mut child).await.success());
                return end;
            }
        }
    }
}

#[tokio::test]
async fn a_launcher_runs_what_a_driver_submits() {
    let finished = driven("sequence", || Ok(JobId::random()), JobStatus::Finished).await;
    assert!(matches!(finished, FromProgram::DriverEnded(Ok(()))), "{finished:?}");
    let cancelled = driven("cancel", || Ok(JobId::random()), JobStatus::Running).await;
    assert!(matches!(cancelled, FromProgram::DriverEnded(Ok(()))), "{cancelled:?}");
}

#[tokio::test]
async fn a_launcher_hears_how_a_driver_failed() {
    let id = JobId::random();
    match driven("failure", || Ok(id), JobStatus::Failed).await {
        FromProgram::DriverEnded(Err(DriverFailure::Job { job, status, message })) => {
            assert_eq!((job, status), (id, JobStatus::Failed));
            assert_eq!(message, format!("job `panic` ({id}) failed: h1 burns"));
        }
        other => panic!("{other:?}"),
    }
    let fault = Fault::new("slots.insufficient", "too few");
    match driven("sequence", || Err(fault.clone()), JobStatus::Running).await {
        FromProgram::DriverEnded(Err(DriverFailure::Refused(told))) => assert_eq!(told, fault),
        other => panic!("{other:?}"),
    }
    match driven("panics", || Ok(JobId::random()), JobStatus::Running).await {
        FromProgram::DriverEnded(Err(DriverFailure::Panicked { message })) => {
            assert_eq!(message, "no driver like this");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_driver_is_not_run_unless_the_launcher_wants_it() {
    let (mut child, mut reader, mut writer) = in_role("client", "application", &["idle"]);
    writer.send(&ToProgram::Plan { default_parallelism: 1 }).await.unwrap();
    let said = reader.expect().await.unwrap();
    assert!(matches!(said, FromProgram::Application { .. }));
    drop((reader, writer));
    assert!(wait(&mut child).await.success());
}

#[tokio::test]
async fn a_driver_ends_with_its_launcher() {
    let (mut child, mut reader, mut writer) = in_role("client", "application", &["endless"]);
    writer.send(&ToProgram::Plan { default_parallelism: 1 }).await.unwrap();
    let _application: FromProgram = reader.expect().await.unwrap();
    writer.send(&ToProgram::Drive).await.unwrap();
    let _submit: FromProgram = reader.expect().await.unwrap();
    drop((reader, writer));
    assert_eq!(wait(&mut child).await.code(), Some(1));
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.contains("flinkctl is gone"), "{told}");
}

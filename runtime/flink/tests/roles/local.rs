//! Programs that run their job by themselves.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{local, until, wait};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn run(job: &str, parallelism: u32, args: &[&str]) -> Output {
    local(job, args)
        .env("FLINK_PARALLELISM", parallelism.to_string())
        .output()
        .unwrap()
}

#[test]
fn the_answer_does_not_depend_on_the_parallelism() {
    for parallelism in [1, 2, 3] {
        let output = run("count", parallelism, &["--records", "12340"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let printed = text(&output.stdout);
        let mut lines: Vec<&str> = printed.lines().collect();
        lines.sort_unstable();
        let expected: Vec<String> = (0..10).map(|key| format!("{key},1234")).collect();
        assert_eq!(lines, expected, "{parallelism}");
        assert!(
            text(&output.stderr).starts_with("job `count` finished in "),
            "{output:?}"
        );
    }
}

#[test]
fn what_functions_added_up_is_told_at_the_end() {
    let output = run("accumulators", 3, &["--records", "1000"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = text(&output.stderr);
    let (first, rest) = told.split_once('\n').unwrap();
    assert!(first.starts_with("job `accumulators` finished in "), "{told}");
    assert_eq!(
        rest,
        "   accumulator disputed: no value: it is a LongMaximum in one place and a LongCounter in another: give one of \
         them another name\n   accumulator largest: 1000\n   accumulator numbers: 2000\n"
    );
}

#[test]
fn files_are_written_once() {
    let root = tempfile::tempdir().unwrap();
    let output = root.path().join("out");
    let args = ["--output", output.to_str().unwrap()];
    assert_eq!(run("count", 3, &args).status.code(), Some(0));
    assert_eq!(fs::read_dir(&output).unwrap().count(), 3);
    let again = run("count", 3, &args);
    assert_eq!(again.status.code(), Some(5));
    let expected = format!(
        "error[job.failed]: job `count` failed\n   operator Sink: files: the output path {} exists and is not an empty \
         directory\n",
        output.display()
    );
    assert_eq!(text(&again.stderr), expected);
}

#[test]
fn a_panic_and_an_error_are_told_with_operator_and_subtask() {
    let output = run("panic", 2, &[]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let message = text(&output.stderr);
    assert!(
        message.starts_with("error[job.failed]: job `test-jobs` failed\n   before -> touchy -> after"),
        "{message}"
    );
    assert!(
        message.contains("/2) on localhost, operator touchy: panicked at "),
        "{message}"
    );
    assert!(message.ends_with(": cannot stand 500\n"), "{message}");
    let output = run("error", 1, &[]);
    let message = text(&output.stderr);
    let expected =
        "   Source: sequence -> map -> parse (1/1) on localhost, operator parse: invalid digit found in string\n";
    assert!(message.ends_with(expected), "{message}");
}

#[test]
fn what_cannot_be_declared_is_told() {
    let output = run("build-error", 1, &[]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "error[job.build]: the job could not be declared: invalid digit found in string\n";
    assert_eq!(text(&output.stderr), expected);
    let output = run("count", 1, &["--wrong"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("unexpected argument '--wrong'"),
        "{output:?}"
    );
    let output = run("count", 1, &["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("How many records"), "{output:?}");
    let output = run("count", 0, &[]);
    let expected = "error[job.build]: the job could not be declared: FLINK_PARALLELISM is `0`, not a number above 0\n";
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(1), expected.to_owned())
    );
}

#[test]
fn roles_are_for_others_to_set() {
    let cases = [
        ("worker", "role `worker` is for TaskManagers to start"),
        ("client", "role `client` is for flinkctl to start"),
        ("coordinator", "role `coordinator` is for JobManagers to start"),
        ("king", "FLINK_ROLE is `king`: there is no such role"),
    ];
    for (role, expected) in cases {
        let output = local("count", &[])
            .env("FLINK_ROLE", role)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{role}");
        assert!(text(&output.stderr).contains(expected), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}

#[tokio::test]
async fn an_interrupt_cancels_and_leaves_no_files() {
    let root = tempfile::tempdir().unwrap();
    let args = ["--output", root.path().to_str().unwrap()];
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = local("endless", &args).stderr(Stdio::piped()).spawn().unwrap();
        let files = || fs::read_dir(root.path()).unwrap().count();
        until("both subtasks write", || files() >= 2).await;
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(wait(&mut child).await.code(), Some(130));
        let mut message = String::new();
        child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
        assert!(message.ends_with("job `test-jobs` was cancelled\n"), "{message}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_second_interrupt_ends_a_job_that_is_stuck() {
    let mut child = local("stuck", &[])
        .env("RUST_LOG", "debug")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut read_until = |what: &str| {
        let mut line = String::new();
        while !line.contains(what) {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "no `{what}`");
        }
    };
    read_until("RUNNING");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    read_until("cancelling the job");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(wait(&mut child).await.code(), Some(130));
}

#[tokio::test]
async fn who_reads_only_the_beginning_is_no_error() {
    let mut child = local("numbers", &[])
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
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    assert_eq!(message, "");
}

#[test]
fn a_coordinator_knows_what_all_subtasks_say() {
    for parallelism in [1, 3] {
        let output = run("coordinated", parallelism, &["--records", "1001"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(text(&output.stdout), "500500\n".repeat(parallelism as usize));
    }
}

#[test]
fn a_coordinator_that_fails_is_told_with_its_operator() {
    let cases = [
        ("coordinator-start-error", "nowhere to begin\n"),
        ("coordinator-error", "cannot count\n"),
        ("coordinator-panic", ": cannot stand counting\n"),
        ("coordinator-end-error", "could not commit\n"),
    ];
    for (job, expected) in cases {
        let output = run(job, 2, &[]);
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        let message = text(&output.stderr);
        assert!(message.contains("   localhost, operator Sink: sums: "), "{message}");
        assert!(message.ends_with(expected), "{message}");
    }
}

#[tokio::test]
async fn a_second_interrupt_ends_a_job_whose_coordinator_is_stuck() {
    let mut child = local("coordinator-stuck", &[])
        .env("RUST_LOG", "debug")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut read_until = |what: &str| {
        let mut line = String::new();
        while !line.contains(what) {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "no `{what}`");
        }
    };
    read_until("to=RUNNING");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    read_until("cancelling the job");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let code = wait(&mut child).await.code();
    // Unless it was cancelled before its coordinator was asked anything.
    assert_eq!(code, Some(130));
}

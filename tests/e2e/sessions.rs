//! Sessions: many jobs, TaskManagers that stay for the next one and go when none comes.

use std::time::Duration;

use flink_tests::{Bed, PATIENCE, Role, Signal, Traces, in_testbed, on_hosts, read_counts, wait_until};
use serde_json::{Value, json};

#[test]
fn second_job_finds_the_task_managers_of_the_first() {
    in_testbed(&on_hosts(3), |bed| {
        let started = bed.flinkctl(["session", "start", "etl", "-d", "-o", "name"]).fine();
        assert_eq!(started.word(), "etl");
        assert_eq!(members(bed, "etl"), [], "TaskManagers start when a job needs them");
        let first = run_wordcount(bed, "etl");
        let after_first = members(bed, "etl");
        assert_eq!(after_first.len(), 3);
        let second = run_wordcount(bed, "etl");
        assert_eq!(members(bed, "etl"), after_first);
        assert_eq!(first, second);
        let listed = bed.json(&["job", "list", "-a"]);
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(2), "{listed}");
        let row = &bed.json(&["session", "list"])["items"][0];
        assert_eq!(
            (&row["name"], &row["alive"], &row["host"]),
            (&"etl".into(), &true.into(), &"h1".into())
        );
        assert_eq!(
            (&row["slots"], &row["freeSlots"], &row["jobs"]),
            (&6.into(), &6.into(), &0.into())
        );
        let _stopped = bed
            .flinkctl(["session", "stop", "etl"])
            .fine()
            .reports(&["Session etl is stopped"]);
        bed.nothing_left(Duration::from_secs(2), Traces::Archive);
        assert_eq!(bed.json(&["session", "list"])["items"], Value::Array(Vec::new()));
        let _again = bed
            .flinkctl(["session", "stop", "etl"])
            .exits(9)
            .reports(&["session.not-found"]);
    });
}

#[test]
fn attached_session_ends_with_ctrl_c() {
    in_testbed(&on_hosts(2), |bed| {
        let mut session = bed.start(["session", "start", "etl"]);
        session.says("Session etl is up");
        let _counts = run_wordcount(bed, "etl");
        session.signal(Signal::INT);
        let _ended = session
            .wait()
            .fine()
            .reports(&["Stopping the session (again to force)"]);
        bed.nothing_left(Duration::from_secs(2), Traces::Archive);
    });
}

#[test]
fn attached_session_ends_with_its_launcher() {
    in_testbed(&on_hosts(2), |bed| {
        let mut session = bed.start(["session", "start", "etl"]);
        session.says("Session etl is up");
        let _counts = run_wordcount(bed, "etl");
        session.signal(Signal::KILL);
        assert_eq!(session.wait().signal, Some(9));
        bed.nothing_left(PATIENCE, Traces::Archive);
    });
}

#[test]
fn idle_task_managers_are_released() {
    in_testbed(&on_hosts(3), |bed| {
        let _up = bed
            .flinkctl(["session", "start", "etl", "-d", "-D", "taskmanager.idle_timeout=1s"])
            .fine();
        let _counts = run_wordcount(bed, "etl");
        wait_until(Duration::from_secs(8), "idle TaskManagers are gone", || {
            let gone = bed
                .hosts()
                .iter()
                .all(|host| bed.with_role(host, Role::TaskManager).is_empty());
            gone.then_some(())
        });
        assert_eq!(members(bed, "etl"), []);
        let _counts = run_wordcount(bed, "etl");
        let _stopped = bed.flinkctl(["session", "stop", "etl"]).fine();
        bed.nothing_left(Duration::from_secs(2), Traces::Archive);
    });
}

#[test]
fn several_jobs_run_at_once() {
    in_testbed(&on_hosts(3), |bed| {
        let _up = bed.flinkctl(["session", "start", "etl", "-d"]).fine();
        let jobs: Vec<_> = (1..=3)
            .map(|number| {
                let records = (number * 100).to_string();
                bed.start(
                    [
                        "job",
                        "run",
                        "--session",
                        "etl",
                        "-p",
                        "2",
                        &bed.misbehave(),
                        "--",
                        "--print",
                    ]
                    .into_iter()
                    .chain(["--source-ms", "5", "--records", &records]),
                )
            })
            .collect();
        wait_until(PATIENCE, "three jobs run", || {
            let jobs = bed.json(&["job", "list"]);
            let running = jobs["items"]
                .as_array()?
                .iter()
                .filter(|job| job["status"] == "RUNNING")
                .count();
            (running == 3).then_some(())
        });
        for (job, number) in jobs.into_iter().zip(1..) {
            let output = job.wait().fine();
            // Two subtasks with so many numbers each; every one is counted once, in its own job.
            assert_eq!(
                output.stdout.lines().count(),
                2 * number * 100,
                "{}",
                output.everything()
            );
            assert!(
                output
                    .stdout
                    .lines()
                    .any(|line| line == format!("7,{}", 2 * number * 10))
            );
        }
        let _stopped = bed.flinkctl(["session", "stop", "etl"]).fine();
        bed.nothing_left(Duration::from_secs(2), Traces::Archive);
    });
}

#[test]
fn stop_cancels_what_runs() {
    in_testbed(&on_hosts(2), |bed| {
        let _up = bed.flinkctl(["session", "start", "etl", "-d"]).fine();
        let mut job = bed.start(["job", "run", "--session", "etl", &bed.misbehave(), "--", "--print"]);
        job.says("7,");
        let taken = bed.flinkctl(["session", "start", "etl", "-d"]).exits(8);
        let _why = taken.reports(&["error[session.exists]", "help: flinkctl job run --session etl"]);
        let _stopped = bed.flinkctl(["session", "stop", "etl"]).fine();
        bed.nothing_left(Duration::from_secs(2), Traces::Archive);
        let _ended = job.wait().exits(6).reports(&["CANCELED"]);
    });
}

#[test]
fn what_is_done_is_told_to_programs() {
    in_testbed(&on_hosts(2), |bed| {
        let command = ["sh", "-c", "uname -n; echo oh >&2"];
        let exec = [&["-o", "json", "cluster", "exec", "--"], &command[..]].concat();
        let ran = bed.flinkctl(exec).fine().json();
        assert_eq!(ran["kind"], "ExecResult");
        for (index, host) in ["h1", "h2"].into_iter().enumerate() {
            let expected = json!({
                "host": host, "exitCode": 0, "stdout": format!("{host}\n"), "stderr": "oh\n", "truncated": false,
            });
            assert_eq!(ran["items"][index], expected);
        }
        let _up = bed.flinkctl(["session", "start", "etl", "-d"]).fine();
        let endless = || {
            let run = ["job", "run", "-d", "-o", "name", "-p", "1", "--session", "etl"];
            let program = bed.misbehave();
            let arguments = [&run[..], &[&program, "--", "--source-ms", "2"]].concat();
            bed.flinkctl(arguments).fine().stdout.trim().to_owned()
        };
        let (first, second) = (endless(), endless());
        let waited = bed.flinkctl(["job", "wait", "--timeout", "1s", &first]).exits(7);
        let _why = waited.reports(&["error[job.timeout]", "has not ended within 1s", "it goes on"]);
        let cancelled = bed.json(&["job", "cancel", &first]);
        assert_eq!(
            (&cancelled["kind"], &cancelled["id"], &cancelled["session"]),
            (&json!("CancelResult"), &json!(first), &json!("etl"))
        );
        let named = bed.flinkctl(["job", "cancel", "-o", "name", &second]).fine();
        assert_eq!(named.stdout, format!("{second}\n"));
        let _ended = bed.flinkctl(["job", "wait", &second]).exits(6);
        let stopped = bed.json(&["session", "stop", "etl"]);
        assert_eq!(
            (&stopped["kind"], &stopped["name"], &stopped["status"]),
            (&json!("StopResult"), &json!("etl"), &json!("STOPPED"))
        );
        bed.nothing_left(PATIENCE, Traces::Archive);
    });
}

/// Runs the small word count in a session; its counts, sorted.
fn run_wordcount(bed: &Bed, session: &str) -> Vec<(String, u64)> {
    let run = bed
        .flinkctl(["job", "run", "--session", session, &bed.wordcount()])
        .fine();
    let mut counts: Vec<_> = read_counts(&run.stdout).into_iter().collect();
    assert_eq!(counts.len(), 47);
    counts.sort();
    counts
}

/// Host, id and process of each TaskManager.
fn members(bed: &Bed, session: &str) -> Vec<(String, String, u64)> {
    let status = bed.json(&["session", "status", session]);
    let text = |member: &Value, key: &str| member[key].as_str().expect("a text").to_owned();
    let members = status["members"].as_array().expect("members").iter();
    let mut members: Vec<_> = members
        .map(|member| {
            (
                text(member, "host"),
                text(member, "id"),
                member["pid"].as_u64().expect("a pid"),
            )
        })
        .collect();
    members.sort();
    members
}

//! Detached jobs: they go on without their launcher, and tell whoever asks.

use std::time::Duration;

use flink_tests::{Bed, PATIENCE, Signal, Traces, in_testbed, on_hosts, read_counts, wait_until};
use serde_json::Value;

#[test]
fn finished_job_is_found_when_its_cluster_is_gone() {
    in_testbed(&on_hosts(3), |bed| {
        let id = run_detached(bed, &bed.wordcount(), &[]);
        let _finished = bed.flinkctl(["job", "wait", &id]).fine();
        bed.nothing_left(PATIENCE, Traces::Archive);
        let counts = read_counts(&bed.flinkctl(["job", "logs", &id]).fine().stdout);
        assert_eq!((counts.len(), counts["count"]), (47, 5));
        let job = bed.json(&["job", "status", &id[..12]]);
        assert_eq!(
            (&job["kind"], &job["status"], &job["name"]),
            (&"Job".into(), &"FINISHED".into(), &"wordcount".into())
        );
        for key in [
            "id",
            "startTime",
            "endTime",
            "durationMs",
            "tasks",
            "vertices",
            "channels",
        ] {
            assert!(!job[key].is_null(), "{key}: {job}");
        }
        let waited = bed.json(&["job", "wait", &id]);
        assert_eq!(
            (&waited["kind"], &waited["status"]),
            (&"Job".into(), &"FINISHED".into())
        );
        let jobs = bed.json(&["job", "list", "-a"]);
        assert_eq!(
            (&jobs["kind"], jobs["items"].as_array().map(Vec::len)),
            (&"JobList".into(), Some(1))
        );
        assert_eq!(bed.json(&["job", "list"])["items"], Value::Array(Vec::new()));
        let _ended = bed.flinkctl(["job", "cancel", &id]).exits(8).reports(&["job.ended"]);
    });
}

#[test]
fn running_job_is_watched_and_cancelled() {
    in_testbed(&on_hosts(3), |bed| {
        let id = run_detached(bed, &bed.misbehave(), &["--source-ms", "1", "--print"]);
        bed.wait_for_job(&id, "RUNNING");
        let mut logs = bed.start(["job", "logs", "-f", &id]);
        logs.says("7,");
        let job = wait_until(PATIENCE, "bytes pass between hosts", || {
            let job = bed.json(&["job", "status", &id]);
            job["channels"].as_array()?.iter().any(over_the_network).then_some(job)
        });
        assert_eq!(job["vertices"][0]["subtasks"].as_array().map(Vec::len), Some(6));
        let listed = bed.json(&["job", "list"]);
        assert_eq!(
            (&listed["items"][0]["id"], &listed["items"][0]["status"]),
            (&id.as_str().into(), &"RUNNING".into())
        );
        let waiting = bed.start(["job", "wait", &id]);
        let _told = bed
            .flinkctl(["job", "cancel", &id])
            .fine()
            .reports(&["is being cancelled"]);
        let _canceled = waiting.wait().exits(6);
        let _closed = logs.wait().fine();
        bed.nothing_left(PATIENCE, Traces::Archive);
        assert_eq!(bed.json(&["job", "status", &id])["status"], "CANCELED");
        let _still = bed.flinkctl(["job", "wait", &id]).exits(6);
    });
}

#[test]
fn failed_job_says_why_later() {
    in_testbed(&on_hosts(2), |bed| {
        let id = run_detached(bed, &bed.misbehave(), &["--mode", "panic"]);
        let why = ["error[job.failed]", "FAILED", "operator look", "cannot stand 100"];
        let _failed = bed.flinkctl(["job", "wait", &id]).exits(5).reports(&why);
        bed.nothing_left(PATIENCE, Traces::Archive);
        let _still = bed.flinkctl(["job", "wait", &id]).exits(5).reports(&why);
        let job = bed.json(&["job", "status", &id]);
        assert_eq!(job["status"], "FAILED");
        assert!(
            job["failure"]
                .as_str()
                .is_some_and(|failure| failure.contains("cannot stand 100")),
            "{job}"
        );
    });
}

#[test]
fn job_goes_on_without_its_launcher() {
    in_testbed(&on_hosts(2), |bed| {
        // Killed the moment it has said the id: everything is handed over by then.
        let arguments = [
            "job",
            "run",
            "-d",
            "-o",
            "name",
            &bed.misbehave(),
            "--",
            "--source-ms",
            "5",
            "--records",
            "400",
        ];
        let mut launcher = bed.start(arguments);
        launcher.says("\n");
        if !launcher.has_ended() {
            launcher.signal(Signal::KILL);
        }
        let id = launcher.wait().word();
        let _finished = bed.flinkctl(["job", "wait", &id]).fine();
        bed.nothing_left(PATIENCE, Traces::Archive);
    });
}

#[test]
fn unknown_jobs_are_not_found() {
    in_testbed(&on_hosts(1).or_sshds(), |bed| {
        for verb in ["status", "wait", "cancel", "logs"] {
            let _unknown = bed
                .flinkctl(["job", verb, "4711"])
                .exits(9)
                .reports(&["error[job.not-found]", "help:"]);
        }
        let unknown = bed.flinkctl(["job", "status", "4711", "-o", "json"]).exits(9);
        let error: Value = serde_json::from_str(&unknown.stderr).expect("an error as JSON");
        assert_eq!(
            (&error["kind"], &error["code"]),
            (&"Error".into(), &"job.not-found".into())
        );
        bed.nothing_left(Duration::from_secs(2), Traces::None);
    });
}

/// The id of a job that was submitted with `-d`.
pub(crate) fn run_detached(bed: &Bed, program: &str, arguments: &[&str]) -> String {
    bed.flinkctl([&["job", "run", "-d", "-o", "name", program, "--"], arguments].concat())
        .fine()
        .word()
}

fn over_the_network(channel: &Value) -> bool {
    channel["transport"] == "quic"
        && channel["sourceHost"] != channel["targetHost"]
        && channel["bytes"].as_u64() > Some(0)
}

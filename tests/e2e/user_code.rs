//! Job programs that go wrong: the job fails, with the place and the reason, and nothing else is harmed.

use std::time::Duration;

use flink_tests::{Bed, Output, PATIENCE, Role, Signal, Traces, in_testbed, on_hosts};

#[test]
fn a_panic_is_told_with_its_place() {
    in_testbed(&on_hosts(3), |bed| {
        // Subtask 3 of 6.
        let failed = run(bed, &["--mode", "panic", "--subtask", "2"]).exits(5);
        let place = [
            "error[job.failed]: job \"misbehave\"",
            "FAILED",
            "--> Source: numbers -> look (3/6)",
            "operator look, on h",
        ];
        let _why = failed.reports(&place).reports(&["cannot stand 100"]);
        bed.nothing_left(Duration::from_secs(2), Traces::None);
    });
}

#[test]
fn an_error_is_told_with_its_place() {
    in_testbed(&on_hosts(2), |bed| {
        let failed = run(bed, &["--mode", "error"]).exits(5);
        let _why = failed.reports(&[
            "--> Source: numbers -> look (1/4), operator look, on h",
            "100 is no good",
        ]);
        bed.nothing_left(Duration::from_secs(2), Traces::None);
    });
}

#[test]
fn a_worker_that_ends_is_told_with_how() {
    in_testbed(&on_hosts(2), |bed| {
        for (mode, how) in [
            ("abort", "the worker process ended: signal 6 (SIGABRT)"),
            ("segfault", "the worker process ended: signal 11 (SIGSEGV)"),
            ("exit", "the worker process ended: exit code 3"),
        ] {
            let failed = run(bed, &["--mode", mode]).exits(5);
            let _why = failed.reports(&["error[job.failed]", how, "on h"]);
            bed.nothing_left(Duration::from_secs(2), Traces::None);
        }
    });
}

#[test]
fn a_killed_worker_fails_its_job_alone_and_at_once() {
    in_testbed(&on_hosts(2), |bed| {
        let _up = bed
            .flinkctl(["session", "start", "etl", "-d", "-D", "defaults.slots=4"])
            .fine();
        let arguments = ["job", "run", "--session", "etl", "-p", "4"];
        let mut spared = bed.start(
            [
                &arguments[..],
                &[&bed.misbehave(), "--", "--print", "--source-ms", "20"],
            ]
            .concat(),
        );
        spared.says("7,");
        let known: Vec<u32> = bed
            .with_role("h2", Role::Worker)
            .iter()
            .map(|process| process.pid)
            .collect();
        let mut victim = bed.start([&arguments[..], &[&bed.misbehave(), "--", "--print"]].concat());
        victim.says("7,");
        let workers = bed.with_role("h2", Role::Worker);
        let workers: Vec<_> = workers.iter().filter(|process| !known.contains(&process.pid)).collect();
        assert_eq!((known.len(), workers.len()), (1, 1), "a worker per job on each host");
        bed.kill("h2", workers[0].pid, Signal::KILL);
        let failed = victim.wait().exits(5);
        let _why = failed.reports(&["on h2", "h2: the worker process ended: signal 9 (SIGKILL)"]);
        assert!(!spared.has_ended());
        spared.signal(Signal::INT);
        let _canceled = spared.wait().exits(130);
        let _stopped = bed.flinkctl(["session", "stop", "etl"]).fine();
        bed.nothing_left(Duration::from_secs(2), Traces::Archive);
    });
}

#[test]
fn another_graph_on_the_workers_is_an_error() {
    in_testbed(&on_hosts(2), |bed| {
        let failed = run(bed, &["--mode", "unstable"]).exits(5);
        let _why = failed.reports(&["error[job.failed]", "look on "]);
        let failed = run(bed, &["--mode", "build-panic"]).exits(5);
        let _why = failed.reports(&["error[job.failed]", "cannot be built here"]);
        bed.nothing_left(Duration::from_secs(2), Traces::None);
    });
}

#[test]
fn a_task_that_does_not_look_up_is_ended_with_its_worker() {
    in_testbed(&on_hosts(2), |bed| {
        let define = ["-D", "supervise.stop_grace=1s"];
        let arguments = ["--mode", "stuck", "--print", "--source-ms", "1"];
        let mut job = bed.start([&["job", "run"], &define[..], &[&bed.misbehave(), "--"], &arguments].concat());
        job.says("7,");
        job.signal(Signal::INT);
        let _canceled = job.wait().exits(130);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

fn run(bed: &Bed, arguments: &[&str]) -> Output {
    bed.flinkctl([&["job", "run", &bed.misbehave(), "--"], arguments].concat())
}

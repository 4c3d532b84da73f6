//! The attached launcher's own end: Ctrl-C, SIGTERM, a reader that has had enough.

use std::time::Duration;

use flink_tests::{Bed, Command, PATIENCE, Running, Signal, Traces, in_testbed, on_hosts, wait_until};

#[test]
fn ctrl_c_cancels_and_tears_down() {
    in_testbed(&on_hosts(3), |bed| {
        for signal in [Signal::INT, Signal::TERM] {
            let job = run_endless(bed, &[]);
            job.signal(signal);
            let stopped = job
                .wait()
                .exits(130)
                .reports(&["Stopping the job (again to force)", "CANCELED"]);
            assert!(!stopped.stderr.contains("error["), "{}", stopped.everything());
            bed.nothing_left(Duration::from_secs(2), Traces::None);
        }
    });
}

#[test]
fn second_ctrl_c_forces() {
    in_testbed(&on_hosts(2), |bed| {
        // A task that does not look whether it is cancelled keeps the job from ending for as long as its grace period lasts.
        let mut job = run_endless(bed, &["--mode", "stuck", "--at", "3"]);
        job.signal(Signal::INT);
        job.reports("Stopping the job (again to force)");
        job.signal(Signal::INT);
        let forced = job.wait().exits(130);
        let _what = forced.reports(&["error[interrupted]", "help: flinkctl cluster clean --orphans"]);
        // The grace period is 10 s.
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn a_closed_standard_output_cancels_the_job() {
    in_testbed(&on_hosts(2), |bed| {
        let script = "flinkctl job run \"$0\" -- --print --source-ms 2 | head -n 1; echo ${PIPESTATUS[@]}";
        let run = Command::new("bash").args(["-c", script, &bed.misbehave()]).run().fine();
        let last = run.stdout.lines().last();
        assert_eq!(last, Some("6 0"), "{}", run.everything());
        assert!(
            run.stderr.contains("nobody reads its output any more"),
            "{}",
            run.everything()
        );
        assert!(!run.stderr.contains("error["), "{}", run.everything());
        bed.nothing_left(Duration::from_secs(2), Traces::None);
    });
}

#[test]
fn while_connecting_ctrl_c_and_sigterm_end_every_command() {
    in_testbed(&on_hosts(2), |bed| {
        let program = bed.misbehave();
        bed.power_off("h1");
        for signal in [Signal::INT, Signal::TERM] {
            for args in [
                &["job", "run", &program][..],
                &["job", "run", "-d", &program],
                &["job", "run", "--session", "etl", &program],
                &["session", "start", "etl"],
                &["session", "start", "etl", "-d"],
                &["session", "stop", "etl"],
                &["cluster", "check"],
                &["cluster", "exec", "--", "true"],
                &["cluster", "clean", "--yes"],
            ] {
                let command = bed.start(args);
                wait_until(PATIENCE, "it connects", || {
                    let processes = bed.processes("ops");
                    processes.iter().any(|process| process.name == "ssh").then_some(())
                });
                command.signal(signal);
                let output = command
                    .wait()
                    .exits(130)
                    .reports(&["error[interrupted]: interrupted before "]);
                assert!(output.took < Duration::from_secs(5), "{}", output.everything());
                bed.nothing_left_on(&["h2"], Duration::from_secs(2), Traces::None);
            }
        }
    });
}

#[test]
fn an_interrupted_exec_ends_what_it_started() {
    in_testbed(&on_hosts(2), |bed| {
        let mut exec = bed.start(["cluster", "exec", "--", "sh", "-c", "echo here; sleep 1000"]);
        exec.says("h1: here");
        exec.says("h2: here");
        exec.signal(Signal::INT);
        let _output = exec.wait().exits(130).reports(&["error[interrupted]"]);
        bed.nothing_left(Duration::from_secs(3), Traces::None);
    });
}

/// Starts a job that runs until it is stopped; returns when it prints.
fn run_endless(bed: &Bed, arguments: &[&str]) -> Running {
    let program = bed.misbehave();
    let mut job = bed.start(
        [
            &["job", "run", &program, "--", "--print", "--source-ms", "2"],
            arguments,
        ]
        .concat(),
    );
    job.says("7,");
    job
}

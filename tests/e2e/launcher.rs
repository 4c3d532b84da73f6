//! The attached launcher's own end: Ctrl-C, SIGTERM, a reader that has had enough.

use std::time::Duration;

use flink_tests::{Bed, Command, PATIENCE, Running, Signal, Traces, in_testbed, on_hosts};

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
fn a_closed_standard_output_cancels_quietly() {
    in_testbed(&on_hosts(2), |bed| {
        let script = "flinkctl job run \"$0\" -- --print --source-ms 2 | head -n 1; echo ${PIPESTATUS[@]}";
        let run = Command::new("bash").args(["-c", script, &bed.misbehave()]).run().fine();
        let last = run.stdout.lines().last();
        assert_eq!(last, Some("0 0"), "{}", run.everything());
        assert!(!run.stderr.contains("error["), "{}", run.everything());
        bed.nothing_left(Duration::from_secs(2), Traces::None);
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

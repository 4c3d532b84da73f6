//! Applications: several jobs of one program, which its driver submits.

use std::{collections::BTreeMap, fs};

use flink_tests::{Bed, Output, PATIENCE, Signal, Traces, in_testbed, on_hosts, wait_until};

/// Lines by their first word.
fn by_label(output: &Output) -> BTreeMap<&str, usize> {
    let mut lines = BTreeMap::new();
    for line in output.stdout.lines() {
        *lines.entry(line.split(' ').next().unwrap_or_default()).or_default() += 1;
    }
    lines
}

fn drive(bed: &Bed, mode: &str) -> Output {
    bed.flinkctl(["job", "run", &bed.drive(), "--", "--mode", mode])
}

#[test]
fn the_second_job_reads_what_the_first_wrote() {
    in_testbed(&on_hosts(2), |bed| {
        let directory = bed.shared_path("pipeline");
        let output = bed
            .flinkctl(["job", "run", &bed.pipeline(), "--", "--directory", &directory])
            .fine();
        let lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(lines.len(), 10, "{}", output.everything());
        for line in ["crusher,3", "furnace,3", "first,3", "whoever,1"] {
            assert!(lines.contains(&line), "{}", output.everything());
        }
        let output = output.reports(&["Job extract (", "Job count (", "extracted in "]);
        assert_eq!(
            output.stderr.matches(" FINISHED in ").count(),
            2,
            "{}",
            output.everything()
        );
        bed.nothing_left(PATIENCE, Traces::None);
        // The directory is taken: the failure of the first job is the driver's.
        let again = bed
            .flinkctl(["job", "run", &bed.pipeline(), "--", "--directory", &directory])
            .exits(5);
        let again = again.reports(&[
            "error[job.failed]: job \"extract\" (",
            "exists and is not an empty directory",
        ]);
        assert!(!again.stderr.contains("Job count ("), "{}", again.everything());
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn jobs_run_at_once_in_a_cluster_of_their_own_and_in_a_session() {
    in_testbed(&on_hosts(3), |bed| {
        let expected = BTreeMap::from([("left", 10), ("right", 20), ("last", 5), ("driven", 1)]);
        let arguments = ["--", "--mode", "fine", "--wide", "2"];
        let output = bed
            .command(["job", "run", &bed.drive()].iter().chain(&arguments))
            .run()
            .fine();
        assert_eq!(by_label(&output), expected, "{}", output.everything());
        bed.nothing_left(PATIENCE, Traces::None);
        let _up = bed.flinkctl(["session", "start", "etl", "-d"]).fine();
        let program = bed.drive();
        let run = ["job", "run", "--session", "etl", &program];
        let output = bed.command(run.iter().chain(&arguments)).run().fine();
        assert_eq!(by_label(&output), expected, "{}", output.everything());
        let listed = bed.json(&["job", "list", "-a"]);
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(3), "{listed}");
        let output = bed.command(run.iter().chain(&["--", "--mode", "cancel"])).run().fine();
        assert!(
            output.stdout.ends_with("endless is CANCELED\n"),
            "{}",
            output.everything()
        );
        let _stopped = bed.flinkctl(["session", "stop", "etl"]).fine();
        bed.nothing_left(PATIENCE, Traces::Archive);
    });
}

#[test]
fn failures_of_jobs_and_of_the_driver_are_told() {
    in_testbed(&on_hosts(1), |bed| {
        let failed = drive(bed, "fail").exits(5);
        let _why = failed.reports(&["error[job.failed]: job \"panic\" (", "cannot stand 7", "--local JOB"]);
        let handled = drive(bed, "handle").fine();
        assert_eq!(
            by_label(&handled),
            BTreeMap::from([("instead", 3)]),
            "{}",
            handled.everything()
        );
        let cases = [
            (
                "error",
                "error[application.failed]: the driver returned an error",
                "nothing to do today",
            ),
            (
                "panic",
                "error[application.panicked]: the driver panicked",
                "no driver like this",
            ),
            (
                "die",
                "error[application.died]: the program ended before its driver had",
                "signal: 9 (SIGKILL)",
            ),
        ];
        for (mode, error, why) in cases {
            let output = drive(bed, mode).exits(5);
            let _why = output.reports(&[error, "--> ", "examples/drive", why, "Job endless (", "CANCELED"]);
            bed.nothing_left(PATIENCE, Traces::None);
        }
        let output = bed
            .flinkctl(["job", "run", &bed.drive(), "--", "--mode", "fine", "--wide", "99"])
            .exits(4);
        let _why = output.reports(&[
            "error[slots.insufficient]: job \"numbers\" needs 99 slots",
            "the job was not started",
        ]);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn ctrl_c_cancels_what_runs_and_ends_the_driver() {
    in_testbed(&on_hosts(2), |bed| {
        let mut run = bed.start(["job", "run", &bed.drive(), "--", "--mode", "endless"]);
        run.says("endless");
        run.signal(Signal::INT);
        let _ended = run
            .wait()
            .exits(130)
            .reports(&["Stopping the jobs (again to force)", "CANCELED"]);
        bed.nothing_left(PATIENCE, Traces::None);
        let mut run = bed.start(["job", "run", &bed.drive(), "--", "--mode", "idle"]);
        run.says("idle, beside ");
        run.signal(Signal::INT);
        let ended = run
            .wait()
            .exits(130)
            .reports(&["Stopping the driver; no job was running"]);
        bed.nothing_left(PATIENCE, Traces::None);
        let helper = ended.stdout.split_whitespace().last().unwrap();
        wait_until(PATIENCE, "what the driver had started is gone", || {
            let state = fs::read_to_string(format!("/proc/{helper}/status")).unwrap_or_default();
            (!state.contains("sleep") || state.contains("(zombie)")).then_some(())
        });
        let mut run = bed.start(["job", "run", &bed.drive(), "--", "--mode", "stubborn"]);
        run.says("endless");
        run.signal(Signal::INT);
        run.says("idle");
        run.signal(Signal::INT);
        let _ended = run
            .wait()
            .exits(130)
            .reports(&["CANCELED", "gave up waiting for the application to stop"]);
        bed.nothing_left(PATIENCE, Traces::None);
        let mut run = bed.start(["job", "run", &bed.drive(), "--", "--mode", "endless"]);
        run.says("endless");
        run.signal(Signal::KILL);
        assert_eq!(run.wait().signal, Some(9));
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn what_an_application_cannot_do_is_refused() {
    in_testbed(&on_hosts(1).or_sshds(), |bed| {
        let detached = bed
            .flinkctl(["job", "run", "-d", &bed.drive(), "--", "--mode", "fine"])
            .exits(2);
        let detached = detached.reports(&[
            "error[application.detached]: an application cannot be detached",
            "its jobs: endless, numbers, panic",
            "help: leave -d out",
        ]);
        assert!(!detached.stdout.contains("driven"), "{}", detached.everything());
        let plan = bed
            .flinkctl(["job", "plan", &bed.drive(), "--", "--mode", "fine"])
            .exits(2);
        let _why = plan.reports(&[
            "error[application.no-plan]: an application has no plan",
            "flinkctl job status ID",
        ]);
        let _usage = bed
            .flinkctl(["job", "run", &bed.drive(), "--", "--mod"])
            .exits(2)
            .reports(&["Usage: drive"]);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

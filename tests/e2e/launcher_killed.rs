//! A launcher that is killed with SIGKILL, in each of its phases: what was attached to it ends within seconds.

use std::time::Duration;

use flink_tests::{Bed, Role, Running, Signal, Traces, in_testbed, on_hosts, wait_until};

/// A lease is lost when its launcher's SSH channel closes, at once; then everything ends as after Ctrl-C.
const SECONDS: Duration = Duration::from_secs(10);

#[test]
fn while_it_connects() {
    in_testbed(&on_hosts(2), |bed| {
        kill_when(bed, |bed| !ssh_clients(bed).is_empty());
    });
}

#[test]
fn while_it_uploads() {
    in_testbed(&on_hosts(2), |bed| {
        kill_when(bed, |bed| part_of_a_blob(bed, "h1"));
    });
}

#[test]
fn while_the_job_manager_starts() {
    in_testbed(&on_hosts(2), |bed| {
        kill_when(bed, |bed| !bed.with_role("h1", Role::JobManager).is_empty());
    });
}

#[test]
fn while_task_managers_start() {
    in_testbed(&on_hosts(3), |bed| {
        kill_when(bed, |bed| {
            part_of_a_blob(bed, "h2") || !bed.with_role("h2", Role::TaskManager).is_empty()
        });
    });
}

#[test]
fn while_the_job_runs() {
    in_testbed(&on_hosts(3), |bed| {
        let mut launcher = start(bed);
        launcher.says("7,");
        kill(bed, launcher);
    });
}

/// Kills the launcher of a job as soon as `phase` is seen.
fn kill_when(bed: &Bed, mut phase: impl FnMut(&Bed) -> bool) {
    let launcher = start(bed);
    wait_until(SECONDS, "the phase is seen", || phase(bed).then_some(()));
    kill(bed, launcher);
}

fn start(bed: &Bed) -> Running {
    bed.start(["job", "run", &bed.misbehave(), "--", "--print", "--source-ms", "2"])
}

fn kill(bed: &Bed, mut launcher: Running) {
    assert!(!launcher.has_ended(), "it was to be killed");
    launcher.signal(Signal::KILL);
    assert_eq!(launcher.wait().signal, Some(9));
    bed.nothing_left(SECONDS, Traces::None);
    // And the next one finds everything in order.
    let _fine = bed.flinkctl(["job", "run", &bed.wordcount()]).fine();
    bed.nothing_left(SECONDS, Traces::None);
}

fn ssh_clients(bed: &Bed) -> Vec<u32> {
    let processes = bed.processes("ops");
    processes
        .iter()
        .filter(|process| process.name == "ssh")
        .map(|process| process.pid)
        .collect()
}

/// Whether a file is on its way into the host's cache.
fn part_of_a_blob(bed: &Bed, host: &str) -> bool {
    bed.cached(host).iter().any(|name| name.len() != 64)
}

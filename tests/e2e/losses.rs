//! What dies, freezes or is cut off while jobs run.

use std::time::{Duration, Instant};

use flink_tests::{Bed, PATIENCE, Role, Running, Signal, Traces, in_testbed, iso_ms, now_ms, on_hosts, wait_until};

/// `[taskmanager] heartbeat.timeout`, by default.
const HEARTBEAT_TIMEOUT_MS: u64 = 3000;

/// For what follows from a loss: an event through two processes, on a machine that does other things too.
const REACTION_MS: u64 = 1000;

/// For processes that end themselves when theirs is gone.
const DEATH_TIMEOUT: Duration = Duration::from_secs(4);

#[test]
fn a_killed_task_manager_fails_the_job() {
    in_testbed(&on_hosts(3), |bed| {
        let (job, _id) = run_endless(bed, &[]);
        bed.kill("h2", bed.the("h2", Role::TaskManager).pid, Signal::KILL);
        let failed = job.wait().exits(5);
        let _why = failed.reports(&[
            "error[job.failed]",
            "--> on h2",
            "the TaskManager is lost: no sign of life for 3s",
        ]);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn a_terminated_task_manager_fails_the_job_at_once() {
    in_testbed(&on_hosts(3), |bed| {
        let (job, _id) = run_endless(bed, &[]);
        let started = Instant::now();
        bed.kill("h2", bed.the("h2", Role::TaskManager).pid, Signal::TERM);
        let failed = job.wait().exits(5);
        let _why = failed.reports(&[
            "error[job.failed]",
            "--> on h2",
            "the TaskManager ended: it was told to end on its host",
        ]);
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn a_dead_host_fails_the_job_within_three_seconds() {
    in_testbed(&on_hosts(3).alone(), |bed| {
        let id = run_endless_in_session(bed);
        let waiting = bed.start(["job", "wait", &id]);
        let at = now_ms();
        bed.power_off("h3");
        let failed = waiting.wait().exits(5);
        let _why = failed.reports(&[
            "error[job.failed]",
            "--> on h3",
            "the TaskManager is lost: no sign of life for 3s",
        ]);
        ended_in_time(bed, &id, at);
        let stopped = bed.flinkctl(["session", "stop", "etl"]).exits(10);
        let _unverified = stopped.reports(&[
            "error[session.leftovers]",
            "h3: ",
            "help: flinkctl cluster clean --orphans",
        ]);
        bed.nothing_left_on(&["h1", "h2"], Duration::from_secs(2), Traces::Archive);
        bed.power_on("h3");
        let _cleaned = bed.flinkctl(["cluster", "clean", "--yes"]).fine();
        bed.nothing_left(Duration::from_secs(2), Traces::Archive);
    });
}

#[test]
fn an_attached_job_on_a_dead_host_comes_to_its_end() {
    in_testbed(&on_hosts(3), |bed| {
        let (job, _id) = run_endless(bed, &[]);
        bed.power_off("h2");
        let failed = job.wait().exits(5);
        let _why = failed.reports(&[
            "error[job.failed]",
            "--> on h2",
            "the TaskManager is lost: no sign of life for 3s",
            "the job has ended; 1 TaskManager could not be verified to be gone",
            "h2: ",
            "help: flinkctl cluster clean --orphans",
        ]);
        bed.nothing_left_on(&["h1", "h3"], Duration::from_secs(2), Traces::None);
    });
}

#[test]
fn a_frozen_host_fails_the_job_and_ends_by_itself_when_it_thaws() {
    in_testbed(&on_hosts(3), |bed| {
        let id = run_endless_in_session(bed);
        let waiting = bed.start(["job", "wait", &id]);
        let at = now_ms();
        bed.freeze("h2");
        let failed = waiting.wait().exits(5);
        let _why = failed.reports(&[
            "error[job.failed]",
            "--> on h2",
            "the TaskManager is lost: no sign of life for 3s",
        ]);
        ended_in_time(bed, &id, at);
        bed.thaw("h2");
        wait_until(PATIENCE, "h2 has no worker of the failed job", || {
            bed.with_role("h2", Role::Worker).is_empty().then_some(())
        });
        let _stopped = bed.flinkctl(["session", "stop", "etl"]).fine();
        bed.nothing_left(PATIENCE, Traces::Archive);
    });
}

#[test]
fn a_partition_fails_the_job_and_both_sides_end() {
    in_testbed(&on_hosts(3), |bed| {
        let id = run_endless_in_session(bed);
        let waiting = bed.start(["job", "wait", &id]);
        let at = now_ms();
        bed.partition("h1", "h2");
        let failed = waiting.wait().exits(5);
        let _why = failed.reports(&[
            "error[job.failed]",
            "--> on h2",
            "the TaskManager is lost: no sign of life for 3s",
        ]);
        ended_in_time(bed, &id, at);
        // On its side of the partition nobody is left to tell it: it finds out itself.
        wait_until(PATIENCE, "h2 has ended what it had", || {
            let left = [Role::TaskManager, Role::Worker].map(|role| bed.with_role("h2", role).len());
            (left == [0, 0]).then_some(())
        });
        bed.heal();
        let _stopped = bed.flinkctl(["session", "stop", "etl"]).fine();
        bed.nothing_left(PATIENCE, Traces::Archive);
    });
}

#[test]
fn without_their_job_manager_the_others_end() {
    in_testbed(&on_hosts(3), |bed| {
        let (job, _id) = run_endless(bed, &[]);
        bed.kill("h1", bed.the("h1", Role::JobManager).pid, Signal::KILL);
        let at = Instant::now();
        let lost = job.wait().exits(3);
        let _why = lost.reports(&["error[", "JobManager", "help: "]);
        wait_until(
            DEATH_TIMEOUT + Duration::from_secs(5),
            "TaskManagers and workers have ended",
            || {
                let processes = bed.hosts().iter().flat_map(|host| bed.processes(host));
                processes
                    .into_iter()
                    .all(|process| process.role().is_none())
                    .then_some(())
            },
        );
        assert!(
            at.elapsed() > Duration::from_secs(1),
            "they gave it no time to come back"
        );
        // The JobManager could not clear up after itself.
        let cleaned = bed.flinkctl(["cluster", "clean", "--yes"]).fine();
        assert!(
            cleaned.stdout.contains("clusters/testbed/sessions/job-"),
            "{}",
            cleaned.everything()
        );
        bed.nothing_left(Duration::from_secs(2), Traces::None);
    });
}

#[test]
fn with_the_job_managers_host_dead_the_others_end() {
    in_testbed(&on_hosts(3), |bed| {
        let (job, _id) = run_endless(bed, &["-D", "ssh.keepalive=1s"]);
        bed.power_off("h1");
        let _lost = job.wait().exits(3).reports(&["error["]);
        bed.nothing_left_on(&["h2", "h3"], PATIENCE, Traces::None);
    });
}

/// Starts a job that runs until something happens to it, attached; returns when records flow.
fn run_endless(bed: &Bed, define: &[&str]) -> (Running, String) {
    let arguments = ["job", "run", "-D", "supervise.death_timeout=4s"];
    let program = [
        bed.misbehave(),
        "--".to_owned(),
        "--print".to_owned(),
        "--source-ms".to_owned(),
        "2".to_owned(),
    ];
    let all = arguments
        .iter()
        .chain(define)
        .map(|&word| word.to_owned())
        .chain(program);
    let mut job = bed.start(all);
    job.says("7,");
    let id = bed.json(&["job", "list"])["items"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    (job, id)
}

/// The same, detached and in the session `etl`, whose JobManager is there afterwards.
fn run_endless_in_session(bed: &Bed) -> String {
    let _up = bed
        .flinkctl(["session", "start", "etl", "-d", "-D", "supervise.death_timeout=4s"])
        .fine();
    let program = bed.misbehave();
    let run = [
        "job",
        "run",
        "--session",
        "etl",
        "-d",
        "-o",
        "name",
        &program,
        "--",
        "--source-ms",
        "2",
    ];
    let id = bed.flinkctl(run).fine().word();
    wait_until(PATIENCE, "records flow", || {
        (bed.json(&["job", "status", &id])["vertices"][1]["recordsIn"].as_u64() > Some(0)).then_some(())
    });
    id
}

/// The job's end came within the heartbeat timeout after `at`.
fn ended_in_time(bed: &Bed, id: &str, at: u64) {
    let job = bed.json(&["job", "status", id]);
    let end = iso_ms(job["endTime"].as_str().expect("a time"));
    let took = end.saturating_sub(at);
    assert!(took <= HEARTBEAT_TIMEOUT_MS + REACTION_MS, "{took} ms");
}

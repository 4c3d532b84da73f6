//! Sessions whose JobManager is dead, and what `cluster clean` makes of such things.

use std::time::Duration;

use flink_tests::{Bed, Role, Signal, Traces, in_testbed, on_hosts, wait_until};

use crate::detached::run_detached;

#[test]
fn stop_works_when_the_job_manager_is_dead() {
    in_testbed(&on_hosts(3), |bed| {
        session_without_job_manager(bed, "etl");
        let row = &bed.json(&["session", "list"])["items"][0];
        assert_eq!((&row["name"], &row["alive"]), (&"etl".into(), &false.into()));
        let again = bed.flinkctl(["session", "start", "etl", "-d"]).exits(8);
        let _why = again.reports(&["error[session.dead]", "help: flinkctl session stop etl"]);
        let _stopped = bed
            .flinkctl(["session", "stop", "etl"])
            .fine()
            .reports(&["Session etl is stopped"]);
        bed.nothing_left(Duration::from_secs(2), Traces::None);
    });
}

#[test]
fn clean_ends_orphans_and_spares_the_living() {
    in_testbed(&on_hosts(2), |bed| {
        session_without_job_manager(bed, "dead");
        let _up = bed.flinkctl(["session", "start", "alive", "-d"]).fine();
        let mut job = bed.start([
            "job",
            "run",
            "--session",
            "alive",
            &bed.misbehave(),
            "--",
            "--print",
            "--source-ms",
            "5",
        ]);
        job.says("7,");
        let table = bed.flinkctl(["cluster", "clean", "--orphans"]).exits(2);
        let _what = table.reports(&[
            "error[clean.unconfirmed]",
            "testbed/dead/taskmanager/h1",
            "help: add --yes",
        ]);
        let cleaned = bed
            .flinkctl(["cluster", "clean", "--orphans", "--yes", "-o", "json"])
            .fine()
            .json();
        let rows = cleaned["items"].as_array().expect("items");
        assert!(
            !rows.is_empty()
                && rows
                    .iter()
                    .all(|row| row["what"].as_str().is_some_and(|what| what.contains("/dead"))),
            "{cleaned}"
        );
        for host in bed.hosts() {
            assert_eq!(bed.with_role(host, Role::TaskManager).len(), 1, "{host}");
        }
        assert!(!job.has_ended());
        let _nothing = bed
            .flinkctl(["cluster", "clean", "--orphans", "--yes"])
            .fine()
            .reports(&["Nothing to clean"]);
        let _stopped = bed.flinkctl(["session", "stop", "alive"]).fine();
        let _canceled = job.wait().exits(6);
        let _cleaned = bed.flinkctl(["cluster", "clean", "--yes"]).fine();
        bed.nothing_left(Duration::from_secs(2), Traces::Archive);
        let _all = bed.flinkctl(["cluster", "clean", "--all", "--yes"]).fine();
        assert!(
            bed.hosts().iter().all(|host| bed.cached(host).len() <= 1),
            "the cache is gone, but for what cleaned it"
        );
    });
}

#[test]
fn clean_all_leaves_no_record_of_what_it_ended() {
    in_testbed(&on_hosts(2), |bed| {
        let id = run_detached(bed, &bed.misbehave(), &["--print", "--source-ms", "5"]);
        bed.wait_for_job(&id, "RUNNING");
        let _all = bed.flinkctl(["cluster", "clean", "--all", "--yes"]).fine();
        bed.nothing_left(Duration::from_secs(2), Traces::None);
        let _forgotten = bed.flinkctl(["job", "status", &id]).exits(9);
    });
}

/// A session with TaskManagers on all hosts and no JobManager. The TaskManagers would wait a minute for one.
fn session_without_job_manager(bed: &Bed, name: &str) {
    let _up = bed.flinkctl(["session", "start", name, "-d"]).fine();
    let _fine = bed
        .flinkctl(["job", "run", "--session", name, "-o", "name", &bed.wordcount()])
        .fine();
    bed.kill("h1", bed.the("h1", Role::JobManager).pid, Signal::KILL);
    wait_until(Duration::from_secs(5), "the JobManager is dead", || {
        bed.with_role("h1", Role::JobManager).is_empty().then_some(())
    });
    assert!(
        bed.hosts()
            .iter()
            .all(|host| bed.with_role(host, Role::TaskManager).len() == 1)
    );
}

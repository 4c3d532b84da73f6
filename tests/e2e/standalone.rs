//! Clusters that an operator starts by hand: JobManager and TaskManagers that nobody launched over SSH.

use std::fs;
use std::time::Duration;

use flink_tests::{Bed, PATIENCE, Role, Running, Signal, Traces, in_testbed, on_hosts, read_counts, wait_until};

#[test]
fn jobs_run_on_hand_started_processes() {
    in_testbed(&on_hosts(3), |bed| {
        let cluster = bed.shared_path("cluster.toml");
        fs::copy(std::env::var("FLINKCTL_CLUSTER_FILE").expect("an inventory"), &cluster).expect("a copy");
        let join = bed.shared_path("join.json");
        // Nothing is installed on the hosts: here the operator has put it on a shared disk.
        let flinkctl = bed.share_flinkctl();
        // No way by SSH from the JobManager's host to the others, and no key for one.
        let _cut = bed.exec("h1", &["sh", "-c", "rm -r /root/.ssh/id_ed25519*"]).fine();
        let jobmanager = bed.exec_command(
            "h1",
            &[
                &flinkctl,
                "jobmanager",
                "-c",
                &cluster,
                "--session",
                "hand",
                "--join-file",
                &join,
            ],
        );
        let jobmanager = jobmanager.limit(Duration::from_secs(100)).start();
        wait_until(PATIENCE, "the JobManager has written its join file", || {
            fs::metadata(&join).is_ok().then_some(())
        });
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&join).expect("a join file").permissions());
        assert_eq!(mode & 0o777, 0o600);
        let managers: Vec<Running> = ["h2", "h3"]
            .map(|host| task_manager(bed, host, &flinkctl, &join))
            .into();
        wait_until(PATIENCE, "two TaskManagers have joined", || {
            (bed.json(&["session", "status", "hand"])["taskManagers"] == 2).then_some(())
        });
        let run = bed
            .flinkctl(["job", "run", "--session", "hand", "-p", "4", &bed.wordcount()])
            .fine();
        assert_eq!(read_counts(&run.stdout).len(), 47);
        keeps_a_detached_job_to_itself(bed);
        is_short_of_slots(bed);
        let _stopped = bed.flinkctl(["session", "stop", "hand"]).fine();
        let _ended = jobmanager.wait().fine();
        for manager in managers {
            let _ended = manager.wait().fine();
        }
        assert!(fs::metadata(&join).is_err(), "the join file is of no use any more");
        bed.nothing_left(Duration::from_secs(2), Traces::Archive);
    });
}

/// The record and the output of a detached job are nobody else's business, whatever the umask was.
fn keeps_a_detached_job_to_itself(bed: &Bed) {
    let run = ["job", "run", "--session", "hand", "-d", "-o", "name", &bed.wordcount()];
    let id = bed.flinkctl(run).fine().word();
    let _finished = bed.flinkctl(["job", "wait", &id]).fine();
    let open = "umask; find /root/.local/share/flinkctl -perm /077";
    for host in ["h1", "h2"] {
        assert_eq!(bed.exec(host, &["sh", "-c", open]).fine().word(), "0022");
    }
}

fn is_short_of_slots(bed: &Bed) {
    let run = ["job", "run", "--session", "hand", "-p", "5", "--slot-timeout", "1s"];
    let short = bed.flinkctl(run.iter().copied().chain([bed.wordcount().as_str()]));
    let _why = short.exits(4).reports(&[
        "error[slots.insufficient]",
        "needs 5 slots",
        "help: -p 4, or start more TaskManagers: flinkctl taskmanager --join FILE",
    ]);
}

#[test]
fn service_managers_end_them_with_sigterm() {
    in_testbed(&on_hosts(1), |bed| {
        let flinkctl = bed.share_flinkctl();
        let join = bed.shared_path("join.json");
        let cluster = bed.shared_path("cluster.toml");
        fs::copy(std::env::var("FLINKCTL_CLUSTER_FILE").expect("an inventory"), &cluster).expect("a copy");
        let jobmanager = bed
            .exec_command("h1", &[&flinkctl, "jobmanager", "-c", &cluster, "--join-file", &join])
            .start();
        wait_until(PATIENCE, "the JobManager has written its join file", || {
            fs::metadata(&join).is_ok().then_some(())
        });
        let manager = task_manager(bed, "h1", &flinkctl, &join);
        wait_until(PATIENCE, "the TaskManager has joined", || {
            (bed.json(&["session", "status", "standalone"])["taskManagers"] == 1).then_some(())
        });
        bed.kill("h1", bed.the("h1", Role::TaskManager).pid, Signal::TERM);
        let _ended = manager.wait().fine();
        bed.kill("h1", bed.the("h1", Role::JobManager).pid, Signal::TERM);
        let _ended = jobmanager.wait().fine();
        bed.nothing_left(Duration::from_secs(2), Traces::None);
    });
}

fn task_manager(bed: &Bed, host: &str, flinkctl: &str, join: &str) -> Running {
    let command = bed.exec_command(host, &[flinkctl, "taskmanager", "--join", join, "--slots", "2"]);
    command.limit(Duration::from_secs(100)).start()
}

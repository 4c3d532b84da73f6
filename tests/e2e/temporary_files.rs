//! Temporary files of jobs: where they are, and that they go whatever happens to the processes.

use std::time::Duration;

use flink_tests::{Bed, PATIENCE, Role, Running, Signal, Traces, in_testbed, on_hosts, wait_until};

#[test]
fn they_go_with_whatever_ends() {
    in_testbed(&on_hosts(2), |bed| {
        let job = run_endless(bed);
        assert_eq!(tmp_dirs(bed, "/var/tmp").len(), 2);
        bed.kill("h2", bed.the("h2", Role::Worker).pid, Signal::KILL);
        let _failed = job.wait().exits(5);
        bed.nothing_left(PATIENCE, Traces::None);

        // A killed TaskManager removes nothing; its JobManager does.
        let job = run_endless(bed);
        bed.kill("h2", bed.the("h2", Role::TaskManager).pid, Signal::KILL);
        let _failed = job.wait().exits(5);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn they_are_swept_when_everything_was_killed() {
    in_testbed(&on_hosts(2), |bed| {
        for tmp in ["/var/tmp", "~/.local/share"] {
            let place = format!("dirs.tmp={tmp}");
            let _up = bed.flinkctl(["session", "start", "etl", "-d", "-D", &place]).fine();
            let run = ["job", "run", "--session", "etl", "-d", "-o", "name", &bed.misbehave()];
            let id = bed
                .flinkctl([&run[..], &["--", "--source-ms", "5"]].concat())
                .fine()
                .word();
            bed.wait_for_job(&id, "RUNNING");
            let path = tmp.replace('~', "/root");
            let (of_job_manager, of_task_managers) = (bed.the("h1", Role::JobManager).pid, tmp_dirs(bed, &path));
            assert!(
                of_task_managers.len() == 2
                    && of_task_managers
                        .iter()
                        .all(|dir| dir.contains("/flinkctl-testbed.etl.")),
                "{of_task_managers:?}"
            );
            bed.kill("h1", of_job_manager, Signal::KILL);
            for host in bed.hosts() {
                bed.kill(host, bed.the(host, Role::TaskManager).pid, Signal::KILL);
            }
            assert_eq!(tmp_dirs(bed, &path).len(), 2, "nobody was left to remove them");
            let clean = ["cluster", "clean"];
            let file = std::env::var("FLINKCTL_CLUSTER_FILE").expect("an inventory");
            let text = std::fs::read_to_string(file).expect("an inventory");
            let inventory = bed.shared_path("cluster.toml");
            std::fs::write(&inventory, format!("{text}\n[dirs]\ntmp = \"{tmp}\"\n")).expect("a file");
            let with_file = |more: &[&str]| bed.flinkctl([&["-c", &inventory], &clean[..], more].concat());
            let _shown = with_file(&[])
                .exits(2)
                .reports(&["error[clean.unconfirmed]", &format!("{tmp}/flinkctl-testbed.etl.")]);
            let _cleaned = with_file(&["--yes"]).fine();
            bed.nothing_left(Duration::from_secs(2), Traces::None);
        }
    });
}

fn run_endless(bed: &Bed) -> Running {
    let mut job = bed.start(["job", "run", &bed.misbehave(), "--", "--print", "--source-ms", "2"]);
    job.says("7,");
    wait_until(PATIENCE, "a worker on each host", || {
        let has_one = |host: &String| bed.with_role(host, Role::Worker).len() == 1;
        bed.hosts().iter().all(has_one).then_some(())
    });
    job
}

/// The directories that are there for temporary files; each worker has its TMPDIR in that of its host.
fn tmp_dirs(bed: &Bed, tmp: &str) -> Vec<String> {
    let mut found = Vec::new();
    for host in bed.hosts() {
        let list = format!("ls -d {tmp}/flinkctl-* 2>/dev/null || true");
        let dirs = bed.exec(host, &["sh", "-c", &list]).fine().stdout;
        for worker in bed.with_role(host, Role::Worker) {
            let show = format!("tr '\\0' '\\n' < /proc/{}/environ | sed -n 's/^TMPDIR=//p'", worker.pid);
            let variable = bed.exec(host, &["sh", "-c", &show]).fine().word();
            assert!(
                dirs.lines().any(|dir| variable.starts_with(&format!("{dir}/worker-"))),
                "{variable} is not in {dirs}"
            );
        }
        found.extend(dirs.lines().map(str::to_owned));
    }
    found
}

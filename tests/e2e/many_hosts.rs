//! Forty hosts, as Debian's sshd comes: at most ten logins at once, ten sessions per connection.

use std::collections::BTreeSet;
use std::time::Duration;

use flink_tests::{Bed, Traces, in_testbed, on_hosts};

const HOSTS: u32 = 40;

#[test]
fn forty_hosts_start() {
    in_testbed(&on_hosts(HOSTS).alone(), |bed| {
        run_on_all(bed);
        bed.nothing_left(Duration::from_secs(5), Traces::None);
    });
}

#[test]
fn forty_hosts_start_behind_a_jump_host() {
    in_testbed(&on_hosts(HOSTS).behind_a_jump_host().alone(), |bed| {
        run_on_all(bed);
        bed.nothing_left(Duration::from_secs(5), Traces::None);
        // All of them at once through the one.
        let names = bed.flinkctl(["cluster", "exec", "--", "hostname"]).fine();
        assert_eq!(names.stdout.lines().count(), HOSTS as usize, "{}", names.everything());
        bed.nothing_left(Duration::from_secs(5), Traces::None);
    });
}

fn run_on_all(bed: &Bed) {
    let program = bed.misbehave();
    let arguments = ["--records", "100", "--mode", "fine"];
    let run = [
        "job",
        "run",
        "-p",
        "40",
        "-D",
        "defaults.slots=1",
        "-o",
        "json",
        &program,
        "--",
    ];
    let run = bed
        .command([&run[..], &arguments].concat())
        .limit(Duration::from_secs(90))
        .run()
        .fine();
    let job = run.json();
    let subtasks = job["vertices"][0]["subtasks"].as_array().expect("subtasks").iter();
    let hosts: BTreeSet<&str> = subtasks.filter_map(|subtask| subtask["host"].as_str()).collect();
    assert_eq!(hosts.len(), HOSTS as usize, "one subtask on each host");
    assert_eq!(job["vertices"][1]["recordsIn"], u64::from(HOSTS) * 100);
}

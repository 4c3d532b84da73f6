//! Disks that are full when something has to be stored on them.

use flink_tests::{Bed, Output, PATIENCE, Traces, in_testbed, on_hosts};

use super::{failed, on_host, refused, testbed};

/// Room for directories and logs, and for no program.
const LITTLE: &str = "1M";

fn run(bed: &Bed) -> Output {
    bed.flinkctl(["job", "run", &bed.wordcount()])
}

/// Nothing was stored on a host, or only so many files.
fn stored(bed: &Bed, host: &str, files: usize) {
    let listed = on_host(bed, host, "ls -A /root/.local/share/flinkctl/blobs/sha256");
    assert_eq!(listed.stdout.lines().count(), files, "{}", listed.everything());
}

#[test]
fn of_the_jobmanagers_host() {
    in_testbed(&on_hosts(1), |bed| {
        testbed(&["limit-disk", "--free", LITTLE, "h1"]);
        let says = [
            "h1 cannot run flinkctl",
            "h1: no space left for the upload",
            "No space left on device",
            "flinkctl cluster check -H h1",
        ];
        refused(run(bed), 3, "host.disk-full", &says);
        stored(bed, "h1", 0);
        testbed(&["limit-disk", "h1", "0"]);
        // Now flinkctl is there, and the job program is not.
        bed.flinkctl(["session", "list"]).fine();
        testbed(&["limit-disk", "--free", LITTLE, "h1"]);
        let says = ["the disk of h1 is full", "no space left", "[dirs] base"];
        refused(run(bed), 3, "host.disk-full", &says);
        stored(bed, "h1", 1);
        bed.nothing_left(PATIENCE, Traces::None);
        testbed(&["limit-disk", "h1", "0"]);
        let _output = run(bed).fine();
    });
}

#[test]
fn of_a_worker() {
    in_testbed(&on_hosts(2), |bed| {
        testbed(&["limit-disk", "--free", LITTLE, "h2"]);
        let says = [
            "needs 4 slots, the cluster can offer 2: 1 host failed",
            "h2: no space left for the upload",
            "No space left on device",
        ];
        refused(run(bed), 3, "host.disk-full", &says);
        stored(bed, "h2", 0);
        bed.nothing_left(PATIENCE, Traces::None);
        testbed(&["limit-disk", "h2", "0"]);
        bed.flinkctl(["cluster", "check", "-H", "h2"]).fine();
        testbed(&["limit-disk", "--free", LITTLE, "h2"]);
        let says = [
            "--> on h2",
            "no space left on the disk while writing /root/.local/share/flinkctl",
        ];
        failed(run(bed), 5, "job.failed", &says);
        stored(bed, "h2", 1);
        bed.nothing_left(PATIENCE, Traces::None);
        testbed(&["limit-disk", "h2", "0"]);
        let _output = run(bed).fine();
    });
}

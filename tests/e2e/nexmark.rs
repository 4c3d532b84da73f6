//! The queries of Nexmark on three hosts: the answers that one process gives, whatever the parallelism.
//!
//! That one process gives the right answers is tested where the example is: `cargo test -p flink --test nexmark`.

use std::{fs, path::Path};

use flink_tests::{Bed, PATIENCE, Traces, in_testbed, on_hosts};

/// Query 12 is left out: it goes by the clock, and answers something else each time.
const QUERIES: [&str; 11] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "11", "13"];

/// Half a minute of event time, in some disorder.
const EVENTS: [&str; 6] = ["--events", "20000", "--rate", "500", "--out-of-order", "50"];

#[test]
fn nexmark_answers_the_same_on_three_hosts_at_every_parallelism() {
    in_testbed(&on_hosts(3), |bed| {
        let _started = bed.flinkctl(["session", "start", "nexmark", "-d"]).fine();
        for query in QUERIES {
            let expected = answer(bed, query, "1", &["--local"]);
            assert!(!expected.is_empty(), "query {query} has no answer");
            for parallelism in ["1", "2", "3"] {
                let found = answer(bed, query, parallelism, &["--session", "nexmark"]);
                assert!(
                    found == expected,
                    "query {query} answers something else at parallelism {parallelism}"
                );
            }
        }
        let _stopped = bed.flinkctl(["session", "stop", "nexmark"]).fine();
        bed.nothing_left(PATIENCE, Traces::Archive);
    });
}

/// The answer of a query, sorted.
fn answer(bed: &Bed, query: &str, parallelism: &str, place: &[&str]) -> Vec<String> {
    let output = bed.shared().join("answer");
    let (nexmark, directory) = (bed.nexmark(), bed.shared_path("answer"));
    let job = [&["job", "run", "-p", parallelism], place, &[&nexmark, "--"]].concat();
    let arguments = [&["--query", query, "--output", &directory], &EVENTS[..]].concat();
    let _ran = bed.flinkctl([job, arguments].concat()).fine();
    let lines = lines_in(&output);
    fs::remove_dir_all(&output).expect("a directory to remove");
    lines
}

fn lines_in(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(directory).expect("an output directory") {
        let text = fs::read_to_string(entry.expect("a file").path()).expect("text");
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort_unstable();
    lines
}

//! The queries of Nexmark on three hosts: the answers that one process gives, whatever the parallelism.
//!
//! That one process gives the right answers is tested where the example is: `cargo test -p flink --test nexmark`.

use std::{fs, path::Path};

use flink_tests::{Bed, PATIENCE, Traces, in_testbed, on_hosts};

/// Query 12 has a test of its own: it goes by the clock, and answers something else each time.
const QUERIES: [&str; 11] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "11", "13"];

/// Those that go by event time.
const TIMED: [&str; 6] = ["4", "5", "6", "7", "8", "11"];

/// Half a minute of event time, in some disorder.
const EVENTS: [&str; 6] = ["--events", "20000", "--rate", "500", "--out-of-order", "50"];

#[test]
fn nexmark_answers_the_same_on_three_hosts_at_every_parallelism() {
    in_testbed(&on_hosts(3), |bed| {
        let _started = bed.flinkctl(["session", "start", "nexmark", "-d"]).fine();
        for query in QUERIES {
            let in_time = same_answers(bed, query, &EVENTS);
            if TIMED.contains(&query) {
                let late = same_answers(bed, query, &[&EVENTS[..], &["--late", "3"]].concat());
                assert!(late != in_time, "query {query}: no event was late");
            }
        }
        let _stopped = bed.flinkctl(["session", "stop", "nexmark"]).fine();
        bed.nothing_left(PATIENCE, Traces::Archive);
    });
}

#[test]
fn nexmark_counts_by_the_clock() {
    in_testbed(&on_hosts(2), |bed| {
        // More than one window of 10 s.
        let paced = ["--events", "24000", "--pace", "2000"];
        let counts = answer(bed, "12", &paced, "2", &["--per-job"]);
        let bids = |line: &String| line.split(',').nth(1)?.parse::<u64>().ok();
        let counted: u64 = counts.iter().map(|line| bids(line).expect("a number of bids")).sum();
        // Bids of windows that were open at the end are not among them. Of 50 events 46 are bids.
        assert!((1..=24_000 * 46 / 50).contains(&counted), "{counted} bids");
        bed.nothing_left(PATIENCE, Traces::Archive);
    });
}

/// The answer of a query, which is the same everywhere.
fn same_answers(bed: &Bed, query: &str, events: &[&str]) -> Vec<String> {
    let expected = answer(bed, query, events, "1", &["--local"]);
    assert!(!expected.is_empty(), "query {query} has no answer");
    for parallelism in ["1", "2", "3"] {
        let found = answer(bed, query, events, parallelism, &["--session", "nexmark"]);
        assert!(
            found == expected,
            "query {query} with {events:?} answers something else at parallelism {parallelism}"
        );
    }
    expected
}

/// The answer of a query, sorted.
fn answer(bed: &Bed, query: &str, events: &[&str], parallelism: &str, place: &[&str]) -> Vec<String> {
    let output = bed.shared().join("answer");
    let (nexmark, directory) = (bed.nexmark(), bed.shared_path("answer"));
    let job = [&["job", "run", "-p", parallelism], place, &[&nexmark, "--"]].concat();
    let arguments = [&["--query", query, "--output", &directory], events].concat();
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

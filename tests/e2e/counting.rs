//! Jobs that do what they should: the right answer, over the network, and nothing left.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use flink_tests::{Bed, PATIENCE, Traces, count_words, generate_text, in_testbed, on_hosts, read_counts};
use serde_json::Value;

/// Large enough for every subtask to read some, and for real traffic.
const TEXT_SIZE: usize = 20 << 20;

#[test]
fn a_text_is_counted_on_three_hosts() {
    in_testbed(&on_hosts(3), |bed| {
        let input = bed.shared().join("text");
        generate_text(&input, TEXT_SIZE).expect("a text");
        let output = bed.shared().join("counts");
        let args = [
            "--input",
            &bed.shared_path("text"),
            "--output",
            &bed.shared_path("counts"),
        ];
        let run = bed
            .flinkctl([&["job", "run", "-o", "json", &bed.wordcount(), "--"][..], &args].concat())
            .fine();
        bed.nothing_left(PATIENCE, Traces::None);
        assert_eq!(counts_in(&output), count_words(&input).expect("a count"));
        let job = run.json();
        assert_eq!(job["status"], "FINISHED");
        every_pair_of_hosts_exchanged(bed, &job);
    });
}

#[test]
fn without_arguments_counts_are_printed() {
    in_testbed(&on_hosts(3).or_sshds(), |bed| {
        let run = bed.flinkctl(["job", "run", "--per-job", &bed.wordcount()]).fine();
        let counts = read_counts(&run.stdout);
        assert_eq!((counts["count"], counts["a"], counts["river"]), (5, 8, 3));
        assert_eq!((counts.len(), counts.values().sum()), (47, 80));
    });
}

/// All lines of all parts.
fn counts_in(directory: &Path) -> HashMap<String, u64> {
    let mut text = String::new();
    for entry in fs::read_dir(directory).expect("an output directory") {
        let path = entry.expect("a file").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        assert!(name.starts_with("part-"), "{name} is no part");
        text.push_str(&fs::read_to_string(&path).expect("text"));
    }
    read_counts(&text)
}

/// Between any two hosts bytes went over QUIC; in all, what was sent was received.
fn every_pair_of_hosts_exchanged(bed: &Bed, job: &Value) {
    let channels = job["channels"].as_array().expect("channels");
    let text = |channel: &Value, key: &str| channel[key].as_str().expect("a text").to_owned();
    let mut pairs = BTreeSet::new();
    for channel in channels {
        let (from, to) = (text(channel, "sourceHost"), text(channel, "targetHost"));
        let expected = if from == to { "in-process" } else { "quic" };
        assert_eq!(text(channel, "transport"), expected, "{channel}");
        if from != to && channel["bytes"].as_u64() > Some(0) {
            pairs.insert((from, to));
        }
    }
    let hosts = bed.hosts().len();
    assert_eq!(pairs.len(), hosts * (hosts - 1), "{pairs:?}");
    let records: u64 = channels.iter().filter_map(|channel| channel["records"].as_u64()).sum();
    let vertices = job["vertices"].as_array().expect("vertices");
    assert_eq!(Some(records), vertices[1]["recordsIn"].as_u64());
}

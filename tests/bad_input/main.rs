//! What goes wrong because of what an operator says or has: each case is a clear error with the right exit code, and leaves nothing
//! behind.

mod config;
mod disks;
mod jobs;
mod logins;
mod programs;
mod reach;
mod sessions;

use std::path::PathBuf;

use flink_tests::{Bed, Command, Output};

/// Checks an error: its exit code, its form (code, what, and what to do), and that it says these things.
#[track_caller]
fn refused(output: Output, exit: i32, code: &str, says: &[&str]) -> Output {
    let output = failed(output, exit, code, says);
    assert!(output.stderr.contains("\nhelp: "), "no help\n{}", output.everything());
    output
}

/// The same for failures that nothing general helps against: those of the job's own code.
#[track_caller]
fn failed(output: Output, exit: i32, code: &str, says: &[&str]) -> Output {
    let output = output.exits(exit).reports(&[&format!("error[{code}]: ")]).reports(says);
    for word in ["panicked", "error[internal]", "RUST_BACKTRACE"] {
        assert!(!output.stderr.contains(word), "{}", output.everything());
    }
    output
}

/// A file that all hosts see and that counts as nobody's leftover.
fn scratch(bed: &Bed, name: &str) -> PathBuf {
    bed.shared().join(name)
}

fn write(bed: &Bed, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = scratch(bed, name);
    std::fs::write(&path, content).expect("a file");
    path.display().to_string()
}

/// A copy of the inventory in which `from` is `to`.
fn inventory_with(bed: &Bed, from: &str, to: &str) -> String {
    let path = std::env::var("FLINKCTL_CLUSTER_FILE").expect("an inventory");
    let text = std::fs::read_to_string(path).expect("an inventory");
    assert!(text.contains(from), "`{from}` is not in\n{text}");
    write(bed, "cluster.toml", text.replacen(from, to, 1))
}

/// A sub-command of the test bed.
fn testbed(args: &[&str]) {
    let program = std::env::var_os("TESTBED").expect("a test bed");
    let _output = Command::new(program).args(args).run().fine();
}

/// Runs a shell script on a host.
fn on_host(bed: &Bed, host: &str, script: &str) -> Output {
    bed.exec(host, &["bash", "-c", script]).fine()
}

/// The first word of the answer: a job's id, say.
fn word_of(bed: &Bed, args: &[&str]) -> String {
    bed.flinkctl(args).fine().word()
}

//! What the hosts look like when a test fails: all processes, and the ends of all logs.

use std::fs;
use std::path::Path;

use crate::bed::Bed;

/// How much of each log is shown, bytes.
const TAIL: usize = 4000;

/// Prints the evidence when it is dropped by a panic.
pub(crate) struct UnlessFine<'a>(pub(crate) &'a Bed);

impl Drop for UnlessFine<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for host in self.0.hosts() {
            // Whatever goes wrong here must not hide why we are here.
            let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| show(self.0, host)));
            if looked.is_err() {
                say(&format!("== {host} cannot be looked at"));
            }
        }
    }
}

fn show(bed: &Bed, host: &str) {
    say(&format!("== {host}"));
    for process in bed.processes(host) {
        say(&format!(
            "{:6} {:6} {} {}",
            process.pid,
            process.ppid,
            process.state,
            process.args.join(" ")
        ));
    }
    logs(
        &bed.directory()
            .join("disks")
            .join(host)
            .join("root/.local/share/flinkctl/clusters"),
    );
}

fn logs(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            logs(&path);
        } else if path.extension().is_some_and(|extension| extension == "log") {
            let text = fs::read(&path).unwrap_or_default();
            let tail = &text[text.len().saturating_sub(TAIL)..];
            say(&format!("-- {}\n{}", path.display(), String::from_utf8_lossy(tail)));
        }
    }
}

/// Prints a line of the report.
#[expect(
    clippy::print_stdout,
    reason = "the test harness shows it when the test fails, and with `--nocapture`"
)]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

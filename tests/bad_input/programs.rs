//! Files that are no job programs, or not for these hosts.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flink_tests::{Bed, Output, PATIENCE, Traces, in_testbed, on_hosts};
use serde_json::Value;

use super::{refused, scratch, write};

/// Where an ELF file says which machine it is for, and the number of aarch64.
const MACHINE: usize = 18;
const AARCH64: u8 = 183;

/// What a job program's file holds, followed by the number of its protocol.
const MARKER: &[u8] = b"flink-job-program protocol=";

fn run(bed: &Bed, program: &str) -> Output {
    bed.flinkctl(["job", "run", program])
}

/// A copy of `wordcount`, changed.
fn patched(bed: &Bed, name: &str, patch: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = std::fs::read(bed.wordcount()).expect("wordcount");
    patch(&mut bytes);
    let path = write(bed, name, bytes);
    permit(Path::new(&path), 0o755);
    path
}

fn permit(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("permissions");
}

#[test]
fn files_that_are_no_job_programs() {
    in_testbed(&on_hosts(1).or_sshds(), |bed| {
        refused(
            run(bed, "/no/such/program"),
            9,
            "job.file",
            &["--> /no/such/program", "No such file or directory"],
        );
        let output = run(bed, "/bin/true");
        refused(
            output,
            2,
            "job.not-a-program",
            &["does not call flink::run", "bin/true"],
        );
        let script = write(bed, "script.sh", "#!/bin/sh\necho hello\n");
        let output = run(bed, &script);
        refused(
            output,
            2,
            "job.not-a-program",
            &["it is a script (#!/bin/sh)", "script.sh"],
        );
        let empty = write(bed, "empty", "");
        refused(run(bed, &empty), 2, "job.not-a-program", &["the file is empty"]);
        let text = write(bed, "text", "hello\n");
        refused(
            run(bed, &text),
            2,
            "job.not-a-program",
            &["not an executable for Linux"],
        );
        let shy = patched(bed, "shy", |_| ());
        permit(Path::new(&shy), 0o644);
        let output = run(bed, &shy);
        refused(output, 2, "job.not-a-program", &["0644", &format!("chmod +x {shy}")]);
        let output = bed.flinkctl(["-o", "json", "job", "run", &empty]).exits(2);
        let error: Value = serde_json::from_str(&output.stderr).expect("JSON");
        assert_eq!(error["code"], "job.not-a-program");
        assert_eq!(error["where"], Value::from(vec![empty]));
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn directories_that_are_no_packages() {
    in_testbed(&on_hosts(1).or_sshds(), |bed| {
        let directory = scratch(bed, "no package");
        std::fs::create_dir(&directory).expect("a directory");
        let output = run(bed, &directory.display().to_string());
        refused(output, 2, "job.build", &["it has no Cargo.toml", "no package"]);
        // A package in the directory above is not what was named.
        std::fs::write(bed.shared().join("Cargo.toml"), "[package]\nname = \"above\"\n").expect("a file");
        let output = run(bed, &directory.display().to_string());
        refused(output, 2, "job.build", &["it has no Cargo.toml"]);
    });
}

#[test]
fn a_program_for_another_machine() {
    in_testbed(&on_hosts(1).or_sshds(), |bed| {
        let foreign = patched(bed, "foreign", |bytes| bytes[MACHINE] = AARCH64);
        let says = [
            "for aarch64",
            "its hosts are x86_64",
            "--> ",
            "foreign",
            "--target x86_64",
        ];
        refused(run(bed, &foreign), 2, "binary.incompatible", &says);
        let output = bed.flinkctl(["job", "plan", &foreign]);
        refused(output, 2, "binary.incompatible", &says);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn a_program_of_another_version() {
    in_testbed(&on_hosts(1).or_sshds(), |bed| {
        let old = patched(bed, "old", |bytes| {
            let at = bytes.windows(MARKER.len()).position(|bytes| bytes == MARKER);
            bytes[at.expect("a marker") + MARKER.len()] = b'9';
        });
        refused(
            run(bed, &old),
            2,
            "job.protocol",
            &[
                "was built against protocol 9, this flinkctl speaks",
                "same version",
                "old",
            ],
        );
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn a_program_that_refuses_its_arguments_speaks_for_itself() {
    in_testbed(&on_hosts(1).or_sshds(), |bed| {
        let wordcount = bed.wordcount();
        let output = bed.flinkctl(["job", "run", &wordcount, "--", "--inptu", "x"]).exits(2);
        let output = output.reports(&["unexpected argument '--inptu'", "Usage: wordcount"]);
        assert!(!output.stderr.contains("error["), "{}", output.everything());
        let output = bed.flinkctl(["job", "run", &wordcount, "--", "--help"]).fine();
        assert!(output.stdout.contains("Usage: wordcount"), "{}", output.everything());
        // No host is needed for that.
        bed.command(["job", "run", "-D", "ssh.port=1", &wordcount, "--", "--inptu"])
            .run()
            .exits(2)
            .reports(&["Usage: wordcount"]);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn names_may_hold_spaces_and_quotes() {
    in_testbed(&on_hosts(2), |bed| {
        let directory = scratch(bed, "it's a \"dir\" of $HOME");
        std::fs::create_dir_all(directory.join("in")).expect("a directory");
        std::fs::write(directory.join("in/a 'text'"), "one two one\n").expect("a text");
        let program = directory.join("count; true");
        std::fs::copy(bed.wordcount(), &program).expect("a copy");
        let path = |name: &str| directory.join(name).display().to_string();
        let (program, input, output) = (program.display().to_string(), path("in"), path("out"));
        bed.flinkctl(["job", "run", &program, "--", "--input", &input, "--output", &output])
            .fine();
        let mut lines = Vec::new();
        for part in std::fs::read_dir(&output).expect("parts") {
            let text = std::fs::read_to_string(part.expect("a part").path()).expect("text");
            lines.extend(text.lines().map(str::to_owned));
        }
        lines.sort();
        assert_eq!(lines, ["one,2", "two,1"]);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

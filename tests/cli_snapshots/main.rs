//! The outputs of the whole `flinkctl` as an operator sees them, without what differs from run to run.

use flink_tests::{Bed, Output, in_testbed, on_hosts};
use insta::Settings;

/// What differs from run to run or from machine to machine, and what stands for it. Columns are as wide as their widest cell, so
/// wider gaps are all alike.
const FILTERS: [(&str, &str); 14] = [
    (r"[0-9a-f]{32}", "[id]"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "[time]"),
    (r"\b\d+(\.\d+)?(ms|s|m)\b", "[duration]"),
    (r#""(durationMs|pid)": \d+"#, r#""$1": [number]"#),
    (r"10\.77\.0\.1:\d{5}", "10.77.0.1:[port]"),
    (r"pid \d+", "pid [pid]"),
    (r"(?m)(\S) {3,}", "$1  "),
    (r"(?m) +$", ""),
    (r"(?m)^(\[id\]  h\d|.*\[port\])  \d+", "$1  [pid]"),
    (r"/\S*/(shared|examples)/", "[$1]/"),
    (r"(?m)^(h\d  ssh  PASS  ).*$", "$1[system]"),
    (r"-?\d+ ms from", "[number] ms from"),
    (r"\d+(\.\d)?[KMGT]iB free", "[size] free"),
    (
        r"(?m)^(h\d  (open-files|udp-buffers)  ).*$",
        "$1[as the machine has it]",
    ),
];

fn filtered(check: impl FnOnce()) {
    let mut settings = Settings::clone_current();
    for (pattern, replacement) in FILTERS {
        settings.add_filter(pattern, replacement);
    }
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(check);
}

/// Both outputs and the exit code.
fn whole(output: &Output) -> String {
    let Output {
        code, stdout, stderr, ..
    } = output;
    let code = code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
    let mut text = stdout.clone();
    if !stderr.is_empty() {
        text.push_str(&format!("---- stderr\n{stderr}"));
    }
    format!("{text}---- exit code {code}\n")
}

fn show(bed: &Bed, name: &str, args: &[&str]) {
    let text = whole(&bed.flinkctl(args));
    filtered(|| insta::assert_snapshot!(name, text));
}

/// A text for one subtask: how much of it goes where does not depend on chance.
fn text(bed: &Bed) -> String {
    std::fs::write(bed.shared().join("text"), "word word\nword\n").expect("a file");
    bed.shared_path("text")
}

#[test]
fn an_empty_cluster() {
    in_testbed(&on_hosts(2), |bed| {
        show(bed, "cluster_hosts", &["cluster", "hosts"]);
        show(bed, "cluster_hosts_wide", &["cluster", "hosts", "-o", "wide"]);
        show(bed, "cluster_hosts_json", &["cluster", "hosts", "-o", "json"]);
        show(bed, "job_list_empty", &["job", "list"]);
        show(bed, "session_list_empty", &["session", "list"]);
        show(bed, "session_list_empty_json", &["session", "list", "-o", "json"]);
        show(bed, "cluster_check", &["cluster", "check", "--quiet"]);
    });
}

#[test]
fn a_plan() {
    in_testbed(&on_hosts(1).or_sshds(), |bed| {
        let (program, input) = (bed.wordcount(), text(bed));
        let with = |options: &[&'static str]| {
            let args = ["job", "plan", "-p", "2", &program];
            bed.flinkctl([options, &args, &["--", "--input", &input]].concat())
        };
        filtered(|| insta::assert_snapshot!("job_plan", whole(&with(&[]))));
        filtered(|| insta::assert_snapshot!("job_plan_json", whole(&with(&["-o", "json"]))));
    });
}

#[test]
fn a_session_with_a_job() {
    in_testbed(&on_hosts(1), |bed| {
        let (program, input) = (bed.wordcount(), text(bed));
        show(bed, "session_start", &["session", "start", "etl", "-d", "--quiet"]);
        let run = [
            "job",
            "run",
            "--session",
            "etl",
            "-d",
            "-p",
            "1",
            "-o",
            "name",
            &program,
        ];
        let id = bed
            .flinkctl([&run[..], &["--", "--input", &input]].concat())
            .fine()
            .word();
        let _output = bed.flinkctl(["job", "wait", &id]).fine();
        show(bed, "session_list", &["session", "list"]);
        show(bed, "session_list_wide", &["session", "list", "-o", "wide"]);
        show(bed, "session_status", &["session", "status", "etl"]);
        show(bed, "session_status_json", &["session", "status", "etl", "-o", "json"]);
        show(bed, "job_list_all", &["job", "list", "-a"]);
        show(bed, "job_list_all_json", &["job", "list", "-a", "-o", "json"]);
        show(bed, "job_status", &["job", "status", &id]);
        show(bed, "job_status_json", &["job", "status", &id, "-o", "json"]);
        show(bed, "job_logs", &["job", "logs", &id]);
        show(bed, "session_exists", &["session", "start", "etl", "-d", "--quiet"]);
        show(bed, "session_stop", &["session", "stop", "etl", "--quiet"]);
    });
}

#[test]
fn errors() {
    in_testbed(&on_hosts(2), |bed| {
        let program = bed.wordcount();
        let run = |more: &[&'static str]| [&["job", "run", "--quiet"], more, &[&program]].concat();
        show(bed, "error_slots", &run(&["-p", "100"]));
        show(bed, "error_slots_json", &run(&["-p", "100", "-o", "json"]));
        show(bed, "error_override", &run(&["-D", "taskmanager.slot=1"]));
        show(bed, "error_refused", &run(&["-D", "ssh.port=2222"]));
        show(bed, "error_refused_json", &run(&["-D", "ssh.port=2222", "-o", "json"]));
        show(bed, "error_no_program", &["job", "run", "/bin/true"]);
        show(bed, "error_no_job", &["job", "status", "0000"]);
        show(bed, "error_no_session", &["session", "status", "nope"]);
        std::fs::write(
            bed.shared().join("bad.toml"),
            "schema = 1\n[[host]]\nname = \"h1\"\nslot = 2\n",
        )
        .expect("a file");
        show(
            bed,
            "error_inventory",
            &["-c", &bed.shared_path("bad.toml"), "job", "list"],
        );
    });
}

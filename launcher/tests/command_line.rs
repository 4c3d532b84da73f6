//! The command line as a user meets it: exit codes, streams, colours.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const INVENTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cluster.toml");

fn flinkctl(args: &[&str], variables: &[(&str, &str)]) -> Output {
    command(args, variables).output().expect("flinkctl runs")
}

fn command(args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flinkctl"));
    command
        .args(args)
        .current_dir("/")
        .env_clear()
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null());
    command.envs(variables.iter().copied());
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn exit_codes() {
    let cases: [(&[&str], i32); 10] = [
        (&["-c", INVENTORY, "config", "validate"], 0),
        (&["config", "validate", INVENTORY], 0),
        (&["config", "validate"], 2),
        (&["-c", "/nonexistent/cluster.toml", "config", "show"], 2),
        (&["-c", INVENTORY, "config", "show", "--host", "nobody"], 9),
        (&["-c", INVENTORY, "config", "show", "-D", "nonsense=1"], 2),
        (&["--help"], 0),
        (&["help", "exit-codes"], 0),
        (&["frobnicate"], 2),
        (&["cluster", "init", "a:x"], 2),
    ];
    for (args, code) in cases {
        let output = flinkctl(args, &[]);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert_eq!(
            output.stdout.is_empty(),
            code != 0,
            "{args:?}: an answer on success, nothing else on stdout"
        );
        assert_eq!(output.stderr.is_empty(), code == 0, "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn what_variables_set_is_not_shown_as_required() {
    let output = flinkctl(&["job", "wait"], &[("FLINKCTL_CLUSTER_FILE", INVENTORY)]);
    let said = stderr(&output);
    assert!(said.contains("Usage: flinkctl job wait <ID>\n"), "{said}");
}

#[test]
fn the_inventory_can_be_named_by_a_variable() {
    let output = flinkctl(
        &["config", "show", "-o", "name"],
        &[("FLINKCTL_CLUSTER_FILE", INVENTORY)],
    );
    assert!(
        stdout(&output).lines().any(|line| line == "taskmanager.idle_timeout"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn errors_are_json_when_answers_are() {
    for args in [
        &["config", "validate", "-o", "json"][..],
        &["-o", "json", "frobnicate"],
        &["--output=json", "job", "run"],
    ] {
        let output = flinkctl(args, &[]);
        let value: serde_json::Value =
            serde_json::from_slice(&output.stderr).unwrap_or_else(|_| panic!("{args:?}: {}", stderr(&output)));
        assert_eq!(
            (&value["kind"], &value["exitCode"]),
            (&"Error".into(), &2.into()),
            "{args:?}"
        );
    }
}

#[test]
fn no_colours_off_a_terminal() {
    let plain = flinkctl(&["config", "validate"], &[]);
    assert!(!stderr(&plain).contains('\u{1b}'));
    let coloured = flinkctl(&["config", "validate", "--color", "always"], &[]);
    assert!(stderr(&coloured).contains('\u{1b}'));
    let forbidden = flinkctl(
        &["config", "validate"],
        &[("NO_COLOR", "1"), ("TERM", "xterm-256color")],
    );
    assert!(!stderr(&forbidden).contains('\u{1b}'));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = command(&["completions", "bash"], &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("flinkctl runs");
    drop(child.stdout.take());
    let mut said = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut said)
        .expect("readable");
    assert_eq!(child.wait().expect("ends").code(), Some(0), "{said}");
    assert_eq!(said, "");
}

#[test]
fn a_flag_wins_over_a_variable_that_excludes_it() {
    let conflict = |args: &[&str], variables: &[(&str, &str)]| {
        let said = stderr(&flinkctl(args, variables));
        said.contains("cannot be used with")
    };
    assert!(!conflict(
        &["job", "run", "--local", "/nonexistent/job"],
        &[("FLINKCTL_SESSION", "etl")]
    ));
    assert!(!conflict(
        &["job", "run", "--local", "/nonexistent/job"],
        &[("FLINKCTL_DETACH", "1")]
    ));
    assert!(!conflict(
        &["job", "run", "--session", "etl", "/nonexistent/job"],
        &[("FLINKCTL_HOSTS", "tm01"), ("FLINKCTL_DETACH", "1")]
    ));
    assert!(!conflict(
        &["job", "run", "--local", "/nonexistent/job"],
        &[
            ("FLINKCTL_HOSTS", "tm01"),
            ("FLINKCTL_DETACH", "1"),
            ("FLINKCTL_SESSION", "etl")
        ]
    ));
    assert!(conflict(
        &["job", "run", "/nonexistent/job"],
        &[("FLINKCTL_SESSION", "etl"), ("FLINKCTL_LOCAL", "1")]
    ));
    assert!(conflict(
        &["job", "run", "-H", "tm01", "/nonexistent/job"],
        &[("FLINKCTL_SESSION", "etl")]
    ));
    assert!(conflict(&["job", "run", "--local", "-d", "/nonexistent/job"], &[]));
}

#[test]
fn what_would_have_no_effect_is_refused() {
    for args in [
        &["--session", "etl", "-D", "taskmanager.max=1"][..],
        &["--session", "etl", "-H", "tm01"],
        &["--session", "etl", "--exclude", "tm01"],
        &["--local", "-D", "taskmanager.max=1"],
        &["--local", "-H", "tm01"],
    ] {
        let output = flinkctl(&[&["job", "run"], args, &["/nonexistent/job"]].concat(), &[]);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("cannot be used with"), "{}", stderr(&output));
    }
}

#[test]
fn a_new_inventory_is_valid() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("cluster.toml");
    let written = flinkctl(&["cluster", "init", "ops@jm01:2222", "tm[01-16]"], &[]);
    std::fs::write(&file, &written.stdout).expect("writable");
    let validated = flinkctl(&["config", "validate", path(&file)], &[]);
    assert_eq!(
        stdout(&validated),
        format!("{}: cluster \"default\", 17 hosts, no problems\n", path(&file))
    );
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of ours is UTF-8")
}

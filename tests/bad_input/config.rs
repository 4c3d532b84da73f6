//! The inventory and the command line.

use flink_tests::{Command, PATIENCE, Traces, in_testbed, on_hosts};
use serde_json::Value;

use super::{inventory_with, refused, write};

#[test]
fn all_mistakes_of_an_inventory_are_reported_at_once() {
    in_testbed(&on_hosts(1).or_sshds(), |bed| {
        let file = inventory_with(bed, "slots = 2", "slot = 2\nmemory = \"lots\"");
        let text = std::fs::read_to_string(&file).expect("the inventory");
        let file = write(
            bed,
            "cluster.toml",
            text.replace("name = \"testbed\"", "name = \"Test Bed\""),
        );
        let line = |needle: &str| text.lines().position(|line| line.starts_with(needle)).expect(needle) + 1;
        let output = bed.flinkctl(["-c", &file, "job", "run", &bed.wordcount()]);
        let output = refused(
            output,
            2,
            "config.unknown-key",
            &[
                "error[config.bad-value]: bad value for `name` in [cluster]",
                "unknown key `slot` in [defaults]",
                "help: did you mean `slots`?",
                "unknown key `memory` in [defaults]",
                &format!("{file}:{}:1", line("slot = ")),
                &format!("{file}:{}:1", line("memory = ")),
                &format!("{file}:{}:8", line("name = ")),
            ],
        );
        assert_eq!(output.stdout, "");
        // The same for programs: one object per line, and nothing else.
        let output = bed.flinkctl(["-c", &file, "-o", "json", "job", "run", &bed.wordcount()]);
        let codes: Vec<Value> = output
            .exits(2)
            .stderr
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["code"].clone())
            .collect();
        assert_eq!(codes, ["config.bad-value", "config.unknown-key", "config.unknown-key"]);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn an_inventory_that_is_not_there_is_named() {
    in_testbed(&on_hosts(1).or_sshds(), |bed| {
        let output = bed.flinkctl(["-c", "/no/such.toml", "job", "list"]);
        refused(
            output,
            2,
            "config.read",
            &[
                "--> /no/such.toml",
                "No such file or directory",
                "flinkctl cluster init",
            ],
        );
        let output = Command::new("env")
            .args(["-u", "FLINKCTL_CLUSTER_FILE", "flinkctl", "job", "list"])
            .current_dir(bed.shared())
            .run();
        refused(
            output,
            2,
            "config.not-found",
            &["looked for cluster.toml", "flinkctl cluster init", "--local"],
        );
    });
}

#[test]
fn overrides_and_options_are_checked() {
    in_testbed(&on_hosts(1).or_sshds(), |bed| {
        let run = |option: &[&str]| bed.flinkctl([&["job", "run"], option, &[&bed.wordcount()]].concat());
        let unknown = run(&["-D", "jobmanager.rpcport=1"]).exits(2);
        let _output = unknown.reports(&["error[config.unknown-key]", "--> -D jobmanager.rpcport=1"]);
        let bad = run(&["-D", "jobmanager.rpc_port=99999999"]).exits(2);
        let _output = bad.reports(&["error[config.bad-value]", "expected a port"]);
        refused(
            run(&["-H", "h9"]),
            9,
            "hosts.unknown",
            &["there is no host `h9`", "--> -H h9", "did you mean `h1`?"],
        );
        let _output = run(&["-p", "0"]).exits(2).reports(&["0 is not in 1..="]);
        let typo = run(&["--paralelism", "3"]).exits(2);
        let _output = typo.reports(&[
            "unexpected argument '--paralelism'",
            "a similar argument exists: '--parallelism'",
        ]);
    });
}

#[test]
fn wrong_options_are_json_for_programs() {
    in_testbed(&on_hosts(1).or_sshds(), |bed| {
        let output = bed.flinkctl(["-o", "json", "job", "run", "--paralelism", "3"]).exits(2);
        let error: Value = serde_json::from_str(&output.stderr).expect("JSON");
        assert_eq!((&error["kind"], &error["code"]), (&"Error".into(), &"usage".into()));
        assert_eq!(error["exitCode"], 2);
    });
}

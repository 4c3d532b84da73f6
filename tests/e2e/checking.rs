//! `cluster check`: healthy hosts pass, and what a job would fail by is found before it runs.

use std::time::Duration;

use flink_tests::{Bed, Output, Role, Signal, Traces, in_testbed, on_hosts};
use serde_json::Value;

/// Exit code when something fails the check.
const FAILED: i32 = 10;

/// The findings of one check.
struct Findings(Vec<Value>);

impl Findings {
    fn of(output: &Output) -> Self {
        Self(output.json()["items"].as_array().expect("items").clone())
    }

    /// Verdict, and message with what to do.
    fn get(&self, host: &str, check: &str) -> (String, String) {
        let found = self.0.iter().find(|row| row["host"] == host && row["check"] == check);
        let row = found.unwrap_or_else(|| panic!("{host} has no finding {check}: {:#?}", self.0));
        let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
        (text("verdict"), format!("{}; {}", text("message"), text("help")))
    }

    #[track_caller]
    fn is(&self, host: &str, check: &str, verdict: &str, words: &[&str]) {
        let (found, text) = self.get(host, check);
        assert_eq!(found, verdict, "{host} {check}: {text}");
        for word in words {
            assert!(text.contains(word), "{host} {check} does not say {word:?}: {text}");
        }
    }

    fn failed(&self) -> Vec<(&str, &str)> {
        let failed = self.0.iter().filter(|row| row["verdict"] == "FAIL");
        failed
            .map(|row| {
                (
                    row["host"].as_str().unwrap_or("?"),
                    row["check"].as_str().unwrap_or("?"),
                )
            })
            .collect()
    }
}

fn check(bed: &Bed, more: &[&str]) -> Output {
    bed.flinkctl([&["cluster", "check", "-o", "json"], more].concat())
}

#[test]
fn healthy_hosts_pass_and_nothing_stays() {
    in_testbed(&on_hosts(3), |bed| {
        let findings = Findings::of(&check(bed, &[]).fine());
        for host in bed.hosts() {
            findings.is(host, "ssh", "PASS", &["Linux"]);
            findings.is(host, "udp", "PASS", &["answered within"]);
            findings.is(host, "data-ports", "PASS", &["10.77.0."]);
        }
        findings.is("h1", "rpc-port", "PASS", &[]);
        findings.is("h1", "udp", "PASS", &["h2, h3"]);
        findings.is("h2", "jobmanager-ssh", "PASS", &[]);
        findings.is("h3", "jobmanager-ssh", "PASS", &[]);
        bed.nothing_left(Duration::from_secs(2), Traces::None);
    });
}

#[test]
fn a_partition_between_workers_is_found_from_both_sides() {
    in_testbed(&on_hosts(3), |bed| {
        bed.partition("h2", "h3");
        let findings = Findings::of(&check(bed, &[]).exits(FAILED));
        assert_eq!(findings.failed(), [("h2", "udp"), ("h3", "udp")]);
        findings.is(
            "h2",
            "udp",
            "FAIL",
            &["10.77.0.2 gets no answer from h3 at 10.77.0.3:", "firewalls"],
        );
        findings.is("h3", "udp", "FAIL", &["10.77.0.3 gets no answer from h2 at 10.77.0.2:"]);
        findings.is("h1", "udp", "PASS", &[]);
        bed.nothing_left(Duration::from_secs(2), Traces::None);
    });
}

#[test]
fn a_partition_from_the_job_manager_is_found_by_ssh_and_udp() {
    in_testbed(&on_hosts(3), |bed| {
        bed.partition("h1", "h2");
        let output = bed
            .command(["cluster", "check", "-o", "json"])
            .env("FLINKCTL_SSH_CONNECT_TIMEOUT", "2s")
            .run();
        let findings = Findings::of(&output.exits(FAILED));
        assert_eq!(
            findings.failed(),
            [("h1", "udp"), ("h2", "jobmanager-ssh"), ("h2", "udp")]
        );
        findings.is(
            "h2",
            "jobmanager-ssh",
            "FAIL",
            &["no answer in 2s", "from h1 to root@10.77.0.2"],
        );
        findings.is("h2", "udp", "FAIL", &["h1 at 10.77.0.1:", "(JobManager)"]);
        findings.is("h2", "ssh", "PASS", &[]);
        findings.is("h3", "jobmanager-ssh", "PASS", &[]);
        bed.nothing_left(Duration::from_secs(2), Traces::None);
    });
}

#[test]
fn a_job_manager_without_a_key_is_found() {
    in_testbed(&on_hosts(2), |bed| {
        let _hidden = bed.exec("h1", &["sh", "-c", "mv ~/.ssh/id_* /tmp/"]).fine();
        let findings = Findings::of(&check(bed, &[]).exits(FAILED));
        assert_eq!(findings.failed(), [("h2", "jobmanager-ssh")]);
        findings.is("h2", "jobmanager-ssh", "FAIL", &["id_ed25519", "the keys of h1"]);
    });
}

#[test]
fn an_unreachable_host_fails_alone() {
    in_testbed(&on_hosts(3), |bed| {
        let _stopped = bed.exec("h3", &["pkill", "-o", "sshd"]).fine();
        let findings = Findings::of(&check(bed, &[]).exits(FAILED));
        assert_eq!(findings.failed(), [("h3", "ssh"), ("h3", "jobmanager-ssh")]);
        findings.is("h3", "ssh", "FAIL", &["connection refused", "start sshd on h3"]);
        findings.is("h1", "udp", "PASS", &["h2"]);
        let _others = check(bed, &["--exclude", "h3"]).fine();
    });
}

#[test]
fn without_the_job_managers_host_the_others_are_checked() {
    in_testbed(&on_hosts(3), |bed| {
        let _stopped = bed.exec("h1", &["pkill", "-o", "sshd"]).fine();
        let findings = Findings::of(&check(bed, &[]).exits(FAILED));
        assert_eq!(findings.failed(), [("h1", "ssh")]);
        findings.is(
            "h2",
            "jobmanager-ssh",
            "WARN",
            &["not tried: h1, the JobManager's host"],
        );
        findings.is("h2", "udp", "PASS", &["h3"]);
    });
}

#[test]
fn ports_addresses_and_login_files_are_tried_for_real() {
    in_testbed(&on_hosts(2), |bed| {
        let _noisy = bed
            .exec("h2", &["sh", "-c", "echo echo Welcome to h2 > ~/.bashrc"])
            .fine();
        let ports = [
            ("FLINKCTL_JOBMANAGER_RPC_PORT", "6123"),
            ("FLINKCTL_TASKMANAGER_DATA_PORTS", "40000-40001"),
        ];
        let run = |args: &[&str]| {
            let command = ports
                .iter()
                .fold(bed.command(args), |command, (name, value)| command.env(name, value));
            command.run()
        };
        let findings = Findings::of(&run(&["cluster", "check", "-o", "json"]).fine());
        findings.is("h1", "rpc-port", "PASS", &["6123"]);
        findings.is("h2", "data-ports", "PASS", &["2 of 2 free", "40000-40001"]);
        findings.is("h2", "shell", "WARN", &["Welcome to h2"]);

        let _up = run(&["session", "start", "etl", "-d"]).fine();
        let _ran = run(&["job", "run", "--session", "etl", "-p", "2", &bed.wordcount()]).fine();
        let findings = Findings::of(&run(&["cluster", "check", "-o", "json"]).fine());
        findings.is("h1", "rpc-port", "WARN", &["6123 is taken", "ss -ulpn"]);
        findings.is("h1", "processes", "PASS", &[]);
        bed.kill("h1", bed.the("h1", Role::JobManager).pid, Signal::KILL);
        let findings = Findings::of(&run(&["cluster", "check", "-o", "json"]).fine());
        findings.is("h2", "processes", "WARN", &["etl", "clean --orphans"]);
    });
}

//! Hosts that cannot be reached, or do not let us in.

use std::time::Duration;

use flink_tests::{Bed, Command, Output, PATIENCE, Traces, in_testbed, on_hosts};
use serde_json::Value;

use super::{inventory_with, on_host, refused, scratch};

/// More than `connect_timeout` and a whole job on a loaded machine.
const BOUND: Duration = Duration::from_secs(30);

fn run_with(bed: &Bed, inventory: &str) -> Output {
    bed.flinkctl(["-c", inventory, "job", "run", &bed.wordcount()])
}

fn without_sshd(bed: &Bed, address: &str) -> String {
    let line = format!("address = \"{address}\"");
    inventory_with(bed, &line, &format!("{line}\nssh = {{ port = 2222 }}"))
}

#[test]
fn nothing_listens_on_the_jobmanagers_host() {
    in_testbed(&on_hosts(2), |bed| {
        let inventory = without_sshd(bed, "10.77.0.1");
        let says = [
            "h1 cannot be reached over SSH",
            "--> root@10.77.0.1:2222",
            "h1: connection refused",
            "port 2222: Connection refused",
            "flinkctl cluster check -H h1",
        ];
        refused(run_with(bed, &inventory), 3, "ssh.refused", &says);
        let output = bed.flinkctl(["-c", &inventory, "-o", "json", "job", "list"]).exits(3);
        let error: Value = serde_json::from_str(&output.stderr).expect("JSON and nothing else");
        assert_eq!((&error["code"], &error["exitCode"]), (&"ssh.refused".into(), &3.into()));
        assert_eq!(error["hosts"][0]["host"], "h1");
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn nothing_listens_on_a_worker() {
    in_testbed(&on_hosts(3), |bed| {
        let inventory = without_sshd(bed, "10.77.0.2");
        let output = refused(
            run_with(bed, &inventory),
            3,
            "ssh.refused",
            &[
                "needs 6 slots, the cluster can offer 4: 1 host failed",
                "h2: connection refused (from h1 to root@10.77.0.2:2222)",
                "port 2222: Connection refused",
            ],
        );
        assert_eq!(output.stdout, "");
        bed.nothing_left(PATIENCE, Traces::None);
        // The others are enough for a smaller job.
        let output = bed.flinkctl(["-c", &inventory, "job", "run", "-p", "4", &bed.wordcount()]);
        let _output = output.fine().reports(&["h2 failed: connection refused"]);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn hosts_that_are_off_are_named_in_bounded_time() {
    in_testbed(&on_hosts(3), |bed| {
        bed.power_off("h2");
        let run = |args: &[&str]| bed.flinkctl([&["job", "run"], args, &[&bed.wordcount()]].concat());
        let output = refused(
            run(&[]),
            3,
            "ssh.timeout",
            &["1 host failed", "h2: no answer in 10s", "Connection timed out"],
        );
        assert!(output.took < BOUND, "{:?}", output.took);
        let impatient = run(&["--slot-timeout", "2s"]);
        refused(
            impatient,
            4,
            "slots.insufficient",
            &[
                "needs 6 slots, and did not get them in time",
                "waited ",
                "still starting: h2 (connecting)",
            ],
        );
        let _output = run(&["-p", "4"]).fine();
        bed.nothing_left_on(&["h1", "h3"], PATIENCE, Traces::None);
        bed.power_off("h1");
        let output = refused(run(&[]), 3, "ssh.timeout", &["h1: no answer in 10s", "10.77.0.1"]);
        assert!(output.took < BOUND, "{:?}", output.took);
    });
}

#[test]
fn addresses_that_lead_nowhere() {
    in_testbed(&on_hosts(2), |bed| {
        let inventory = inventory_with(bed, "10.77.0.1", "nowhere.invalid");
        let says = ["h1: the host name cannot be resolved", "nowhere.invalid", "/etc/hosts"];
        refused(run_with(bed, &inventory), 3, "ssh.unresolvable", &says);
        let inventory = inventory_with(bed, "10.77.0.1", "10.77.0.99");
        let output = run_with(bed, &inventory);
        refused(
            output,
            3,
            "ssh.unreachable",
            &["h1: no route to the host", "--> root@10.77.0.99"],
        );
        let inventory = inventory_with(bed, "10.77.0.2", "nowhere.invalid");
        let says = ["h2: ", "from h1", "nowhere.invalid"];
        let _output = run_with(bed, &inventory).exits(3).reports(&says);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

fn make_key(bed: &Bed, name: &str) -> String {
    let path = scratch(bed, name).display().to_string();
    let _output = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f", &path])
        .run()
        .fine();
    path
}

#[test]
fn keys_that_open_nothing() {
    in_testbed(&on_hosts(2), |bed| {
        let other = make_key(bed, "other");
        let inventory = inventory_with(bed, "/root/.ssh/id_ed25519", &other);
        refused(
            run_with(bed, &inventory),
            3,
            "ssh.auth",
            &[
                "h1: the host refused the login",
                "Permission denied (publickey",
                &format!("tried: {other}"),
                "set identity_file in [ssh]",
            ],
        );
        let inventory = inventory_with(bed, "/root/.ssh/id_ed25519", "/root/.ssh/missing");
        refused(
            run_with(bed, &inventory),
            3,
            "ssh.key-file",
            &["/root/.ssh/missing cannot be read", "correct identity_file in [ssh]"],
        );
        on_host(bed, "h2", "mv /root/.ssh/authorized_keys /root/.ssh/no");
        let output = bed.flinkctl(["job", "run", &bed.wordcount()]);
        refused(
            output,
            3,
            "ssh.auth",
            &[
                "h2: the host refused the login (from h1 to root@10.77.0.2)",
                "keys of h1",
            ],
        );
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn host_keys_that_changed_or_are_unknown() {
    in_testbed(&on_hosts(2), |bed| {
        let strict = inventory_with(bed, "user = \"root\"", "user = \"root\"\nhost_keys = \"strict\"");
        refused(
            run_with(bed, &strict),
            3,
            "ssh.host-key-unknown",
            &["h1: the host key is not on record", "host_keys = \"accept-new\""],
        );
        let key = std::fs::read_to_string(make_key(bed, "host") + ".pub").expect("a key");
        let line = |address: &str| format!("{address} {key}");
        let ours = "/root/.ssh/known_hosts";
        std::fs::write(ours, line("10.77.0.1")).expect("known hosts");
        let says = [
            "h1: the host key differs from the one on record",
            "known: ED25519 /root/.ssh/known_hosts:1",
            "offered: ED25519 SHA256:",
            "ssh-keygen -f /root/.ssh/known_hosts -R 10.77.0.1",
        ];
        let run = || bed.flinkctl(["job", "run", &bed.wordcount()]);
        refused(run(), 3, "ssh.host-key-changed", &says);
        std::fs::remove_file(ours).expect("known hosts");
        // The JobManager's host has a memory of its own, and so is the advice.
        on_host(bed, "h1", &format!("echo '{}' > {ours}", line("10.77.0.2").trim()));
        let says = [
            "h2: the host key differs from the one on record (from h1",
            "help: on h1: the host was reinstalled",
        ];
        refused(run(), 3, "ssh.host-key-changed", &says);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn commands_that_cannot_be_run_on_hosts() {
    in_testbed(&on_hosts(2), |bed| {
        let output = bed.flinkctl(["cluster", "exec", "--", "nosuch"]).exits(125);
        let says = [
            "error[exec.failed]",
            "2 hosts (h1, h2): start nosuch: No such file or directory",
        ];
        let output = output.reports(&says);
        assert!(!output.stderr.contains("h1: h1"), "{}", output.everything());
        let latin1 = std::os::unix::ffi::OsStrExt::from_bytes(b"caf\xe9");
        let words = ["cluster", "exec", "--", "cat"].map(std::ffi::OsStr::new);
        let output = bed.flinkctl(words.into_iter().chain([latin1]));
        refused(output, 2, "usage", &["not UTF-8", "\"caf\\xE9\""]);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn other_commands_say_which_hosts_failed_too() {
    in_testbed(&on_hosts(2), |bed| {
        let inventory = without_sshd(bed, "10.77.0.2");
        let output = bed.flinkctl(["-c", &inventory, "cluster", "exec", "--", "hostname"]);
        let output = output
            .exits(125)
            .reports(&["error[exec.failed]", "h2: connection refused"]);
        assert_eq!(output.stdout, "h1: h1\n");
        let output = bed.flinkctl(["-c", &inventory, "cluster", "check"]).exits(10);
        let failed = output.stdout.lines().find(|line| line.starts_with("h2")).expect("h2");
        assert!(
            failed.contains("FAIL") && failed.contains("connection refused"),
            "{failed}"
        );
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

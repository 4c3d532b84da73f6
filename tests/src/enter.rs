//! The way into a test bed: a test starts itself anew on the operator's host.

use std::any::type_name;
use std::process::Stdio;
use std::time::Duration;

use crate::bed::Bed;
use crate::command::Command;
use crate::{binaries, evidence, turnstile};

/// Says that this process runs inside of a test bed, for the test that it names.
const INSIDE: &str = "FLINK_TESTS_INSIDE";

/// Exit code of `scripts/testbed` where this machine does not allow what is asked for.
const UNAVAILABLE: i32 = 69;

/// The test bed that a test needs.
#[derive(Debug, Clone)]
pub struct Options {
    hosts: u32,
    jump: bool,
    fallback: bool,
    alone: bool,
    limit: Duration,
}

/// So many hosts of namespaces, h1, h2, ...; the test may take two minutes.
#[must_use]
pub fn on_hosts(hosts: u32) -> Options {
    Options {
        hosts,
        jump: false,
        fallback: false,
        alone: false,
        limit: Duration::from_secs(120),
    }
}

impl Options {
    /// The hosts are behind one more, a jump host.
    #[must_use]
    pub fn behind_a_jump_host(mut self) -> Self {
        self.jump = true;
        self
    }

    /// Mere sshd's on this machine do as well, where it does not allow namespaces: no host is switched off, and nothing is asked
    /// about the processes of a single one.
    #[must_use]
    pub fn or_sshds(mut self) -> Self {
        self.fallback = true;
        self
    }

    /// No other test runs at the same time: this one measures, or needs the whole machine.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }
}

/// Runs the body of a test, a closure in the test's function, on the operator's host of a test bed.
///
/// # Panics
/// When the body does, or takes too long.
pub fn in_testbed<F: FnOnce(&Bed)>(options: &Options, body: F) {
    let name = test_name(type_name::<F>());
    if std::env::var_os(INSIDE).is_some_and(|inside| inside.to_str() == Some(name)) {
        let bed = Bed::here();
        let _evidence = evidence::UnlessFine(&bed);
        body(&bed);
        return;
    }
    let command = command(options, name);
    let pass = turnstile::enter(options.alone);
    let output = command.run();
    drop(pass);
    if output.code == Some(UNAVAILABLE) && !rustix::process::geteuid().is_root() {
        // `cargo test` has no word for it. As root this is a failure: there the hosts must come up.
        evidence::say(&format!("skipped, needs hosts of their own: {}", output.stderr));
        return;
    }
    // A name that matches no test would let everything pass.
    let passed = output.code == Some(0) && output.stdout.contains("1 passed");
    assert!(passed, "{name} failed in its test bed\n{}", output.everything());
}

fn command(options: &Options, name: &str) -> Command {
    // Asked for here already: inside, the failure would be one of each test bed.
    binaries::path("flinkctl");
    let this = std::env::current_exe().unwrap_or_else(|error| panic!("where is this program? {error}"));
    let mut command = Command::new(binaries::repository().join("scripts/testbed"));
    command = command.args(["run", "--hosts", &options.hosts.to_string()]);
    if !options.fallback {
        command = command.args(["--mode", "namespaces"]);
    }
    if options.jump {
        command = command.args(["--jump"]);
    }
    if let Some(directory) = this.parent() {
        command = command.args(["--bind"]).args([directory]);
    }
    command = command.args(["--"]).args([this]).args([name, "--exact", "--nocapture"]);
    command
        .env(INSIDE, name)
        .env("TESTBED_BIN", binaries::directory())
        .stdin(Stdio::null())
        .limit(options.limit)
}

/// `module::test` of the closure `krate::module::test::{{closure}}`.
fn test_name(closure: &'static str) -> &'static str {
    let path = closure.strip_suffix("::{{closure}}").unwrap_or(closure);
    path.split_once("::").map_or(path, |(_crate, path)| path)
}

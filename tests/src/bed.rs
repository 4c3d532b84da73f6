//! The hosts of a test, and everything that a test does to them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;

use crate::binaries;
use crate::command::{Command, Output, Running};
use crate::leftovers::{self, Snapshot, Traces};
use crate::processes::{Process, Role};
use crate::wait::{PATIENCE, wait_until};

/// The test bed that this process runs in.
#[derive(Debug)]
pub struct Bed {
    program: PathBuf,
    directory: PathBuf,
    shared: PathBuf,
    hosts: Vec<String>,
    before: Snapshot,
}

#[derive(Deserialize)]
struct HostRow {
    name: String,
    roles: Vec<String>,
}

impl Bed {
    /// # Panics
    /// Outside of a test bed.
    pub(crate) fn here() -> Self {
        let variable = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .unwrap_or_else(|| panic!("{name} is not set"))
        };
        let mut bed = Self {
            program: variable("TESTBED"),
            directory: variable("TESTBED_DIR"),
            shared: variable("TESTBED_SHARED"),
            hosts: Vec::new(),
            before: Snapshot::default(),
        };
        let rows: Vec<HostRow> = bed.rows(&["hosts", "--json"]);
        bed.hosts = rows
            .into_iter()
            .filter(|row| !row.roles.is_empty())
            .map(|row| row.name)
            .collect();
        bed.before = Snapshot::take(&bed);
        bed
    }

    /// The names of the hosts, h1 and so on; h1 is the JobManager's.
    #[must_use]
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// A directory that is the same on all hosts.
    #[must_use]
    pub fn shared(&self) -> &Path {
        &self.shared
    }

    /// A path below [`Self::shared`], as an argument.
    #[must_use]
    pub fn shared_path(&self, name: &str) -> String {
        self.shared.join(name).display().to_string()
    }

    /// Puts `flinkctl` into the shared directory; its path there, which is the same on all hosts.
    ///
    /// # Panics
    /// When it cannot be copied.
    #[must_use]
    pub fn share_flinkctl(&self) -> String {
        let path = self.shared_path("flinkctl");
        std::fs::copy(binaries::path("flinkctl"), &path).unwrap_or_else(|error| panic!("{path}: {error}"));
        path
    }

    /// The names of the files in a host's cache of uploaded files.
    #[must_use]
    pub fn cached(&self, host: &str) -> Vec<String> {
        let directory = leftovers::base(self, host).join("blobs/sha256");
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// The test bed's own directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn before(&self) -> &Snapshot {
        &self.before
    }

    /// The path of the job program `wordcount`.
    #[must_use]
    pub fn wordcount(&self) -> String {
        self.example("wordcount")
    }

    /// The path of the job program `nexmark`.
    #[must_use]
    pub fn nexmark(&self) -> String {
        self.example("nexmark")
    }

    /// The path of the job program `misbehave`.
    #[must_use]
    pub fn misbehave(&self) -> String {
        self.example("misbehave")
    }

    /// The path of the job program `pipeline`, an application.
    #[must_use]
    pub fn pipeline(&self) -> String {
        self.example("pipeline")
    }

    /// The path of the job program `drive`, an application that misbehaves.
    #[must_use]
    pub fn drive(&self) -> String {
        self.example("drive")
    }

    fn example(&self, name: &str) -> String {
        binaries::path(&format!("examples/{name}")).display().to_string()
    }

    /// `flinkctl` with these arguments, to be started.
    #[must_use]
    pub fn command<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Command {
        Command::new(binaries::path("flinkctl")).args(args)
    }

    /// Runs `flinkctl` with these arguments.
    ///
    /// # Panics
    /// When it takes longer than a minute.
    #[must_use]
    pub fn flinkctl<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Output {
        self.command(args).run()
    }

    /// Starts `flinkctl` with these arguments.
    #[must_use]
    pub fn start<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Running {
        self.command(args).start()
    }

    /// The JSON that a `flinkctl` command answers with.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        self.flinkctl([args, &["-o", "json"]].concat()).fine().json()
    }

    /// Waits until a job is in this state.
    ///
    /// # Panics
    /// When it does not get there in time.
    #[track_caller]
    pub fn wait_for_job(&self, id: &str, status: &str) {
        wait_until(PATIENCE, &format!("job {id} is {status}"), || {
            (self.json(&["job", "status", id])["status"] == status).then_some(())
        });
    }

    /// Pulls a host's plug.
    pub fn power_off(&self, host: &str) {
        self.testbed(&["power-off", host]);
    }

    /// Boots a host again.
    pub fn power_on(&self, host: &str) {
        self.testbed(&["power-on", host]);
    }

    /// Stops all processes of a host at one instant; its network card stays up.
    pub fn freeze(&self, host: &str) {
        self.testbed(&["freeze", host]);
    }

    /// Lets the processes of a frozen host go on.
    pub fn thaw(&self, host: &str) {
        self.testbed(&["thaw", host]);
    }

    /// Drops all packets between two hosts.
    pub fn partition(&self, first: &str, second: &str) {
        self.testbed(&["partition", first, second]);
    }

    /// Ends all partitions.
    pub fn heal(&self) {
        self.testbed(&["heal"]);
    }

    /// Runs a command on a host, as root and without SSH.
    #[must_use]
    pub fn exec(&self, host: &str, command: &[&str]) -> Output {
        self.exec_command(host, command).run()
    }

    /// A command on a host, to be started; it ends with its [`Running`].
    #[must_use]
    pub fn exec_command(&self, host: &str, command: &[&str]) -> Command {
        Command::new(&self.program).args(["exec", host, "--"]).args(command)
    }

    /// All processes of a host.
    #[must_use]
    pub fn processes(&self, host: &str) -> Vec<Process> {
        self.rows(&["ps", host, "--json"])
    }

    /// The processes of a host that have this role.
    #[must_use]
    pub fn with_role(&self, host: &str, role: Role) -> Vec<Process> {
        self.processes(host)
            .into_iter()
            .filter(|process| process.role() == Some(role))
            .collect()
    }

    /// Waits for the only process of a host that has this role.
    ///
    /// # Panics
    /// When there is none in time, or several.
    #[must_use]
    #[track_caller]
    pub fn the(&self, host: &str, role: Role) -> Process {
        wait_until(PATIENCE, &format!("{host} has a {role:?}"), || {
            let mut found = self.with_role(host, role);
            assert!(found.len() <= 1, "{found:?}");
            found.pop()
        })
    }

    /// Sends a signal to a process of a host.
    pub fn kill(&self, host: &str, pid: u32, signal: Signal) {
        let command = format!("kill -{} {pid}", signal.as_raw());
        let _output = self.exec(host, &["sh", "-c", &command]).fine();
    }

    /// Waits until nothing of ours is left on any host but what `traces` allows.
    ///
    /// # Panics
    /// When something is left after `limit`.
    #[track_caller]
    pub fn nothing_left(&self, limit: Duration, traces: Traces) {
        let hosts: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        self.nothing_left_on(&hosts, limit, traces);
    }

    /// The same for some of the hosts, and the operator's.
    ///
    /// # Panics
    /// As [`Self::nothing_left`].
    #[track_caller]
    pub fn nothing_left_on(&self, hosts: &[&str], limit: Duration, traces: Traces) {
        let deadline = Instant::now() + limit;
        loop {
            let last = Instant::now() >= deadline;
            let left = leftovers::find(self, hosts, traces);
            if left.is_empty() {
                return;
            }
            assert!(!last, "left behind after {limit:?}:\n{}", left.join("\n"));
            crate::wait::pause();
        }
    }

    fn testbed(&self, args: &[&str]) {
        let _output = Command::new(&self.program).args(args).run().fine();
    }

    fn rows<T: for<'a> Deserialize<'a>>(&self, args: &[&str]) -> Vec<T> {
        let output = Command::new(&self.program).args(args).run().fine();
        let rows: Result<_, serde_json::Error> = output.stdout.lines().map(serde_json::from_str).collect();
        rows.unwrap_or_else(|error| panic!("{error}\n{}", output.everything()))
    }
}

//! The processes of a host, as `scripts/testbed ps` shows them.

use serde::Deserialize;

/// A process of a host, numbered as the host itself does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's, 0 for one outside of the host.
    pub ppid: u32,
    /// Its state, a letter: Z is a zombie.
    pub state: String,
    /// Its name.
    pub name: String,
    /// Its command line.
    pub args: Vec<String>,
}

/// What a process of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The JobManager.
    JobManager,
    /// A TaskManager.
    TaskManager,
    /// A job program in role `worker`.
    Worker,
}

impl Process {
    /// What it is, if it is one of ours.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        let first = self.args.first()?;
        match self.args.get(1).map(String::as_str) {
            Some("jobmanager") => Some(Role::JobManager),
            Some("taskmanager") => Some(Role::TaskManager),
            None if first.contains("/blobs/sha256/") => Some(Role::Worker),
            _ => None,
        }
    }

    /// Whether a host that nobody uses has it: init, the `sleep` that keeps init busy, the sshd that listens.
    pub(crate) fn belongs_to_the_host(&self) -> bool {
        let is_sshd = self
            .args
            .first()
            .is_some_and(|first| first.starts_with("sshd:") && first.contains("[listener]"));
        self.pid == 1 || self.args == ["sleep", "infinity"] || is_sshd
    }
}

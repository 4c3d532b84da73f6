//! A program's process, and those that it has started.

use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// A program in a process group of its own. Dropping it kills the group, unless the program has ended.
#[derive(Debug)]
pub(super) struct ProgramProcess(Child);

impl ProgramProcess {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(super) fn spawn(command: &mut Command) -> std::io::Result<Self> {
        command.process_group(0).kill_on_drop(true).spawn().map(Self)
    }

    /// Waits for its end. Cancel safe.
    pub(super) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.0.wait().await
    }

    /// Kills it and what it has started.
    pub(super) fn kill(&self) {
        // The id is known only as long as the process is not reaped: no other group can have it.
        let leader = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(leader) = leader.and_then(Pid::from_raw) {
            let _gone = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for ProgramProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

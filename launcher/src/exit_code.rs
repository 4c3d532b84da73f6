//! The exit codes of `flinkctl`: one enum, one meaning each, documented by `flinkctl help exit-codes`.

use std::fmt::Write as _;

/// What a finished command tells the shell.
///
/// The numbers are an interface: scripts compare them. A meaning is never changed, new ones are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ExitCode {
    /// The command did what it was asked to do.
    Ok,
    /// A defect of flinkctl itself: please report it.
    Internal,
    /// The command line or cluster.toml is wrong; nothing was started.
    Usage,
    /// A host cannot be reached over SSH, or cannot be used: its disk is full, or flinkctl does not run there.
    Unreachable,
    /// The cluster has not enough slots for the job.
    Slots,
    /// The job ended in state FAILED, or the driver of an application failed.
    JobFailed,
    /// The job ended in state CANCELED.
    JobCanceled,
    /// The time allowed for the command ran out.
    Timeout,
    /// Another command holds the lock, or the thing exists already.
    Conflict,
    /// The named job, session, host or file does not exist.
    NotFound,
    /// Some hosts failed and the rest is up, or `cluster check` found a failure.
    Partial,
    /// `cluster exec` itself failed; every other code of `exec` is the remote command's own.
    Exec,
    /// Interrupted by Ctrl-C or SIGTERM.
    Interrupted,
    /// The code of the command that `cluster exec` ran.
    Remote(u8),
}

impl ExitCode {
    /// Every code, in the order of its number.
    pub(crate) const ALL: [Self; 13] = [
        Self::Ok,
        Self::Internal,
        Self::Usage,
        Self::Unreachable,
        Self::Slots,
        Self::JobFailed,
        Self::JobCanceled,
        Self::Timeout,
        Self::Conflict,
        Self::NotFound,
        Self::Partial,
        Self::Exec,
        Self::Interrupted,
    ];

    /// The number the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Slots => 4,
            Self::JobFailed => 5,
            Self::JobCanceled => 6,
            Self::Timeout => 7,
            Self::Conflict => 8,
            Self::NotFound => 9,
            Self::Partial => 10,
            Self::Exec => 125,
            Self::Interrupted => 130,
            Self::Remote(code) => code,
        }
    }

    /// One line of documentation, as `help exit-codes` prints it.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "the command did what it was asked to do",
            Self::Internal => "internal error: a defect of flinkctl, please report it",
            Self::Usage => "the command line or cluster.toml is wrong; nothing was started",
            Self::Unreachable => "a host cannot be reached over SSH, or cannot be used (full disk, wrong architecture)",
            Self::Slots => "the cluster has not enough slots for the job",
            Self::JobFailed => "the job ended in state FAILED, or the driver of an application failed",
            Self::JobCanceled => "the job ended in state CANCELED",
            Self::Timeout => "the time allowed for the command ran out",
            Self::Conflict => "another command holds the lock, or the thing exists already",
            Self::NotFound => "the named job, session, host or file does not exist",
            Self::Partial => "some hosts failed and the rest is up, or `cluster check` found a failure",
            Self::Exec => "`cluster exec` itself failed; its other codes are the remote command's own",
            Self::Interrupted => "interrupted by Ctrl-C or SIGTERM",
            Self::Remote(_) => "of the command that `cluster exec` ran",
        }
    }

    /// The text of `flinkctl help exit-codes`.
    pub(crate) fn help() -> String {
        let mut text = String::from("Exit codes of flinkctl:\n\n");
        for code in Self::ALL {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {:>3}  {}", code.code(), code.meaning());
        }
        text
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_ascending() {
        let codes: Vec<u8> = ExitCode::ALL.iter().map(|code| code.code()).collect();
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "{codes:?}");
    }

    #[test]
    fn help_text() {
        insta::assert_snapshot!(ExitCode::help());
    }
}

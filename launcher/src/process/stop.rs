//! Signals to our processes: only after the identity was verified, and through a pidfd, so that pid reuse can hit nobody else.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::identity::{ProcStat, ProcessIdentity, read_stat};

/// How a stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StopOutcome {
    /// No such process was alive: it had ended before (or the host was rebooted since).
    AlreadyGone,
    /// It ended within the grace period after SIGTERM.
    Terminated,
    /// It, or something of its session, had to be killed.
    Killed,
}

/// Why a process could not be signalled.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignalError {
    /// The system refused (another user's process, a kernel without pidfd).
    #[error("signal {identity}: {source}")]
    Refused {
        /// The process.
        identity: ProcessIdentity,
        /// The system's answer.
        source: io::Error,
    },
    /// SIGKILL was sent and the process is still there: it hangs in the kernel (state D).
    #[error("{identity} is still there {waited:?} after SIGKILL")]
    Unkillable {
        /// The process.
        identity: ProcessIdentity,
        /// How long was waited.
        waited: Duration,
    },
}

/// How long a process may take to vanish after SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// A verified handle: the pidfd was opened first and the identity compared after, so the handle is of that very process.
fn open(identity: &ProcessIdentity) -> Result<Option<OwnedFd>, SignalError> {
    let Some(pid) = raw_pid(identity.pid) else {
        return Ok(None);
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => Ok(identity.is_alive().then_some(handle)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(errno) => Err(refused(identity, errno)),
    }
}

fn raw_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

fn refused(identity: &ProcessIdentity, errno: rustix::io::Errno) -> SignalError {
    SignalError::Refused {
        identity: identity.clone(),
        source: errno.into(),
    }
}

/// Whether the process was there to get the signal.
fn send(identity: &ProcessIdentity, handle: &OwnedFd, signal: Signal) -> Result<bool, SignalError> {
    match pidfd_send_signal(handle, signal) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(errno) => Err(refused(identity, errno)),
    }
}

/// Ends a process: SIGTERM, then after `grace` SIGKILL; then whatever is left of its session (its workers), and returns only
/// when all of it is gone. Blocks for at most `grace` plus ten seconds.
///
/// # Errors
/// See [`SignalError`].
pub fn stop(identity: &ProcessIdentity, grace: Duration) -> Result<StopOutcome, SignalError> {
    let Some(handle) = open(identity)? else {
        return Ok(StopOutcome::AlreadyGone);
    };
    let leads_session = read_stat(identity.pid).is_ok_and(|stat| stat.session == identity.pid);
    let mut outcome = StopOutcome::Terminated;
    send(identity, &handle, Signal::TERM)?;
    if !wait_gone(&handle, grace) {
        outcome = StopOutcome::Killed;
        send(identity, &handle, Signal::KILL)?;
        if !wait_gone(&handle, KILL_WAIT) {
            return Err(SignalError::Unkillable {
                identity: identity.clone(),
                waited: KILL_WAIT,
            });
        }
    }
    if leads_session && kill_session(identity)? {
        outcome = StopOutcome::Killed;
    }
    Ok(outcome)
}

/// Waits for a process to end by itself; whether it has. Blocks for at most `limit`.
///
/// # Errors
/// See [`SignalError`].
pub fn await_exit(identity: &ProcessIdentity, limit: Duration) -> Result<bool, SignalError> {
    Ok(open(identity)?.is_none_or(|handle| wait_gone(&handle, limit)))
}

/// Waits for the process behind the handle to end; a zombie has ended.
fn wait_gone(handle: &OwnedFd, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Kills what the ended leader left in its session. A session id stays reserved while the session has members, so members found
/// under it that started after the leader are the leader's own.
fn kill_session(leader: &ProcessIdentity) -> Result<bool, SignalError> {
    let deadline = Instant::now() + KILL_WAIT;
    let mut killed = false;
    loop {
        let members = session_members(leader);
        if members.is_empty() {
            return Ok(killed);
        }
        for member in &members {
            let identity = ProcessIdentity {
                boot_id: leader.boot_id.clone(),
                pid: member.pid,
                start_time: member.start_time,
                tag: None,
            };
            if let Some(handle) = open(&identity)? {
                killed |= send(&identity, &handle, Signal::KILL)?;
                wait_gone(&handle, deadline.saturating_duration_since(Instant::now()));
            }
        }
        if Instant::now() >= deadline {
            return Err(SignalError::Unkillable {
                identity: leader.clone(),
                waited: KILL_WAIT,
            });
        }
    }
}

fn session_members(leader: &ProcessIdentity) -> Vec<ProcStat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| read_stat(pid).ok())
        .filter(|stat| stat.session == leader.pid && stat.start_time >= leader.start_time && !stat.is_dead())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn shell(script: &str) -> Child {
        Command::new("setsid")
            .args(["sh", "-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts")
    }

    fn wait_line(child: &mut Child) {
        use std::io::BufRead;
        let stdout = child.stdout.take().expect("piped");
        let mut line = String::new();
        io::BufReader::new(stdout).read_line(&mut line).expect("line");
    }

    #[test]
    fn polite_process_is_terminated_and_a_second_stop_finds_nothing() {
        let mut child = shell("echo up; exec sleep 600");
        wait_line(&mut child);
        let identity = ProcessIdentity::of(child.id()).expect("alive");
        assert_eq!(
            stop(&identity, Duration::from_secs(5)).expect("stops"),
            StopOutcome::Terminated
        );
        child.wait().expect("reaped");
        assert_eq!(
            stop(&identity, Duration::from_secs(5)).expect("nothing"),
            StopOutcome::AlreadyGone
        );
    }

    #[test]
    fn stubborn_process_is_killed_with_its_children() {
        let mut child = shell("trap '' TERM; tail -f /dev/null & echo $!; while :; do wait; done");
        let stdout = child.stdout.take().expect("piped");
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line).expect("line");
        let grandchild = ProcessIdentity::of(line.trim().parse().expect("pid")).expect("alive");
        let identity = ProcessIdentity::of(child.id()).expect("alive");
        assert_eq!(
            stop(&identity, Duration::from_millis(50)).expect("stops"),
            StopOutcome::Killed
        );
        child.wait().expect("reaped");
        assert!(!grandchild.is_alive());
    }

    #[test]
    fn another_process_under_the_same_pid_is_left_alone() {
        let mut child = shell("echo up; exec sleep 600");
        wait_line(&mut child);
        let mut identity = ProcessIdentity::of(child.id()).expect("alive");
        identity.start_time += 1;
        assert_eq!(
            stop(&identity, Duration::ZERO).expect("nothing"),
            StopOutcome::AlreadyGone
        );
        assert!(child.try_wait().expect("wait").is_none());
        child.kill().expect("kill");
        child.wait().expect("reaped");
    }
}

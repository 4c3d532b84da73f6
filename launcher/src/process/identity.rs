//! The identity of a process that survives pid reuse and reboots: boot id, pid and start time, plus our environment tag.

use std::fmt;
use std::fs;
use std::io;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The environment variable that marks our processes: `FLINKCTL=<cluster>/<session>/<role>/<n>`.
pub const TAG_VARIABLE: &str = "FLINKCTL";

/// What names one process for ever: no later process of any boot has the same triple.
///
/// Nothing is ever signalled before this identity was compared with the live process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The kernel's boot id (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The process id, as seen in the host's own pid namespace.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
    /// The value of [`TAG_VARIABLE`] in the environment with which the process was started.
    pub tag: Option<String>,
}

/// Why an identity could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No such process (any more).
    #[error("no process {0}")]
    Gone(u32),
    /// The kernel's answer could not be read.
    #[error("read {path}: {source}")]
    Unreadable {
        /// The file under `/proc`.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The kernel's answer does not look like proc(5).
    #[error("{path} is malformed: {text:?}")]
    Malformed {
        /// The file under `/proc`.
        path: String,
        /// What was read.
        text: String,
    },
}

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcStat {
    /// Process id.
    pub pid: u32,
    /// Executable name, at most 15 bytes, without the parentheses.
    pub comm: String,
    /// State letter: `R`, `S`, `Z` ...
    pub state: char,
    /// Parent.
    pub parent: u32,
    /// Process group.
    pub group: u32,
    /// Session.
    pub session: u32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
}

impl ProcStat {
    /// Whether the process has ended and only waits to be reaped.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Reads one line of `/proc/PID/stat`.
///
/// The second field is the executable's name in parentheses and may itself hold spaces, parentheses and newlines, so the
/// numbers are counted from the *last* closing parenthesis.
#[must_use]
pub fn parse_stat(text: &str) -> Option<ProcStat> {
    let open = text.find('(')?;
    let close = text.rfind(')')?;
    let comm = text.get(open + 1..close)?.to_owned();
    let pid = text[..open].trim().parse().ok()?;
    let mut fields = text[close + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // Fields 7 to 21 lie between the session (6) and the start time (22).
    let start_time = fields.nth(15)?.parse().ok()?;
    Some(ProcStat {
        pid,
        comm,
        state,
        parent,
        group,
        session,
        start_time,
    })
}

/// The kernel's boot id.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn boot_id() -> Result<String, IdentityError> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    fs::read_to_string(PATH)
        .map(|text| text.trim().to_owned())
        .map_err(|source| IdentityError::Unreadable {
            path: PATH.to_owned(),
            source,
        })
}

/// Reads and parses `/proc/PID/stat`.
pub(crate) fn read_stat(pid: u32) -> Result<ProcStat, IdentityError> {
    let path = format!("/proc/{pid}/stat");
    let bytes = fs::read(&path).map_err(|source| unreadable(pid, path.clone(), source))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    parse_stat(&text).ok_or(IdentityError::Malformed { path, text })
}

/// The tag in the environment with which `pid` was started; `None` when there is none or it may not be read.
pub(crate) fn environment_tag(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
    tag_in(&bytes)
}

/// Finds the tag in the NUL-separated text of `/proc/PID/environ`.
fn tag_in(environ: &[u8]) -> Option<String> {
    environ.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(TAG_VARIABLE.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

fn unreadable(pid: u32, path: String, source: io::Error) -> IdentityError {
    // ESRCH is what reading a file of a process that just ended gives.
    if source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
    {
        IdentityError::Gone(pid)
    } else {
        IdentityError::Unreadable { path, source }
    }
}

impl ProcessIdentity {
    /// The identity of a process on this host.
    ///
    /// # Errors
    /// [`IdentityError::Gone`] when no such process exists.
    pub fn of(pid: u32) -> Result<Self, IdentityError> {
        let stat = read_stat(pid)?;
        Ok(Self {
            boot_id: boot_id()?,
            pid,
            start_time: stat.start_time,
            tag: environment_tag(pid),
        })
    }

    /// The identity of this very process.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn current() -> Result<Self, IdentityError> {
        Self::of(std::process::id())
    }

    /// Whether exactly this process is alive now. A zombie counts as ended, another process under the same pid as not this one.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        boot_id().is_ok_and(|now| now == self.boot_id)
            && read_stat(self.pid).is_ok_and(|stat| stat.start_time == self.start_time && !stat.is_dead())
            && (self.tag.is_none() || environment_tag(self.pid) == self.tag)
    }
}

impl fmt::Display for ProcessIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, " ({tag})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_line_with_hostile_name() {
        let line = "4121 (a) R 1 (b c) S 1 4121 4120 0 -1 4194560 158 0 0 0 1 2 3 4 20 0 1 0 987654 2560000 300 18446744073709551615\n";
        let stat = parse_stat(line).expect("parses");
        assert_eq!(stat.pid, 4121);
        assert_eq!(stat.comm, "a) R 1 (b c");
        assert_eq!(stat.state, 'S');
        assert_eq!((stat.parent, stat.group, stat.session), (1, 4121, 4120));
        assert_eq!(stat.start_time, 987_654);
        assert!(!stat.is_dead());
    }

    #[test]
    fn malformed_stat_lines_are_refused() {
        for line in ["", "1", "1 (x", "1 x) S", "1 (x) S 1 2", "x (y) S 1 1 1", ")1 ("] {
            assert_eq!(parse_stat(line), None, "{line:?}");
        }
    }

    #[test]
    fn every_live_process_of_this_host_parses() {
        let mut seen = 0;
        for entry in fs::read_dir("/proc").expect("proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            match read_stat(pid) {
                Ok(stat) => {
                    assert_eq!(stat.pid, pid);
                    seen += 1;
                }
                Err(IdentityError::Gone(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert!(seen > 1);
    }

    #[test]
    fn tag_is_found_only_under_its_own_name() {
        assert_eq!(
            tag_in(b"PATH=/bin\0FLINKCTL=a/b/c/1\0X=FLINKCTL=no\0").as_deref(),
            Some("a/b/c/1")
        );
        assert_eq!(tag_in(b"FLINKCTL_CLUSTER_FILE=x\0NOFLINKCTL=y\0"), None);
        assert_eq!(tag_in(b""), None);
    }

    #[test]
    fn identity_of_this_process_is_alive_and_its_neighbour_in_time_is_not() {
        let me = ProcessIdentity::current().expect("proc");
        assert!(me.is_alive());
        let earlier = ProcessIdentity {
            start_time: me.start_time - 1,
            ..me.clone()
        };
        assert!(!earlier.is_alive());
        let other_boot = ProcessIdentity {
            boot_id: "0".to_owned(),
            ..me.clone()
        };
        assert!(!other_boot.is_alive());
        let other_tag = ProcessIdentity {
            tag: Some("x/y/z/0".to_owned()),
            ..me
        };
        assert!(!other_tag.is_alive());
    }
}

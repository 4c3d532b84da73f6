//! What a launcher (or a JobManager) and the agent on a host say to each other.
//!
//! Frames are those of `flink_rpc` (length, postcard): [`Upstream`] to the agent, [`Downstream`] back. Calls carry an id,
//! several may be in flight; their number is bounded by [`MAX_CALLS`]. Both ends are the very same binary (the bootstrap
//! addresses it by its digest), so the encoding needs no versions beyond the check in [`Hello`].

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use flink_rpc::messages::BlobDigest;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use super::mesh::MeshSpec;
use crate::process::{ProcessIdentity, StopOutcome, TaggedProcess};

/// The protocol's version, compared in [`Hello`].
pub const PROTOCOL: u16 = 1;
/// Longest piece of a blob or of output in one frame, in bytes.
pub const MAX_CHUNK: usize = 256 << 10;
/// Most calls in flight on one agent; a further one waits on the caller's side.
pub const MAX_CALLS: usize = 32;
/// How often the caller shows that it is alive.
pub const PING_INTERVAL: Duration = Duration::from_secs(10);
/// An agent that has heard nothing for so long ends (and its locks with it), even when no EOF ever arrives: the network is cut.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(45);

/// Bytes that serialize in one piece (serde's `Vec<u8>` goes byte by byte). `Debug` shows only the length: it may be a secret.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

/// Caller to agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum Upstream {
    /// A new call under an id that is not in use.
    Call(u32, Request),
    /// A further piece of the bytes that belong to a call ([`Request::PutBlob`], [`Request::Mesh`]).
    Data(u32, Bytes),
    /// The call's bytes are complete.
    End(u32),
    /// The caller no longer wants the answer; what the call started and did not finish is undone.
    Cancel(u32),
    /// The caller is alive.
    Ping,
}

/// Agent to caller.
#[derive(Debug, Serialize, Deserialize)]
pub enum Downstream {
    /// The agent's first frame.
    Hello(Hello),
    /// Output of a call that is still running ([`Request::Exec`], [`Request::Mesh`]).
    Output(u32, Output, Bytes),
    /// The end of a call.
    Reply(u32, Result<Reply, AgentError>),
}

/// Who the agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the agent.
    pub protocol: u16,
    /// The agent's own identity.
    pub identity: ProcessIdentity,
    /// The base directory, with `~` resolved.
    pub base: String,
}

/// Which of its outputs a command wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What an agent can be asked. Paths of files are relative to the base directory unless the text says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Request {
    /// The host's facts.
    Probe(ProbeRequest),
    /// Which of these blobs, of these sizes in bytes, are present. Answer: [`Reply::Present`].
    HasBlobs(Vec<(BlobDigest, u64)>),
    /// Stores a blob; its bytes follow as [`Upstream::Data`] and [`Upstream::End`].
    PutBlob {
        /// The blob's name, verified before it becomes visible.
        digest: BlobDigest,
        /// Its length in bytes.
        size: u64,
    },
    /// Starts a detached process. Answer: [`Reply::Launched`].
    Launch(LaunchSpec),
    /// Ends a process and its session. Answer: [`Reply::Stopped`].
    Stop(ProcessIdentity, Duration),
    /// Processes whose tag starts with the text. Answer: [`Reply::Processes`].
    ListTagged(String),
    /// Reads a part of a file, at most [`MAX_CHUNK`] bytes. Answer: [`Reply::Bytes`].
    ReadFile {
        /// The file.
        path: String,
        /// First byte.
        offset: u64,
        /// Most bytes to return.
        max: u32,
    },
    /// Lists a directory, at most 10 000 entries. Answer: [`Reply::Entries`].
    ListDir(String),
    /// Removes a file or a directory with all that is in it. Nothing there is no error.
    RemoveTree(String),
    /// Takes an exclusive lock that lasts until [`Request::Unlock`] or the end of the channel.
    Lock {
        /// The lock file; it stays when the lock is released.
        path: String,
        /// Who holds it, for the message that others get: user@host, pid, time, command.
        holder: String,
        /// How long to wait for the present holder.
        wait: Duration,
    },
    /// Releases a lock of this channel.
    Unlock(String),
    /// Runs a command attached, given with its arguments, no shell between: output streams back, and the command is killed when
    /// the call is cancelled or the channel ends.
    Exec(Vec<String>),
    /// Makes a call to a session's JobManager; its replies come as [`Downstream::Output`], a frame each.
    JobManager {
        /// The session's directory.
        session: String,
        /// An encoded [`flink_rpc::messages::ClientRequest`].
        request: Bytes,
    },
    /// Waits until exactly this process is gone, at most so long. Answer: [`Reply::Gone`].
    AwaitExit(ProcessIdentity, Duration),
    /// Resolves names as processes on this host do. Answer: [`Reply::Resolved`].
    Resolve(Vec<String>),
    /// Tries UDP from and to this host; see [`super::mesh`] for what is said meanwhile.
    Mesh(MeshSpec),
}

/// What [`Request::Probe`] shall look at besides the host itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// Directories (absolute, or `~/...`) of which space and inodes are reported; one that does not exist is judged by the nearest that does.
    pub directories: Vec<String>,
    /// Prefix of the tags of leftover processes to report; empty = all of ours.
    pub tag_prefix: String,
}

/// What the started process runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// The same flinkctl binary as the agent.
    Flinkctl,
    /// A program of the host.
    Path(String),
}

/// How to start a detached process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// What to run.
    pub program: Program,
    /// Arguments without argument 0. They are public on the host: no secrets.
    pub args: Vec<String>,
    /// Environment on top of the few variables (`PATH`, `HOME`, `LANG` ...) that are passed on. Not for secrets either.
    pub env: Vec<(String, String)>,
    /// The process's tag, `<cluster>/<session>/<role>/<n>`.
    pub tag: String,
    /// Where stdout and stderr are appended: absolute, `~/...`, or relative to the base directory. Directories above it are made.
    pub log: String,
    /// Working directory, like `log`; made when missing. `None` = `/`.
    pub working_dir: Option<String>,
    /// Configuration and secrets for [`crate::process::Startup::receive`], at most 1 MiB.
    pub payload: Bytes,
    /// How long the process may take until it is ready; then it is killed.
    pub ready_timeout: Duration,
}

/// How a launch went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LaunchOutcome {
    /// The process runs and said that it is ready.
    Ready {
        /// Who it is.
        identity: ProcessIdentity,
        /// What it said.
        message: Bytes,
    },
    /// The process ended before it was ready.
    Died {
        /// How it ended.
        exit: Exit,
        /// The last lines that it logged, at most 8 KiB.
        log_tail: String,
        /// How long it lived.
        after: Duration,
    },
    /// The process was not ready in time and has been killed.
    NotReady {
        /// The last lines that it logged, at most 8 KiB.
        log_tail: String,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => write!(f, "signal {number}"),
        }
    }
}

impl From<std::process::ExitStatus> for Exit {
    fn from(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        status
            .signal()
            .map_or_else(|| Self::Code(status.code().unwrap_or(-1)), Self::Signal)
    }
}

/// The answers, one per kind of request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reply {
    /// Nothing to say: it is done.
    Done,
    /// The host's facts.
    Host(Box<HostFacts>),
    /// For each digest asked for, whether the blob is there.
    Present(Vec<bool>),
    /// How the launch went.
    Launched(LaunchOutcome),
    /// How the stop went.
    Stopped(StopOutcome),
    /// Our processes.
    Processes(Vec<TaggedProcess>),
    /// A part of a file.
    Bytes {
        /// The bytes; fewer than asked for at the end of the file.
        bytes: Bytes,
        /// The file's size now.
        size: u64,
    },
    /// Names in a directory.
    Entries(Vec<DirEntry>),
    /// How the command ended.
    Exited(Exit),
    /// Whether the process is gone.
    Gone(bool),
    /// For each name its address, or why it has none.
    Resolved(Vec<Result<IpAddr, String>>),
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirEntry {
    /// File name, lossily decoded.
    pub name: String,
    /// Whether it is a directory.
    pub directory: bool,
    /// Size in bytes.
    pub size: u64,
    /// Last change, milliseconds since 1970.
    pub modified_ms: u64,
}

/// What is worth knowing about a host before something is started there. Unknown values are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The kernel's boot id.
    pub boot_id: String,
    /// `/etc/machine-id`; equal ones mean a cloned or a doubly listed host.
    pub machine_id: Option<String>,
    /// Host name.
    pub hostname: String,
    /// `uname -m`.
    pub arch: String,
    /// `uname -r`.
    pub kernel: String,
    /// `PRETTY_NAME` of os-release.
    pub os: Option<String>,
    /// Version of the GNU C library, such as `2.36`.
    pub glibc: Option<String>,
    /// CPUs this process may run on.
    pub cpus: u32,
    /// Physical memory, or the cgroup's limit if that is less, in bytes.
    pub memory: u64,
    /// Memory available now, in bytes.
    pub memory_available: u64,
    /// Space of the directories asked for, the base directory first.
    pub directories: Vec<DirectoryFacts>,
    /// The clock when the answer was made, in milliseconds since 1970.
    pub clock_ms: u64,
    /// `net.core.rmem_max`, in bytes.
    pub rmem_max: Option<u64>,
    /// `net.core.wmem_max`, in bytes.
    pub wmem_max: Option<u64>,
    /// Network interfaces that are up, without the loopback.
    pub interfaces: Vec<Interface>,
    /// Soft and hard limit of open files.
    pub open_files: (Option<u64>, Option<u64>),
    /// Numeric user id, user name and home directory.
    pub user: (u32, Option<String>, Option<String>),
    /// Whether logind kills the user's processes at logout (`KillUserProcesses=yes` without lingering).
    pub killed_at_logout: bool,
    /// Processes of ours that run already.
    pub tagged: Vec<TaggedProcess>,
}

/// Space in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryFacts {
    /// As asked, with `~` resolved.
    pub path: String,
    /// Whether the directory itself exists.
    pub exists: bool,
    /// Whether files can be made in it (or it can be made).
    pub writable: bool,
    /// Where its file system is mounted.
    pub mount_point: Option<String>,
    /// Type of the file system.
    pub filesystem: Option<String>,
    /// Whether programs on it may be executed.
    pub noexec: bool,
    /// Bytes that the user may still write.
    pub free: u64,
    /// Files that the user may still make; `None` where the file system does not count them.
    pub free_inodes: Option<u64>,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// MTU in bytes.
    pub mtu: u32,
}

/// Why an agent could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AgentError {
    /// The file system is full, or the user's quota is used up.
    #[error("{path}: no space left ({text})")]
    NoSpace {
        /// The file.
        path: String,
        /// The system's words.
        text: String,
    },
    /// The file system may not be written.
    #[error("{path}: {text}")]
    ReadOnly {
        /// The file.
        path: String,
        /// The system's words.
        text: String,
    },
    /// Permission denied.
    #[error("{path}: {text}")]
    Denied {
        /// The file.
        path: String,
        /// The system's words.
        text: String,
    },
    /// No such file.
    #[error("{path}: no such file or directory")]
    NotFound {
        /// The file.
        path: String,
    },
    /// Any other failure of an operation on a file.
    #[error("{path}: {text}")]
    File {
        /// The file.
        path: String,
        /// The system's words.
        text: String,
    },
    /// The path leaves the base directory.
    #[error("{path}: not below the base directory")]
    OutsideBase {
        /// The path as asked.
        path: String,
    },
    /// The bytes that arrived are not those that were announced.
    #[error("blob {expected} arrived damaged: {found}")]
    Damaged {
        /// The digest that was announced.
        expected: BlobDigest,
        /// What arrived instead.
        found: String,
    },
    /// Somebody else holds the lock.
    #[error("{path} is locked by {holder}")]
    LockHeld {
        /// The lock file.
        path: String,
        /// What the holder wrote about itself.
        holder: String,
    },
    /// The program could not be started at all.
    #[error("start {program}: {text}")]
    NotStarted {
        /// The program.
        program: String,
        /// The system's words.
        text: String,
    },
    /// A process could not be signalled or stopped.
    #[error("{0}")]
    Process(String),
    /// The JobManager does not answer.
    #[error("{0}")]
    JobManager(String),
    /// The call was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The caller broke the protocol.
    #[error("bad request: {0}")]
    BadRequest(String),
    /// The agent itself failed.
    #[error("agent: {0}")]
    Internal(String),
}

impl AgentError {
    /// Sorts a failed file operation.
    #[must_use]
    pub fn file(path: impl fmt::Display, error: &io::Error) -> Self {
        let (path, text) = (path.to_string(), error.to_string());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path, text },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path, text },
            io::ErrorKind::PermissionDenied => Self::Denied { path, text },
            io::ErrorKind::NotFound => Self::NotFound { path },
            _ => Self::File { path, text },
        }
    }

    /// The error's code, as in `error[code]`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSpace { .. } => "host.disk-full",
            Self::ReadOnly { .. } => "host.read-only",
            Self::Denied { .. } => "host.permission",
            Self::NotFound { .. } => "host.not-found",
            Self::File { .. } | Self::OutsideBase { .. } => "host.file",
            Self::Damaged { .. } => "upload.damaged",
            Self::LockHeld { .. } => "lock.held",
            Self::NotStarted { .. } => "process.start",
            Self::Process(_) => "process.stop",
            Self::JobManager(_) => "jobmanager.lost",
            Self::Cancelled | Self::BadRequest(_) | Self::Internal(_) => "agent.failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_do_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", Bytes(b"secret".to_vec())), "6 bytes");
    }

    #[test]
    fn file_errors_are_sorted() {
        let sort = |errno: rustix::io::Errno| AgentError::file("/x", &errno.into()).code();
        assert_eq!(sort(rustix::io::Errno::NOSPC), "host.disk-full");
        assert_eq!(sort(rustix::io::Errno::DQUOT), "host.disk-full");
        assert_eq!(sort(rustix::io::Errno::ROFS), "host.read-only");
        assert_eq!(sort(rustix::io::Errno::ACCESS), "host.permission");
        assert_eq!(sort(rustix::io::Errno::NOENT), "host.not-found");
        assert_eq!(sort(rustix::io::Errno::NOTDIR), "host.file");
    }

    #[test]
    fn bytes_are_encoded_in_one_piece() {
        let encoded = postcard::to_stdvec(&Upstream::Data(7, Bytes(vec![1, 2, 3]))).expect("encodes");
        assert_eq!(encoded, [1, 7, 3, 1, 2, 3]);
        assert!(matches!(
            postcard::from_bytes(&encoded),
            Ok(Upstream::Data(7, Bytes(data))) if data == [1, 2, 3]
        ));
    }
}

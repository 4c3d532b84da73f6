//! Why a host cannot be reached, with the words of `ssh` and what helps.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// A connection that failed or was lost.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{host}: {kind}")]
pub struct SshError {
    /// The host's name in the inventory.
    pub host: String,
    /// Where the connection was to go: `[user@]address[:port]`.
    pub endpoint: String,
    /// What went wrong.
    pub kind: SshErrorKind,
    /// What `ssh` said, verbatim, without blank lines; empty when it said nothing.
    pub text: Box<str>,
}

/// A host key, known or offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// Its kind, such as `ED25519`.
    pub algorithm: String,
    /// `SHA256:...` of an offered key, `file:line` of a known one.
    pub value: String,
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.value)
    }
}

/// What went wrong with a connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SshErrorKind {
    /// Nothing listens there.
    #[error("connection refused")]
    Refused,
    /// No answer in time.
    #[error("no answer in {}s", .0.as_secs())]
    Timeout(Duration),
    /// The connection was made, the login did not end in time.
    #[error("the login did not end within {}s", .0.as_secs())]
    AuthTimeout(Duration),
    /// No route to the host.
    #[error("no route to the host")]
    Unreachable,
    /// The name has no address.
    #[error("the host name cannot be resolved")]
    Unresolvable,
    /// The server refused every key that was offered. Never retried: servers block addresses that fail repeatedly.
    #[error("the host refused the login")]
    Auth {
        /// Login methods that the server would take.
        accepts: Option<String>,
        /// What was offered.
        tried: Vec<String>,
    },
    /// The private key that is configured is not there.
    #[error("the private key {} cannot be read: {reason}", path.display())]
    MissingKeyFile {
        /// The configured file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The host shows another key than the one on record.
    #[error("the host key differs from the one on record")]
    HostKeyChanged {
        /// The key on record.
        known: Option<Box<HostKey>>,
        /// The key that the host shows.
        offered: Option<Box<HostKey>>,
    },
    /// The host's key is not on record, and only known hosts are accepted.
    #[error("the host key is not on record")]
    HostKeyUnknown,
    /// sshd dropped the connection before the login, several times.
    #[error("sshd drops connections before the login ({attempts} attempts in {:.1}s)", elapsed.as_secs_f64())]
    Throttled {
        /// How often it was tried.
        attempts: u32,
        /// For how long.
        elapsed: Duration,
    },
    /// No directory with a path short enough for a control socket.
    #[error("no directory for control sockets: {0}")]
    ControlDirectory(String),
    /// The way through a jump host failed; the message says at which.
    #[error("jump host {hop}: {reason}")]
    JumpFailed {
        /// The jump host.
        hop: String,
        /// Why.
        reason: String,
    },
    /// There is no `ssh` on this machine.
    #[error("the program `ssh` is not installed here")]
    NoSshBinary,
    /// The address or a jump host is malformed.
    #[error("{0}")]
    Invalid(String),
    /// The connection was up and is no more.
    #[error("the connection was lost")]
    Lost,
    /// The server opens no further session (`MaxSessions`), or the exec was refused.
    #[error("the host opens no session: {0}")]
    Session(String),
    /// Something that is not known here; the text says it.
    #[error("ssh failed")]
    Other,
}

impl SshErrorKind {
    /// Whether the same attempt may succeed a moment later and does no harm: only drops before the login.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Throttled { .. })
    }
}

impl SshError {
    /// The error's code, as in `error[code]`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self.kind {
            SshErrorKind::Refused => "ssh.refused",
            SshErrorKind::Timeout(_) | SshErrorKind::AuthTimeout(_) => "ssh.timeout",
            SshErrorKind::Unreachable => "ssh.unreachable",
            SshErrorKind::Unresolvable => "ssh.unresolvable",
            SshErrorKind::Auth { .. } => "ssh.auth",
            SshErrorKind::MissingKeyFile { .. } => "ssh.key-file",
            SshErrorKind::HostKeyChanged { .. } => "ssh.host-key-changed",
            SshErrorKind::HostKeyUnknown => "ssh.host-key-unknown",
            SshErrorKind::Throttled { .. } => "ssh.throttled",
            SshErrorKind::ControlDirectory(_) => "ssh.control-path",
            SshErrorKind::JumpFailed { .. } => "ssh.jump",
            SshErrorKind::NoSshBinary => "ssh.no-client",
            SshErrorKind::Invalid(_) => "ssh.target",
            SshErrorKind::Lost => "ssh.lost",
            SshErrorKind::Session(_) => "ssh.session",
            SshErrorKind::Other => "ssh.failed",
        }
    }

    /// What is known beyond the headline, one line each: the verbatim text first.
    #[must_use]
    pub fn details(&self) -> Vec<String> {
        let mut lines: Vec<String> = match self.kind {
            // ssh's own text is a page of capital letters that says what the lines below say.
            SshErrorKind::HostKeyChanged { .. } => Vec::new(),
            _ => self.text.lines().map(str::to_owned).collect(),
        };
        match &self.kind {
            SshErrorKind::Auth { accepts, tried } => {
                if !tried.is_empty() {
                    lines.push(format!("tried: {}", tried.join(", ")));
                }
                if let Some(methods) = accepts {
                    lines.push(format!("server accepts: {methods}"));
                }
            }
            SshErrorKind::HostKeyChanged { known, offered } => {
                lines.extend(known.as_ref().map(|key| format!("known: {key}")));
                lines.extend(offered.as_ref().map(|key| format!("offered: {key}")));
            }
            _ => {}
        }
        lines
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let host = &self.host;
        Some(match &self.kind {
            SshErrorKind::Refused | SshErrorKind::Timeout(_) | SshErrorKind::Unreachable => {
                format!("flinkctl cluster check -H {host}")
            }
            SshErrorKind::AuthTimeout(_) => {
                "raise auth_timeout in [ssh]; slow logins are often name lookups of sshd (UseDNS) or of PAM".to_owned()
            }
            SshErrorKind::Unresolvable => {
                format!("set address of host \"{host}\" in cluster.toml, or add the name to DNS or /etc/hosts")
            }
            SshErrorKind::Auth { .. } => "ssh-add ~/.ssh/<key>, or set identity_file in [ssh]. \
                Not retried: repeated failures get the address blocked."
                .to_owned(),
            SshErrorKind::MissingKeyFile { .. } => "correct identity_file in [ssh]".to_owned(),
            SshErrorKind::HostKeyChanged { known, .. } => {
                let file = known.as_ref().and_then(|key| key.value.rsplit_once(':'));
                let option = file.map_or_else(String::new, |(file, _line)| format!(" -f {file}"));
                format!(
                    "the host was reinstalled, or someone answers in its place: compare with \
                     `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its console, then: ssh-keygen{option} -R {}",
                    self.known_hosts_name()
                )
            }
            SshErrorKind::HostKeyUnknown => {
                format!(
                    "ssh {} once and compare the key, or set host_keys = \"accept-new\" in [ssh]",
                    self.endpoint
                )
            }
            SshErrorKind::Throttled { .. } => format!(
                "sshd limits unauthenticated connections (MaxStartups, default 10:30:100): lower concurrency_per_endpoint \
                 in [ssh], or raise MaxStartups on {}",
                self.endpoint
            ),
            SshErrorKind::ControlDirectory(_) => {
                "set XDG_RUNTIME_DIR to a short path that only you can write".to_owned()
            }
            SshErrorKind::JumpFailed { hop, .. } => {
                format!(
                    "try by hand: ssh -J {hop} {}; the jump host must allow it (AllowTcpForwarding)",
                    self.endpoint
                )
            }
            SshErrorKind::NoSshBinary => "apt install openssh-client".to_owned(),
            SshErrorKind::Session(_) => format!("raise MaxSessions in sshd_config of {host}"),
            SshErrorKind::Invalid(_) | SshErrorKind::Lost | SshErrorKind::Other => return None,
        })
    }

    /// The name under which known_hosts has the host: `[address]:port` unless the port is 22.
    fn known_hosts_name(&self) -> String {
        let endpoint = self.endpoint.parse::<super::Endpoint>();
        endpoint.map_or_else(
            |_| self.endpoint.clone(),
            |endpoint| match endpoint.port {
                None | Some(22) => endpoint.host,
                Some(port) => format!("'[{}]:{port}'", endpoint.host),
            },
        )
    }
}

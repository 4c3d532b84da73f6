//! A host that has been reached, over SSH or because it is this machine.

use std::fmt;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::error::{SshError, SshErrorKind};
use super::master::Master;
use super::target::SshTarget;
use crate::process::TAG_VARIABLE;

/// Bytes from the host.
pub type BoxReader = Box<dyn AsyncRead + Send + Unpin>;
/// Bytes to the host.
pub type BoxWriter = Box<dyn AsyncWrite + Send + Unpin>;

/// How a host is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Through sshd.
    Ssh,
    /// As a child process: the host is this machine.
    Local,
}

/// A connection to one host. Dropping it ends it, and with it everything that runs attached to it.
#[derive(Debug)]
pub struct HostConnection {
    name: String,
    endpoint: String,
    uploads: Arc<Semaphore>,
    link: Link,
}

#[derive(Debug)]
enum Link {
    Ssh {
        session: Arc<openssh::Session>,
        master: Box<Master>,
        /// Keeps the last jump host's master, which carries this connection.
        _hop: Option<Arc<Master>>,
    },
    Local,
}

/// Input and outputs of a remote shell.
pub(super) struct Channel {
    pub(super) writer: BoxWriter,
    pub(super) reader: BoxReader,
    pub(super) stderr: BoxReader,
}

impl HostConnection {
    pub(super) fn ssh(target: &SshTarget, master: Master, hop: Option<Arc<Master>>, uploads: Arc<Semaphore>) -> Self {
        let session = openssh::Session::resume_mux(master.control().into(), None);
        Self {
            name: target.name.clone(),
            endpoint: target.endpoint().to_string(),
            uploads,
            link: Link::Ssh {
                session: Arc::new(session),
                master: Box::new(master),
                _hop: hop,
            },
        }
    }

    pub(super) fn local(target: &SshTarget, uploads: Arc<Semaphore>) -> Self {
        Self {
            name: target.name.clone(),
            endpoint: target.endpoint().to_string(),
            uploads,
            link: Link::Local,
        }
    }

    /// The host's name in the inventory.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.name
    }

    /// How the host is reached.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        match self.link {
            Link::Ssh { .. } => Transport::Ssh,
            Link::Local => Transport::Local,
        }
    }

    /// The SSH session, for port forwardings; `None` on this machine.
    #[must_use]
    pub fn session(&self) -> Option<&openssh::Session> {
        match &self.link {
            Link::Ssh { session, .. } => Some(session),
            Link::Local => None,
        }
    }

    /// The gate of uploads, shared by all connections of a connector.
    pub(super) fn uploads(&self) -> &Semaphore {
        &self.uploads
    }

    /// Whether the connection still stands, as far as this side knows.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match &self.link {
            Link::Ssh { master, .. } => master.is_alive(),
            Link::Local => true,
        }
    }

    /// Ends the connection and waits until its `ssh` is gone.
    pub async fn close(self) {
        if let Link::Ssh { master, .. } = self.link {
            master.stop().await;
        }
    }

    /// Starts `sh -s`. The login shell sees two plain words, which mean the same to every shell.
    pub(super) async fn shell(&self) -> Result<Channel, SshError> {
        match &self.link {
            Link::Ssh { session, .. } => self.remote_shell(session.clone()).await,
            Link::Local => self.local_shell(),
        }
    }

    async fn remote_shell(&self, session: Arc<openssh::Session>) -> Result<Channel, SshError> {
        let failed = |error: openssh::Error| {
            let reason = full_text(&error);
            self.error(if self.is_alive() {
                SshErrorKind::Session(reason)
            } else {
                SshErrorKind::Lost
            })
        };
        let mut child = session
            .arc_raw_command("exec sh -s")
            .stdin(openssh::Stdio::piped())
            .stdout(openssh::Stdio::piped())
            .stderr(openssh::Stdio::piped())
            .spawn()
            .await
            .map_err(failed)?;
        let pipes = (child.stdin().take(), child.stdout().take(), child.stderr().take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(self.error(SshErrorKind::Other));
        };
        Ok(Channel {
            writer: Box::new(stdin),
            // The master ends the remote session when the handle of the child is dropped.
            reader: Box::new(Held {
                stream: stdout,
                _owner: child,
            }),
            stderr: Box::new(stderr),
        })
    }

    fn local_shell(&self) -> Result<Channel, SshError> {
        let mut command = Command::new("sh");
        command
            .arg("-s")
            .env_remove(TAG_VARIABLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for us; the agent ends with its stdin.
            .process_group(0);
        if let Some(home) = std::env::var_os("HOME").filter(|home| std::path::Path::new(home).is_dir()) {
            command.current_dir(home);
        }
        let failed = |error: std::io::Error| SshError {
            text: format!("sh: {error}").into(),
            ..self.error(SshErrorKind::Other)
        };
        let mut child = command.spawn().map_err(failed)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(self.error(SshErrorKind::Other));
        };
        Ok(Channel {
            writer: Box::new(stdin),
            reader: Box::new(Held {
                stream: stdout,
                _owner: child,
            }),
            stderr: Box::new(stderr),
        })
    }

    fn error(&self, kind: SshErrorKind) -> SshError {
        SshError {
            host: self.name.clone(),
            endpoint: self.endpoint.clone(),
            kind,
            text: Box::default(),
        }
    }
}

/// An error with its causes: the crate's own texts say little.
fn full_text(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    std::iter::once(error.to_string())
        .chain(causes.map(ToString::to_string))
        .collect::<Vec<_>>()
        .join(": ")
}

/// A stream that keeps something alive.
struct Held<S, T> {
    stream: S,
    _owner: T,
}

impl<S, T> fmt::Debug for Held<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl<S: AsyncRead + Unpin, T: Unpin> AsyncRead for Held<S, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

//! The way to a host: connections over the user's own `ssh`, and what has to happen before our own binary runs there.
//!
//! One OpenSSH *master* per host, in the foreground and as our child: its READY line says when the login is done, its stderr says
//! why not, and it dies with us, even by SIGKILL (`agent tether`). Over it goes exactly one exec, `sh -s`, which becomes the agent
//! ([`bootstrap`](self::HostConnection::agent)); all further traffic is frames on that channel, so sshd's `MaxSessions`, login
//! files and shells are met once. OpenSSH itself rather than an SSH library, because `~/.ssh/config`, agents, certificates,
//! security keys and jump hosts then work as the user knows them.
//!
//! A host whose address is `localhost` is driven the same way by a child process instead of SSH.

mod binary;
mod bootstrap;
mod classify;
mod connection;
mod connector;
mod control;
mod error;
mod jump;
mod master;
mod script;
mod spawner;
mod target;

pub use binary::Binary;
pub use bootstrap::{BootstrapError, BootstrapFailure, Program, UploadProgress};
pub use connection::{BoxReader, BoxWriter, HostConnection, Transport};
pub use connector::{Connector, ConnectorSettings};
pub use error::{HostKey, SshError, SshErrorKind};
pub(crate) use target::expand_home;
pub use target::{Endpoint, HostKeys, InvalidTarget, SshTarget};

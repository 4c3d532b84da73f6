//! The agent: the far end of a bootstrap channel, which does on a host what its caller asks.
//!
//! `flinkctl agent ...` is not for people. It reads [`protocol::Upstream`] frames on stdin, writes [`protocol::Downstream`]
//! frames on stdout, and ends when its stdin does; what it launched by then lives on, everything else is undone.
//! Both a launcher and a JobManager (for the hosts of its TaskManagers) drive agents, through [`AgentClient`].

mod blobs;
mod client;
mod detach;
mod entry;
mod exec;
mod files;
mod jobmanager;
mod launch;
mod locks;
pub mod mesh;
mod probe;
pub mod protocol;
mod resolve;
mod server;
mod stdio;
mod wire;

mod replies;

pub use client::{AgentClient, AgentLock, CallError, CommandEvent, RunningCommand};
pub use entry::{AGENT, entry};
pub(crate) use replies::{ClientError, Replies};
pub use stdio::{ChannelReader, ChannelWriter, channel};

pub(crate) use entry::{REACH, SERVE, TETHER};
pub(crate) use files::remove_empty_parents;
pub(crate) use resolve::one as resolve;

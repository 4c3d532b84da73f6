//! Hosts for real: a private sshd on the loopback interface, the real `ssh`, the real binary as agent.
//!
//! Needs `openssh-server`, `openssh-client` and `util-linux`, and no root. Without them the tests fail; they never skip.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod agent;
mod bootstrap;
mod connect;
mod fixture;
mod killed;
mod mesh;

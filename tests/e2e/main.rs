//! End to end: `flinkctl` on hosts with sshd, as an operator uses it, and as the world treats it.

mod applications;
mod checking;
mod cleaning;
mod counting;
mod detached;
mod launcher;
mod launcher_killed;
mod losses;
mod many_hosts;
mod nexmark;
mod packages;
mod sessions;
mod standalone;
mod temporary_files;
mod user_code;

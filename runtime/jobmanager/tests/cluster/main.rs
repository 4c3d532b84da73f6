//! The JobManager over real QUIC: what TaskManagers, workers and clients see of it, and what it makes of theirs ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod coordination;
mod fixture;
mod harness;
mod lifecycle;
mod losses;
mod output;
mod roles;

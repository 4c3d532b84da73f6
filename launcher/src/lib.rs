//! `flinkctl` as a library: what its binary is made of, for the binary itself and for tests that drive the modules on real hosts.

pub mod agent;
pub mod dispatch;
pub mod process;
pub mod ssh;

mod cli;
mod commands;
mod config;
mod control;
mod error;
mod exit_code;
mod hosts;
mod output;
mod program;
mod progress;
mod runtime;
mod signals;
mod sweep;
mod views;

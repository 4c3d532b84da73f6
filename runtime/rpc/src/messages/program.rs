//! Launcher <-> job program in role `client`, over a socket that the program is given as its standard input.

use flink_graph::JobGraph;
use serde::{Deserialize, Serialize};

/// Launcher -> program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToProgram {
    /// Parse the arguments and build the graph.
    Plan {
        /// Parallelism of operators that set none.
        default_parallelism: u32,
    },
}

/// Program -> launcher: one, then the program ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromProgram {
    /// The graph, and what workers need to build it again.
    Planned {
        /// [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION) of the program.
        protocol: u32,
        /// The graph.
        graph: JobGraph,
        /// The encoded arguments.
        args: Vec<u8>,
    },
    /// `build` returned an error.
    Failed {
        /// The error with its causes.
        message: String,
    },
}

/// The bytes before the version in a job program's marker, in two parts so that a program that only looks for
/// markers is not taken for one that has it.
const MARKER: [&str; 2] = ["flink-job-", "program protocol="];

/// The text that every job program carries in its file (`flink::run` keeps it alive): what it is and its
/// [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION), so that the launcher can tell before it executes anything.
pub const fn program_marker() -> &'static str {
    "flink-job-program protocol=1;"
}

/// The protocol version that the program with these bytes was built with; `None` when it is no job program.
pub fn protocol_of_program(file: &[u8]) -> Option<u32> {
    let needle = MARKER.concat().into_bytes();
    let at = memchr::memmem::find(file, &needle)?;
    let digits = file[at + needle.len()..].split(|byte| *byte == b';').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::PROTOCOL_VERSION;

    #[test]
    fn the_marker_names_this_version_and_is_found() {
        let file = [b"\x7fELF...".as_slice(), program_marker().as_bytes(), b"..."].concat();
        assert_eq!(protocol_of_program(&file), Some(PROTOCOL_VERSION));
    }

    #[test]
    fn other_files_have_none() {
        assert_eq!(protocol_of_program(b"#!/bin/sh\n"), None);
        assert_eq!(protocol_of_program(b"flink-job-program protocol=x;"), None);
    }
}

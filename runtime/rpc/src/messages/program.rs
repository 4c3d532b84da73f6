//! Launcher <-> job program in role `client`, over a socket that the program is given as its standard input.

use flink_graph::{Accumulators, JobGraph, JobId, JobStatus};
use serde::{Deserialize, Serialize};

use super::Fault;

/// Launcher -> program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToProgram {
    /// Parse the arguments and build the graph; the first message. An application answers with
    /// [`FromProgram::Application`] instead.
    Plan {
        /// Parallelism of operators that set none.
        default_parallelism: u32,
    },
    /// Run the application's driver: there is a cluster.
    Drive,
    /// The answer to [`FromProgram::Submit`]; answers come in the order of the questions.
    Submitted(Result<JobId, Fault>),
    /// A job that was submitted is in another state. It comes after the job's `Submitted`.
    JobStatusChanged {
        /// The job.
        job: JobId,
        /// Its state.
        status: JobStatus,
    },
    /// A job that was submitted has ended; nothing follows about it.
    JobTerminated {
        /// The job.
        job: JobId,
        /// How.
        termination: JobTermination,
    },
}

/// Program -> launcher. The program of one job sends one message and ends; an application [`FromProgram::Application`],
/// then, once it may drive, any number of the last four.
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
    /// The program has a driver that submits its jobs, when it is told to [`ToProgram::Drive`].
    Application {
        /// The names of its jobs.
        jobs: Vec<String>,
    },
    /// Run this job.
    Submit {
        /// The graph.
        graph: Box<JobGraph>,
        /// What workers need to build it again.
        args: Vec<u8>,
    },
    /// Cancel this job; nothing happens when it has ended.
    Cancel(JobId),
    /// The driver has ended, and so have its jobs.
    DriverEnded(Result<(), DriverFailure>),
}

/// How a job ended, for the driver that submitted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobTermination {
    /// Its last state.
    pub status: JobStatus,
    /// From its submission to its end, ms.
    pub duration_ms: u64,
    /// Why, of a job that failed.
    pub message: Option<String>,
    /// What its functions have added up.
    pub accumulators: Accumulators,
}

/// Why an application's driver did not end well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DriverFailure {
    /// It returned that this job did not finish.
    Job {
        /// The job.
        job: JobId,
        /// How it ended: failed or cancelled.
        status: JobStatus,
        /// The error with its causes.
        message: String,
    },
    /// It returned that the cluster did not take a job, for this reason.
    Refused(Fault),
    /// It returned another error.
    Error {
        /// The error with its causes.
        message: String,
    },
    /// It panicked; standard error has said where.
    Panicked {
        /// What with.
        message: String,
    },
}

/// The bytes before the version in a job program's marker, in two parts so that a program that only looks for
/// markers is not taken for one that has it.
const MARKER: [&str; 2] = ["flink-job-", "program protocol="];

/// The text that every job program carries in its file (`flink::run` keeps it alive): what it is and its
/// [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION), so that the launcher can tell before it executes anything.
pub const fn program_marker() -> &'static str {
    "flink-job-program protocol=2;"
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

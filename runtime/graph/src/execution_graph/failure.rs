//! Why tasks and jobs fail.
//!
//! One death is felt in many places: when a worker is killed, its neighbours' tasks report broken channels, often
//! before the TaskManager reports the worker's end. Such reports are *consequences*
//! ([`TaskFailureKind::is_consequence`]): they make the job fail at once, but as the cause of its failure they give
//! way to the first other failure that arrives while tasks are still ending. Since the job does not end before the
//! culprit's tasks have, the culprit is heard.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An error that ended a task, a worker, or a TaskManager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct TaskFailure {
    /// What sort of failure it is.
    pub kind: TaskFailureKind,
    /// Name of the operator it happened in, where that is known.
    pub operator: Option<String>,
    /// What happened, lower case, with all causes.
    pub message: String,
}

impl TaskFailure {
    /// A failure that no operator is to blame for.
    pub fn new(kind: TaskFailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            operator: None,
            message: message.into(),
        }
    }

    /// The same, in this operator.
    #[must_use]
    pub fn in_operator(mut self, operator: impl Into<String>) -> Self {
        self.operator = Some(operator.into());
        self
    }
}

/// Sorts of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TaskFailureKind {
    /// The job's own code returned an error or panicked.
    UserCode,
    /// The runtime failed under the job.
    Runtime,
    /// The worker, or the coordinator, could not be started: no artifact, wrong machine, `build` failed.
    WorkerStart,
    /// The worker, or the coordinator, built another graph than the client.
    GraphMismatch,
    /// The worker process, or the coordinator's, ended by itself.
    WorkerDied(WorkerExit),
    /// The TaskManager ended or cannot be reached.
    TaskManagerLost,
    /// The slots that the job needs cannot be had.
    SlotsUnavailable,
    /// A channel to another task broke: the consequence of that task's end. Code that passes such an error on, the
    /// job's own included, must keep its kind.
    Exchange,
}

impl TaskFailureKind {
    /// Whether such a failure always has its cause in another one.
    pub const fn is_consequence(self) -> bool {
        matches!(self, Self::Exchange)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WorkerExit {
    /// It returned this exit code.
    Code(i32),
    /// It was ended by this signal.
    Signal(i32),
}

impl fmt::Display for WorkerExit {
    /// `exit code 3`, `signal 9 (SIGKILL)`; signals are named as Linux numbers them on x86-64 and aarch64.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signal = match *self {
            Self::Code(code) => return write!(f, "exit code {code}"),
            Self::Signal(signal) => signal,
        };
        let name = match signal {
            1 => "SIGHUP",
            2 => "SIGINT",
            3 => "SIGQUIT",
            4 => "SIGILL",
            5 => "SIGTRAP",
            6 => "SIGABRT",
            7 => "SIGBUS",
            8 => "SIGFPE",
            9 => "SIGKILL",
            11 => "SIGSEGV",
            13 => "SIGPIPE",
            15 => "SIGTERM",
            24 => "SIGXCPU",
            25 => "SIGXFSZ",
            31 => "SIGSYS",
            _ => return write!(f, "signal {signal}"),
        };
        write!(f, "signal {signal} ({name})")
    }
}

/// Why a job failed: the first failure that is no consequence of another one, and where it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFailure {
    /// The task that failed; `None` when it was a whole worker, a TaskManager, or the job before it had tasks.
    pub task: Option<FailedTask>,
    /// The host it happened on.
    pub host: Option<String>,
    /// What happened.
    pub failure: TaskFailure,
}

/// A task, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedTask {
    /// Name of its vertex.
    pub vertex: String,
    /// Its subtask index, 0-based.
    pub subtask: u32,
    /// Number of subtasks of its vertex.
    pub parallelism: u32,
    /// The attempt, 0-based.
    pub attempt: u32,
}

impl fmt::Display for FailedTask {
    /// As Flink writes it: `split -> map (2/4)`, counting from 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}/{})", self.vertex, self.subtask + 1, self.parallelism)
    }
}

impl fmt::Display for JobFailure {
    /// `split -> map (2/4) on tm05, operator map: index out of bounds`, as far as it is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TaskFailure { operator, message, .. } = &self.failure;
        let task = self.task.as_ref().map(ToString::to_string);
        let place = match (task, &self.host) {
            (Some(task), Some(host)) => Some(format!("{task} on {host}")),
            (task, host) => task.or_else(|| host.clone()),
        };
        let operator = operator.as_ref().map(|operator| format!("operator {operator}"));
        let place: Vec<String> = place.into_iter().chain(operator).collect();
        let place = place.join(", ");
        // What a TaskManager's end says names its host itself.
        let names_it = message.strip_prefix(&place).is_some_and(|rest| rest.starts_with(": "));
        if place.is_empty() || names_it {
            f.write_str(message)
        } else {
            write!(f, "{place}: {message}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_is_known_about_its_place() {
        let task = FailedTask {
            vertex: "split -> map".to_owned(),
            subtask: 1,
            parallelism: 4,
            attempt: 0,
        };
        let failure = TaskFailure::new(TaskFailureKind::UserCode, "no such word");
        let cases = [
            (
                Some(&task),
                Some("tm05"),
                Some("map"),
                "split -> map (2/4) on tm05, operator map: no such word",
            ),
            (
                Some(&task),
                Some("tm05"),
                None,
                "split -> map (2/4) on tm05: no such word",
            ),
            (None, Some("tm05"), None, "tm05: no such word"),
            (None, None, None, "no such word"),
        ];
        for (task, host, operator, expected) in cases {
            let failure = operator.map_or_else(|| failure.clone(), |operator| failure.clone().in_operator(operator));
            let failure = JobFailure {
                task: task.cloned(),
                host: host.map(str::to_owned),
                failure,
            };
            assert_eq!(failure.to_string(), expected);
        }
    }

    #[test]
    fn a_host_is_named_once() {
        let message = "h2: its TaskManager has not been heard of for 3s";
        let failure = JobFailure {
            task: None,
            host: Some("h2".to_owned()),
            failure: TaskFailure::new(TaskFailureKind::TaskManagerLost, message),
        };
        assert_eq!(failure.to_string(), message);
    }

    #[test]
    fn exits_are_named() {
        assert_eq!(WorkerExit::Code(101).to_string(), "exit code 101");
        assert_eq!(WorkerExit::Signal(9).to_string(), "signal 9 (SIGKILL)");
        assert_eq!(WorkerExit::Signal(34).to_string(), "signal 34");
    }
}

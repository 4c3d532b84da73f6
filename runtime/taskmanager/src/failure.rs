//! What a job is told about failures of its workers here.

use flink_graph::{TaskFailure, TaskFailureKind};
use flink_process::Death;

/// The slots cannot be given: none free, or the TaskManager ends.
pub(crate) fn no_slots(host: &str, reason: &str) -> TaskFailure {
    TaskFailure::new(TaskFailureKind::SlotsUnavailable, format!("{host}: {reason}"))
}

/// There is no program to execute, or the kernel does not take it.
pub(crate) fn not_started(host: &str, reason: &str) -> TaskFailure {
    TaskFailure::new(TaskFailureKind::WorkerStart, format!("{host}: {reason}"))
}

/// The process ended, or had to be ended, before it was ready. `why` is what was wrong with it while it lived.
pub(crate) fn died_before_ready(host: &str, why: Option<&str>, death: &Death) -> TaskFailure {
    let message = format!("{host}: the worker process did not get ready: {}", death.describe(why));
    TaskFailure::new(TaskFailureKind::WorkerStart, message)
}

/// The process ended, or had to be ended, when tasks could run in it.
pub(crate) fn died(host: &str, why: Option<&str>, death: &Death) -> TaskFailure {
    let kind = death.exit.map_or(TaskFailureKind::Runtime, TaskFailureKind::WorkerDied);
    TaskFailure::new(
        kind,
        format!("{host}: the worker process ended: {}", death.describe(why)),
    )
}

/// A task was sent here, and the job has no worker here.
pub(crate) fn no_worker(host: &str) -> TaskFailure {
    TaskFailure::new(
        TaskFailureKind::Runtime,
        format!("{host}: the job has no worker here that could run the task"),
    )
}

#[cfg(test)]
mod tests {
    use flink_graph::WorkerExit;

    use super::*;

    #[test]
    fn a_death_is_told_with_signal_core_dump_and_output() {
        let death = Death {
            exit: Some(WorkerExit::Signal(6)),
            core_dumped: true,
            output: vec!["thread 'main' panicked".to_owned(), "fatal runtime error".to_owned()],
        };
        let failure = died("h2", None, &death);
        assert_eq!(failure.kind, TaskFailureKind::WorkerDied(WorkerExit::Signal(6)));
        assert_eq!(
            failure.message,
            "h2: the worker process ended: signal 6 (SIGABRT), core dumped\nlast lines of its output:\n  \
             thread 'main' panicked\n  fatal runtime error"
        );
    }

    #[test]
    fn what_was_wrong_before_stands_first() {
        let death = Death {
            exit: Some(WorkerExit::Signal(9)),
            core_dumped: false,
            output: vec![],
        };
        let failure = died_before_ready("h2", Some("it was not ready after 30s"), &death);
        assert_eq!(
            failure.message,
            "h2: the worker process did not get ready: it was not ready after 30s; signal 9 (SIGKILL)"
        );
    }
}

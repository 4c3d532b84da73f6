//! The states of jobs and of executions, and the transitions between them (Flink 1.20, `JobStatus.java`,
//! `ExecutionState.java`, `DefaultExecutionGraph.java`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a job.
///
/// ```text
/// INITIALIZING -> CREATED --> RUNNING <-> RESTARTING     RUNNING --> FINISHED
///
/// CREATED, RUNNING, RESTARTING -----------------> FAILING -----> FAILED
///                                                    |
///                                                    v
/// INITIALIZING, CREATED, RUNNING, RESTARTING --> CANCELLING ---> CANCELED
///
/// any of these that is not globally terminal ---> SUSPENDED
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum JobStatus {
    /// Submitted; its JobMaster is being made.
    Initializing,
    /// Known in full, nothing started.
    Created,
    /// Waits for its slots, or runs.
    Running,
    /// Failed; its tasks are being cancelled.
    Failing,
    /// Failed for good.
    Failed,
    /// Cancelled by a user; its tasks are being cancelled.
    Cancelling,
    /// Cancelled for good.
    Canceled,
    /// All tasks are finished.
    Finished,
    /// Failed; about to run again.
    Restarting,
    /// Given up by this JobManager, not by the cluster: leadership was lost.
    Suspended,
}

impl JobStatus {
    /// Whether the job has ended, whoever leads the cluster.
    pub const fn is_globally_terminal(self) -> bool {
        matches!(self, Self::Failed | Self::Canceled | Self::Finished)
    }

    /// Whether a job in this state may get into the other one next.
    pub const fn can_transition_to(self, to: Self) -> bool {
        match to {
            Self::Initializing => false,
            Self::Created => matches!(self, Self::Initializing),
            Self::Running => matches!(self, Self::Created | Self::Restarting),
            Self::Restarting | Self::Finished => matches!(self, Self::Running),
            Self::Failing => matches!(self, Self::Created | Self::Running | Self::Restarting),
            Self::Failed => matches!(self, Self::Failing),
            Self::Cancelling => {
                matches!(
                    self,
                    Self::Initializing | Self::Created | Self::Running | Self::Restarting | Self::Failing
                )
            }
            Self::Canceled => matches!(self, Self::Cancelling),
            Self::Suspended => !self.is_globally_terminal() && !matches!(self, Self::Suspended),
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Initializing => "INITIALIZING",
            Self::Created => "CREATED",
            Self::Running => "RUNNING",
            Self::Failing => "FAILING",
            Self::Failed => "FAILED",
            Self::Cancelling => "CANCELLING",
            Self::Canceled => "CANCELED",
            Self::Finished => "FINISHED",
            Self::Restarting => "RESTARTING",
            Self::Suspended => "SUSPENDED",
        })
    }
}

/// The state of one attempt to run one subtask.
///
/// ```text
/// CREATED -> SCHEDULED -> DEPLOYING -> INITIALIZING -> RUNNING -> FINISHED
///    |           |            |             |             |
///    |           |            '-------------+-------------'
///    |           |                          v
///    |           |                      CANCELING
///    |           |                          |
///    '-----------'------------> CANCELED <--'
///
/// any that is not terminal ---> FAILED
/// ```
/// Tasks may be so fast that states on the upper line are skipped, and end cancelled before they are told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ExecutionState {
    /// Nothing happened yet.
    Created,
    /// Waits for its slot.
    Scheduled,
    /// Sent to its TaskManager, which has not answered.
    Deploying,
    /// Its operators are being opened.
    Initializing,
    /// Processes records.
    Running,
    /// Has processed all its input.
    Finished,
    /// Told to end.
    Canceling,
    /// Ended because it was told to, or never started.
    Canceled,
    /// Ended by an error.
    Failed,
}

impl ExecutionState {
    /// Whether the attempt is over.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Canceled | Self::Failed)
    }

    /// Whether the attempt was sent to a TaskManager and is not over.
    pub const fn is_deployed(self) -> bool {
        matches!(
            self,
            Self::Deploying | Self::Initializing | Self::Running | Self::Canceling
        )
    }

    /// Whether an attempt in this state may get into the other one next.
    pub const fn can_transition_to(self, to: Self) -> bool {
        match to {
            Self::Created => false,
            Self::Scheduled => matches!(self, Self::Created),
            Self::Deploying => matches!(self, Self::Scheduled),
            Self::Initializing => matches!(self, Self::Deploying),
            Self::Running => matches!(self, Self::Deploying | Self::Initializing),
            Self::Finished | Self::Canceling => {
                matches!(self, Self::Deploying | Self::Initializing | Self::Running)
            }
            Self::Canceled | Self::Failed => !self.is_terminal(),
        }
    }
}

impl fmt::Display for ExecutionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Created => "CREATED",
            Self::Scheduled => "SCHEDULED",
            Self::Deploying => "DEPLOYING",
            Self::Initializing => "INITIALIZING",
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Canceling => "CANCELING",
            Self::Canceled => "CANCELED",
            Self::Failed => "FAILED",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB_STATUSES: [JobStatus; 10] = [
        JobStatus::Initializing,
        JobStatus::Created,
        JobStatus::Running,
        JobStatus::Failing,
        JobStatus::Failed,
        JobStatus::Cancelling,
        JobStatus::Canceled,
        JobStatus::Finished,
        JobStatus::Restarting,
        JobStatus::Suspended,
    ];
    const EXECUTION_STATES: [ExecutionState; 9] = [
        ExecutionState::Created,
        ExecutionState::Scheduled,
        ExecutionState::Deploying,
        ExecutionState::Initializing,
        ExecutionState::Running,
        ExecutionState::Finished,
        ExecutionState::Canceling,
        ExecutionState::Canceled,
        ExecutionState::Failed,
    ];

    /// One line per state: itself and the states that may follow it.
    fn table<T: Copy + fmt::Display>(states: &[T], can_follow: fn(T, T) -> bool) -> Vec<String> {
        let line = |from: T| {
            let next = states
                .iter()
                .filter(|to| can_follow(from, **to))
                .map(|to| format!(" {to}"));
            format!("{from}:{}", next.collect::<String>())
        };
        states.iter().map(|from| line(*from)).collect()
    }

    #[test]
    fn job_status_transitions() {
        let expected = [
            "INITIALIZING: CREATED CANCELLING SUSPENDED",
            "CREATED: RUNNING FAILING CANCELLING SUSPENDED",
            "RUNNING: FAILING CANCELLING FINISHED RESTARTING SUSPENDED",
            "FAILING: FAILED CANCELLING SUSPENDED",
            "FAILED:",
            "CANCELLING: CANCELED SUSPENDED",
            "CANCELED:",
            "FINISHED:",
            "RESTARTING: RUNNING FAILING CANCELLING SUSPENDED",
            "SUSPENDED:",
        ];
        assert_eq!(table(&JOB_STATUSES, JobStatus::can_transition_to), expected);
    }

    #[test]
    fn execution_state_transitions() {
        let expected = [
            "CREATED: SCHEDULED CANCELED FAILED",
            "SCHEDULED: DEPLOYING CANCELED FAILED",
            "DEPLOYING: INITIALIZING RUNNING FINISHED CANCELING CANCELED FAILED",
            "INITIALIZING: RUNNING FINISHED CANCELING CANCELED FAILED",
            "RUNNING: FINISHED CANCELING CANCELED FAILED",
            "FINISHED:",
            "CANCELING: CANCELED FAILED",
            "CANCELED:",
            "FAILED:",
        ];
        assert_eq!(table(&EXECUTION_STATES, ExecutionState::can_transition_to), expected);
    }
}

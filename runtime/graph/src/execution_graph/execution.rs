//! One attempt to run one subtask.

use serde::{Deserialize, Serialize};

use super::ExecutionState;
use crate::TaskManagerId;

/// The present attempt to run a subtask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Its number, 0-based.
    pub attempt: u32,
    /// Its state.
    pub state: ExecutionState,
    /// The TaskManager it is assigned to, once it has a slot.
    pub task_manager: Option<TaskManagerId>,
    /// That TaskManager's host.
    pub host: Option<String>,
    /// When it was deployed, ms since the epoch.
    pub start_ms: Option<u64>,
    /// When it ended, ms since the epoch.
    pub end_ms: Option<u64>,
}

impl Execution {
    pub(super) const fn new() -> Self {
        Self {
            attempt: 0,
            state: ExecutionState::Created,
            task_manager: None,
            host: None,
            start_ms: None,
            end_ms: None,
        }
    }

    /// Enters a state if the table allows it; the state before, if so.
    pub(super) fn transition(&mut self, now_ms: u64, to: ExecutionState) -> Option<ExecutionState> {
        let from = self.state;
        if !from.can_transition_to(to) {
            return None;
        }
        self.state = to;
        if to == ExecutionState::Deploying {
            self.start_ms = Some(now_ms);
        }
        if to.is_terminal() {
            self.end_ms = Some(now_ms);
        }
        Some(from)
    }
}

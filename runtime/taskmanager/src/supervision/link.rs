//! The tie to the JobManager.

use std::time::{Duration, Instant};

use flink_process::life::Manner;
use tracing::{info, warn};

use super::{Action, Outcome, TaskManagerState};

/// ```text
///            reached                 no worker left            registered
///  Away ──────────────► Clearing ───────────────► Registering ───────────► Joined
///   ▲                      │                          │                       │
///   └──────────────────────┴───── disconnected ───────┴───────────────────────┘
/// ```
/// The deadline runs in every state but `Joined`, and from the first loss on: a connection without a
/// registration does not extend it.
#[derive(Debug)]
pub(super) struct Link {
    state: LinkState,
    /// When waiting for a registration is over; of no meaning in `Joined`.
    until: Instant,
    /// What went wrong last, for people.
    pub(super) trouble: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkState {
    Away,
    Clearing,
    Registering,
    Joined,
}

impl Link {
    pub(super) fn new(until: Instant) -> Self {
        Self {
            state: LinkState::Away,
            until,
            trouble: "no answer".to_owned(),
        }
    }

    pub(super) fn is_joined(&self) -> bool {
        self.state == LinkState::Joined
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.is_joined()).then_some(self.until)
    }
}

impl TaskManagerState {
    pub(super) fn reached(&mut self, now: Instant) {
        if self.closing.is_some() {
            return;
        }
        self.link.state = LinkState::Clearing;
        self.end_all(now, Manner::Kill);
    }

    pub(super) fn register_if_cleared(&mut self) {
        if self.link.state == LinkState::Clearing {
            self.link.state = LinkState::Registering;
            self.actions.push(Action::Register { last_epoch: self.epoch });
        }
    }

    pub(super) fn registered(&mut self, epoch: u64) {
        if self.link.state != LinkState::Registering || self.closing.is_some() {
            return;
        }
        if epoch < self.epoch {
            warn!(
                epoch,
                known = self.epoch,
                "a JobManager that lost its leadership answered"
            );
            self.link.state = LinkState::Away;
            "only a JobManager that lost its leadership answers".clone_into(&mut self.link.trouble);
            self.actions.push(Action::Reconnect);
            return;
        }
        info!(epoch, "registered");
        self.epoch = epoch;
        self.link.state = LinkState::Joined;
    }

    pub(super) fn disconnected(&mut self, now: Instant, reason: String, silent_for: Duration) {
        if self.link.is_joined() {
            warn!(%reason, workers = self.workers.len(), "the JobManager is gone; looking for it");
            self.link.until = now + self.limits.death_timeout.saturating_sub(silent_for);
        }
        self.link.state = LinkState::Away;
        self.link.trouble = reason;
    }

    /// No JobManager in time. The first one never came, or the last one stays away: then the workers' work is of no
    /// use to anybody.
    pub(super) fn link_is_overdue(&mut self, now: Instant) {
        let outcome = if self.epoch == 0 {
            Outcome::Unregistered {
                reason: self.link.trouble.clone(),
            }
        } else {
            Outcome::Orphaned
        };
        self.close(now, outcome, Manner::Kill);
    }
}

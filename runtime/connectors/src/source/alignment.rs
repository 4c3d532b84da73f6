//! Watermark alignment: who has to wait for whom.
//!
//! Sources of one group (`WatermarkStrategy::with_watermark_alignment`) report the watermarks of their subtasks; the group's
//! smallest, plus the drift that is allowed, is how far each may go. A subtask beyond that reads nothing until the
//! others have caught up. One that is idle, or has ended, is waited for by nobody.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use flink_record::Timestamp;

/// The watermarks of one group.
#[derive(Debug, Default)]
pub(crate) struct AlignmentGroup {
    /// By source and subtask.
    watermarks: BTreeMap<(u64, u32), Timestamp>,
}

impl AlignmentGroup {
    /// A source with so many subtasks takes part, from the start: nobody may run ahead of what has not begun.
    pub(crate) fn join(&mut self, source: u64, parallelism: u32) {
        for subtask in 0..parallelism {
            self.watermarks.insert((source, subtask), Timestamp::MIN);
        }
    }

    /// A subtask's watermark; `Timestamp::MAX` of one that is idle.
    pub(crate) fn report(&mut self, source: u64, subtask: u32, watermark: Timestamp) {
        self.watermarks.insert((source, subtask), watermark);
    }

    /// A subtask has ended.
    pub(crate) fn leave(&mut self, source: u64, subtask: u32) {
        self.watermarks.remove(&(source, subtask));
    }

    /// How far a watermark may be without its reader having to wait.
    pub(crate) fn max_allowed(&self, max_drift: Timestamp) -> Timestamp {
        let smallest = self.watermarks.values().min();
        smallest.map_or(Timestamp::MAX, |smallest| smallest.saturating_add(max_drift))
    }
}

/// A group that the coordinators of its sources share.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedGroup(Arc<Mutex<AlignmentGroup>>);

impl SharedGroup {
    pub(crate) fn lock(&self) -> MutexGuard<'_, AlignmentGroup> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The alignment groups of one job, by name.
#[derive(Debug, Default)]
pub struct AlignmentGroups {
    groups: BTreeMap<String, SharedGroup>,
    sources: u64,
}

impl AlignmentGroups {
    /// A source joins a group: the group, and the source's number in it.
    pub(crate) fn join(&mut self, group: &str) -> (SharedGroup, u64) {
        self.sources += 1;
        (self.groups.entry(group.to_owned()).or_default().clone(), self.sources)
    }
}

/// Which subtasks are to be told how far they may go. One that has not answered is told nothing more, so that nothing piles up before a task
/// that is held up.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    /// By subtask: what it was told last, and whether it has answered.
    told: Vec<(Timestamp, bool)>,
}

impl Announcements {
    pub(crate) fn start(&mut self, parallelism: u32) {
        self.told = vec![(Timestamp::MAX, true); parallelism as usize];
    }

    /// The subtasks that are to be told this.
    pub(crate) fn due(&mut self, max_allowed: Timestamp) -> Vec<u32> {
        let mut due = Vec::new();
        for (subtask, told) in (0..).zip(&mut self.told) {
            if told.1 && told.0 != max_allowed {
                *told = (max_allowed, false);
                due.push(subtask);
            }
        }
        due
    }

    /// A subtask has said something.
    pub(crate) fn heard(&mut self, subtask: u32) {
        if let Some(told) = self.told.get_mut(subtask as usize) {
            told.1 = true;
        }
    }

    /// A subtask has failed: its next attempt knows nothing.
    pub(crate) fn forget(&mut self, subtask: u32) {
        if let Some(told) = self.told.get_mut(subtask as usize) {
            *told = (Timestamp::MAX, true);
        }
    }
}

/// A reader's side: whether it has to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alignment {
    max_allowed: Timestamp,
    reported: Timestamp,
}

impl Default for Alignment {
    fn default() -> Self {
        Self {
            max_allowed: Timestamp::MAX,
            reported: Timestamp::MIN,
        }
    }
}

impl Alignment {
    /// How far it may go.
    pub(crate) fn allow(&mut self, max_allowed: Timestamp) {
        self.max_allowed = max_allowed;
    }

    pub(crate) fn must_wait(&self, watermark: Timestamp) -> bool {
        watermark > self.max_allowed
    }

    /// What the group is to know: the watermark, if it has changed.
    pub(crate) fn report(&mut self, watermark: Timestamp, idle: bool) -> Option<Timestamp> {
        let watermark = if idle { Timestamp::MAX } else { watermark };
        (watermark != std::mem::replace(&mut self.reported, watermark)).then_some(watermark)
    }

    /// What the group is told when it has said how far the reader may go.
    pub(crate) fn answer(&mut self, watermark: Timestamp, idle: bool) -> Timestamp {
        self.reported = if idle { Timestamp::MAX } else { watermark };
        self.reported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_of_the_group_is_waited_for() {
        let mut group = AlignmentGroup::default();
        group.join(1, 2);
        group.join(2, 1);
        group.report(1, 0, 100);
        group.report(1, 1, 250);
        assert_eq!(group.max_allowed(50), Timestamp::MIN + 50, "one has not begun");
        group.report(2, 0, 400);
        assert_eq!(group.max_allowed(50), 150);
        let mut reader = Alignment::default();
        assert!(!reader.must_wait(400));
        reader.allow(group.max_allowed(50));
        assert!(reader.must_wait(400) && !reader.must_wait(150));
        // The slowest falls idle, the next is the measure; then that one ends.
        group.report(1, 0, Timestamp::MAX);
        assert_eq!(group.max_allowed(50), 300);
        group.leave(1, 1);
        assert_eq!(group.max_allowed(50), 450);
        group.leave(1, 0);
        group.leave(2, 0);
        assert_eq!(group.max_allowed(50), Timestamp::MAX);
    }

    #[test]
    fn a_watermark_is_reported_when_it_changes() {
        let mut reader = Alignment::default();
        assert_eq!(reader.report(Timestamp::MIN, false), None);
        assert_eq!(reader.report(5, false), Some(5));
        assert_eq!(reader.report(5, false), None);
        assert_eq!(reader.report(5, true), Some(Timestamp::MAX));
        assert_eq!(reader.report(5, false), Some(5));
    }
}

//! Who hands splits to readers: one instance per job, in the job's coordinator process.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Instant,
};

use flink_worker::TaskError;

use super::Split;

/// Finds the splits of a source and hands them out. It decides, and leaves the doing to its context, so that it can be tested without a
/// job. A method that takes long holds up the other coordinators of the job. Any error fails the job.
pub trait SplitEnumerator<S: Split>: Send {
    /// The job begins; no reader has asked for a split yet.
    ///
    /// # Errors
    /// What keeps the job from starting.
    fn start(&mut self, context: &mut EnumeratorContext<S>) -> Result<(), TaskError> {
        let _ = context;
        Ok(())
    }

    /// A reader has read all that it was given, or has just started. One that is neither given a split nor told that there are
    /// no more keeps [waiting](EnumeratorContext::waiting).
    ///
    /// # Errors
    /// What the job cannot go on after.
    fn handle_split_request(&mut self, subtask: u32, context: &mut EnumeratorContext<S>) -> Result<(), TaskError>;

    /// A reader has failed with these splits, which it had not finished: they are to be read again from their beginnings.
    ///
    /// # Errors
    /// What the job cannot go on after.
    fn add_splits_back(&mut self, splits: Vec<S>, context: &mut EnumeratorContext<S>) -> Result<(), TaskError>;

    /// The time that was asked for with [`EnumeratorContext::wake_at`] has come.
    ///
    /// # Errors
    /// What the job cannot go on after.
    fn wake(&mut self, context: &mut EnumeratorContext<S>) -> Result<(), TaskError> {
        let _ = context;
        Ok(())
    }
}

/// What an enumerator knows, and what it wants done.
pub struct EnumeratorContext<S> {
    now: Instant,
    parallelism: u32,
    wake_at: Option<Instant>,
    waiting: BTreeSet<u32>,
    orders: VecDeque<Order<S>>,
}

/// What an enumerator wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order<S> {
    Assign(u32, S),
    NoMoreSplits(u32),
}

impl<S> EnumeratorContext<S> {
    /// For a source with so many subtasks. The runtime makes it; a test of an enumerator may.
    pub fn new(parallelism: u32, now: Instant) -> Self {
        Self {
            now,
            parallelism,
            wake_at: None,
            waiting: BTreeSet::new(),
            orders: VecDeque::new(),
        }
    }

    /// The time of what is being handled.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Number of subtasks.
    pub fn parallelism(&self) -> u32 {
        self.parallelism
    }

    /// The readers that have asked for a split and have not got one.
    pub fn waiting(&self) -> Vec<u32> {
        self.waiting.iter().copied().collect()
    }

    /// Gives a split to a reader, whether it has asked for one or not.
    pub fn assign_split(&mut self, subtask: u32, split: S) {
        self.waiting.remove(&subtask);
        self.orders.push_back(Order::Assign(subtask, split));
    }

    /// Tells a reader that it will be given no more splits: it ends when it has read those that it has.
    pub fn signal_no_more_splits(&mut self, subtask: u32) {
        self.waiting.remove(&subtask);
        self.orders.push_back(Order::NoMoreSplits(subtask));
    }

    /// Asks for a call of [`SplitEnumerator::wake`] at this time. The earliest that was asked for since the last call counts.
    pub fn wake_at(&mut self, time: Instant) {
        self.wake_at = Some(self.wake_at.map_or(time, |set| set.min(time)));
    }

    pub(crate) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    pub(crate) fn add_waiting(&mut self, subtask: u32) {
        self.waiting.insert(subtask);
    }

    pub(crate) fn remove_waiting(&mut self, subtask: u32) {
        self.waiting.remove(&subtask);
    }

    pub(crate) fn take_order(&mut self) -> Option<Order<S>> {
        self.orders.pop_front()
    }

    pub(crate) fn take_wake(&mut self) -> Option<Instant> {
        self.wake_at.take()
    }
}

/// Hands out splits that are known from the start, each to the reader that asks next: fast readers read more.
pub struct QueueEnumerator<S>(VecDeque<S>);

impl<S: Split> QueueEnumerator<S> {
    /// Hands out these, in this order.
    pub fn new(splits: impl IntoIterator<Item = S>) -> Self {
        Self(splits.into_iter().collect())
    }
}

impl<S: Split> SplitEnumerator<S> for QueueEnumerator<S> {
    fn handle_split_request(&mut self, subtask: u32, context: &mut EnumeratorContext<S>) -> Result<(), TaskError> {
        match self.0.pop_front() {
            Some(split) => context.assign_split(subtask, split),
            None => context.signal_no_more_splits(subtask),
        }
        Ok(())
    }

    fn add_splits_back(&mut self, splits: Vec<S>, _: &mut EnumeratorContext<S>) -> Result<(), TaskError> {
        splits.into_iter().rev().for_each(|split| self.0.push_front(split));
        Ok(())
    }
}

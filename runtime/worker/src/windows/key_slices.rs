//! The slices of one key, from which sliding windows are made.
//!
//! A window that slides by one slice loses its oldest slice and gains a new one. To merge all of its slices each time would
//! cost as much as having no slices. Instead, slices are two stacks in one queue (Tangwongsan et al., "General incremental
//! sliding-window aggregation"):
//!
//! ```text
//!            front                    back               not yet in a window that fired
//!   [ s1+s2+s3 | s2+s3 | s3   |   s4 | s5   |   s6 | s7 ]
//!                                  b = s4+s5
//! ```
//!
//! In the front, a slice has become what merging it with all later ones of the front makes. The back is kept slice by slice,
//! and merged into `b` besides. A window is the first of the front merged with `b`. When the front has run out, the back
//! becomes the front, in place. So each slice is merged three times, however many windows it is in, and is kept once.
//!
//! Records are added to the newest slice, which is kept apart, in the key's row, until a newer one or the end of a window comes.
//!
//! Of a key with few records, most windows have what the one before had: that is kept from one to the next, with the ends of
//! the first and the last slice, so that such a window is found without a look at the slices.
//!
//! Where windows that have fired may fire again, for late records, the slices of the front are kept as they were, too.

use std::collections::VecDeque;

use flink_record::Timestamp;

use super::Accumulate;
use crate::error::TaskError;

/// The slices of one key. Each is named by its end, and covers what is between that and the end of the one before.
#[derive(Debug)]
pub struct KeySlices<C> {
    /// The newest slice with its end, which is after those of all others; in no window that has fired since the key is known.
    newest: Option<(Timestamp, C)>,
    /// All others by end: the front, the back, and what is in no window that has fired.
    slices: VecDeque<(Timestamp, C)>,
    /// The end of the first slice, `Timestamp::MAX` if there is none.
    first_end: Timestamp,
    /// The end of the last slice, `Timestamp::MIN` if there is none.
    last_end: Timestamp,
    /// What the last window had, if the one before it had the same and neither the front nor the back has changed since.
    window: Option<C>,
    /// How many slices are the front.
    front: u32,
    /// No slice of the front ends after this, and no other before.
    front_end: Timestamp,
    /// The slices of the back, merged. `None` if there are none.
    back: Option<C>,
    /// No slice of the back ends after this.
    back_end: Timestamp,
    kept: Option<Box<Kept<C>>>,
}

/// Slices as they are, by end: those of the front, and those that are only in windows that have fired.
#[derive(Debug)]
struct Kept<C>(VecDeque<(Timestamp, C)>);

/// A slice to which a record is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetSlice {
    /// Its end.
    pub(super) end: Timestamp,
    /// Where the next window that fires begins: slices up to here are only in windows that have fired.
    pub(super) unfired_start: Timestamp,
    /// Whether windows that have fired may fire again.
    pub(super) keeps_fired: bool,
}

impl<C> Default for KeySlices<C> {
    fn default() -> Self {
        Self {
            newest: None,
            slices: VecDeque::new(),
            first_end: Timestamp::MAX,
            last_end: Timestamp::MIN,
            window: None,
            front: 0,
            front_end: Timestamp::MIN,
            back: None,
            back_end: Timestamp::MIN,
            kept: None,
        }
    }
}

impl<C: Clone> KeySlices<C> {
    /// Adds a record to a slice.
    #[inline]
    pub(super) fn add<T, A: Accumulate<T, Accumulator = C>>(
        &mut self,
        aggregate: &mut A,
        target: TargetSlice,
        record: T,
    ) -> Result<(), TaskError> {
        if let Some((end, newest)) = &mut self.newest
            && *end == target.end
        {
            return aggregate.add(newest, record);
        }
        self.add_to_other(aggregate, target, record)
    }

    #[inline(never)]
    fn add_to_other<T, A: Accumulate<T, Accumulator = C>>(
        &mut self,
        aggregate: &mut A,
        target: TargetSlice,
        record: T,
    ) -> Result<(), TaskError> {
        if target.end > self.back_end {
            self.first_end = self.first_end.min(target.end);
            let slice = if target.end > self.last_end {
                self.last_end = target.end;
                self.settle_newest();
                &mut self.newest.insert((target.end, aggregate.create())).1
            } else {
                slice(&mut self.slices, target.end, || aggregate.create())
            };
            return aggregate.add(slice, record);
        }
        let mut one = aggregate.create();
        aggregate.add(&mut one, record)?;
        self.window = None;
        let added = self.add_late(aggregate, target, one);
        self.find_ends();
        added
    }

    /// The newest slice becomes one of the others.
    #[inline]
    fn settle_newest(&mut self) {
        if let Some(newest) = self.newest.take() {
            self.slices.push_back(newest);
        }
    }

    /// Slices have come or gone.
    fn find_ends(&mut self) {
        let (first, last) = (self.slices.front(), self.slices.back());
        let newest = self.newest.as_ref();
        self.first_end = first.or(newest).map_or(Timestamp::MAX, |(end, _)| *end);
        self.last_end = newest.or(last).map_or(Timestamp::MIN, |(end, _)| *end);
    }

    /// Adds a record to a slice of which windows have fired. It is late for these, but not for the next ones.
    #[cold]
    fn add_late<T, A: Accumulate<T, Accumulator = C>>(
        &mut self,
        aggregate: &mut A,
        target: TargetSlice,
        one: C,
    ) -> Result<(), TaskError> {
        let (end, unfired) = (target.end, target.end > target.unfired_start);
        if end > self.front_end {
            let slice = slice(&mut self.slices, end, || aggregate.create());
            aggregate.merge(slice, one.clone())?;
            return if unfired {
                merge_into(aggregate, &mut self.back, one)
            } else {
                Ok(())
            };
        }
        if target.keeps_fired {
            let kept = self.kept.get_or_insert_with(|| Box::new(Kept(VecDeque::new())));
            aggregate.merge(slice(&mut kept.0, end, || aggregate.create()), one.clone())?;
        }
        if !unfired {
            return Ok(());
        }
        let index = self.slices.partition_point(|(other, _)| *other < end);
        let next = self.slices.get(index);
        if next.is_none_or(|(other, _)| *other != end) {
            let later = next.filter(|_| index < self.front as usize);
            let later = later.map_or_else(|| aggregate.create(), |(_, later)| later.clone());
            self.slices.insert(index, (end, later));
            self.front += 1;
        }
        self.slices
            .range_mut(..=index)
            .try_for_each(|(_, merged)| aggregate.merge(merged, one.clone()))
    }

    /// What is in the window of these bounds, which is the next one to fire; `None` if nothing is.
    #[inline]
    pub(super) fn fire<T, A: Accumulate<T, Accumulator = C>>(
        &mut self,
        aggregate: &mut A,
        (start, end): (Timestamp, Timestamp),
        keeps_fired: bool,
    ) -> Result<Option<C>, TaskError> {
        self.expire(aggregate, start, keeps_fired)?;
        let merged = self.back_end.max(start);
        let is_quiet = self.last_end <= merged;
        if is_quiet && let Some(window) = &self.window {
            self.back_end = end;
            return Ok(Some(window.clone()));
        }
        self.window = None;
        if let Some((newest, _)) = self.newest
            && newest <= end
        {
            self.settle_newest();
        }
        // What is new is at the end, and little: searching from there touches the least memory.
        let new = self
            .slices
            .iter()
            .rev()
            .take_while(|(other, _)| *other > merged)
            .count();
        for (other, slice) in self.slices.range(self.slices.len() - new..) {
            if *other > end {
                break;
            }
            merge_into(aggregate, &mut self.back, slice.clone())?;
        }
        self.back_end = end;
        let first = self.slices.front().filter(|_| self.front > 0);
        let mut window = first.map(|(_, merged)| merged.clone());
        if let Some(back) = &self.back {
            merge_into(aggregate, &mut window, back.clone())?;
        }
        if is_quiet {
            self.window.clone_from(&window);
        }
        Ok(window)
    }

    /// Forgets slices that end here or before: no window that is still to fire has them.
    #[inline]
    pub(super) fn expire<T, A: Accumulate<T, Accumulator = C>>(
        &mut self,
        aggregate: &mut A,
        bound: Timestamp,
        keeps_fired: bool,
    ) -> Result<(), TaskError> {
        if self.first_end > bound.min(self.back_end) {
            return Ok(());
        }
        self.window = None;
        let expired = self.pop_expired(aggregate, bound, keeps_fired);
        self.find_ends();
        expired
    }

    fn pop_expired<T, A: Accumulate<T, Accumulator = C>>(
        &mut self,
        aggregate: &mut A,
        bound: Timestamp,
        keeps_fired: bool,
    ) -> Result<(), TaskError> {
        while let Some((oldest, _)) = self.slices.front()
            && *oldest <= bound.min(self.back_end)
        {
            if self.front == 0 {
                return self.turn(aggregate, bound, keeps_fired);
            }
            self.slices.pop_front();
            self.front -= 1;
        }
        Ok(())
    }

    /// Makes the back the front, which is empty, but for what ends at `bound` or before.
    fn turn<T, A: Accumulate<T, Accumulator = C>>(
        &mut self,
        aggregate: &mut A,
        bound: Timestamp,
        keeps_fired: bool,
    ) -> Result<(), TaskError> {
        let back = self.slices.partition_point(|(end, _)| *end <= self.back_end);
        if keeps_fired {
            let kept = self.kept.get_or_insert_with(|| Box::new(Kept(VecDeque::new())));
            kept.0.extend(self.slices.range(..back).cloned());
        }
        let expired = self.slices.partition_point(|(end, _)| *end <= bound).min(back);
        self.slices.drain(..expired);
        let front = back - expired;
        for index in (1..front).rev() {
            let later = self.slices[index].1.clone();
            aggregate.merge(&mut self.slices[index - 1].1, later)?;
        }
        self.front = front as u32;
        self.front_end = self.back_end;
        self.back = None;
        Ok(())
    }

    /// What is in a window that has fired, where such are kept.
    pub(super) fn fired<T, A: Accumulate<T, Accumulator = C>>(
        &self,
        aggregate: &mut A,
        (start, end): (Timestamp, Timestamp),
    ) -> Result<Option<C>, TaskError> {
        let mut window = None;
        let kept = self.kept.iter().flat_map(|kept| &kept.0);
        let unmerged = self.slices.range(self.front as usize..).chain(&self.newest);
        for (other, slice) in kept.chain(unmerged) {
            if (start + 1..=end).contains(other) {
                merge_into(aggregate, &mut window, slice.clone())?;
            }
        }
        Ok(window)
    }

    /// Forgets slices that end here or before, where those of windows that have fired are kept: not even these are any more.
    pub(super) fn clean(&mut self, bound: Timestamp) {
        if let Some(kept) = &mut self.kept {
            let gone = kept.0.partition_point(|(end, _)| *end <= bound);
            kept.0.drain(..gone);
            if kept.0.is_empty() {
                self.kept = None;
            }
        }
        // Of a key that has come late, slices may be in no window that is still to fire.
        while self.front == 0 && self.slices.front().is_some_and(|(end, _)| *end <= bound) {
            self.slices.pop_front();
            self.window = None;
        }
        if self.slices.is_empty() {
            self.newest.take_if(|(end, _)| *end <= bound);
        }
        self.find_ends();
    }

    /// The end of the first slice that ends after `bound`, and so is in a window that is still to fire.
    #[inline]
    pub(super) fn first_after(&self, bound: Timestamp) -> Option<Timestamp> {
        if self.first_end > bound && self.first_end < Timestamp::MAX {
            return Some(self.first_end);
        }
        let mut ends = self.slices.iter().chain(&self.newest).map(|(end, _)| *end);
        ends.find(|end| *end > bound)
    }

    /// The end of the first slice that there is.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let kept = self.kept.iter().filter_map(|kept| kept.0.front());
        let first = self.slices.front().or(self.newest.as_ref());
        kept.chain(first).map(|(end, _)| *end).min()
    }

    /// Whether there is nothing to keep.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.newest.is_none() && self.slices.is_empty() && self.kept.is_none()
    }
}

/// The accumulator of a slice, which is made if there is none.
#[inline]
fn slice<C>(slices: &mut VecDeque<(Timestamp, C)>, end: Timestamp, create: impl FnOnce() -> C) -> &mut C {
    let index = match slices.back() {
        Some((last, _)) if *last == end => slices.len() - 1,
        Some((last, _)) if *last > end => {
            let index = slices.partition_point(|(other, _)| *other < end);
            if slices[index].0 != end {
                slices.insert(index, (end, create()));
            }
            index
        }
        _ => {
            slices.push_back((end, create()));
            slices.len() - 1
        }
    };
    &mut slices[index].1
}

#[inline]
fn merge_into<T, A: Accumulate<T>>(
    aggregate: &mut A,
    merged: &mut Option<A::Accumulator>,
    other: A::Accumulator,
) -> Result<(), TaskError> {
    match merged {
        Some(merged) => aggregate.merge(merged, other),
        none => {
            *none = Some(other);
            Ok(())
        }
    }
}

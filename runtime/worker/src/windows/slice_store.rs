//! Where the slices of all keys are.

use std::{borrow::Cow, collections::VecDeque};

use flink_record::{Key, Record, Timestamp};
use flink_state::{KeyGroups, KeyPosition, StateTable};
use hashbrown::DefaultHashBuilder;
use indexmap::IndexMap;

use super::{
    Accumulate,
    key_slices::{KeySlices, TargetSlice},
};
use crate::error::TaskError;

/// A window that fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FiringWindow {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    /// Where the window after it starts.
    pub(super) next_start: Timestamp,
    /// Whether windows that have fired may fire again.
    pub(super) keeps_fired: bool,
}

/// Keeps the slices of all keys.
pub trait SliceStore<K: Key, C: Record + Clone> {
    /// What a record is added to.
    type Entry;

    /// Without any slices, for these key groups.
    fn new(groups: &KeyGroups) -> Self;

    /// What a record of this key and slice is added to. The key is copied only if it is new.
    fn entry(
        &mut self,
        position: KeyPosition,
        key: Cow<'_, K>,
        target: TargetSlice,
        create: impl FnOnce() -> C,
    ) -> &mut Self::Entry;

    /// Adds a record.
    ///
    /// # Errors
    /// When the task cannot go on; so with the other methods.
    fn add<T, A: Accumulate<T, Accumulator = C>>(
        entry: &mut Self::Entry,
        aggregate: &mut A,
        target: TargetSlice,
        record: T,
    ) -> Result<(), TaskError>;

    /// What a key has in a window that has fired.
    ///
    /// # Errors
    /// When the task cannot go on.
    fn fired<T, A: Accumulate<T, Accumulator = C>>(
        entry: &Self::Entry,
        aggregate: &mut A,
        bounds: (Timestamp, Timestamp),
    ) -> Result<Option<A::Out>, TaskError>;

    /// Emits what each key has in a window. Returns the end of the first slice that is in a window that is still to fire.
    ///
    /// # Errors
    /// When the task cannot go on.
    fn fire<T, A: Accumulate<T, Accumulator = C>>(
        &mut self,
        aggregate: &mut A,
        window: FiringWindow,
        emit: impl FnMut(&K, A::Out) -> Result<(), TaskError>,
    ) -> Result<Option<Timestamp>, TaskError>;

    /// Forgets slices that end at `bound` or before, where those of windows that have fired are kept. Returns the end of the
    /// first that is left.
    fn clean(&mut self, bound: Timestamp) -> Option<Timestamp>;

    /// How many keys there are; those of each slice are counted where they are kept by slice.
    #[cfg(test)]
    fn keys(&self) -> usize;
}

/// A table per slice, for windows of one slice each: what fires is drained.
pub struct TumblingStore<K, C> {
    groups: KeyGroups,
    /// By end.
    slices: VecDeque<Slice<K, C>>,
    /// Where the last record was added.
    current: usize,
    /// A table that was drained, and has room.
    spare: Option<Table<K, C>>,
}

struct Slice<K, C> {
    end: Timestamp,
    table: Table<K, C>,
}

struct Table<K, C> {
    entries: StateTable<K, (), C>,
    /// The most entries that it ever had: that many it has room for.
    peak: usize,
}

/// A drained table is used again unless it has room for more than so many times the entries that it had last.
const ROOM: usize = 4;

impl<K: Key, C: Record + Clone> TumblingStore<K, C> {
    /// The place of the slice, which is made if there is none.
    #[cold]
    fn place(&mut self, end: Timestamp) -> usize {
        let index = self.slices.partition_point(|slice| slice.end < end);
        if self.slices.get(index).is_none_or(|slice| slice.end != end) {
            let table = self.spare.take().unwrap_or_else(|| Table {
                entries: StateTable::new(&self.groups),
                peak: 0,
            });
            self.slices.insert(index, Slice { end, table });
        }
        index
    }

    /// Keeps a table for use.
    fn recycle(&mut self, mut table: Table<K, C>, entries: usize) {
        table.peak = table.peak.max(entries);
        if entries >= table.peak / ROOM {
            self.spare = Some(table);
        }
    }
}

impl<K: Key, C: Record + Clone> SliceStore<K, C> for TumblingStore<K, C> {
    type Entry = C;

    fn new(groups: &KeyGroups) -> Self {
        Self {
            groups: groups.clone(),
            slices: VecDeque::new(),
            current: 0,
            spare: None,
        }
    }

    #[inline]
    fn entry(
        &mut self,
        position: KeyPosition,
        key: Cow<'_, K>,
        target: TargetSlice,
        create: impl FnOnce() -> C,
    ) -> &mut C {
        if self
            .slices
            .get(self.current)
            .is_none_or(|slice| slice.end != target.end)
        {
            self.current = self.place(target.end);
        }
        let table = &mut self.slices[self.current].table.entries;
        table.get_or_insert_with(position, &key, &(), create)
    }

    #[inline]
    fn add<T, A: Accumulate<T, Accumulator = C>>(
        entry: &mut C,
        aggregate: &mut A,
        _: TargetSlice,
        record: T,
    ) -> Result<(), TaskError> {
        aggregate.add(entry, record)
    }

    fn fired<T, A: Accumulate<T, Accumulator = C>>(
        entry: &C,
        aggregate: &mut A,
        _: (Timestamp, Timestamp),
    ) -> Result<Option<A::Out>, TaskError> {
        Ok(aggregate.result(entry))
    }

    fn fire<T, A: Accumulate<T, Accumulator = C>>(
        &mut self,
        aggregate: &mut A,
        window: FiringWindow,
        mut emit: impl FnMut(&K, A::Out) -> Result<(), TaskError>,
    ) -> Result<Option<Timestamp>, TaskError> {
        let index = self.slices.partition_point(|slice| slice.end < window.end);
        let next = |slices: &VecDeque<Slice<K, C>>, index| slices.get(index).map(|slice: &Slice<K, C>| slice.end);
        if self.slices.get(index).is_none_or(|slice| slice.end != window.end) {
            return Ok(next(&self.slices, index));
        }
        if window.keeps_fired {
            for (key, (), accumulator) in self.slices[index].table.entries.iter() {
                aggregate
                    .result(accumulator)
                    .map_or(Ok(()), |result| emit(key, result))?;
            }
            return Ok(next(&self.slices, index + 1));
        }
        if let Some(Slice { mut table, .. }) = self.slices.remove(index) {
            let entries = table.entries.len();
            for (key, (), accumulator) in table.entries.drain() {
                aggregate
                    .last_result(accumulator)
                    .map_or(Ok(()), |result| emit(&key, result))?;
            }
            self.recycle(table, entries);
        }
        Ok(next(&self.slices, index))
    }

    fn clean(&mut self, bound: Timestamp) -> Option<Timestamp> {
        while self.slices.front().is_some_and(|slice| slice.end <= bound) {
            if let Some(Slice { mut table, .. }) = self.slices.pop_front() {
                let entries = table.entries.drain().count();
                self.recycle(table, entries);
            }
        }
        self.slices.front().map(|slice| slice.end)
    }

    #[cfg(test)]
    fn keys(&self) -> usize {
        self.slices.iter().map(|slice| slice.table.entries.len()).sum()
    }
}

/// The slices of each key together, for windows of several slices: what fires is a pass over the keys, which lie side by side.
pub struct SlidingStore<K, C> {
    keys: IndexMap<K, KeySlices<C>, DefaultHashBuilder>,
}

/// With fewer keys than one in so many that there is room for, room is given back; not below `MIN_KEYS`.
const SPARSE: usize = 8;
const MIN_KEYS: usize = 1024;

impl<K: Key, C: Record + Clone> SlidingStore<K, C> {
    fn shrink(&mut self) {
        let room = self.keys.capacity();
        if room > MIN_KEYS && self.keys.len() < room / SPARSE {
            self.keys.shrink_to(MIN_KEYS.max(2 * self.keys.len()));
        }
    }
}

impl<K: Key, C: Record + Clone> SliceStore<K, C> for SlidingStore<K, C> {
    type Entry = KeySlices<C>;

    fn new(_: &KeyGroups) -> Self {
        let keys = IndexMap::default();
        Self { keys }
    }

    #[inline]
    fn entry(&mut self, _: KeyPosition, key: Cow<'_, K>, _: TargetSlice, _: impl FnOnce() -> C) -> &mut KeySlices<C> {
        let index = match self.keys.get_index_of(&*key) {
            Some(index) => index,
            None => self.keys.insert_full(key.into_owned(), KeySlices::default()).0,
        };
        &mut self.keys[index]
    }

    #[inline]
    fn add<T, A: Accumulate<T, Accumulator = C>>(
        entry: &mut KeySlices<C>,
        aggregate: &mut A,
        target: TargetSlice,
        record: T,
    ) -> Result<(), TaskError> {
        entry.add(aggregate, target, record)
    }

    fn fired<T, A: Accumulate<T, Accumulator = C>>(
        entry: &KeySlices<C>,
        aggregate: &mut A,
        bounds: (Timestamp, Timestamp),
    ) -> Result<Option<A::Out>, TaskError> {
        let window = entry.fired(aggregate, bounds)?;
        Ok(window.and_then(|accumulator| aggregate.last_result(accumulator)))
    }

    fn fire<T, A: Accumulate<T, Accumulator = C>>(
        &mut self,
        aggregate: &mut A,
        window: FiringWindow,
        mut emit: impl FnMut(&K, A::Out) -> Result<(), TaskError>,
    ) -> Result<Option<Timestamp>, TaskError> {
        let mut first: Option<Timestamp> = None;
        let mut index = 0;
        while let Some((key, slices)) = self.keys.get_index_mut(index) {
            let fired = slices.fire(aggregate, (window.start, window.end), window.keeps_fired)?;
            if let Some(result) = fired.and_then(|accumulator| aggregate.last_result(accumulator)) {
                emit(key, result)?;
            }
            slices.expire(aggregate, window.next_start, window.keeps_fired)?;
            if slices.is_empty() {
                self.keys.swap_remove_index(index);
                continue;
            }
            let pending = slices.first_after(window.next_start);
            first = first.into_iter().chain(pending).min();
            index += 1;
        }
        self.shrink();
        Ok(first)
    }

    fn clean(&mut self, bound: Timestamp) -> Option<Timestamp> {
        let mut oldest: Option<Timestamp> = None;
        self.keys.retain(|_, slices| {
            slices.clean(bound);
            oldest = oldest.into_iter().chain(slices.oldest()).min();
            !slices.is_empty()
        });
        self.shrink();
        oldest
    }

    #[cfg(test)]
    fn keys(&self) -> usize {
        self.keys.len()
    }
}

//! Time-to-live: when entries of keyed state expire, and how they go away.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    time::Duration,
};

use flink_record::Key;

use crate::{
    context::Namespace,
    table::{Cursor, StateTable},
};

/// Processing time, in milliseconds since 1970-01-01T00:00:00Z. Called once per access to a state with a time-to-live.
pub type ProcessingClock = Rc<dyn Fn() -> i64>;

/// Which accesses start an entry's time-to-live anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpdateType {
    /// Writes.
    #[default]
    OnCreateAndWrite,
    /// Writes and reads.
    OnReadAndWrite,
}

/// Whether an expired entry can still be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StateVisibility {
    /// Never. An expired entry is as good as removed.
    #[default]
    NeverReturnExpired,
    /// Until it is cleaned up, which the read itself does, and any access to the state may have done before: see
    /// [`StateTtlConfig::cleanup_incrementally`].
    ReturnExpiredIfNotCleanedUp,
}

/// How the entries of a state expire, by processing time (Flink's `StateTtlConfig`).
///
/// A value, a list's element and a map's entry expire each by themselves. What is expired goes away when it is accessed, and
/// a few entries at a time whenever the state is accessed at all, under any key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateTtlConfig {
    ttl_ms: i64,
    update_type: UpdateType,
    visibility: StateVisibility,
    cleanup_size: usize,
}

impl StateTtlConfig {
    /// How many entries are looked at per access by default, as in Flink.
    pub const DEFAULT_CLEANUP_SIZE: usize = 5;

    /// Entries expire this long after they were written. Rounded up to whole milliseconds, at least one.
    pub fn new(ttl: Duration) -> Self {
        let ttl_ms = ttl.as_nanos().div_ceil(1_000_000).max(1);
        Self {
            ttl_ms: i64::try_from(ttl_ms).unwrap_or(i64::MAX),
            update_type: UpdateType::default(),
            visibility: StateVisibility::default(),
            cleanup_size: Self::DEFAULT_CLEANUP_SIZE,
        }
    }

    /// Which accesses start the time-to-live anew. Default: [`UpdateType::OnCreateAndWrite`].
    #[must_use]
    pub fn update_type(mut self, update_type: UpdateType) -> Self {
        self.update_type = update_type;
        self
    }

    /// Whether what is expired can still be read. Default: [`StateVisibility::NeverReturnExpired`].
    #[must_use]
    pub fn state_visibility(mut self, visibility: StateVisibility) -> Self {
        self.visibility = visibility;
        self
    }

    /// How many entries of the state, of any key, are looked at per access, to remove those that are expired. More make them
    /// go away sooner and accesses slower; with 0, an entry that is not accessed again stays forever. A list or a map counts
    /// as one entry and is looked at as a whole. Default: [`DEFAULT_CLEANUP_SIZE`](Self::DEFAULT_CLEANUP_SIZE).
    #[must_use]
    pub fn cleanup_incrementally(mut self, entries_per_access: usize) -> Self {
        self.cleanup_size = entries_per_access;
        self
    }
}

impl fmt::Display for StateTtlConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ttl_ms,
            update_type,
            visibility,
            cleanup_size,
        } = self;
        write!(
            formatter,
            "a time-to-live of {ttl_ms} ms ({update_type:?}, {visibility:?}, cleanup of {cleanup_size})"
        )
    }
}

/// Whether and how what is kept expires. A parameter of the states' types, so that states that do not expire are compiled
/// without any of it.
pub(crate) trait Expiry: 'static {
    /// A point in time.
    type Time: Copy + 'static;
    /// When each element of a list was written.
    type Times: Default + 'static;

    /// The current time.
    fn now(&self) -> Self::Time;

    /// Whether what was written then is expired now.
    fn is_expired(&self, written: Self::Time, now: Self::Time) -> bool;

    /// Whether what is expired is returned if it is still there.
    fn returns_expired(&self) -> bool;

    /// Whether reads start the time-to-live anew.
    fn updates_on_read(&self) -> bool;

    /// Notes the times of elements that are appended.
    fn append(&self, times: &mut Self::Times, elements: usize, now: Self::Time);

    /// How many elements are expired.
    fn count_expired(&self, times: &Self::Times, now: Self::Time) -> usize;

    /// Sets the time of the elements that are not expired.
    fn touch(&self, times: &Self::Times, now: Self::Time);

    /// Removes expired elements.
    fn remove_expired<T>(&self, values: &mut Vec<T>, times: &mut Self::Times, now: Self::Time);

    /// Looks at a few entries of the table and removes those that are not to be kept.
    fn clean_up<K: Key, N: Namespace, V>(&self, table: &RefCell<StateTable<K, N, V>>, keep: impl FnMut(&mut V) -> bool);
}

/// A value, and when it was written.
pub(crate) struct Slot<T, Time> {
    pub(crate) value: T,
    /// Set by reads too, hence a cell.
    pub(crate) time: Cell<Time>,
}

impl<T, Time> Slot<T, Time> {
    pub(crate) fn new(value: T, now: Time) -> Self {
        Self {
            value,
            time: Cell::new(now),
        }
    }
}

/// Nothing expires.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forever;

impl Expiry for Forever {
    type Time = ();
    type Times = ();

    #[inline]
    fn now(&self) {}

    #[inline]
    fn is_expired(&self, (): (), (): ()) -> bool {
        false
    }

    #[inline]
    fn returns_expired(&self) -> bool {
        false
    }

    #[inline]
    fn updates_on_read(&self) -> bool {
        false
    }

    #[inline]
    fn append(&self, (): &mut (), _: usize, (): ()) {}

    #[inline]
    fn count_expired(&self, (): &(), (): ()) -> usize {
        0
    }

    #[inline]
    fn touch(&self, (): &(), (): ()) {}

    #[inline]
    fn remove_expired<T>(&self, _: &mut Vec<T>, (): &mut (), (): ()) {}

    #[inline]
    fn clean_up<K: Key, N: Namespace, V>(&self, _: &RefCell<StateTable<K, N, V>>, _: impl FnMut(&mut V) -> bool) {}
}

/// Entries expire by a clock.
pub(crate) struct Ttl {
    config: StateTtlConfig,
    clock: ProcessingClock,
    cursor: Cell<Cursor>,
}

impl Ttl {
    pub(crate) fn new(config: StateTtlConfig, clock: ProcessingClock) -> Self {
        Self {
            config,
            clock,
            cursor: Cell::default(),
        }
    }
}

impl Expiry for Ttl {
    type Time = i64;
    type Times = Vec<Cell<i64>>;

    fn now(&self) -> i64 {
        (self.clock)()
    }

    fn is_expired(&self, written: i64, now: i64) -> bool {
        written.saturating_add(self.config.ttl_ms) <= now
    }

    fn returns_expired(&self) -> bool {
        self.config.visibility == StateVisibility::ReturnExpiredIfNotCleanedUp
    }

    fn updates_on_read(&self) -> bool {
        self.config.update_type == UpdateType::OnReadAndWrite
    }

    fn append(&self, times: &mut Self::Times, elements: usize, now: i64) {
        times.resize(times.len() + elements, Cell::new(now));
    }

    fn count_expired(&self, times: &Self::Times, now: i64) -> usize {
        times.iter().filter(|time| self.is_expired(time.get(), now)).count()
    }

    fn touch(&self, times: &Self::Times, now: i64) {
        for time in times {
            if !self.is_expired(time.get(), now) {
                time.set(now);
            }
        }
    }

    fn remove_expired<T>(&self, values: &mut Vec<T>, times: &mut Self::Times, now: i64) {
        let mut live = times.iter().map(|time| !self.is_expired(time.get(), now));
        values.retain(|_| live.next().unwrap_or(true));
        times.retain(|time| !self.is_expired(time.get(), now));
    }

    fn clean_up<K: Key, N: Namespace, V>(
        &self,
        table: &RefCell<StateTable<K, N, V>>,
        keep: impl FnMut(&mut V) -> bool,
    ) {
        // A read within a read of the same state has to leave the table alone.
        if let Ok(mut table) = table.try_borrow_mut() {
            let mut cursor = self.cursor.get();
            table.sweep(&mut cursor, self.config.cleanup_size, keep);
            self.cursor.set(cursor);
        }
    }
}

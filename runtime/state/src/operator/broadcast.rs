//! A map that every subtask has the same copy of.

use std::{cell::RefCell, collections::BTreeMap, fmt, rc::Rc};

use flink_record::Record;

/// A map that is the same on all subtasks, because all make the same changes in the same order: those that broadcast records
/// ask for.
///
/// Entries are iterated in the order of their keys, hence in the same order on all subtasks, also after a restart. A handle:
/// clones are the same state. What must not change it gets a [`ReadOnlyBroadcastState`].
pub struct BroadcastState<K, V>(ReadOnlyBroadcastState<K, V>);

impl<K: Record + Ord, V: Record> BroadcastState<K, V> {
    pub(crate) fn new(entries: Rc<RefCell<BTreeMap<K, V>>>) -> Self {
        Self(ReadOnlyBroadcastState(entries))
    }

    /// The same state, to be read only.
    pub fn read_only(&self) -> &ReadOnlyBroadcastState<K, V> {
        &self.0
    }

    /// Sets the value of an entry, and returns the one it had.
    pub fn put(&self, key: K, value: V) -> Option<V> {
        self.0.0.borrow_mut().insert(key, value)
    }

    /// Sets the values of entries. The iterator must not use this state.
    pub fn put_all(&self, entries: impl IntoIterator<Item = (K, V)>) {
        self.0.0.borrow_mut().extend(entries);
    }

    /// Removes an entry and returns its value.
    pub fn remove(&self, key: &K) -> Option<V> {
        self.0.0.borrow_mut().remove(key)
    }

    /// Removes all entries.
    pub fn clear(&self) {
        self.0.0.borrow_mut().clear();
    }

    /// A copy of the value of an entry.
    pub fn get(&self, key: &K) -> Option<V>
    where
        V: Clone,
    {
        self.0.get(key)
    }

    /// Calls `f` with the value of an entry.
    pub fn with<R>(&self, key: &K, f: impl FnOnce(Option<&V>) -> R) -> R {
        self.0.with(key, f)
    }

    /// Whether there is such an entry.
    pub fn contains(&self, key: &K) -> bool {
        self.0.contains(key)
    }

    /// Calls `f` with each entry, by ascending keys.
    pub fn for_each(&self, f: impl FnMut(&K, &V)) {
        self.0.for_each(f);
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K, V> Clone for BroadcastState<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> fmt::Debug for BroadcastState<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BroadcastState").finish_non_exhaustive()
    }
}

/// [`BroadcastState`] for those who must not change it: the side whose records are not broadcast.
pub struct ReadOnlyBroadcastState<K, V>(Rc<RefCell<BTreeMap<K, V>>>);

impl<K: Record + Ord, V: Record> ReadOnlyBroadcastState<K, V> {
    /// The same state, to be changed: for who gives it to the code that may.
    pub fn writable(&self) -> BroadcastState<K, V> {
        BroadcastState(self.clone())
    }

    /// A copy of the value of an entry. [`with`](Self::with) copies nothing.
    pub fn get(&self, key: &K) -> Option<V>
    where
        V: Clone,
    {
        self.0.borrow().get(key).cloned()
    }

    /// Calls `f` with the value of an entry.
    pub fn with<R>(&self, key: &K, f: impl FnOnce(Option<&V>) -> R) -> R {
        f(self.0.borrow().get(key))
    }

    /// Whether there is such an entry.
    pub fn contains(&self, key: &K) -> bool {
        self.0.borrow().contains_key(key)
    }

    /// Calls `f` with each entry, by ascending keys.
    pub fn for_each(&self, mut f: impl FnMut(&K, &V)) {
        for (key, value) in &*self.0.borrow() {
            f(key, value);
        }
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

impl<K, V> Clone for ReadOnlyBroadcastState<K, V> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<K, V> fmt::Debug for ReadOnlyBroadcastState<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ReadOnlyBroadcastState").finish_non_exhaustive()
    }
}

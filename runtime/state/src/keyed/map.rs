//! A map per key, whose entries expire one by one.

use std::{
    cell::{Ref, RefMut},
    collections::BTreeMap,
    fmt,
    rc::Rc,
};

use flink_record::{Key, Record};

use super::{Held, Stored};
use crate::{
    context::Namespace,
    ttl::{Expiry, Slot},
};

/// A map of the current key.
///
/// Entries are kept and iterated in the order of their keys, whatever the order of insertion: a job that is restored goes
/// over them as it would have without a failure. Access takes a time logarithmic in the size of the one key's map.
///
/// A handle: clones are the same state. All methods panic when there is no current key
/// (see [`KeyContext`](crate::KeyContext)).
pub struct MapState<UK, UV>(Rc<dyn MapAccess<UK, UV>>);

/// What a backend does for a map state.
trait MapAccess<UK, UV> {
    fn read(&self, key: &UK) -> Option<Held<'_, UV>>;
    fn write(&self, key: &UK) -> Option<RefMut<'_, UV>>;
    /// Adds an entry where [`write`](Self::write) found none.
    fn init(&self, key: UK, value: UV) -> RefMut<'_, UV>;
    fn put(&self, key: UK, value: UV);
    fn remove(&self, key: &UK) -> Option<UV>;
    fn for_each(&self, f: &mut dyn FnMut(&UK, &UV));
    fn is_empty(&self) -> bool;
    fn clear(&self);
}

impl<UK: Record + Ord, UV: Record> MapState<UK, UV> {
    pub(crate) fn new<K: Key, N: Namespace, E: Expiry>(map: HeapMap<K, N, UK, UV, E>) -> Self {
        Self(Rc::new(map))
    }

    /// A copy of the value of an entry. [`with`](Self::with) copies nothing.
    #[inline]
    pub fn get(&self, key: &UK) -> Option<UV>
    where
        UV: Clone,
    {
        self.0.read(key).map(|value| UV::clone(&value))
    }

    /// Calls `f` with the value of an entry.
    #[inline]
    pub fn with<R>(&self, key: &UK, f: impl FnOnce(Option<&UV>) -> R) -> R {
        f(self.0.read(key).as_deref())
    }

    /// Sets the value of an entry.
    #[inline]
    pub fn put(&self, key: UK, value: UV) {
        self.0.put(key, value);
    }

    /// Changes the value of an entry in place. Does nothing and returns `None` if there is no such entry.
    #[inline]
    pub fn modify<R>(&self, key: &UK, f: impl FnOnce(&mut UV) -> R) -> Option<R> {
        self.0.write(key).map(|mut value| f(&mut value))
    }

    /// Changes the value of an entry in place; `default` makes it first if there is none.
    #[inline]
    pub fn modify_or_insert_with<R>(&self, key: UK, default: impl FnOnce() -> UV, f: impl FnOnce(&mut UV) -> R) -> R {
        match self.0.write(&key) {
            Some(mut value) => f(&mut value),
            None => f(&mut self.0.init(key, default())),
        }
    }

    /// Removes an entry and returns its value.
    #[inline]
    pub fn remove(&self, key: &UK) -> Option<UV> {
        self.0.remove(key)
    }

    /// Whether there is such an entry. Counts as a read of it.
    #[inline]
    pub fn contains(&self, key: &UK) -> bool {
        self.0.read(key).is_some()
    }

    /// Copies of all keys, ascending.
    pub fn keys(&self) -> Vec<UK>
    where
        UK: Clone,
    {
        let mut keys = Vec::new();
        self.for_each(|key, _| keys.push(key.clone()));
        keys
    }

    /// Copies of all values, by ascending keys.
    pub fn values(&self) -> Vec<UV>
    where
        UV: Clone,
    {
        let mut values = Vec::new();
        self.for_each(|_, value| values.push(value.clone()));
        values
    }

    /// Copies of all entries, by ascending keys. [`for_each`](Self::for_each) copies nothing.
    pub fn entries(&self) -> Vec<(UK, UV)>
    where
        UK: Clone,
        UV: Clone,
    {
        let mut entries = Vec::new();
        self.for_each(|key, value| entries.push((key.clone(), value.clone())));
        entries
    }

    /// Calls `f` with each entry, by ascending keys.
    pub fn for_each(&self, mut f: impl FnMut(&UK, &UV)) {
        self.0.for_each(&mut f);
    }

    /// Whether there is no entry. Does not count as a read of any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes all entries.
    pub fn clear(&self) {
        self.0.clear();
    }
}

impl<UK, UV> Clone for MapState<UK, UV> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<UK, UV> fmt::Debug for MapState<UK, UV> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MapState").finish_non_exhaustive()
    }
}

/// The map of one key.
pub(crate) type Map<UK, UV, Time> = BTreeMap<UK, Slot<UV, Time>>;

/// Maps on the heap. One that is kept is not empty.
pub(crate) struct HeapMap<K, N, UK, UV, E: Expiry>(pub(crate) Stored<K, N, Map<UK, UV, E::Time>, E>);

impl<K: Key, N: Namespace, UK: Record + Ord, UV: Record, E: Expiry> HeapMap<K, N, UK, UV, E> {
    fn clean_up(&self) -> E::Time {
        let now = self.0.expiry.now();
        self.0.clean_up(|map| self.remove_expired(map, now));
        now
    }

    /// Removes expired entries. Returns whether any are left.
    fn remove_expired(&self, map: &mut Map<UK, UV, E::Time>, now: E::Time) -> bool {
        map.retain(|_, slot| !self.is_expired(slot, now));
        !map.is_empty()
    }

    fn is_expired(&self, slot: &Slot<UV, E::Time>, now: E::Time) -> bool {
        self.0.expiry.is_expired(slot.time.get(), now)
    }

    fn is_visible(&self, slot: &Slot<UV, E::Time>, now: E::Time) -> bool {
        !self.is_expired(slot, now) || self.0.expiry.returns_expired()
    }

    fn entry(&self, key: &UK) -> Option<Ref<'_, Slot<UV, E::Time>>> {
        Ref::filter_map(self.0.read()?, |map| map.get(key)).ok()
    }

    fn remove_entry(&self, key: &UK) -> Option<Slot<UV, E::Time>> {
        let mut map = self.0.write()?;
        let removed = map.remove(key);
        let empty = map.is_empty();
        drop(map);
        if empty {
            self.0.remove();
        }
        removed
    }

    fn read_expired(&self, key: &UK) -> Option<Held<'_, UV>> {
        let held = if self.0.is_free() {
            Held::Last(self.remove_entry(key)?.value)
        } else {
            Held::Kept(Ref::map(self.entry(key)?, |slot| &slot.value))
        };
        self.0.expiry.returns_expired().then_some(held)
    }
}

impl<K: Key, N: Namespace, UK: Record + Ord, UV: Record, E: Expiry> MapAccess<UK, UV> for HeapMap<K, N, UK, UV, E> {
    fn read(&self, key: &UK) -> Option<Held<'_, UV>> {
        let now = self.clean_up();
        let slot = self.entry(key)?;
        if self.is_expired(&slot, now) {
            drop(slot);
            return self.read_expired(key);
        }
        if self.0.expiry.updates_on_read() {
            slot.time.set(now);
        }
        Some(Held::Kept(Ref::map(slot, |slot| &slot.value)))
    }

    fn write(&self, key: &UK) -> Option<RefMut<'_, UV>> {
        let now = self.clean_up();
        let slot = RefMut::filter_map(self.0.write()?, |map| map.get_mut(key)).ok()?;
        if !self.is_visible(&slot, now) {
            drop(slot);
            self.remove_entry(key);
            return None;
        }
        slot.time.set(now);
        Some(RefMut::map(slot, |slot| &mut slot.value))
    }

    fn init(&self, key: UK, value: UV) -> RefMut<'_, UV> {
        let now = self.0.expiry.now();
        RefMut::map(self.0.write_or_insert_with(Map::new), |map| {
            &mut map.entry(key).or_insert_with(|| Slot::new(value, now)).value
        })
    }

    fn put(&self, key: UK, value: UV) {
        let now = self.clean_up();
        self.0.write_or_insert_with(Map::new).insert(key, Slot::new(value, now));
    }

    fn remove(&self, key: &UK) -> Option<UV> {
        let now = self.clean_up();
        let slot = self.remove_entry(key)?;
        self.is_visible(&slot, now).then_some(slot.value)
    }

    fn for_each(&self, f: &mut dyn FnMut(&UK, &UV)) {
        let now = self.clean_up();
        let Some(map) = self.0.read() else { return };
        let mut any_expired = false;
        for (key, slot) in &*map {
            let expired = self.is_expired(slot, now);
            any_expired |= expired;
            if expired && !self.0.expiry.returns_expired() {
                continue;
            }
            if !expired && self.0.expiry.updates_on_read() {
                slot.time.set(now);
            }
            f(key, &slot.value);
        }
        drop(map);
        if any_expired && self.0.is_free() {
            let left = self.0.write().is_none_or(|mut map| self.remove_expired(&mut map, now));
            if !left {
                self.0.remove();
            }
        }
    }

    fn is_empty(&self) -> bool {
        let now = self.clean_up();
        self.0
            .read()
            .is_none_or(|map| !map.values().any(|slot| self.is_visible(slot, now)))
    }

    fn clear(&self) {
        self.clean_up();
        self.0.remove();
    }
}

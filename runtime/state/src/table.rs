//! The hash table of one named state.
//!
//! A table per key group, not one for all: a checkpoint writes a key group after another, and rescaling moves whole key
//! groups, neither of which should have to look at every entry. Measured with a million keys, the further indirection does not
//! show; what a record pays more than with a plain hash map is its key group.

use std::hash::{BuildHasher, Hash};

use flink_record::Key;
use hashbrown::{DefaultHashBuilder, HashTable, hash_table::OccupiedEntry};

use crate::{
    context::Namespace,
    key_groups::{KeyGroups, KeyPosition},
};

/// The entries (key, namespace, value) of one state of one subtask.
///
/// `position` in all methods is the key's, from the same [`KeyGroups`] as the table; with any other, entries are not found,
/// or the method panics because there is no such key group.
#[derive(Debug)]
pub struct StateTable<K, N, V> {
    hasher: DefaultHashBuilder,
    /// By key group, from the subtask's first.
    groups: Box<[HashTable<Row<K, N, V>>]>,
}

#[derive(Debug)]
struct Row<K, N, V> {
    key: K,
    namespace: N,
    value: V,
}

/// How many buckets a sweep looks at, at most, per entry that it should see: a table that was large once may hold few.
const BUCKETS_PER_ENTRY: usize = 8;

/// Where a sweep over a table goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    group: usize,
    bucket: usize,
}

/// The hash of an entry. A key's namespaces must not share one: a sliding window has dozens of them.
#[inline]
fn entry_hash<N: Hash>(hasher: &DefaultHashBuilder, key_hash: u64, namespace: &N) -> u64 {
    if size_of::<N>() == 0 {
        key_hash
    } else {
        hasher.hash_one((key_hash, namespace))
    }
}

impl<K: Key, N: Namespace, V> StateTable<K, N, V> {
    /// An empty table of these key groups.
    pub fn new(groups: &KeyGroups) -> Self {
        Self {
            hasher: groups.hasher.clone(),
            groups: groups.range().map(|_| HashTable::new()).collect(),
        }
    }

    /// The value of a key in a namespace.
    #[inline]
    pub fn get(&self, position: KeyPosition, key: &K, namespace: &N) -> Option<&V> {
        let hash = entry_hash(&self.hasher, position.hash, namespace);
        self.groups[position.group as usize]
            .find(hash, |row| row.is(key, namespace))
            .map(|row| &row.value)
    }

    /// The value of a key in a namespace, to be changed in place.
    #[inline]
    pub fn get_mut(&mut self, position: KeyPosition, key: &K, namespace: &N) -> Option<&mut V> {
        let hash = entry_hash(&self.hasher, position.hash, namespace);
        self.groups[position.group as usize]
            .find_mut(hash, |row| row.is(key, namespace))
            .map(|row| &mut row.value)
    }

    /// As [`get_mut`](Self::get_mut), with the key as it is kept: for who has none of its own left.
    #[inline]
    pub fn get_key_value_mut(&mut self, position: KeyPosition, key: &K, namespace: &N) -> Option<(&K, &mut V)> {
        let hash = entry_hash(&self.hasher, position.hash, namespace);
        self.groups[position.group as usize]
            .find_mut(hash, |row| row.is(key, namespace))
            .map(|row| (&row.key, &mut row.value))
    }

    /// The value of a key in a namespace, which `default` makes if there is none. Key and namespace are cloned only then.
    #[inline]
    pub fn get_or_insert_with(
        &mut self,
        position: KeyPosition,
        key: &K,
        namespace: &N,
        default: impl FnOnce() -> V,
    ) -> &mut V {
        let hash = entry_hash(&self.hasher, position.hash, namespace);
        // Most keys are known: the code that inserts is kept out of the way of the code that finds.
        let row = match self.groups[position.group as usize].find_entry(hash, |row| row.is(key, namespace)) {
            Ok(entry) => entry,
            Err(absent) => insert_new(
                &self.hasher,
                absent.into_table(),
                hash,
                Row::new(key, namespace, default()),
            ),
        };
        &mut row.into_mut().value
    }

    /// Sets the value of a key in a namespace, and returns the one it had.
    #[inline]
    pub fn insert(&mut self, position: KeyPosition, key: &K, namespace: &N, value: V) -> Option<V> {
        let hash = entry_hash(&self.hasher, position.hash, namespace);
        match self.groups[position.group as usize].find_entry(hash, |row| row.is(key, namespace)) {
            Ok(mut entry) => Some(std::mem::replace(&mut entry.get_mut().value, value)),
            Err(absent) => {
                insert_new(&self.hasher, absent.into_table(), hash, Row::new(key, namespace, value));
                None
            }
        }
    }

    /// Removes the value of a key in a namespace, and returns it.
    #[inline]
    pub fn remove(&mut self, position: KeyPosition, key: &K, namespace: &N) -> Option<V> {
        let hash = entry_hash(&self.hasher, position.hash, namespace);
        self.groups[position.group as usize]
            .find_entry(hash, |row| row.is(key, namespace))
            .ok()
            .map(|entry| entry.remove().0.value)
    }

    /// All entries, key group by key group; within a group in an order that differs from run to run.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &N, &V)> {
        self.groups
            .iter()
            .flatten()
            .map(|row| (&row.key, &row.namespace, &row.value))
    }

    /// A key's entries in all namespaces, in no particular order. A look-up if there are no namespaces (`N = ()`), else a pass
    /// over the key's whole group.
    pub fn iter_key(&self, position: KeyPosition, key: &K) -> impl Iterator<Item = (&N, &V)> {
        let group = &self.groups[position.group as usize];
        let (found, scan) = if size_of::<N>() == 0 {
            (group.find(position.hash, |row| row.key == *key), None)
        } else {
            (None, Some(group.iter().filter(move |row| row.key == *key)))
        };
        found
            .into_iter()
            .chain(scan.into_iter().flatten())
            .map(|row| (&row.namespace, &row.value))
    }

    /// Removes all entries and returns them, in the order of [`iter`](Self::iter). Room is kept for as many again.
    pub fn drain(&mut self) -> impl Iterator<Item = (K, N, V)> {
        self.groups
            .iter_mut()
            .flat_map(HashTable::drain)
            .map(|row| (row.key, row.namespace, row.value))
    }

    /// How many entries there are. Adds up the key groups' counts.
    pub fn len(&self) -> usize {
        self.groups.iter().map(HashTable::len).sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(HashTable::is_empty)
    }

    /// Looks at up to `entries` entries from `cursor` on, round and round over the calls but not within one, and removes those
    /// that are not to be kept.
    ///
    /// Entries that move because the table grows meanwhile may be seen twice in a round, or not before the next.
    pub(crate) fn sweep(&mut self, cursor: &mut Cursor, entries: usize, mut keep: impl FnMut(&mut V) -> bool) {
        let mut entries = entries;
        let mut buckets = entries.saturating_mul(BUCKETS_PER_ENTRY);
        for _ in 0..=self.groups.len() {
            if cursor.group >= self.groups.len() {
                *cursor = Cursor::default();
            }
            let Some(group) = self.groups.get_mut(cursor.group) else {
                return;
            };
            let end = if group.is_empty() { 0 } else { group.num_buckets() };
            while cursor.bucket < end {
                if entries == 0 || buckets == 0 {
                    return;
                }
                buckets -= 1;
                if let Ok(mut entry) = group.get_bucket_entry(cursor.bucket) {
                    entries -= 1;
                    if !keep(&mut entry.get_mut().value) {
                        entry.remove();
                    }
                }
                cursor.bucket += 1;
            }
            if buckets == 0 {
                return;
            }
            // Going on to the next group counts too: there may be thousands of empty ones.
            buckets -= 1;
            *cursor = Cursor {
                group: cursor.group + 1,
                bucket: 0,
            };
        }
    }
}

#[inline(never)]
fn insert_new<'a, K: Key, N: Namespace, V>(
    hasher: &DefaultHashBuilder,
    group: &'a mut HashTable<Row<K, N, V>>,
    hash: u64,
    row: Row<K, N, V>,
) -> OccupiedEntry<'a, Row<K, N, V>> {
    group.insert_unique(hash, row, |row| {
        entry_hash(hasher, hasher.hash_one(&row.key), &row.namespace)
    })
}

impl<K: Key, N: Namespace, V> Row<K, N, V> {
    fn new(key: &K, namespace: &N, value: V) -> Self {
        Self {
            key: key.clone(),
            namespace: namespace.clone(),
            value,
        }
    }

    #[inline]
    fn is(&self, key: &K, namespace: &N) -> bool {
        self.key == *key && self.namespace == *namespace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_go_round_and_see_everything() {
        let groups = KeyGroups::new(128, 1, 0);
        let mut table = StateTable::new(&groups);
        for key in 0..1000_u32 {
            table.insert(groups.position(&key).unwrap(), &key, &(), 0);
        }
        let mut cursor = Cursor::default();
        let mut seen = 0;
        let mut sweeps = 0;
        while table.iter().any(|(_, (), visits)| *visits == 0) {
            let before = seen;
            table.sweep(&mut cursor, 5, |visits| {
                seen += 1;
                *visits += 1;
                true
            });
            assert!(seen - before <= 5);
            sweeps += 1;
            assert!(sweeps < 1000, "a round takes too long");
        }
        assert!(table.iter().all(|(_, (), visits)| *visits <= 2));
        while !table.is_empty() {
            table.sweep(&mut cursor, 5, |_| false);
        }
        table.sweep(&mut cursor, usize::MAX, |_| panic!("there is nothing to see"));
    }
}

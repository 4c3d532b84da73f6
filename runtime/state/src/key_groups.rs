//! The key groups of a subtask, and where in its tables a key is.

use std::{hash::BuildHasher, ops::Range};

use flink_graph::{key_group, key_group_range};
use flink_record::Key;
use hashbrown::DefaultHashBuilder;

use crate::error::KeyGroupError;

/// The key groups that one subtask has. Tables that share a [`KeyPosition`] are made of the same `KeyGroups` or a clone:
/// it holds the random seed of their hashes.
#[derive(Debug, Clone)]
pub struct KeyGroups {
    max_parallelism: u32,
    /// Cuts a hash down to a key group without a division, where the number of groups is a power of two, as it is by default.
    mask: Option<u32>,
    range: Range<u32>,
    /// How many key groups are in the range.
    count: u32,
    pub(crate) hasher: DefaultHashBuilder,
}

/// Where a key is in every table of a subtask. Computed once per record by [`KeyGroups::position`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPosition {
    /// The key group, counted from the subtask's first.
    pub(crate) group: u32,
    /// The key's hash in its group's hash table. Seeded per [`KeyGroups`], and independent of the hash that decides the group.
    pub(crate) hash: u64,
}

/// All that a key group can be before it is cut down to the number of groups: a hash without its sign.
const UNBOUNDED: u32 = 1 << 31;

impl KeyGroups {
    /// The groups of subtask `subtask` of `parallelism`, out of `max_parallelism` groups.
    ///
    /// # Panics
    /// When `max_parallelism` or `parallelism` is 0.
    pub fn new(max_parallelism: u32, parallelism: u32, subtask: u32) -> Self {
        assert!(
            max_parallelism > 0,
            "an operator without key groups cannot keep keyed state"
        );
        let range = key_group_range(max_parallelism, parallelism, subtask);
        Self {
            max_parallelism,
            mask: max_parallelism.is_power_of_two().then(|| max_parallelism - 1),
            count: range.end - range.start,
            range,
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// The key groups of the subtask.
    pub fn range(&self) -> Range<u32> {
        self.range.clone()
    }

    /// The key group of a key, of this subtask or of another.
    #[inline]
    pub fn key_group<K: Key>(&self, key: &K) -> u32 {
        let hash = key.stable_hash();
        match self.mask {
            Some(mask) => key_group(hash, UNBOUNDED) & mask,
            None => key_group(hash, self.max_parallelism),
        }
    }

    /// Where the key is in the subtask's tables.
    ///
    /// # Errors
    /// When its key group is another subtask's.
    #[inline]
    pub fn position<K: Key>(&self, key: &K) -> Result<KeyPosition, KeyGroupError> {
        let key_group = self.key_group(key);
        // One comparison for both ends: below the range, the difference wraps.
        let group = key_group.wrapping_sub(self.range.start);
        if group >= self.count {
            return Err(self.foreign(key_group));
        }
        Ok(KeyPosition {
            group,
            hash: self.hasher.hash_one(key),
        })
    }

    #[cold]
    fn foreign(&self, key_group: u32) -> KeyGroupError {
        KeyGroupError {
            key_group,
            range: self.range(),
        }
    }
}

#[cfg(test)]
mod tests {
    use flink_graph::{MAX_PARALLELISM_LIMIT, operator_index};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_where_the_graph_sends_them(
            (max_parallelism, parallelism) in (1..=MAX_PARALLELISM_LIMIT)
                .prop_flat_map(|max| (prop_oneof![Just(max), Just(max.next_power_of_two())], 1..=max)),
            key: String,
        ) {
            let group = key_group(key.stable_hash(), max_parallelism);
            let owner = operator_index(group, max_parallelism, parallelism);
            let groups = KeyGroups::new(max_parallelism, parallelism, owner);
            let position = groups.position(&key).unwrap();
            prop_assert_eq!(position.group + groups.range().start, group);
            if parallelism > 1 {
                let other = KeyGroups::new(max_parallelism, parallelism, (owner + 1) % parallelism);
                let error = other.position(&key).unwrap_err();
                prop_assert_eq!(error, KeyGroupError { key_group: group, range: other.range() });
            }
        }
    }

    #[test]
    fn a_foreign_key_is_explained() {
        let groups = KeyGroups::new(128, 2, 0);
        let foreign = (0..).find(|key: &u64| groups.key_group(key) >= 64).unwrap();
        let error = groups.position(&foreign).unwrap_err().to_string();
        let group = groups.key_group(&foreign);
        assert!(
            error.starts_with(&format!(
                "a key of key group {group} came to the subtask of the key groups 0 to 63: "
            )),
            "{error}"
        );
    }
}

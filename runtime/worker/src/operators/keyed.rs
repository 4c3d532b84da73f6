//! Keys, and the operator that keeps a state per key.

use std::{borrow::Cow, hash::BuildHasher, marker::PhantomData};

use flink_exchange::{ChannelSelector, Key};
use flink_graph::{key_group, operator_index};
use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

use super::Aggregation;
use crate::{
    error::TaskError,
    operator::{Operator, Output},
};

/// How the key of a record is found. The same record has the same key each time it is asked for.
pub trait KeySelector<T>: Clone + Send + 'static {
    /// The keys.
    type Key: Key;

    /// The record's key; borrowed from it where it lies in it, so that only keys not seen before are copied.
    fn key<'a>(&self, record: &'a T) -> Cow<'a, Self::Key>;
}

/// Keys that a closure makes.
#[derive(Debug)]
pub struct KeyBy<F, K>(F, PhantomData<fn() -> K>);

impl<F, K> KeyBy<F, K> {
    /// The selector of this closure.
    pub fn new(closure: F) -> Self {
        Self(closure, PhantomData)
    }
}

impl<F: Clone, K> Clone for KeyBy<F, K> {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl<T, K: Key, F: Fn(&T) -> K + Clone + Send + 'static> KeySelector<T> for KeyBy<F, K> {
    type Key = K;

    #[inline]
    fn key<'a>(&self, record: &'a T) -> Cow<'a, K> {
        Cow::Owned((self.0)(record))
    }
}

/// Keys that lie in the records.
#[derive(Debug)]
pub struct KeyByRef<F, K>(F, PhantomData<fn() -> K>);

impl<F, K> KeyByRef<F, K> {
    /// The selector of this closure.
    pub fn new<T>(closure: F) -> Self
    where
        F: Fn(&T) -> &K,
    {
        Self(closure, PhantomData)
    }
}

impl<F: Clone, K> Clone for KeyByRef<F, K> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T, K: Key, F: Fn(&T) -> &K + Clone + Send + 'static> KeySelector<T> for KeyByRef<F, K> {
    type Key = K;

    #[inline]
    fn key<'a>(&self, record: &'a T) -> Cow<'a, K> {
        Cow::Borrowed((self.0)(record))
    }
}

/// Sends each record to the subtask that has the key group of its key.
///
/// Which group is whose is looked up in a table, and the group itself is found without a division where the number of
/// groups is a power of two (as it is by default): two divisions were a sixth of the cost of sending a word.
pub(crate) struct HashSelector<S> {
    key: S,
    max_parallelism: u32,
    /// By key group: the channel.
    channels: Vec<u16>,
}

/// All that a key group can be before it is cut down to the number of groups: a hash without its sign.
const UNBOUNDED: u32 = 1 << 31;

impl<S> HashSelector<S> {
    /// For `channels` channels, one per subtask; at most [`MAX_PARALLELISM_LIMIT`](flink_graph::MAX_PARALLELISM_LIMIT), as is
    /// `max_parallelism`.
    pub(crate) fn new(key: S, max_parallelism: u32, channels: u32) -> Self {
        let groups = 0..max_parallelism;
        let channels = groups
            .map(|group| operator_index(group, max_parallelism, channels) as u16)
            .collect();
        Self {
            key,
            max_parallelism,
            channels,
        }
    }
}

impl<T, S: KeySelector<T>> ChannelSelector<T> for HashSelector<S> {
    #[inline]
    fn select(&mut self, record: &T, _: u32) -> u32 {
        let hash = self.key.key(record).stable_hash();
        let group = if self.max_parallelism.is_power_of_two() {
            key_group(hash, UNBOUNDED) & (self.max_parallelism - 1)
        } else {
            key_group(hash, self.max_parallelism)
        };
        self.channels[group as usize].into()
    }
}

/// When a keyed aggregation emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emission {
    /// The new result, after each record.
    Rolling,
    /// The last result of each key, once, at the end of the input. The order of the keys is not specified.
    Final,
}

/// An aggregation of each key's records. States live in a hash table in the task's memory.
pub struct KeyedAggregate<T, S, A: Aggregation<T>> {
    selector: S,
    aggregation: A,
    emission: Emission,
    hasher: DefaultHashBuilder,
    states: HashTable<(A::Key, A::State)>,
}

impl<T, S: KeySelector<T>, A: Aggregation<T, Key = S::Key>> KeyedAggregate<T, S, A> {
    /// Without any keys yet.
    pub fn new(selector: S, aggregation: A, emission: Emission) -> Self {
        let (hasher, states) = (DefaultHashBuilder::default(), HashTable::new());
        Self {
            selector,
            aggregation,
            emission,
            hasher,
            states,
        }
    }
}

impl<T, S: KeySelector<T>, A: Aggregation<T, Key = S::Key>> Operator<T> for KeyedAggregate<T, S, A> {
    type Out = A::Out;

    #[inline]
    fn process(&mut self, record: T, output: &mut dyn Output<A::Out>) -> Result<(), TaskError> {
        let hasher = &self.hasher;
        let key = self.selector.key(&record);
        let hash = hasher.hash_one(&*key);
        let entry = match self
            .states
            .entry(hash, |(other, _)| *other == *key, |(key, _)| hasher.hash_one(key))
        {
            Entry::Occupied(mut entry) => {
                drop(key);
                self.aggregation.add(&mut entry.get_mut().1, record)?;
                entry
            }
            Entry::Vacant(entry) => {
                let key = key.into_owned();
                entry.insert((key, self.aggregation.first(record)))
            }
        };
        match self.emission {
            Emission::Final => Ok(()),
            Emission::Rolling => {
                let (key, state) = entry.get();
                self.aggregation
                    .result(key, state)
                    .map_or(Ok(()), |result| output.collect(result))
            }
        }
    }

    fn end_of_data(&mut self, output: &mut dyn Output<A::Out>) -> Result<(), TaskError> {
        if self.emission == Emission::Rolling {
            return Ok(());
        }
        for (key, state) in std::mem::take(&mut self.states) {
            if let Some(result) = self.aggregation.last_result(key, state) {
                output.collect(result)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Count, Fold, Reduce, Sum},
        *,
    };
    use crate::testing::process_all;

    const RECORDS: [(u32, u8); 3] = [(1, 10), (2, 20), (1, 30)];

    fn key() -> impl KeySelector<(u32, u8), Key = u32> {
        KeyBy::new(|record: &(u32, u8)| record.0)
    }

    #[test]
    fn rolling_aggregations_emit_each_new_result() {
        let count = KeyedAggregate::new(key(), Count::default(), Emission::Rolling);
        assert_eq!(process_all(count, RECORDS), [(1, 1), (2, 1), (1, 2)]);
        let sum = KeyedAggregate::new(key(), Sum::new(|record: &(u32, u8)| record.1), Emission::Rolling);
        assert_eq!(process_all(sum, RECORDS), [(1, 10), (2, 20), (1, 40)]);
        let fold = Fold::new(Vec::new(), |seen: &mut Vec<u8>, record: (u32, u8)| seen.push(record.1));
        let fold = KeyedAggregate::new(key(), fold, Emission::Rolling);
        assert_eq!(
            process_all(fold, RECORDS),
            [(1, vec![10]), (2, vec![20]), (1, vec![10, 30])]
        );
        let reduce = Reduce::new(|a: (u32, u8), b: (u32, u8)| a.max(b));
        let reduce = KeyedAggregate::new(key(), reduce, Emission::Rolling);
        assert_eq!(process_all(reduce, RECORDS), [(1, 10), (2, 20), (1, 30)]);
    }

    #[test]
    fn final_aggregations_emit_once_per_key() {
        let mut counts = process_all(KeyedAggregate::new(key(), Count::default(), Emission::Final), RECORDS);
        counts.sort_unstable();
        assert_eq!(counts, [(1, 2), (2, 1)]);
        let reduce = Reduce::new(|a: (u32, u8), b: (u32, u8)| (a.0, a.1 + b.1));
        let mut sums = process_all(KeyedAggregate::new(key(), reduce, Emission::Final), RECORDS);
        sums.sort_unstable();
        assert_eq!(sums, [(1, 40), (2, 20)]);
    }

    #[test]
    fn a_sum_that_overflows_fails() {
        let sum = Sum::new(|record: &(u32, u8)| record.1);
        let mut sum = KeyedAggregate::new(key(), sum, Emission::Final);
        let mut output = crate::testing::Collected::default();
        sum.process((1, 200), &mut output).unwrap();
        let error = sum.process((1, 56), &mut output).unwrap_err();
        assert_eq!(error.to_string(), "the sum of a key does not fit into u8");
        assert_eq!(
            sum.process((2, 56), &mut output).map_err(|error| error.to_string()),
            Ok(())
        );
    }

    #[test]
    fn records_go_where_their_key_group_is() {
        for max_parallelism in [1, 7, 128, 1000, 32768] {
            let channels = max_parallelism.min(7);
            let mut borrowed = HashSelector::new(
                KeyByRef::new(|record: &(String, u8)| &record.0),
                max_parallelism,
                channels,
            );
            let mut owned = HashSelector::new(
                KeyBy::new(|record: &(String, u8)| record.0.clone()),
                max_parallelism,
                channels,
            );
            for number in 0..1000 {
                let record = (number.to_string(), 0);
                let group = key_group(record.0.stable_hash(), max_parallelism);
                let expected = operator_index(group, max_parallelism, channels);
                assert_eq!(borrowed.select(&record, channels), expected);
                assert_eq!(owned.select(&record, channels), expected);
            }
        }
    }
}

//! Keys, and the operator that keeps a state per key.

use std::{borrow::Cow, marker::PhantomData};

use flink_exchange::ChannelSelector;
use flink_graph::{key_group, operator_index};
use flink_record::{Key, NO_TIMESTAMP, Timestamp};
use flink_state::{KeyGroups, StateTable};

use super::Aggregation;
use crate::{
    error::TaskError,
    operator::{Either, Operator, Outputs},
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

/// One key for all records.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullKey;

impl<T> KeySelector<T> for NullKey {
    type Key = ();

    #[inline]
    fn key<'a>(&self, _: &'a T) -> Cow<'a, ()> {
        Cow::Owned(())
    }
}

/// The keys of two streams, which are of one type.
#[derive(Debug, Clone)]
pub struct EitherKey<S, R> {
    first: S,
    second: R,
}

impl<S, R> EitherKey<S, R> {
    /// The keys of the first stream, and those of the second.
    pub fn new(first: S, second: R) -> Self {
        Self { first, second }
    }
}

impl<A, B, S: KeySelector<A>, R: KeySelector<B, Key = S::Key>> KeySelector<Either<A, B>> for EitherKey<S, R> {
    type Key = S::Key;

    #[inline]
    fn key<'a>(&self, record: &'a Either<A, B>) -> Cow<'a, S::Key> {
        match record {
            Either::First(record) => self.first.key(record),
            Either::Second(record) => self.second.key(record),
        }
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

/// An aggregation of each key's records.
pub struct KeyedAggregate<T, S, A: Aggregation<T>> {
    selector: S,
    aggregation: A,
    emission: Emission,
    groups: KeyGroups,
    states: StateTable<A::Key, (), A::State>,
}

impl<T, S: KeySelector<T>, A: Aggregation<T, Key = S::Key>> KeyedAggregate<T, S, A> {
    /// Without any keys yet, for the keys of one subtask.
    pub fn new(selector: S, aggregation: A, emission: Emission, groups: KeyGroups) -> Self {
        let states = StateTable::new(&groups);
        Self {
            selector,
            aggregation,
            emission,
            groups,
            states,
        }
    }
}

impl<T, S: KeySelector<T>, A: Aggregation<T, Key = S::Key>> Operator<T> for KeyedAggregate<T, S, A> {
    type Out = A::Out;

    #[inline]
    fn process(&mut self, record: T, timestamp: Timestamp, output: &mut Outputs<A::Out>) -> Result<(), TaskError> {
        let key = self.selector.key(&record);
        let position = self.groups.position(&*key).map_err(TaskError::operator)?;
        let result = match self.states.get_key_value_mut(position, &key, &()) {
            Some((kept, state)) => {
                drop(key);
                self.aggregation.add(state, record)?;
                match self.emission {
                    Emission::Final => None,
                    Emission::Rolling => self.aggregation.result(kept, state),
                }
            }
            None => {
                let key = key.into_owned();
                let state = self.aggregation.first(record);
                let result = match self.emission {
                    Emission::Final => None,
                    Emission::Rolling => self.aggregation.result(&key, &state),
                };
                self.states.insert(position, &key, &(), state);
                result
            }
        };
        result.map_or(Ok(()), |result| output.collect(result, timestamp))
    }

    fn end_of_data(&mut self, output: &mut Outputs<A::Out>) -> Result<(), TaskError> {
        if self.emission == Emission::Rolling {
            return Ok(());
        }
        for (key, (), state) in self.states.drain() {
            if let Some(result) = self.aggregation.last_result(key, state) {
                output.collect(result, NO_TIMESTAMP)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Count, ExtremeRecord, Extremum, Fold, Reduce, Sum},
        *,
    };
    use crate::testing::{Harness, process_all};

    const RECORDS: [(u32, u8); 3] = [(1, 10), (2, 20), (1, 30)];

    /// All key groups in one subtask.
    fn all() -> KeyGroups {
        KeyGroups::new(128, 1, 0)
    }

    fn key() -> impl KeySelector<(u32, u8), Key = u32> {
        KeyBy::new(|record: &(u32, u8)| record.0)
    }

    #[test]
    fn records_go_to_the_subtask_that_has_their_keys_group() {
        for max_parallelism in [128, 100] {
            let key = KeyBy::new(|record: &(u64, u64)| record.0);
            let mut selector = HashSelector::new(key, max_parallelism, 3);
            let mut seen = [false; 3];
            for key in 0..1000_u64 {
                let group = key_group(key.stable_hash(), max_parallelism);
                let subtask = operator_index(group, max_parallelism, 3);
                assert_eq!(selector.select(&(key, 1), 3), subtask);
                seen[subtask as usize] = true;
            }
            assert_eq!(seen, [true; 3]);
        }
    }

    #[test]
    fn rolling_aggregations_emit_each_new_result() {
        let count = KeyedAggregate::new(key(), Count::default(), Emission::Rolling, all());
        assert_eq!(process_all(count, RECORDS), [(1, 1), (2, 1), (1, 2)]);
        let sum = KeyedAggregate::new(key(), Sum::new(|record: &(u32, u8)| record.1), Emission::Rolling, all());
        assert_eq!(process_all(sum, RECORDS), [(1, 10), (2, 20), (1, 40)]);
        let fold = Fold::new(Vec::new(), |seen: &mut Vec<u8>, record: (u32, u8)| seen.push(record.1));
        let fold = KeyedAggregate::new(key(), fold, Emission::Rolling, all());
        assert_eq!(
            process_all(fold, RECORDS),
            [(1, vec![10]), (2, vec![20]), (1, vec![10, 30])]
        );
        let reduce = Reduce::new(|a: (u32, u8), b: (u32, u8)| a.max(b));
        let reduce = KeyedAggregate::new(key(), reduce, Emission::Rolling, all());
        assert_eq!(process_all(reduce, RECORDS), [(1, 10), (2, 20), (1, 30)]);
    }

    #[test]
    fn final_aggregations_emit_once_per_key() {
        let mut counts = process_all(
            KeyedAggregate::new(key(), Count::default(), Emission::Final, all()),
            RECORDS,
        );
        counts.sort_unstable();
        assert_eq!(counts, [(1, 2), (2, 1)]);
        let reduce = Reduce::new(|a: (u32, u8), b: (u32, u8)| (a.0, a.1 + b.1));
        let mut sums = process_all(KeyedAggregate::new(key(), reduce, Emission::Final, all()), RECORDS);
        sums.sort_unstable();
        assert_eq!(sums, [(1, 40), (2, 20)]);
    }

    #[test]
    fn extremes_keep_the_first_of_equals() {
        let least = KeyedAggregate::new(
            key(),
            Extremum::least(|record: &(u32, u8)| record.1),
            Emission::Final,
            all(),
        );
        let mut least = process_all(least, RECORDS);
        least.sort_unstable();
        assert_eq!(least, [(1, 10), (2, 20)]);
        let greatest = Extremum::greatest(|record: &(u32, u8)| record.1);
        let greatest = KeyedAggregate::new(key(), greatest, Emission::Rolling, all());
        assert_eq!(process_all(greatest, RECORDS), [(1, 10), (2, 20), (1, 30)]);
        let record = ExtremeRecord::greatest(|record: &(u32, u8)| record.1 / 100);
        let record = KeyedAggregate::new(key(), record, Emission::Rolling, all());
        assert_eq!(process_all(record, RECORDS), [(1, 10), (2, 20), (1, 10)]);
        let record = ExtremeRecord::least(|record: &(u32, f64)| record.1);
        let record = KeyedAggregate::new(KeyBy::new(|_: &(u32, f64)| ()), record, Emission::Final, all());
        assert_eq!(process_all(record, [(1, 2.0), (2, f64::NAN), (3, 1.0)]), [(3, 1.0)]);
    }

    #[test]
    fn a_sum_that_overflows_fails() {
        let sum = Sum::new(|record: &(u32, u8)| record.1);
        let mut sum = Harness::new(KeyedAggregate::new(key(), sum, Emission::Final, all()));
        sum.process((1, 200), NO_TIMESTAMP);
        assert_eq!(sum.process_err((1, 56)), "the sum of a key does not fit into u8");
        sum.process((2, 56), NO_TIMESTAMP);
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

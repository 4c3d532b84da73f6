//! Aggregation before records are sent: the first of the two phases of an aggregation whose input ends.

use std::hash::BuildHasher;

use flink_record::{Key, NO_TIMESTAMP, Timestamp};
use hashbrown::{DefaultHashBuilder, HashTable};

use super::{Aggregation, KeySelector};
use crate::{
    error::TaskError,
    operator::{Operator, Outputs},
};

/// Keys that are kept at most; when one more comes, what there is goes out.
const MAX_KEYS: usize = 1 << 16;

/// A table that took fewer records than this for each of its keys saves less than it costs.
const WORTHWHILE: u64 = 2;

/// So many records are sent on as they are after such a table, before another one is tried.
const UNAGGREGATED: u64 = 16 * MAX_KEYS as u64;

/// Aggregates the records of each key that this subtask has, and sends a result per key in their stead, so that a key which
/// comes often is sent seldom. Flink's SQL runtime does so before a shuffle (`LocalHashAggregate`), and also gives it up
/// where keys hardly repeat.
///
/// What is emitted is to be aggregated again, by key. Timestamps are not kept: this is for aggregations that emit at the end.
pub struct LocalAggregate<S, A, K, V> {
    selector: S,
    aggregation: A,
    hasher: DefaultHashBuilder,
    table: HashTable<(K, V)>,
    /// Records in the table.
    records: u64,
    /// Records that are yet to be sent on as they are.
    unaggregated: u64,
}

impl<S, A, K, V> LocalAggregate<S, A, K, V> {
    /// Without any keys yet.
    pub fn new(selector: S, aggregation: A) -> Self {
        Self {
            selector,
            aggregation,
            hasher: DefaultHashBuilder::default(),
            table: HashTable::new(),
            records: 0,
            unaggregated: 0,
        }
    }
}

impl<S, A, K: Eq + std::hash::Hash, V> LocalAggregate<S, A, K, V> {
    /// Emits the result of each key, and forgets the keys.
    fn flush<T>(&mut self, output: &mut Outputs<A::Out>) -> Result<(), TaskError>
    where
        A: Aggregation<T, Key = K, State = V>,
    {
        if self.records < WORTHWHILE * self.table.len() as u64 {
            self.unaggregated = UNAGGREGATED;
        }
        self.records = 0;
        for (key, state) in self.table.drain() {
            if let Some(result) = self.aggregation.last_result(key, state) {
                output.collect(result, NO_TIMESTAMP)?;
            }
        }
        Ok(())
    }
}

impl<T, S, A> Operator<T> for LocalAggregate<S, A, A::Key, A::State>
where
    S: KeySelector<T, Key = A::Key>,
    A: Aggregation<T>,
{
    type Out = A::Out;

    #[inline]
    fn process(&mut self, record: T, _: Timestamp, output: &mut Outputs<A::Out>) -> Result<(), TaskError> {
        let key = self.selector.key(&record);
        if self.unaggregated > 0 {
            self.unaggregated -= 1;
            let key = key.into_owned();
            let state = self.aggregation.first(record);
            let result = self.aggregation.last_result(key, state);
            return result.map_or(Ok(()), |result| output.collect(result, NO_TIMESTAMP));
        }
        let hash = self.hasher.hash_one(&*key);
        if let Some((_, state)) = self.table.find_mut(hash, |(kept, _)| *kept == *key) {
            drop(key);
            self.records += 1;
            return self.aggregation.add(state, record);
        }
        if self.table.len() == MAX_KEYS {
            self.flush(output)?;
        }
        let key = key.into_owned();
        let state = self.aggregation.first(record);
        let hasher = &self.hasher;
        self.table
            .insert_unique(hash, (key, state), |(key, _)| hasher.hash_one(key));
        self.records += 1;
        Ok(())
    }

    fn end_of_data(&mut self, output: &mut Outputs<A::Out>) -> Result<(), TaskError> {
        self.flush(output)
    }
}

/// An aggregation whose results bear their keys. The key of a result need not be found in it: a reduction may make of the
/// records of a key what would have another key.
#[derive(Debug, Clone)]
pub struct WithKey<A>(
    /// The aggregation.
    pub A,
);

impl<T, A: Aggregation<T>> Aggregation<T> for WithKey<A> {
    type Key = A::Key;
    type State = A::State;
    type Out = (A::Key, A::Out);

    #[inline]
    fn first(&mut self, record: T) -> A::State {
        self.0.first(record)
    }

    #[inline]
    fn add(&mut self, state: &mut A::State, record: T) -> Result<(), TaskError> {
        self.0.add(state, record)
    }

    fn result(&self, key: &A::Key, state: &A::State) -> Option<Self::Out> {
        self.0.result(key, state).map(|result| (key.clone(), result))
    }

    fn last_result(&self, key: A::Key, state: A::State) -> Option<Self::Out> {
        let result = self.0.last_result(key.clone(), state)?;
        Some((key, result))
    }
}

/// An aggregation of what [`WithKey`] emits, as the aggregation in it aggregates records.
#[derive(Debug, Clone)]
pub struct OfKeyed<A>(
    /// The aggregation.
    pub A,
);

impl<K: Key, T, A: Aggregation<T, Key = K>> Aggregation<(K, T)> for OfKeyed<A> {
    type Key = K;
    type State = A::State;
    type Out = A::Out;

    #[inline]
    fn first(&mut self, (_, record): (K, T)) -> A::State {
        self.0.first(record)
    }

    #[inline]
    fn add(&mut self, state: &mut A::State, (_, record): (K, T)) -> Result<(), TaskError> {
        self.0.add(state, record)
    }

    fn result(&self, key: &K, state: &A::State) -> Option<A::Out> {
        self.0.result(key, state)
    }

    fn last_result(&self, key: K, state: A::State) -> Option<A::Out> {
        self.0.last_result(key, state)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{Count, KeyBy, Reduce},
        *,
    };
    use crate::testing::process_all;

    fn counts(records: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
        let key = KeyBy::new(|record: &u64| *record);
        process_all(LocalAggregate::new(key, Count::default()), records)
    }

    fn totals(counts: &[(u64, u64)]) -> BTreeMap<u64, u64> {
        let mut totals = BTreeMap::new();
        for (key, count) in counts {
            *totals.entry(*key).or_default() += count;
        }
        totals
    }

    #[test]
    fn each_key_is_sent_once_at_the_end() {
        let counts = counts((0..1000).map(|number| number % 10));
        assert_eq!(counts.len(), 10);
        assert!(totals(&counts).values().all(|count| *count == 100));
    }

    #[test]
    fn records_of_a_key_are_reduced_in_their_order() {
        let key = KeyBy::new(|record: &(u8, String)| record.0);
        let reduce = Reduce::new(|a: (u8, String), b: (u8, String)| (a.0, a.1 + &b.1));
        let records = ["a", "b", "c", "d"].map(|text| (1, text.to_owned()));
        let reduced = process_all(LocalAggregate::new(key, reduce), records);
        assert_eq!(reduced, [(1, "abcd".to_owned())]);
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_lost() {
        let keys = 3 * MAX_KEYS as u64;
        // Each key four times in a row: worth it.
        let worthwhile = counts((0..4 * keys).map(|number| number / 4));
        assert_eq!(worthwhile.len() as u64, keys);
        assert!(totals(&worthwhile).values().all(|count| *count == 4));
    }

    #[test]
    fn keys_that_hardly_repeat_are_sent_as_they_come_for_a_while() {
        let keys = MAX_KEYS as u64 + 1 + UNAGGREGATED;
        let counts = counts((0..keys).chain(std::iter::repeat_n(7, 1000)));
        assert_eq!(counts.len() as u64, keys + 1, "afterwards it is tried again");
        let totals = totals(&counts);
        assert_eq!(totals.len() as u64, keys);
        assert_eq!(totals[&7], 1001);
    }
}

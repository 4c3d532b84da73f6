//! What keyed aggregations compute: counts, sums, reductions, folds.

use std::{cmp::Ordering, marker::PhantomData};

use flink_record::{Key, Record};

use crate::error::TaskError;

/// What is kept for a key, and how records change it.
pub trait Aggregation<T> {
    /// The keys.
    type Key: Key;
    /// What is kept for a key.
    type State;
    /// What is emitted.
    type Out;

    /// The state after a key's first record.
    fn first(&mut self, record: T) -> Self::State;

    /// Adds a further record.
    ///
    /// # Errors
    /// When there is no such state, as after an overflow.
    fn add(&mut self, state: &mut Self::State, record: T) -> Result<(), TaskError>;

    /// The result to emit while the state stays.
    fn result(&self, key: &Self::Key, state: &Self::State) -> Option<Self::Out>;

    /// The result to emit at the end.
    fn last_result(&self, key: Self::Key, state: Self::State) -> Option<Self::Out>;
}

/// How many records a key has.
#[derive(Debug, Clone)]
pub struct Count<K>(PhantomData<fn() -> K>);

impl<K> Default for Count<K> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, K: Key> Aggregation<T> for Count<K> {
    type Key = K;
    type State = u64;
    type Out = (K, u64);

    #[inline]
    fn first(&mut self, _: T) -> u64 {
        1
    }

    #[inline]
    fn add(&mut self, state: &mut u64, _: T) -> Result<(), TaskError> {
        *state += 1;
        Ok(())
    }

    fn result(&self, key: &K, state: &u64) -> Option<(K, u64)> {
        Some((key.clone(), *state))
    }

    fn last_result(&self, key: K, state: u64) -> Option<(K, u64)> {
        Some((key, state))
    }
}

/// The sum of what a closure finds in a key's records.
#[derive(Debug)]
pub struct Sum<F, K>(F, PhantomData<fn() -> K>);

impl<F, K> Sum<F, K> {
    /// The sum of what this closure finds.
    pub fn new(closure: F) -> Self {
        Self(closure, PhantomData)
    }
}

impl<F: Clone, K> Clone for Sum<F, K> {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl<T, K: Key, N: Summable, F: FnMut(&T) -> N> Aggregation<T> for Sum<F, K> {
    type Key = K;
    type State = N;
    type Out = (K, N);

    #[inline]
    fn first(&mut self, record: T) -> N {
        (self.0)(&record)
    }

    #[inline]
    fn add(&mut self, state: &mut N, record: T) -> Result<(), TaskError> {
        *state = state.checked_sum((self.0)(&record)).ok_or_else(|| {
            TaskError::operator(format!(
                "the sum of a key does not fit into {}",
                std::any::type_name::<N>()
            ))
        })?;
        Ok(())
    }

    fn result(&self, key: &K, state: &N) -> Option<(K, N)> {
        Some((key.clone(), *state))
    }

    fn last_result(&self, key: K, state: N) -> Option<(K, N)> {
        Some((key, state))
    }
}

/// The least (or greatest) of what a closure finds in a key's records.
#[derive(Debug)]
pub struct Extremum<F, K> {
    value: F,
    /// What replaces the value so far.
    replaces: Ordering,
    keys: PhantomData<fn() -> K>,
}

impl<F, K> Extremum<F, K> {
    /// The least of what this closure finds.
    pub fn least(value: F) -> Self {
        let (replaces, keys) = (Ordering::Less, PhantomData);
        Self { value, replaces, keys }
    }

    /// The greatest of what this closure finds.
    pub fn greatest(value: F) -> Self {
        let (replaces, keys) = (Ordering::Greater, PhantomData);
        Self { value, replaces, keys }
    }
}

impl<F: Clone, K> Clone for Extremum<F, K> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            ..*self
        }
    }
}

impl<T, K: Key, N: PartialOrd + Clone, F: FnMut(&T) -> N> Aggregation<T> for Extremum<F, K> {
    type Key = K;
    type State = N;
    type Out = (K, N);

    #[inline]
    fn first(&mut self, record: T) -> N {
        (self.value)(&record)
    }

    #[inline]
    fn add(&mut self, state: &mut N, record: T) -> Result<(), TaskError> {
        let value = (self.value)(&record);
        if value.partial_cmp(state) == Some(self.replaces) {
            *state = value;
        }
        Ok(())
    }

    fn result(&self, key: &K, state: &N) -> Option<(K, N)> {
        Some((key.clone(), state.clone()))
    }

    fn last_result(&self, key: K, state: N) -> Option<(K, N)> {
        Some((key, state))
    }
}

/// The record of each key in which a closure finds the least (or greatest) value; the first of several.
#[derive(Debug)]
pub struct ExtremeRecord<F, K> {
    value: F,
    /// What replaces the record so far.
    replaces: Ordering,
    keys: PhantomData<fn() -> K>,
}

impl<F, K> ExtremeRecord<F, K> {
    /// The record with the least value.
    pub fn least(value: F) -> Self {
        let (replaces, keys) = (Ordering::Less, PhantomData);
        Self { value, replaces, keys }
    }

    /// The record with the greatest value.
    pub fn greatest(value: F) -> Self {
        let (replaces, keys) = (Ordering::Greater, PhantomData);
        Self { value, replaces, keys }
    }
}

impl<F: Clone, K> Clone for ExtremeRecord<F, K> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            ..*self
        }
    }
}

impl<T: Clone, K: Key, N: PartialOrd, F: FnMut(&T) -> N> Aggregation<T> for ExtremeRecord<F, K> {
    type Key = K;
    type State = T;
    type Out = T;

    #[inline]
    fn first(&mut self, record: T) -> T {
        record
    }

    #[inline]
    fn add(&mut self, state: &mut T, record: T) -> Result<(), TaskError> {
        if (self.value)(&record).partial_cmp(&(self.value)(state)) == Some(self.replaces) {
            *state = record;
        }
        Ok(())
    }

    fn result(&self, _: &K, state: &T) -> Option<T> {
        Some(state.clone())
    }

    fn last_result(&self, _: K, state: T) -> Option<T> {
        Some(state)
    }
}

/// What a closure adds a key's records to, one after another.
#[derive(Debug)]
pub struct Fold<A, F, K> {
    initial: A,
    add: F,
    keys: PhantomData<fn() -> K>,
}

impl<A, F, K> Fold<A, F, K> {
    /// Starts each key with a clone of `initial`.
    pub fn new(initial: A, add: F) -> Self {
        Self {
            initial,
            add,
            keys: PhantomData,
        }
    }
}

impl<A: Clone, F: Clone, K> Clone for Fold<A, F, K> {
    fn clone(&self) -> Self {
        Self::new(self.initial.clone(), self.add.clone())
    }
}

impl<T, K: Key, A: Clone, F: FnMut(&mut A, T)> Aggregation<T> for Fold<A, F, K> {
    type Key = K;
    type State = A;
    type Out = (K, A);

    #[inline]
    fn first(&mut self, record: T) -> A {
        let mut state = self.initial.clone();
        (self.add)(&mut state, record);
        state
    }

    #[inline]
    fn add(&mut self, state: &mut A, record: T) -> Result<(), TaskError> {
        (self.add)(state, record);
        Ok(())
    }

    fn result(&self, key: &K, state: &A) -> Option<(K, A)> {
        Some((key.clone(), state.clone()))
    }

    fn last_result(&self, key: K, state: A) -> Option<(K, A)> {
        Some((key, state))
    }
}

/// Numbers that can be summed up.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be summed up",
    label = "not a number",
    note = "the closure of `sum` returns an integer or a float; use `reduce` for other types"
)]
pub trait Summable: Record + Copy {
    /// The sum, or `None` when it is out of the type's range. Floats have infinity.
    fn checked_sum(self, other: Self) -> Option<Self>;
}

macro_rules! summable {
    ($($type:ty),*) => {$(
        impl Summable for $type {
            #[inline]
            fn checked_sum(self, other: Self) -> Option<Self> {
                self.checked_add(other)
            }
        }
    )*};
}

summable!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

impl Summable for f32 {
    #[inline]
    fn checked_sum(self, other: Self) -> Option<Self> {
        Some(self + other)
    }
}

impl Summable for f64 {
    #[inline]
    fn checked_sum(self, other: Self) -> Option<Self> {
        Some(self + other)
    }
}

/// What a closure makes of all records of a key, two at a time.
#[derive(Debug)]
pub struct Reduce<F, K>(F, PhantomData<fn() -> K>);

impl<F, K> Reduce<F, K> {
    /// The reduction by this closure.
    pub fn new(closure: F) -> Self {
        Self(closure, PhantomData)
    }
}

impl<F: Clone, K> Clone for Reduce<F, K> {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl<T: Clone, K: Key, F: FnMut(T, T) -> T> Aggregation<T> for Reduce<F, K> {
    type Key = K;
    /// Empty only while the closure, which consumes the old value, makes the new one; so only after it has panicked.
    type State = Option<T>;
    type Out = T;

    #[inline]
    fn first(&mut self, record: T) -> Option<T> {
        Some(record)
    }

    #[inline]
    fn add(&mut self, state: &mut Option<T>, record: T) -> Result<(), TaskError> {
        *state = state.take().map(|value| (self.0)(value, record));
        Ok(())
    }

    fn result(&self, _: &K, state: &Option<T>) -> Option<T> {
        state.clone()
    }

    fn last_result(&self, _: K, state: Option<T>) -> Option<T> {
        state
    }
}

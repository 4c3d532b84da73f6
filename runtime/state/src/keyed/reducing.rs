//! One value per key, made of all that were added.

use std::{fmt, rc::Rc};

use flink_record::{Key, Record};

use super::Single;
use crate::{context::Namespace, ttl::Expiry};

/// What a reduce function made of the values that were added under the current key.
///
/// A handle: clones are the same state. All methods panic when there is no current key
/// (see [`KeyContext`](crate::KeyContext)).
pub struct ReducingState<T>(Rc<dyn ReducingAccess<T>>);

/// What a backend does for a reducing state.
trait ReducingAccess<T> {
    fn add(&self, value: T);
    fn get(&self) -> Option<T>
    where
        T: Clone;
    fn clear(&self);
}

impl<T: Record> ReducingState<T> {
    pub(crate) fn new<K: Key, N: Namespace, E: Expiry, F: Fn(T, T) -> T + 'static>(
        reducing: HeapReducing<K, N, T, E, F>,
    ) -> Self {
        Self(Rc::new(reducing))
    }

    /// Adds a value.
    #[inline]
    pub fn add(&self, value: T) {
        self.0.add(value);
    }

    /// A copy of the result; `None` if nothing was added.
    #[inline]
    pub fn get(&self) -> Option<T>
    where
        T: Clone,
    {
        self.0.get()
    }

    /// Removes what was added.
    #[inline]
    pub fn clear(&self) {
        self.0.clear();
    }
}

impl<T> Clone for ReducingState<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> fmt::Debug for ReducingState<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ReducingState").finish_non_exhaustive()
    }
}

/// Reduced values on the heap.
///
/// They are options because the function takes the old value by move. One is `None` only if the function panicked, which
/// fails the task.
pub(crate) struct HeapReducing<K, N, T, E: Expiry, F> {
    pub(crate) values: Single<K, N, Option<T>, E>,
    pub(crate) function: F,
}

impl<K: Key, N: Namespace, T: Record, E: Expiry, F: Fn(T, T) -> T> ReducingAccess<T> for HeapReducing<K, N, T, E, F> {
    fn add(&self, value: T) {
        match self.values.write() {
            Some(mut slot) => {
                *slot = Some(match slot.take() {
                    Some(reduced) => (self.function)(reduced, value),
                    None => value,
                });
            }
            None => drop(self.values.init(Some(value))),
        }
    }

    fn get(&self) -> Option<T>
    where
        T: Clone,
    {
        self.values.read().and_then(|value| Option::clone(&value))
    }

    fn clear(&self) {
        self.values.take();
    }
}

//! One value per key.

use std::{cell::RefMut, fmt, rc::Rc};

use flink_record::{Key, Record};

use super::{Held, Single};
use crate::{context::Namespace, ttl::Expiry};

/// One value of the current key.
///
/// A handle: clones are the same state. All methods panic when there is no current key
/// (see [`KeyContext`](crate::KeyContext)).
pub struct ValueState<T>(Rc<dyn ValueAccess<T>>);

/// What a backend does for a value state.
trait ValueAccess<T> {
    fn read(&self) -> Option<Held<'_, T>>;
    fn write(&self) -> Option<RefMut<'_, T>>;
    /// Sets the value where [`write`](Self::write) found none.
    fn init(&self, value: T) -> RefMut<'_, T>;
    fn set(&self, value: T);
    fn take(&self) -> Option<T>;
}

impl<T: Record> ValueState<T> {
    pub(crate) fn new<K: Key, N: Namespace, E: Expiry>(values: Single<K, N, T, E>) -> Self {
        Self(Rc::new(values))
    }

    /// A copy of the value; `None` if there is none. [`with`](Self::with) copies nothing.
    #[inline]
    pub fn get(&self) -> Option<T>
    where
        T: Clone,
    {
        self.0.read().map(|value| T::clone(&value))
    }

    /// Calls `f` with the value.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(Option<&T>) -> R) -> R {
        f(self.0.read().as_deref())
    }

    /// Sets the value.
    #[inline]
    pub fn update(&self, value: T) {
        self.0.set(value);
    }

    /// Changes the value in place. Does nothing and returns `None` if there is none.
    #[inline]
    pub fn modify<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.write().map(|mut value| f(&mut value))
    }

    /// Changes the value in place; `default` makes it first if there is none.
    #[inline]
    pub fn modify_or_insert_with<R>(&self, default: impl FnOnce() -> T, f: impl FnOnce(&mut T) -> R) -> R {
        match self.0.write() {
            Some(mut value) => f(&mut value),
            None => f(&mut self.0.init(default())),
        }
    }

    /// Removes the value and returns it.
    #[inline]
    pub fn take(&self) -> Option<T> {
        self.0.take()
    }

    /// Removes the value.
    #[inline]
    pub fn clear(&self) {
        self.0.take();
    }
}

impl<T> Clone for ValueState<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> fmt::Debug for ValueState<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ValueState").finish_non_exhaustive()
    }
}

impl<K: Key, N: Namespace, T: Record, E: Expiry> ValueAccess<T> for Single<K, N, T, E> {
    fn read(&self) -> Option<Held<'_, T>> {
        Self::read(self)
    }

    fn write(&self) -> Option<RefMut<'_, T>> {
        Self::write(self)
    }

    fn init(&self, value: T) -> RefMut<'_, T> {
        Self::init(self, value)
    }

    fn set(&self, value: T) {
        Self::set(self, value);
    }

    fn take(&self) -> Option<T> {
        Self::take(self)
    }
}

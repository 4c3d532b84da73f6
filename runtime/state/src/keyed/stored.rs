//! The entry of the current key and namespace in a state's table.

use std::{
    cell::{Ref, RefMut},
    ops::Deref,
    rc::Rc,
};

use flink_record::Key;

use crate::{
    backend::SharedTable,
    context::{KeyContext, Namespace},
    ttl::Expiry,
};

/// What a read returns.
pub(crate) enum Held<'a, T> {
    /// It stays in the state.
    Kept(Ref<'a, T>),
    /// It was expired, and has left the state with this read.
    Last(T),
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Self::Kept(value) => value,
            Self::Last(value) => value,
        }
    }
}

/// A state's table together with what is needed to find the current entry.
pub(crate) struct Stored<K, N, V, E> {
    name: Box<str>,
    context: Rc<KeyContext<K, N>>,
    table: SharedTable<K, N, V>,
    pub(super) expiry: E,
}

impl<K: Key, N: Namespace, V, E: Expiry> Stored<K, N, V, E> {
    pub(crate) fn new(name: &str, context: &Rc<KeyContext<K, N>>, table: SharedTable<K, N, V>, expiry: E) -> Self {
        Self {
            name: name.into(),
            context: Rc::clone(context),
            table,
            expiry,
        }
    }

    #[inline]
    pub(super) fn read(&self) -> Option<Ref<'_, V>> {
        self.context.with_current(&self.name, |position, key, namespace| {
            Ref::filter_map(self.table.borrow(), |table| table.get(position, key, namespace)).ok()
        })
    }

    #[inline]
    pub(super) fn write(&self) -> Option<RefMut<'_, V>> {
        self.context.with_current(&self.name, |position, key, namespace| {
            RefMut::filter_map(self.table.borrow_mut(), |table| table.get_mut(position, key, namespace)).ok()
        })
    }

    #[inline]
    pub(super) fn write_or_insert_with(&self, default: impl FnOnce() -> V) -> RefMut<'_, V> {
        self.context.with_current(&self.name, |position, key, namespace| {
            RefMut::map(self.table.borrow_mut(), |table| {
                table.get_or_insert_with(position, key, namespace, default)
            })
        })
    }

    #[inline]
    pub(super) fn insert(&self, value: V) -> Option<V> {
        self.context.with_current(&self.name, |position, key, namespace| {
            self.table.borrow_mut().insert(position, key, namespace, value)
        })
    }

    #[inline]
    pub(super) fn remove(&self) -> Option<V> {
        self.context.with_current(&self.name, |position, key, namespace| {
            self.table.borrow_mut().remove(position, key, namespace)
        })
    }

    /// Whether nothing is being read. A read that would clean up leaves it to a later one if something is.
    pub(super) fn is_free(&self) -> bool {
        self.table.try_borrow_mut().is_ok()
    }

    /// Looks at a few entries, of any key, and removes those that are not to be kept.
    #[inline]
    pub(super) fn clean_up(&self, keep: impl FnMut(&mut V) -> bool) {
        self.expiry.clean_up(&self.table, keep);
    }
}

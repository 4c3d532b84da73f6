//! A list per key, whose elements expire one by one.

use std::{cell::RefMut, fmt, rc::Rc};

use flink_record::{Key, Record};

use super::{Held, Stored};
use crate::{context::Namespace, ttl::Expiry};

/// A list of values: of the current key, or of the subtask.
///
/// A handle: clones are the same state. The methods of a key's list panic when there is no current key
/// (see [`KeyContext`](crate::KeyContext)).
///
/// With a time-to-live, a read renews or removes only elements that it can see; with
/// [`ReturnExpiredIfNotCleanedUp`](crate::StateVisibility::ReturnExpiredIfNotCleanedUp), expired elements stay until the
/// incremental cleanup passes or all of the list is expired, as in Flink.
pub struct ListState<T>(Rc<dyn ListAccess<T>>);

/// What a backend does for a list state.
pub(crate) trait ListAccess<T> {
    /// The list; `None` or empty if there is none.
    fn read(&self) -> Option<Held<'_, Vec<T>>>;
    fn add(&self, value: T);
    fn extend(&self, values: &mut dyn Iterator<Item = T>);
    fn replace(&self, values: Vec<T>);
    fn take(&self) -> Option<Vec<T>>;
}

impl<T: Record> ListState<T> {
    pub(crate) fn new(list: Rc<dyn ListAccess<T>>) -> Self {
        Self(list)
    }

    /// Appends a value.
    #[inline]
    pub fn add(&self, value: T) {
        self.0.add(value);
    }

    /// Appends values. The iterator must not use this state.
    pub fn add_all(&self, values: impl IntoIterator<Item = T>) {
        self.0.extend(&mut values.into_iter());
    }

    /// A copy of the list, in the order in which values were added. [`with`](Self::with) copies nothing.
    pub fn get(&self) -> Vec<T>
    where
        T: Clone,
    {
        self.with(<[T]>::to_vec)
    }

    /// Calls `f` with the list; an empty one if there is none.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&[T]) -> R) -> R {
        match self.0.read() {
            Some(values) => f(&values),
            None => f(&[]),
        }
    }

    /// Replaces the list. An empty one is the same as none.
    pub fn update(&self, values: Vec<T>) {
        self.0.replace(values);
    }

    /// Removes the list and returns it; an empty one if there is none.
    pub fn take(&self) -> Vec<T> {
        self.0.take().unwrap_or_default()
    }

    /// Removes the list.
    pub fn clear(&self) {
        self.0.take();
    }
}

impl<T> Clone for ListState<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> fmt::Debug for ListState<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ListState").finish_non_exhaustive()
    }
}

/// The list of one key. Times stand apart from values, so that users see a slice and lists that do not expire have none.
pub(crate) struct List<T, Times> {
    values: Vec<T>,
    times: Times,
}

/// Lists on the heap. One that is kept is not empty, except while it is appended to.
pub(crate) struct HeapList<K, N, T, E: Expiry>(pub(crate) Stored<K, N, List<T, E::Times>, E>);

impl<K: Key, N: Namespace, T: Record, E: Expiry> HeapList<K, N, T, E> {
    fn clean_up(&self) -> E::Time {
        let Self(stored) = self;
        let now = stored.expiry.now();
        stored.clean_up(|list| {
            stored.expiry.remove_expired(&mut list.values, &mut list.times, now);
            !list.values.is_empty()
        });
        now
    }

    /// The current list, made if there is none.
    fn writable(&self) -> RefMut<'_, List<T, E::Times>> {
        self.0.write_or_insert_with(|| List {
            values: Vec::new(),
            times: E::Times::default(),
        })
    }

    /// Hides or removes expired elements before a read. Returns the list if this was the last time that it can be read.
    fn expire(&self, now: E::Time) -> Option<Vec<T>> {
        let Self(stored) = self;
        if !stored.is_free() {
            return None;
        }
        let mut list = stored.write()?;
        let all = stored.expiry.count_expired(&list.times, now) == list.values.len();
        if stored.expiry.returns_expired() {
            drop(list);
            return if all {
                stored.remove().map(|list| list.values)
            } else {
                None
            };
        }
        let list_now = &mut *list;
        stored
            .expiry
            .remove_expired(&mut list_now.values, &mut list_now.times, now);
        drop(list);
        if all {
            stored.remove();
        }
        None
    }
}

impl<K: Key, N: Namespace, T: Record, E: Expiry> ListAccess<T> for HeapList<K, N, T, E> {
    fn read(&self) -> Option<Held<'_, Vec<T>>> {
        let Self(stored) = self;
        let now = self.clean_up();
        let mut list = stored.read()?;
        if stored.expiry.count_expired(&list.times, now) > 0 {
            drop(list);
            if let Some(last) = self.expire(now) {
                return Some(Held::Last(last));
            }
            list = stored.read()?;
        }
        if stored.expiry.updates_on_read() {
            stored.expiry.touch(&list.times, now);
        }
        Some(Held::Kept(std::cell::Ref::map(list, |list| &list.values)))
    }

    fn add(&self, value: T) {
        let now = self.clean_up();
        let mut list = self.writable();
        list.values.push(value);
        self.0.expiry.append(&mut list.times, 1, now);
    }

    fn extend(&self, values: &mut dyn Iterator<Item = T>) {
        let now = self.clean_up();
        let mut values = values.peekable();
        if values.peek().is_none() {
            return;
        }
        let mut list = self.writable();
        let before = list.values.len();
        list.values.extend(values);
        let added = list.values.len() - before;
        self.0.expiry.append(&mut list.times, added, now);
    }

    fn replace(&self, values: Vec<T>) {
        let now = self.clean_up();
        if values.is_empty() {
            self.0.remove();
            return;
        }
        let mut times = E::Times::default();
        self.0.expiry.append(&mut times, values.len(), now);
        self.0.insert(List { values, times });
    }

    fn take(&self) -> Option<Vec<T>> {
        let now = self.clean_up();
        let mut list = self.0.remove()?;
        if !self.0.expiry.returns_expired() {
            self.0.expiry.remove_expired(&mut list.values, &mut list.times, now);
        }
        Some(list.values)
    }
}

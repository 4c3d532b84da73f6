//! States with one value per key and namespace, which expires as a whole.

use std::cell::{Ref, RefMut};

use flink_record::Key;

use super::{Held, Stored};
use crate::{
    context::Namespace,
    ttl::{Expiry, Slot},
};

/// How a single value is kept.
pub(crate) struct Single<K, N, T, E: Expiry>(Stored<K, N, Slot<T, E::Time>, E>);

impl<K: Key, N: Namespace, T, E: Expiry> Single<K, N, T, E> {
    pub(crate) fn new(stored: Stored<K, N, Slot<T, E::Time>, E>) -> Self {
        Self(stored)
    }

    #[inline]
    pub(super) fn read(&self) -> Option<Held<'_, T>> {
        let Self(stored) = self;
        let now = self.clean_up();
        let slot = stored.read()?;
        if stored.expiry.is_expired(slot.time.get(), now) {
            drop(slot);
            return self.read_expired();
        }
        if stored.expiry.updates_on_read() {
            slot.time.set(now);
        }
        Some(Held::Kept(Ref::map(slot, |slot| &slot.value)))
    }

    fn read_expired(&self) -> Option<Held<'_, T>> {
        let Self(stored) = self;
        let held = if stored.is_free() {
            Held::Last(stored.remove()?.value)
        } else {
            Held::Kept(Ref::map(stored.read()?, |slot| &slot.value))
        };
        stored.expiry.returns_expired().then_some(held)
    }

    /// The value, to be changed in place.
    #[inline]
    pub(super) fn write(&self) -> Option<RefMut<'_, T>> {
        let Self(stored) = self;
        let now = self.clean_up();
        let slot = stored.write()?;
        if stored.expiry.is_expired(slot.time.get(), now) && !stored.expiry.returns_expired() {
            drop(slot);
            stored.remove();
            return None;
        }
        slot.time.set(now);
        Some(RefMut::map(slot, |slot| &mut slot.value))
    }

    /// Sets the value where [`write`](Self::write) found none.
    #[inline]
    pub(super) fn init(&self, value: T) -> RefMut<'_, T> {
        let Self(stored) = self;
        let now = stored.expiry.now();
        RefMut::map(stored.write_or_insert_with(|| Slot::new(value, now)), |slot| {
            &mut slot.value
        })
    }

    #[inline]
    pub(super) fn set(&self, value: T) {
        let now = self.clean_up();
        self.0.insert(Slot::new(value, now));
    }

    #[inline]
    pub(super) fn take(&self) -> Option<T> {
        let Self(stored) = self;
        let now = self.clean_up();
        let slot = stored.remove()?;
        let visible = !stored.expiry.is_expired(slot.time.get(), now) || stored.expiry.returns_expired();
        visible.then_some(slot.value)
    }

    #[inline]
    fn clean_up(&self) -> E::Time {
        let Self(stored) = self;
        let now = stored.expiry.now();
        stored.clean_up(|slot| !stored.expiry.is_expired(slot.time.get(), now));
        now
    }
}

//! Which key and which namespace an operator works on.

use std::{
    cell::{Ref, RefCell},
    hash::Hash,
    rc::Rc,
};

use flink_record::{Key, Record};

use crate::{
    error::KeyGroupError,
    key_groups::{KeyGroups, KeyPosition},
};

/// What tells a key's states apart under one name, such as a window; `()` where nothing has to.
pub trait Namespace: Record + Eq + Hash + Clone {}

impl<N: Record + Eq + Hash + Clone> Namespace for N {}

/// The current key and namespace of an operator, shared by the operator, which sets them, and its states.
///
/// States may be used between [`set_key`](Self::set_key) and [`clear_key`](Self::clear_key) only. Elsewhere, as when an
/// operator opens or on the broadcast side of a connected stream, there is no key whose state could be meant: using one
/// panics, with a message that names state and operator, and fails the task. It is a mistake in the program that no
/// handling could mend, and `Result`s would burden all correct uses of states.
#[derive(Debug)]
pub struct KeyContext<K, N = ()> {
    keys: Rc<Keys<K>>,
    namespace: RefCell<Option<N>>,
}

#[derive(Debug)]
struct Keys<K> {
    operator: Box<str>,
    groups: KeyGroups,
    current: RefCell<Option<(K, KeyPosition)>>,
}

impl<K: Key> KeyContext<K> {
    /// Without a current key. `operator` is the operator's name, for messages.
    pub(crate) fn new(operator: &str, groups: KeyGroups) -> Self {
        let keys = Keys {
            operator: operator.into(),
            groups,
            current: RefCell::new(None),
        };
        Self {
            keys: Rc::new(keys),
            namespace: RefCell::new(Some(())),
        }
    }
}

impl<K: Key, N: Namespace> KeyContext<K, N> {
    /// A context that always has the same key as this one, with namespaces of another type. None is current.
    pub(crate) fn with_namespaces<M: Namespace>(&self) -> KeyContext<K, M> {
        KeyContext {
            keys: Rc::clone(&self.keys),
            namespace: RefCell::new(None),
        }
    }

    /// The subtask's key groups.
    pub fn groups(&self) -> &KeyGroups {
        &self.keys.groups
    }

    /// Makes this the current key. It is copied into the memory of the key before.
    ///
    /// # Errors
    /// When its key group is another subtask's. There is no current key then.
    #[inline]
    pub fn set_key(&self, key: &K) -> Result<(), KeyGroupError> {
        let mut current = self.keys.current.borrow_mut();
        match (self.keys.groups.position(key), &mut *current) {
            (Ok(position), Some((old_key, old_position))) => {
                old_key.clone_from(key);
                *old_position = position;
            }
            (Ok(position), none) => *none = Some((key.clone(), position)),
            (Err(error), _) => {
                *current = None;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Leaves the current key: until the next one is set, no state may be used.
    pub fn clear_key(&self) {
        *self.keys.current.borrow_mut() = None;
    }

    /// The current key, if there is one. No other can be set while the result lives.
    pub fn key(&self) -> Option<Ref<'_, K>> {
        Ref::filter_map(self.keys.current.borrow(), |current| {
            current.as_ref().map(|(key, _)| key)
        })
        .ok()
    }

    /// Where the current key is in the subtask's tables.
    #[inline]
    pub fn position(&self) -> Option<KeyPosition> {
        self.keys.current.borrow().as_ref().map(|(_, position)| *position)
    }

    /// Makes this the current namespace.
    #[inline]
    pub fn set_namespace(&self, namespace: &N) {
        let mut current = self.namespace.borrow_mut();
        match &mut *current {
            Some(old) => old.clone_from(namespace),
            None => *current = Some(namespace.clone()),
        }
    }

    /// Calls `f` with what is current.
    ///
    /// # Panics
    /// When there is no current key or no current namespace.
    #[inline]
    pub(crate) fn with_current<R>(&self, state: &str, f: impl FnOnce(KeyPosition, &K, &N) -> R) -> R {
        let key = self.keys.current.borrow();
        let namespace = self.namespace.borrow();
        match (&*key, &*namespace) {
            (Some((key, position)), Some(namespace)) => f(*position, key, namespace),
            (key, _) => self.misused(state, if key.is_none() { "key" } else { "namespace" }),
        }
    }

    #[cold]
    fn misused(&self, state: &str, missing: &str) -> ! {
        panic!(
            "state `{state}` of operator `{}` is used while there is no current {missing}: keyed state can be used only while \
             a record or a timer of a key is processed",
            self.keys.operator
        )
    }
}

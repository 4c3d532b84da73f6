//! The states of a subtask, by name.

use std::{any::type_name, cell::RefCell, collections::BTreeMap};

use flink_record::Record;

use super::BroadcastState;
use crate::{
    descriptor::{Common, ListStateDescriptor, MapStateDescriptor},
    error::{StateError, StateKind, StateType},
    keyed::{Held, ListAccess, ListState},
    registry::Registry,
};

/// The states of an operator's subtask that belong to no key.
///
/// Whoever asks twice for the same name gets the same state; kind and types have to be the same too. None can have a
/// time-to-live.
#[derive(Debug, Default)]
pub struct OperatorStateStore {
    registry: Registry,
}

impl OperatorStateStore {
    /// Without any state yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A list. When the parallelism changes, the lists of all subtasks are joined and
    /// [split](crate::Redistribution::split) evenly.
    ///
    /// # Errors
    /// When the name is another state's, or the descriptor has a time-to-live.
    pub fn list_state<T: Record>(&self, descriptor: &ListStateDescriptor<T>) -> Result<ListState<T>, StateError> {
        self.list(descriptor, StateKind::SplitList)
    }

    /// A list. After a restart, every subtask gets the [union](crate::Redistribution::union) of all subtasks' lists.
    ///
    /// # Errors
    /// When the name is another state's, or the descriptor has a time-to-live.
    pub fn union_list_state<T: Record>(&self, descriptor: &ListStateDescriptor<T>) -> Result<ListState<T>, StateError> {
        self.list(descriptor, StateKind::UnionList)
    }

    /// A map that is the same on all subtasks.
    ///
    /// # Errors
    /// When the name is another state's, or the descriptor has a time-to-live.
    pub fn broadcast_state<K: Record + Ord, V: Record>(
        &self,
        descriptor: &MapStateDescriptor<K, V>,
    ) -> Result<BroadcastState<K, V>, StateError> {
        let requested = requested::<(K, V)>(&descriptor.common, StateKind::Broadcast)?;
        self.registry
            .get_or_create(&descriptor.common.name, requested, RefCell::<BTreeMap<K, V>>::default)
            .map(BroadcastState::new)
    }

    fn list<T: Record>(
        &self,
        descriptor: &ListStateDescriptor<T>,
        kind: StateKind,
    ) -> Result<ListState<T>, StateError> {
        let requested = requested::<T>(&descriptor.common, kind)?;
        let list = self
            .registry
            .get_or_create(&descriptor.common.name, requested, RefCell::<Vec<T>>::default)?;
        Ok(ListState::new(list))
    }
}

fn requested<T>(common: &Common, kind: StateKind) -> Result<StateType, StateError> {
    if common.ttl.is_some() {
        return Err(StateError::TtlOfOperatorState {
            name: common.name.clone(),
            kind,
        });
    }
    Ok(StateType {
        kind,
        value: type_name::<T>(),
        namespace: type_name::<()>(),
        ttl: None,
    })
}

impl<T: Record> ListAccess<T> for RefCell<Vec<T>> {
    fn read(&self) -> Option<Held<'_, Vec<T>>> {
        Some(Held::Kept(self.borrow()))
    }

    fn add(&self, value: T) {
        self.borrow_mut().push(value);
    }

    fn extend(&self, values: &mut dyn Iterator<Item = T>) {
        self.borrow_mut().extend(values);
    }

    fn replace(&self, values: Vec<T>) {
        Self::replace(self, values);
    }

    fn take(&self) -> Option<Vec<T>> {
        Some(Self::take(self))
    }
}

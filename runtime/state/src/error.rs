//! What can go wrong with states.

use std::{fmt, ops::Range};

use crate::ttl::StateTtlConfig;

/// A state cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The operator has a state of this name that is something else.
    #[error("state `{name}` is asked for as {requested}, but exists as {existing}")]
    Clash {
        /// The states' name.
        name: Box<str>,
        /// What the first descriptor of this name said.
        existing: Box<StateType>,
        /// What this descriptor says.
        requested: Box<StateType>,
    },
    /// Only keyed state can expire.
    #[error("{kind} `{name}` cannot have a time-to-live: only keyed state can")]
    TtlOfOperatorState {
        /// The state's name.
        name: Box<str>,
        /// What it is.
        kind: StateKind,
    },
}

/// A key is in a key group that is not this subtask's.
///
/// Records are sent by the hash of their key, so either the key of a record is not the same each time it is asked for, or
/// `stable_hash` is not the same for equal keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key of key group {key_group} came to the subtask of the key groups {} to {}: the key of a record must be the same \
     each time it is computed, and equal keys must have equal stable hashes",
    range.start,
    range.end.saturating_sub(1)
)]
pub struct KeyGroupError {
    /// The key's group.
    pub key_group: u32,
    /// The groups of this subtask.
    pub range: Range<u32>,
}

/// The kinds of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateKind {
    /// [`ValueState`](crate::ValueState).
    Value,
    /// [`ListState`](crate::ListState) of a key.
    List,
    /// [`MapState`](crate::MapState).
    Map,
    /// [`ReducingState`](crate::ReducingState).
    Reducing,
    /// [`AggregatingState`](crate::AggregatingState).
    Aggregating,
    /// A [`StateTable`](crate::StateTable) that an operator uses directly.
    Table,
    /// A subtask's list, split evenly when the parallelism changes.
    SplitList,
    /// A subtask's list, which every subtask gets whole.
    UnionList,
    /// [`BroadcastState`](crate::BroadcastState).
    Broadcast,
}

impl fmt::Display for StateKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Value => "value state",
            Self::List => "list state",
            Self::Map => "map state",
            Self::Reducing => "reducing state",
            Self::Aggregating => "aggregating state",
            Self::Table => "state table",
            Self::SplitList => "operator list state",
            Self::UnionList => "union list state",
            Self::Broadcast => "broadcast state",
        })
    }
}

/// All that must agree when a state is asked for twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateType {
    /// The kind.
    pub kind: StateKind,
    /// The names of the Rust types of what is kept.
    pub value: &'static str,
    /// The name of the Rust type of the namespaces; `()` for ordinary state.
    pub namespace: &'static str,
    /// How entries expire.
    pub ttl: Option<StateTtlConfig>,
}

impl fmt::Display for StateType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of `{}`", self.kind, self.value)?;
        if self.namespace != "()" {
            write!(formatter, " per `{}`", self.namespace)?;
        }
        match &self.ttl {
            Some(ttl) => write!(formatter, " with {ttl}"),
            None => Ok(()),
        }
    }
}

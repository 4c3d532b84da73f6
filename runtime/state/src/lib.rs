//! State of operators: per key ([`KeyedStateBackend`]) and per subtask ([`OperatorStateStore`]), on the heap.
//!
//! An operator's subtask is one thread, so nothing here is `Send`: handles share their table by `Rc`, and a record costs
//! no lock. Three layers, each usable without the one above:
//!
//! - [`StateTable`]: entries of (key, namespace, value), a hash table per key group. A record's [`KeyPosition`] is computed
//!   once, whatever the number of tables.
//! - [`KeyContext`] and [`HeapKeyedStateBackend`]: which key and which namespace are current, and which states exist.
//! - [`ValueState`], [`ListState`], [`MapState`], [`ReducingState`], [`AggregatingState`]: what users see. They do not know
//!   the key's type, and name neither table nor backend.
//!
//! A key's states are told apart by a namespace: `()` for ordinary state, for which it costs nothing, or a window.
//!
//! # Re-entrance
//! A closure given to a state runs while that state is borrowed. It may use other states; using the same one panics, except
//! for reads within a read.

mod backend;
mod context;
mod descriptor;
mod error;
mod function;
mod key_groups;
mod keyed;
mod operator;
mod registry;
mod table;
mod ttl;

pub use backend::{HeapKeyedStateBackend, KeyedStateBackend, SharedTable};
pub use context::{KeyContext, Namespace};
pub use descriptor::{
    AggregatingStateDescriptor, ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor, ValueStateDescriptor,
};
pub use error::{KeyGroupError, StateError, StateKind, StateType};
pub use function::AggregateFunction;
pub use key_groups::{KeyGroups, KeyPosition};
pub use keyed::{AggregatingState, ListState, MapState, ReducingState, ValueState};
pub use operator::{BroadcastState, OperatorStateStore, ReadOnlyBroadcastState, Redistribution};
pub use table::StateTable;
pub use ttl::{ProcessingClock, StateTtlConfig, StateVisibility, UpdateType};

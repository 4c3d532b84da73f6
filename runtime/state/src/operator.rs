//! State of an operator's subtask, whatever the key.

mod broadcast;
mod redistribution;
mod store;

pub use broadcast::{BroadcastState, ReadOnlyBroadcastState};
pub use redistribution::Redistribution;
pub use store::OperatorStateStore;

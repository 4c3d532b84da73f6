//! Keyed states as users see them, and how they are kept on the heap.
//!
//! A handle hides behind a trait object what its user need not know: the types of key and namespace, whether entries expire,
//! and the backend.

mod aggregating;
mod list;
mod map;
mod reducing;
mod single;
mod stored;
mod value;

pub use aggregating::AggregatingState;
pub use list::ListState;
pub use map::MapState;
pub use reducing::ReducingState;
pub use value::ValueState;

pub(crate) use aggregating::HeapAggregating;
pub(crate) use list::{HeapList, List, ListAccess};
pub(crate) use map::{HeapMap, Map};
pub(crate) use reducing::HeapReducing;
pub(crate) use single::Single;
pub(crate) use stored::{Held, Stored};

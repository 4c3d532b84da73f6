//! The built-in operators. User closures are generic and inlined into them.

mod aggregations;
mod keyed;
mod stateless;

pub use aggregations::{Aggregation, Count, Fold, Reduce, Sum, Summable};
pub(crate) use keyed::HashSelector;
pub use keyed::{Emission, KeyBy, KeyByRef, KeySelector, KeyedAggregate};
pub use stateless::{Collector, Filter, FlatMap, FlatMapWith, Map, TryFlatMap, TryMap};

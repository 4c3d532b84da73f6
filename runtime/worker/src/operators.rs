//! The built-in operators. User closures are generic and inlined into them.

mod aggregations;
mod async_wait;
mod collector;
mod interval_join;
mod keyed;
mod local_aggregate;
mod process;
mod stateless;
mod timestamps;

pub use aggregations::{Aggregation, Count, ExtremeRecord, Extremum, Fold, Reduce, Sum, Summable};
pub use async_wait::{AsyncOptions, AsyncOutputMode, AsyncRetryStrategy, AsyncWait};
pub use collector::Collector;
pub use interval_join::{IntervalBounds, IntervalJoin, IntervalJoinContext, JoinFunction};
pub(crate) use keyed::HashSelector;
pub use keyed::{EitherKey, Emission, KeyBy, KeyByRef, KeySelector, KeyedAggregate, NullKey};
pub use local_aggregate::{LocalAggregate, OfKeyed, WithKey};
pub(crate) use process::collecting;
pub use process::{
    BroadcastProcess, CoFlatMap, CoMap, CoProcess, KeyedBroadcastProcess, KeyedCoProcess, KeyedFunctionContext,
    KeyedProcess, Process, ProcessWith,
};
pub use stateless::{Filter, FlatMap, FlatMapWith, Map, TryFlatMap, TryMap};
pub use timestamps::TimestampsAndWatermarks;

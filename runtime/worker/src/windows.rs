//! Windows: what records of a key are grouped into, when that fires, and what is made of it.
//!
//! A window operator is put together from parts that know nothing of each other:
//!
//! - a [`WindowAssigner`] says to which windows a record belongs, and whether they merge;
//! - a [`Trigger`] says when a window fires, with a small state and timers of its own;
//! - [`WindowContents`] are what is kept of the records: one accumulator ([`Accumulate`]), or all of them, from which an
//!   [`Evictor`] may take some;
//! - a [`ProcessWindowFunction`], or less, makes of the contents what is emitted.
//!
//! There are three operators. [`WindowOperator`] does all that, at the price of some look-ups and timers per record and window.
//! [`SliceWindowOperator`] does what is asked for most often: tumbling and sliding windows that aggregate, fire at their ends and
//! evict nothing. Its records cost one look-up, however many windows they are in, because windows share *slices*
//! ([`Slicing`]); it has no timers, as all keys of a window fire together. [`SessionWindowOperator`] does sessions that fire at their ends and evict
//! nothing, whose records move no timers. All emit the same.
//!
//! Refused: one operator with an accumulator per key and window for all (a sliding window of a minute by seconds costs sixty
//! times as much as a tumbling one), and slices that are merged afresh for each window that fires (as costly as soon as keys
//! have few records per slice).

mod accumulate;
mod assigner;
mod contents;
mod durations;
mod evictor;
mod function;
mod global_windows;
mod key_slices;
mod merging;
mod operator;
mod panes;
mod session_operator;
mod session_windows;
mod settings;
mod slice_operator;
mod slice_store;
mod slicing;
mod time_windows;
mod trigger;
mod triggers;
mod window;

#[cfg(test)]
mod tests;

pub use accumulate::{Accumulate, Aggregated, Counted, Reduced, Summed};
pub use assigner::{MergeWindows, WindowAssigner, WindowAssignerContext};
pub use contents::{AccumulateAll, Accumulated, CoGrouped, Evicted, Fired, Listed, WindowContents};
pub use evictor::{CountEvictor, DeltaEvictor, Evictor, TimeEvictor, TimestampedValue};
pub use function::{
    ClosureOfWindow, EmitAll, EmitValue, FunctionOfWindow, PlainValue, ProcessWindowFunction, WindowBackend,
    WindowContext, WindowRuntimeContext, WithKey,
};
pub use global_windows::GlobalWindows;
pub use key_slices::{KeySlices, TargetSlice};
pub use operator::WindowOperator;
pub use session_operator::SessionWindowOperator;
pub use session_windows::{
    DynamicEventTimeSessionWindows, DynamicProcessingTimeSessionWindows, EventTimeSessionWindows,
    ProcessingTimeSessionWindows,
};
pub use settings::WindowSettings;
pub use slice_operator::SliceWindowOperator;
pub use slice_store::{FiringWindow, SliceStore, SlidingStore, TumblingStore};
pub use slicing::Slicing;
pub use time_windows::{
    SlidingEventTimeWindows, SlidingProcessingTimeWindows, TumblingEventTimeWindows, TumblingProcessingTimeWindows,
};
pub use trigger::{Trigger, TriggerContext, TriggerOutcome, TriggerResult};
pub use triggers::{
    ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountTrigger, DeltaTrigger, EventTimeTrigger,
    NeverTrigger, ProcessingTimeTrigger, ProcessingTimeoutTrigger, PurgingTrigger,
};
pub use window::{GlobalWindow, TimeWindow, Window};

//! What programs implement: process functions, and what these are given.

mod accumulators;
mod context;
mod metrics;
mod process;
mod runtime_context;
mod send_function;

use std::{error::Error, fmt, marker::PhantomData, sync::Arc};

pub(crate) use accumulators::TaskAccumulators;
pub use accumulators::{
    Accumulator, AccumulatorError, AverageAccumulator, DoubleCounter, DoubleMaximum, DoubleMinimum, LongCounter,
    LongMaximum, LongMinimum, MAX_ACCUMULATORS, MAX_NAME,
};
pub use context::{BroadcastContext, KeyedContext, OnTimerContext, ProcessContext, TimeDomain, TimerService};
pub(crate) use metrics::{FunctionMetrics, Metric};
pub use metrics::{Gauge, MAX_METRICS, MetricError, MetricGroup};
pub use process::{
    BroadcastProcessFunction, CoProcessFunction, KeyedBroadcastProcessFunction, KeyedCoProcessFunction,
    KeyedProcessFunction, ProcessFunction,
};
pub use runtime_context::{KeyedRuntimeContext, RuntimeContext};
pub use send_function::SendFunction;

/// Why a function of the job's own cannot go on: any error, or a text. It fails the job.
pub type FunctionError = Box<dyn Error + Send + Sync>;

/// What functions return.
pub type FunctionResult = Result<(), FunctionError>;

/// Names a side output and the type of its records.
///
/// ```
/// use flink_worker::functions::OutputTag;
///
/// let late: OutputTag<String> = OutputTag::new("late");
/// assert_eq!(late.name(), "late");
/// ```
pub struct OutputTag<T> {
    name: Arc<str>,
    records: PhantomData<fn(T)>,
}

impl<T> OutputTag<T> {
    /// A tag of this name. Within an operator a name stands for one side output and one type of records.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            records: PhantomData,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<T> Clone for OutputTag<T> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.name))
    }
}

impl<T> fmt::Debug for OutputTag<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OutputTag").field(&self.name).finish()
    }
}

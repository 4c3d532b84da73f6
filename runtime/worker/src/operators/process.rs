//! Operators that run process functions.

mod broadcast;
mod co_process;
mod keyed;
mod simple;

pub use broadcast::{BroadcastProcess, KeyedBroadcastProcess};
pub use co_process::{CoFlatMap, CoMap, CoProcess, KeyedCoProcess};
pub use keyed::{KeyedFunctionContext, KeyedProcess};
pub use simple::{Process, ProcessWith};

use flink_record::{NO_TIMESTAMP, Timestamp};

use super::Collector;
use crate::{error::TaskError, functions::FunctionResult, operator::Outputs};

/// Calls a function with a collector, and returns what the operator has to.
#[inline]
pub(crate) fn collecting<O>(
    timestamp: Timestamp,
    output: &mut Outputs<O>,
    call: impl FnOnce(&mut Collector<'_, O>) -> FunctionResult,
) -> Result<(), TaskError> {
    let mut collector = Collector::new(timestamp, output);
    let result = call(&mut collector);
    // What keeps the output from taking records comes before what the function makes of that.
    collector.finish()?;
    result.map_err(TaskError::operator)
}

/// The timestamp of what a processing time timer emits.
const PROCESSING_TIME: Timestamp = NO_TIMESTAMP;

//! What decides to which windows a record belongs.

use flink_record::{NO_TIMESTAMP, Timestamp};

use super::{Slicing, Trigger, Window};
use crate::{
    functions::{FunctionError, FunctionResult},
    time::ProcessingTimeService,
};

/// Assigns records to windows.
///
/// The same instance serves all keys of a subtask; each subtask has its own clone. The built-in ones are named as in Flink:
/// [`TumblingEventTimeWindows`](super::TumblingEventTimeWindows), [`SlidingEventTimeWindows`](super::SlidingEventTimeWindows),
/// [`EventTimeSessionWindows`](super::EventTimeSessionWindows), their `ProcessingTime` twins, and
/// [`GlobalWindows`](super::GlobalWindows).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not assign records of type `{T}` to windows",
    label = "not a window assigner for this stream",
    note = "use one of TumblingEventTimeWindows, SlidingEventTimeWindows, EventTimeSessionWindows, their ProcessingTime twins, or GlobalWindows"
)]
pub trait WindowAssigner<T>: Clone + Send + 'static {
    /// The kind of windows.
    type Window: Window;
    /// When windows fire if the program sets no trigger.
    type DefaultTrigger: Trigger<T, Self::Window> + Default;

    /// Pushes the windows of a record, in any order; none if it belongs nowhere.
    ///
    /// # Errors
    /// Any; it fails the job. So does a record without timestamp where event time decides
    /// (see [`WindowAssignerContext::event_time`]).
    fn assign_windows(
        &self,
        element: &T,
        timestamp: Timestamp,
        context: &WindowAssignerContext<'_>,
        windows: &mut Vec<Self::Window>,
    ) -> FunctionResult;

    /// Whether it is by event time, or else by processing time, that windows end.
    fn is_event_time(&self) -> bool;

    /// How windows merge, if they do: the window that covers both, or `None` for two that stay apart.
    fn merging(&self) -> Option<MergeWindows<Self::Window>> {
        None
    }

    /// How windows are made of slices, if they are: then those that only aggregate share what they have in common.
    fn slicing(&self) -> Option<Slicing<Self::Window>> {
        None
    }

    /// Whether its settings make sense.
    ///
    /// # Errors
    /// What is wrong with them, in lower case.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Makes one window of two that belong together.
pub type MergeWindows<W> = fn(&W, &W) -> Option<W>;

/// What an assigner can ask for.
#[derive(Debug)]
pub struct WindowAssignerContext<'a> {
    pub(crate) clock: &'a ProcessingTimeService,
}

impl WindowAssignerContext<'_> {
    /// The clock, milliseconds since 1970.
    pub fn current_processing_time(&self) -> Timestamp {
        self.clock.now()
    }

    /// The record's timestamp, which must be there.
    ///
    /// # Errors
    /// When it is not.
    #[inline]
    pub fn event_time(&self, timestamp: Timestamp) -> Result<Timestamp, FunctionError> {
        if timestamp == NO_TIMESTAMP {
            return Err(no_timestamp());
        }
        Ok(timestamp)
    }
}

#[cold]
pub(super) fn no_timestamp() -> FunctionError {
    "a record without a timestamp came to event time windows: assign timestamps first, with \
     `assign_timestamps_and_watermarks`, or use processing time windows"
        .into()
}

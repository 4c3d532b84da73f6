//! Windows that end when a key has had no records for a while.

use std::time::Duration;

use flink_record::Timestamp;

use super::{
    EventTimeTrigger, MergeWindows, ProcessingTimeTrigger, TimeWindow, WindowAssigner, WindowAssignerContext,
    durations::Millis,
};
use crate::functions::{FunctionError, FunctionResult};

/// How long each record keeps its session open.
trait SessionGap<T>: Clone + Send + 'static {
    /// Milliseconds, at least 1.
    fn gap(&self, element: &T) -> Result<Timestamp, FunctionError>;

    fn validate(&self) -> Result<(), String> {
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
struct FixedGap(Millis);

impl<T> SessionGap<T> for FixedGap {
    #[inline]
    fn gap(&self, _: &T) -> Result<Timestamp, FunctionError> {
        Ok(self.0.length())
    }

    fn validate(&self) -> Result<(), String> {
        self.0.check_length("the gap of session windows")
    }
}

#[derive(Debug, Clone)]
struct DynamicGap<F>(F);

impl<T, F: Fn(&T) -> Duration + Clone + Send + 'static> SessionGap<T> for DynamicGap<F> {
    #[inline]
    fn gap(&self, element: &T) -> Result<Timestamp, FunctionError> {
        let gap = Millis::of((self.0)(element));
        gap.check_length("the gap of session windows")?;
        Ok(gap.length())
    }
}

/// Sessions that overlap or touch are one.
fn merge_sessions(a: &TimeWindow, b: &TimeWindow) -> Option<TimeWindow> {
    a.intersects(b).then(|| a.cover(b))
}

/// Makes an assigner of session windows.
macro_rules! session_windows {
    (
        $(#[$docs:meta])* $name:ident, $(#[$dynamic_docs:meta])* $dynamic:ident, $dynamic_link:literal, $event_time:literal, $trigger:ty
    ) => {
        $(#[$docs])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name(FixedGap);

        impl $name {
            /// Sessions that end when a key has had no records for so long: whole milliseconds, at least one.
            pub fn with_gap(gap: Duration) -> Self {
                Self(FixedGap(Millis::of(gap)))
            }

            /// Sessions that each record keeps open for as long as the closure says: whole milliseconds, at least one;
            /// anything else fails the job.
            pub fn with_dynamic_gap<T, F>(gap: F) -> $dynamic<F>
            where
                F: Fn(&T) -> Duration + Clone + Send + 'static,
            {
                $dynamic(DynamicGap(gap))
            }
        }

        $(#[$dynamic_docs])*
        #[doc = $dynamic_link]
        #[derive(Debug, Clone)]
        pub struct $dynamic<F>(DynamicGap<F>);

        session_windows!(@assigner $name, [], FixedGap, $event_time, $trigger);
        session_windows!(
            @assigner $dynamic<F>, [F: Fn(&T) -> Duration + Clone + Send + 'static], DynamicGap<F>, $event_time, $trigger
        );
    };
    (@assigner $name:ident $(<$f:ident>)?, [$($bound:tt)*], $gap:ty, $event_time:literal, $trigger:ty) => {
        impl<T $(, $f)?> WindowAssigner<T> for $name $(<$f>)?
        where
            $($bound)*
        {
            type Window = TimeWindow;
            type DefaultTrigger = $trigger;

            #[inline]
            fn assign_windows(
                &self,
                element: &T,
                timestamp: Timestamp,
                context: &WindowAssignerContext<'_>,
                windows: &mut Vec<TimeWindow>,
            ) -> FunctionResult {
                let time = if $event_time {
                    context.event_time(timestamp)?
                } else {
                    context.current_processing_time()
                };
                let gap = self.0.gap(element)?;
                windows.push(TimeWindow::new(time, time.saturating_add(gap)));
                Ok(())
            }

            fn is_event_time(&self) -> bool {
                $event_time
            }

            fn merging(&self) -> Option<MergeWindows<TimeWindow>> {
                Some(merge_sessions)
            }

            fn validate(&self) -> Result<(), String> {
                <$gap as SessionGap<T>>::validate(&self.0)
            }
        }
    };
}

session_windows!(
    /// Sessions by event time: a window per key that lasts until the key has had no records for a gap of time. A record
    /// between two sessions that is within the gap of both makes them one.
    EventTimeSessionWindows,
    /// Sessions by event time that each record keeps open for a time of its own: see
    DynamicEventTimeSessionWindows,
    "[`EventTimeSessionWindows::with_dynamic_gap`].",
    true,
    EventTimeTrigger
);

session_windows!(
    /// Sessions by processing time: a window per key that lasts until the key has had no records for a gap of time.
    /// Sessions that are open when the input ends emit nothing.
    ProcessingTimeSessionWindows,
    /// Sessions by processing time that each record keeps open for a time of its own: see
    DynamicProcessingTimeSessionWindows,
    "[`ProcessingTimeSessionWindows::with_dynamic_gap`].",
    false,
    ProcessingTimeTrigger
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ProcessingTimeService;

    fn assigned<A: WindowAssigner<u64, Window = TimeWindow>>(assigner: &A) -> Result<Vec<TimeWindow>, String> {
        let clock = ProcessingTimeService::manual(70);
        let mut windows = Vec::new();
        let context = WindowAssignerContext { clock: &clock };
        let assigned = assigner.assign_windows(&3, 10, &context, &mut windows);
        assigned.map(|()| windows).map_err(|error| error.to_string())
    }

    #[test]
    fn each_record_opens_a_session() {
        let gap = Duration::from_millis(5);
        let dynamic = |record: &u64| Duration::from_millis(record * 2);
        let window = |start, end| Ok(vec![TimeWindow::new(start, end)]);
        assert_eq!(assigned(&EventTimeSessionWindows::with_gap(gap)), window(10, 15));
        assert_eq!(assigned(&ProcessingTimeSessionWindows::with_gap(gap)), window(70, 75));
        assert_eq!(
            assigned(&EventTimeSessionWindows::with_dynamic_gap(dynamic)),
            window(10, 16)
        );
        assert_eq!(
            assigned(&ProcessingTimeSessionWindows::with_dynamic_gap(dynamic)),
            window(70, 76)
        );
        let zero = EventTimeSessionWindows::with_dynamic_gap(|_: &u64| Duration::ZERO);
        assert_eq!(
            assigned(&zero).unwrap_err(),
            "the gap of session windows must be at least 1 ms"
        );
        let zero = EventTimeSessionWindows::with_gap(Duration::ZERO);
        assert!(WindowAssigner::<u64>::validate(&zero).is_err());
    }
}

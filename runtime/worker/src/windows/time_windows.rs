//! Windows of a fixed length: tumbling and sliding ones.

use std::time::Duration;

use flink_record::Timestamp;

use super::{
    EventTimeTrigger, ProcessingTimeTrigger, Slicing, TimeWindow, WindowAssigner, WindowAssignerContext,
    durations::Millis,
};
use crate::functions::FunctionResult;

/// Where windows are on the axis of time.
#[derive(Debug, Clone, Copy)]
struct Grid {
    size: Millis,
    slide: Millis,
    offset: Millis,
}

impl Grid {
    fn of(size: Duration, slide: Duration) -> Self {
        Self {
            size: Millis::of(size),
            slide: Millis::of(slide),
            offset: Millis::of(Duration::ZERO),
        }
    }

    fn slicing(&self, event_time: bool) -> Slicing<TimeWindow> {
        Slicing::new(
            self.size.length(),
            self.slide.length(),
            self.offset.offset(),
            event_time,
            |window| window,
        )
    }

    /// The latest first, as in Flink.
    fn assign(&self, timestamp: Timestamp, windows: &mut Vec<TimeWindow>) {
        let (size, slide) = (self.size.length(), self.slide.length());
        let mut start = TimeWindow::start_with_offset(timestamp, self.offset.offset(), slide);
        while timestamp.saturating_sub(start) < size {
            windows.push(TimeWindow::new(start, start.saturating_add(size)));
            match start.checked_sub(slide) {
                Some(earlier) => start = earlier,
                None => return,
            }
        }
    }

    fn validate_tumbling(&self) -> Result<(), String> {
        self.size.check_length("the size of tumbling windows")?;
        self.offset.check_offset("the size of the windows", self.size)
    }

    fn validate_sliding(&self) -> Result<(), String> {
        self.size.check_length("the size of sliding windows")?;
        self.slide.check_length("the slide of sliding windows")?;
        self.offset.check_offset("the slide of the windows", self.slide)
    }
}

/// Makes an assigner of fixed windows.
macro_rules! fixed_windows {
    (
        $(#[$docs:meta])* $name:ident, of($($length:ident),+ => $size:ident, $slide:ident),
        $offset_limit:literal, $of_docs:literal, $validate:ident, $event_time:literal, $trigger:ty
    ) => {
        $(#[$docs])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name(Grid);

        impl $name {
            #[doc = $of_docs]
            pub fn of($($length: Duration),+) -> Self {
                Self(Grid::of($size, $slide))
            }

            /// Moves the windows later by so much. It must be shorter than
            #[doc = $offset_limit]
            #[must_use]
            pub fn with_offset(mut self, offset: Duration) -> Self {
                self.0.offset = Millis::of(offset);
                self
            }

            /// As [`with_offset`](Self::with_offset), in milliseconds and perhaps negative: windows of a day that begin at
            /// midnight in UTC+8 have an offset of minus eight hours.
            #[must_use]
            pub fn with_offset_millis(mut self, offset: i64) -> Self {
                self.0.offset = Millis::of_millis(offset);
                self
            }
        }

        impl<T> WindowAssigner<T> for $name {
            type Window = TimeWindow;
            type DefaultTrigger = $trigger;

            fn assign_windows(
                &self,
                _: &T,
                timestamp: Timestamp,
                context: &WindowAssignerContext<'_>,
                windows: &mut Vec<TimeWindow>,
            ) -> FunctionResult {
                let time = if $event_time {
                    context.event_time(timestamp)?
                } else {
                    context.current_processing_time()
                };
                self.0.assign(time, windows);
                Ok(())
            }

            fn is_event_time(&self) -> bool {
                $event_time
            }

            fn slicing(&self) -> Option<Slicing<TimeWindow>> {
                Some(self.0.slicing($event_time))
            }

            fn validate(&self) -> Result<(), String> {
                self.0.$validate()
            }
        }
    };
}

fixed_windows!(
    /// Windows of one length, one after the other, by event time. Aligned to the epoch: those of an hour begin on the hour, UTC.
    TumblingEventTimeWindows, of(size => size, size),
    "the windows.",
    "Windows of this size: whole milliseconds, at least one.",
    validate_tumbling, true, EventTimeTrigger
);

fixed_windows!(
    /// Windows of one length, one after the other, by processing time. Aligned to the epoch: those of an hour begin on the
    /// hour, UTC. Windows that are open when the input ends emit nothing.
    TumblingProcessingTimeWindows, of(size => size, size),
    "the windows.",
    "Windows of this size: whole milliseconds, at least one.",
    validate_tumbling, false, ProcessingTimeTrigger
);

fixed_windows!(
    /// Windows of one length that begin at regular times, by event time: they overlap if they begin more often than they are
    /// long. Aligned to the epoch.
    SlidingEventTimeWindows, of(size, slide => size, slide),
    "the slide.",
    "Windows of this size, of which one begins every `slide`: whole milliseconds, at least one each.",
    validate_sliding, true, EventTimeTrigger
);

fixed_windows!(
    /// Windows of one length that begin at regular times, by processing time: they overlap if they begin more often than they
    /// are long. Aligned to the epoch. Windows that are open when the input ends emit nothing.
    SlidingProcessingTimeWindows, of(size, slide => size, slide),
    "the slide.",
    "Windows of this size, of which one begins every `slide`: whole milliseconds, at least one each.",
    validate_sliding, false, ProcessingTimeTrigger
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::ProcessingTimeService;

    fn assigned<A: WindowAssigner<(), Window = TimeWindow>>(assigner: &A, timestamp: Timestamp) -> Vec<TimeWindow> {
        let clock = ProcessingTimeService::manual(timestamp);
        let mut windows = Vec::new();
        let context = WindowAssignerContext { clock: &clock };
        assigner.assign_windows(&(), timestamp, &context, &mut windows).unwrap();
        windows.sort_unstable();
        windows
    }

    proptest! {
        #[test]
        fn records_are_in_all_windows_that_have_their_time(
            timestamp in -300..300i64,
            size in 1..40i64,
            slide in 1..40i64,
            offset in -39..40i64,
        ) {
            let offset = offset % slide;
            let brute_force = |size: i64, slide: i64| {
                let windows = (-400 / slide - 2..400 / slide + 2).map(|n| n * slide + offset);
                let windows = windows.map(|start| TimeWindow::new(start, start + size));
                windows.filter(|window| window.start <= timestamp && timestamp < window.end).collect::<Vec<_>>()
            };
            let (length, every) = (Duration::from_millis(size as u64), Duration::from_millis(slide as u64));
            let sliding = brute_force(size, slide);
            let event_time = SlidingEventTimeWindows::of(length, every).with_offset_millis(offset);
            prop_assert_eq!(&assigned(&event_time, timestamp), &sliding);
            let processing_time = SlidingProcessingTimeWindows::of(length, every).with_offset_millis(offset);
            prop_assert_eq!(&assigned(&processing_time, timestamp), &sliding);
            let tumbling = brute_force(slide, slide);
            let event_time = TumblingEventTimeWindows::of(every).with_offset_millis(offset);
            prop_assert_eq!(&assigned(&event_time, timestamp), &tumbling);
            let processing_time = TumblingProcessingTimeWindows::of(every).with_offset_millis(offset);
            prop_assert_eq!(&assigned(&processing_time, timestamp), &tumbling);
        }
    }

    #[test]
    fn settings_are_checked() {
        let second = Duration::from_secs(1);
        let check = |assigner: &dyn Fn() -> Result<(), String>| assigner().unwrap_err();
        let tumbling = TumblingEventTimeWindows::of(Duration::ZERO);
        assert_eq!(
            check(&|| WindowAssigner::<()>::validate(&tumbling)),
            "the size of tumbling windows must be at least 1 ms"
        );
        let tumbling = TumblingProcessingTimeWindows::of(second).with_offset(second);
        assert_eq!(
            check(&|| WindowAssigner::<()>::validate(&tumbling)),
            "an offset of 1000 ms is not shorter than the size of the windows, which is 1000 ms"
        );
        let sliding = SlidingEventTimeWindows::of(second, Duration::ZERO);
        assert_eq!(
            check(&|| WindowAssigner::<()>::validate(&sliding)),
            "the slide of sliding windows must be at least 1 ms"
        );
        let sliding = SlidingEventTimeWindows::of(second, second / 2).with_offset_millis(-500);
        assert_eq!(
            check(&|| WindowAssigner::<()>::validate(&sliding)),
            "an offset of -500 ms is not shorter than the slide of the windows, which is 500 ms"
        );
        let sliding = SlidingEventTimeWindows::of(second, second / 2).with_offset_millis(-499);
        assert_eq!(WindowAssigner::<()>::validate(&sliding), Ok(()));
    }

    #[test]
    fn the_ends_of_time_have_windows() {
        let windows = TumblingEventTimeWindows::of(Duration::from_secs(1));
        for timestamp in [Timestamp::MIN + 1, Timestamp::MAX] {
            let [window] = assigned(&windows, timestamp)[..] else {
                panic!("one window")
            };
            assert!(window.start <= timestamp && timestamp <= window.end);
        }
    }
}

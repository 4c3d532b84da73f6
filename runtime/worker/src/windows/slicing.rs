//! Windows as sequences of slices.
//!
//! Windows of one size that begin every `slide` are made of slices that they share: a record is added to one slice, and not
//! to each of its windows. Slices are as long as the slide if that divides the size, else as long as their greatest common
//! divisor (the rule of Flink SQL).

use std::fmt;

use flink_record::Timestamp;

use super::TimeWindow;

/// How windows are made of slices. Times are in milliseconds.
pub struct Slicing<W> {
    size: Timestamp,
    slide: Timestamp,
    offset: Timestamp,
    slice: Timestamp,
    event_time: bool,
    window: fn(TimeWindow) -> W,
}

impl<W> Slicing<W> {
    /// Windows of `size`, of which one begins every `slide` from `offset` on; both are at least 1. `window` makes of the
    /// bounds of a window the window.
    pub fn new(
        size: Timestamp,
        slide: Timestamp,
        offset: Timestamp,
        event_time: bool,
        window: fn(TimeWindow) -> W,
    ) -> Self {
        let slice = if size % slide == 0 { slide } else { gcd(size, slide) };
        Self {
            size,
            slide,
            offset,
            slice,
            event_time,
            window,
        }
    }

    /// Whether a window is one slice.
    pub fn is_tumbling(&self) -> bool {
        self.size == self.slide
    }

    pub(super) fn is_event_time(&self) -> bool {
        self.event_time
    }

    /// The window that ends here.
    pub(super) fn window(&self, end: Timestamp) -> W {
        (self.window)(TimeWindow::new(self.start(end), end))
    }

    /// Where the window starts that ends here.
    pub(super) fn start(&self, end: Timestamp) -> Timestamp {
        end.saturating_sub(self.size)
    }

    /// The slice of a timestamp.
    pub(super) fn slice_of(&self, timestamp: Timestamp) -> TimeWindow {
        let start = TimeWindow::start_with_offset(timestamp, self.offset, self.slice);
        TimeWindow::new(start, start.saturating_add(self.slice))
    }

    /// The end of the first window with this slice; `None` if it is in no window, but between two.
    pub(super) fn first_window_end(&self, slice_end: Timestamp) -> Option<Timestamp> {
        let end = self.window_end_from(slice_end);
        let slice_start = slice_end.saturating_sub(self.slice);
        (self.start(end) <= slice_start).then_some(end)
    }

    /// The end of the last window with this slice; before it if it is in none.
    pub(super) fn last_window_end(&self, slice_end: Timestamp) -> Timestamp {
        let slice_start = slice_end.saturating_sub(self.slice);
        TimeWindow::start_with_offset(slice_start, self.offset, self.slide).saturating_add(self.size)
    }

    /// The end of the next window, at this time or after it.
    pub(super) fn window_end_from(&self, time: Timestamp) -> Timestamp {
        let offset = (self.offset % self.slide).saturating_add(self.size % self.slide);
        let before = TimeWindow::start_with_offset(time, offset, self.slide);
        if before == time {
            time
        } else {
            before.saturating_add(self.slide)
        }
    }
}

impl<W> Clone for Slicing<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Slicing<W> {}

impl<W> fmt::Debug for Slicing<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slicing")
            .field("size", &self.size)
            .field("slide", &self.slide)
            .field("offset", &self.offset)
            .field("event_time", &self.event_time)
            .finish_non_exhaustive()
    }
}

fn gcd(a: Timestamp, b: Timestamp) -> Timestamp {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slices_are_in_the_windows_that_cover_them(
            size in 1..30i64,
            slide in 1..30i64,
            offset in -29..30i64,
            timestamp in -200..200i64,
        ) {
            let offset = offset % slide;
            let slicing = Slicing::new(size, slide, offset, true, |window| window);
            let slice = slicing.slice_of(timestamp);
            prop_assert!(slice.start <= timestamp && timestamp < slice.end);
            let windows = (-300 / slide - 2..300 / slide + 2)
                .map(|n| TimeWindow::new(n * slide + offset, n * slide + offset + size));
            let with_timestamp: Vec<_> = windows
                .clone()
                .filter(|window| window.start <= timestamp && timestamp < window.end)
                .collect();
            let with_slice: Vec<_> = windows
                .filter(|window| window.start <= slice.start && slice.end <= window.end)
                .collect();
            prop_assert_eq!(&with_timestamp, &with_slice, "a slice is in no window by a part");
            prop_assert_eq!(slicing.first_window_end(slice.end), with_slice.first().map(|window| window.end));
            match with_slice.last() {
                Some(last) => {
                    prop_assert_eq!(slicing.last_window_end(slice.end), last.end);
                    prop_assert_eq!(slicing.window(last.end), *last);
                }
                None => prop_assert!(slicing.last_window_end(slice.end) <= slice.start),
            }
            let next = slicing.window_end_from(timestamp);
            prop_assert!(next >= timestamp && next - timestamp < slide);
            prop_assert_eq!((next - offset - size).rem_euclid(slide), 0);
        }
    }
}

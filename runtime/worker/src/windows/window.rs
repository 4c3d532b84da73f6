//! The windows themselves.

use std::{fmt, hash::Hash};

use flink_record::{DecodeError, Record, Timestamp};

/// What records of a key are grouped into.
///
/// Custom assigners may bring their own: a window is a small value that is copied a lot, and part of the state's key.
pub trait Window: Record + Eq + Hash + Clone + fmt::Debug {
    /// The last timestamp, in milliseconds, that still belongs to the window. Results carry it; when the watermark has
    /// reached it, the window is complete.
    fn max_timestamp(&self) -> Timestamp;
}

/// All timestamps from `start` on, before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeWindow {
    /// The first timestamp that belongs to the window, milliseconds since 1970.
    pub start: Timestamp,
    /// The first that does not any more.
    pub end: Timestamp,
}

impl TimeWindow {
    /// The window of these bounds.
    pub fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// Whether the windows overlap or touch: then they are one session.
    pub fn intersects(&self, other: &Self) -> bool {
        self.start <= other.end && self.end >= other.start
    }

    /// The smallest window that covers both.
    #[must_use]
    pub fn cover(&self, other: &Self) -> Self {
        Self::new(self.start.min(other.start), self.end.max(other.end))
    }

    /// Where the window that has `timestamp` starts, of those that have this size (at least 1 ms) and start at multiples of
    /// it, moved by `offset`. Saturates at the beginning of time.
    ///
    /// ```
    /// use flink_worker::windows::TimeWindow;
    ///
    /// assert_eq!(TimeWindow::start_with_offset(1_234, 0, 1_000), 1_000);
    /// assert_eq!(TimeWindow::start_with_offset(1_234, 500, 1_000), 500);
    /// assert_eq!(TimeWindow::start_with_offset(-1, 0, 1_000), -1_000);
    /// ```
    #[inline]
    pub fn start_with_offset(timestamp: Timestamp, offset: Timestamp, size: Timestamp) -> Timestamp {
        // The remainders are subtracted and not the numbers, whose difference may not fit.
        let since_start = timestamp.rem_euclid(size) - offset.rem_euclid(size);
        timestamp.saturating_sub(since_start.rem_euclid(size))
    }
}

impl Window for TimeWindow {
    fn max_timestamp(&self) -> Timestamp {
        self.end.saturating_sub(1)
    }
}

impl fmt::Display for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

impl Record for TimeWindow {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.start, self.end).encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Record::decode(input).map(|(start, end)| Self { start, end })
    }
}

/// The one window of all records of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct GlobalWindow;

impl Window for GlobalWindow {
    /// The end of time.
    fn max_timestamp(&self) -> Timestamp {
        Timestamp::MAX
    }
}

impl fmt::Display for GlobalWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("global")
    }
}

impl Record for GlobalWindow {
    fn encode(&self, out: &mut Vec<u8>) {
        ().encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        <()>::decode(input).map(|()| Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_window_starts_where_counting_says(timestamp in -500..500i64, offset in -60..60i64, size in 1..50i64) {
            let start = TimeWindow::start_with_offset(timestamp, offset, size);
            let candidates: Vec<i64> = (-40..40).map(|n| n * size + offset).collect();
            // Few sizes are too small for the candidates to reach so far.
            let expected = candidates.iter().copied().find(|start| (*start..start + size).contains(&timestamp));
            if let Some(expected) = expected {
                prop_assert_eq!(start, expected);
            }
            prop_assert!(start <= timestamp && timestamp < start + size);
            prop_assert_eq!((start - offset).rem_euclid(size), 0);
        }

        #[test]
        fn any_timestamp_has_a_start(timestamp: i64, offset: i64, size in 1..i64::MAX) {
            prop_assert!(TimeWindow::start_with_offset(timestamp, offset, size) <= timestamp);
        }

        #[test]
        fn windows_are_records(start: i64, end: i64) {
            let mut bytes = Vec::new();
            TimeWindow::new(start, end).encode(&mut bytes);
            GlobalWindow.encode(&mut bytes);
            let input = &mut bytes.as_slice();
            prop_assert_eq!(TimeWindow::decode(input), Ok(TimeWindow::new(start, end)));
            prop_assert_eq!(GlobalWindow::decode(input), Ok(GlobalWindow));
            prop_assert!(input.is_empty());
        }
    }
}

//! What removes records from a window when it fires.

use std::{fmt, time::Duration};

use flink_record::{NO_TIMESTAMP, Timestamp};

use super::{Window, WindowContext};
use crate::time::millis;

/// A record of a window, with its timestamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampedValue<T> {
    /// The record.
    pub value: T,
    pub(super) timestamp: Timestamp,
}

impl<T> TimestampedValue<T> {
    /// The record's timestamp, if it has one.
    pub fn timestamp(&self) -> Option<Timestamp> {
        (self.timestamp != NO_TIMESTAMP).then_some(self.timestamp)
    }
}

/// Removes records from a window when it fires, before or after its result is made. A window with an evictor keeps all of its
/// records, even if they are only counted.
pub trait Evictor<T, W: Window> {
    /// Called before the result is made, with the records in the order in which they came. What is removed here is not part of
    /// the result, nor of any later one.
    fn evict_before(&mut self, elements: &mut Vec<TimestampedValue<T>>, context: &WindowContext<'_, W>);

    /// Called after the result was made. What is removed here is not part of any later one.
    fn evict_after(&mut self, elements: &mut Vec<TimestampedValue<T>>, context: &WindowContext<'_, W>);
}

/// Makes a type an evictor that evicts before or after, by its setting.
macro_rules! evictor {
    ($name:ident $(<$f:ident>)?) => {
        impl $(<$f>)? $name $(<$f>)? {
            /// Evicts after the result was made, and not before.
            #[must_use]
            pub fn evicting_after(mut self) -> Self {
                self.after = true;
                self
            }
        }

        impl<T, W: Window $(, $f: FnMut(&T, &T) -> f64)?> Evictor<T, W> for $name $(<$f>)? {
            fn evict_before(&mut self, elements: &mut Vec<TimestampedValue<T>>, _: &WindowContext<'_, W>) {
                if !self.after {
                    self.evict(elements);
                }
            }

            fn evict_after(&mut self, elements: &mut Vec<TimestampedValue<T>>, _: &WindowContext<'_, W>) {
                if self.after {
                    self.evict(elements);
                }
            }
        }
    };
}

/// Keeps the last so many records.
#[derive(Debug, Clone, Copy)]
pub struct CountEvictor {
    max_count: u64,
    after: bool,
}

impl CountEvictor {
    /// Keeps the last `max_count` records.
    pub fn of(max_count: u64) -> Self {
        let after = false;
        Self { max_count, after }
    }

    fn evict<T>(&mut self, elements: &mut Vec<TimestampedValue<T>>) {
        let keep = usize::try_from(self.max_count).unwrap_or(usize::MAX);
        elements.drain(..elements.len().saturating_sub(keep));
    }
}

evictor!(CountEvictor);

/// Keeps the records that are no more than a length of time older than the newest.
#[derive(Debug, Clone, Copy)]
pub struct TimeEvictor {
    window_size: Timestamp,
    after: bool,
}

impl TimeEvictor {
    /// Keeps what is less than `window_size` older than the newest record. Records without timestamps are all kept.
    pub fn of(window_size: Duration) -> Self {
        Self {
            window_size: millis(window_size),
            after: false,
        }
    }

    fn evict<T>(&mut self, elements: &mut Vec<TimestampedValue<T>>) {
        let newest = elements.iter().filter_map(TimestampedValue::timestamp).max();
        if let Some(newest) = newest {
            let cutoff = newest.saturating_sub(self.window_size);
            elements.retain(|element| element.timestamp().is_none_or(|timestamp| timestamp > cutoff));
        }
    }
}

evictor!(TimeEvictor);

/// Keeps the records that do not differ much from the last.
#[derive(Clone)]
pub struct DeltaEvictor<F> {
    threshold: f64,
    delta: F,
    after: bool,
}

impl<F> DeltaEvictor<F> {
    /// Keeps those for which `delta(element, last)` is less than the threshold.
    pub fn of<T>(threshold: f64, delta: F) -> Self
    where
        F: FnMut(&T, &T) -> f64,
    {
        let after = false;
        Self {
            threshold,
            delta,
            after,
        }
    }

    fn evict<T>(&mut self, elements: &mut Vec<TimestampedValue<T>>)
    where
        F: FnMut(&T, &T) -> f64,
    {
        let Some(last) = elements.pop() else { return };
        let evicts_last = (self.delta)(&last.value, &last.value) >= self.threshold;
        elements.retain(|element| (self.delta)(&element.value, &last.value) < self.threshold);
        if !evicts_last {
            elements.push(last);
        }
    }
}

evictor!(DeltaEvictor<F>);

impl<F> fmt::Debug for DeltaEvictor<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaEvictor")
            .field("threshold", &self.threshold)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::GlobalWindow, *};
    use crate::time::ProcessingTimeService;

    type Records = [(i64, Timestamp)];

    fn check(mut evictor: impl Evictor<i64, GlobalWindow>, records: &Records, before: &[i64], after: &[i64]) {
        let mut elements: Vec<_> = records
            .iter()
            .map(|&(value, timestamp)| TimestampedValue { value, timestamp })
            .collect();
        let clock = ProcessingTimeService::manual(0);
        let context = WindowContext::new(&GlobalWindow, 0, &clock);
        let values =
            |elements: &[TimestampedValue<i64>]| elements.iter().map(|element| element.value).collect::<Vec<_>>();
        evictor.evict_before(&mut elements, &context);
        assert_eq!(values(&elements), before);
        evictor.evict_after(&mut elements, &context);
        assert_eq!(values(&elements), after);
    }

    #[test]
    fn evictors_keep_what_they_should() {
        let records = [(1, 10), (5, 30), (2, 20), (4, 25)];
        check(CountEvictor::of(2), &records, &[2, 4], &[2, 4]);
        check(CountEvictor::of(9), &records, &[1, 5, 2, 4], &[1, 5, 2, 4]);
        check(CountEvictor::of(1).evicting_after(), &records, &[1, 5, 2, 4], &[4]);
        check(TimeEvictor::of(Duration::from_millis(10)), &records, &[5, 4], &[5, 4]);
        let unstamped = [(1, NO_TIMESTAMP), (2, NO_TIMESTAMP)];
        check(TimeEvictor::of(Duration::ZERO), &unstamped, &[1, 2], &[1, 2]);
        let distance = |a: &i64, b: &i64| (a - b).abs() as f64;
        check(DeltaEvictor::of(2.0, distance), &records, &[5, 4], &[5, 4]);
        check(
            DeltaEvictor::of(0.0, distance).evicting_after(),
            &records,
            &[1, 5, 2, 4],
            &[],
        );
        check(DeltaEvictor::of(0.0, distance), &[], &[], &[]);
    }
}

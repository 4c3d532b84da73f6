//! Counting, for windows that say more than their counts.

use flink::AggregateFunction;

/// How many records a window has.
#[derive(Debug, Clone)]
pub(super) struct Count;

impl<T> AggregateFunction<T> for Count {
    type Accumulator = u64;
    type Out = u64;

    fn create_accumulator(&self) -> u64 {
        0
    }

    #[inline]
    fn add(&mut self, count: &mut u64, _: T) {
        *count += 1;
    }

    fn result(&self, count: &u64) -> u64 {
        *count
    }

    #[inline]
    fn merge(&mut self, count: &mut u64, other: u64) {
        *count += other;
    }
}

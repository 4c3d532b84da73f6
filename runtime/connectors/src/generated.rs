//! Sources that make their records themselves.

use std::{marker::PhantomData, ops::RangeInclusive};

use flink_worker::{NodeFactory, Output, Polled, SourceReader, TaskError};

use crate::Source;

/// Emits what an iterator yields.
struct IteratorReader<I>(I);

impl<I: Iterator> SourceReader<I::Item> for IteratorReader<I> {
    #[inline]
    fn poll_next(&mut self, budget: u32, output: &mut dyn Output<I::Item>) -> Result<Polled, TaskError> {
        for records in 0..budget {
            match self.0.next() {
                Some(record) => output.collect(record)?,
                None => return Ok(Polled { records, end: true }),
            }
        }
        Ok(Polled {
            records: budget,
            end: false,
        })
    }
}

/// Whole numbers, split evenly over the subtasks; ascending within each.
#[derive(Debug, Clone, Copy)]
pub struct SequenceSource {
    from: u64,
    to: u64,
}

impl SequenceSource {
    /// All numbers from `from` to `to`, both included; none when `from > to`.
    pub fn new(from: u64, to: u64) -> Self {
        Self { from, to }
    }

    /// The numbers of one subtask.
    fn part(self, subtask: u32, parallelism: u32) -> RangeInclusive<u64> {
        let Some(length) = self.to.checked_sub(self.from).map(|distance| u128::from(distance) + 1) else {
            return Self::EMPTY;
        };
        let cut = |index: u32| length * u128::from(index) / u128::from(parallelism);
        let (start, end) = (cut(subtask), cut(subtask + 1));
        if start == end {
            return Self::EMPTY;
        }
        // Both are offsets into the sequence, so that neither sum leaves it.
        self.from + start as u64..=self.from + (end - 1) as u64
    }

    #[expect(clippy::reversed_empty_ranges, reason = "an empty range is meant")]
    const EMPTY: RangeInclusive<u64> = 1..=0;
}

impl Source for SequenceSource {
    type Record = u64;

    fn name(&self) -> String {
        "sequence".to_owned()
    }

    fn into_factory(self) -> NodeFactory {
        NodeFactory::source::<u64, _>(move |context| {
            Ok(IteratorReader(self.part(context.subtask(), context.parallelism)))
        })
    }
}

/// What an iterator per subtask yields.
#[derive(Debug, Clone)]
pub struct IteratorSource<F, T> {
    make: F,
    records: PhantomData<fn() -> T>,
}

impl<T, I, F> IteratorSource<F, T>
where
    T: 'static,
    I: Iterator<Item = T> + 'static,
    F: Fn(u32, u32) -> I + Send + 'static,
{
    /// `make(subtask, parallelism)` makes the iterator of a subtask (0-based).
    pub fn new(make: F) -> Self {
        Self {
            make,
            records: PhantomData,
        }
    }
}

impl<T, I, F> Source for IteratorSource<F, T>
where
    T: 'static,
    I: Iterator<Item = T> + 'static,
    F: Fn(u32, u32) -> I + Send + 'static,
{
    type Record = T;

    fn name(&self) -> String {
        "iterator".to_owned()
    }

    fn into_factory(self) -> NodeFactory {
        let make = self.make;
        NodeFactory::source::<T, _>(move |context| Ok(IteratorReader(make(context.subtask(), context.parallelism))))
    }
}

/// The records of a collection, by one subtask, in their order.
#[derive(Debug, Clone)]
pub struct CollectionSource<T>(pub Vec<T>);

impl<T: Clone + Send + 'static> Source for CollectionSource<T> {
    type Record = T;

    fn name(&self) -> String {
        "collection".to_owned()
    }

    fn fixed_parallelism(&self) -> Option<u32> {
        Some(1)
    }

    fn into_factory(self) -> NodeFactory {
        NodeFactory::source::<T, _>(move |_| Ok(IteratorReader(self.0.clone().into_iter())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_split_without_gap_or_overlap() {
        for (from, to) in [(0, 0), (5, 25), (0, 9), (7, 6), (u64::MAX - 3, u64::MAX)] {
            for parallelism in [1, 2, 3, 7, 40] {
                let parts =
                    (0..parallelism).flat_map(|subtask| SequenceSource::new(from, to).part(subtask, parallelism));
                assert!(parts.eq(from..=to), "{from}..={to} over {parallelism}");
            }
        }
    }

    #[test]
    fn the_longest_sequence_is_split_evenly() {
        let whole = SequenceSource::new(0, u64::MAX);
        assert_eq!(whole.part(0, 2), 0..=u64::MAX / 2);
        assert_eq!(whole.part(1, 2), u64::MAX / 2 + 1..=u64::MAX);
    }
}

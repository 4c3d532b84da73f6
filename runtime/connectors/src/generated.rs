//! Sources whose records are in the program: numbers, collections, iterators.

use std::{marker::PhantomData, ops::RangeInclusive};

use flink_record::{DecodeError, Record};
use flink_worker::TaskError;

use crate::source::{
    Availability, Boundedness, Enumeration, SequentialReader, Source, SourceOutput, SourceReaderContext, Split,
    SplitReader,
};

/// Emits what an iterator yields; a split of kind `S` is all of it.
pub struct IteratorReader<I, S> {
    iterator: I,
    split: PhantomData<fn() -> S>,
}

impl<I, S> IteratorReader<I, S> {
    fn new(iterator: I) -> Self {
        let split = PhantomData;
        Self { iterator, split }
    }
}

impl<T: 'static, I: Iterator<Item = T>, S: Split> SplitReader for IteratorReader<I, S> {
    type Record = T;
    type Split = S;

    #[inline]
    fn poll_next(&mut self, output: &mut SourceOutput<'_, T>) -> Result<Availability, TaskError> {
        while output.wants_more() {
            match self.iterator.next() {
                Some(record) => output.collect(record)?,
                None => return Ok(Availability::End),
            }
        }
        Ok(Availability::Now)
    }
}

/// Whole numbers, split evenly over the subtasks; ascending within each.
#[derive(Debug, Clone, Copy)]
pub struct SequenceSource {
    from: u64,
    to: u64,
}

/// Numbers from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberRange {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

impl Record for NumberRange {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.from, self.to).encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let (from, to) = Record::decode(input)?;
        Ok(Self { from, to })
    }
}

impl Split for NumberRange {
    fn split_id(&self) -> String {
        format!("{}-{}", self.from, self.to)
    }
}

impl SequenceSource {
    /// All numbers from `from` to `to`, both included; none when `from > to`.
    pub fn new(from: u64, to: u64) -> Self {
        Self { from, to }
    }

    /// The numbers of one subtask.
    fn part(self, subtask: u32, parallelism: u32) -> Option<NumberRange> {
        let length = u128::from(self.to.checked_sub(self.from)?) + 1;
        let cut = |index: u32| length * u128::from(index) / u128::from(parallelism);
        let (start, end) = (cut(subtask), cut(subtask + 1));
        // Both are offsets into the sequence, so that neither sum leaves it.
        (start < end).then(|| NumberRange {
            from: self.from + start as u64,
            to: self.from + (end - 1) as u64,
        })
    }
}

impl Source for SequenceSource {
    type Record = u64;
    type Split = NumberRange;
    type Reader = SequentialReader<IteratorReader<RangeInclusive<u64>, NumberRange>>;

    fn name(&self) -> String {
        "sequence".to_owned()
    }

    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }

    fn enumeration(&self) -> Enumeration<Self> {
        Enumeration::PerSubtask(|source, subtask, parallelism| {
            Ok(source.part(subtask, parallelism).into_iter().collect())
        })
    }

    fn create_reader(&self, _: &SourceReaderContext) -> Result<Self::Reader, TaskError> {
        Ok(SequentialReader::new(|range: NumberRange| {
            Ok(IteratorReader::new(range.from..=range.to))
        }))
    }
}

/// The share of one subtask, when nothing more is to be said about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubtaskSplit {
    /// The subtask, 0-based.
    pub subtask: u32,
    /// Number of subtasks.
    pub parallelism: u32,
}

impl SubtaskSplit {
    /// For a source that is cut by nothing but subtasks.
    pub(crate) fn enumeration<S: Source<Split = Self>>() -> Enumeration<S> {
        Enumeration::PerSubtask(|_, subtask, parallelism| Ok(vec![Self { subtask, parallelism }]))
    }
}

impl Record for SubtaskSplit {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.subtask, self.parallelism).encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let (subtask, parallelism) = Record::decode(input)?;
        Ok(Self { subtask, parallelism })
    }
}

impl Split for SubtaskSplit {
    fn split_id(&self) -> String {
        format!("{}/{}", self.subtask, self.parallelism)
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
    type Split = SubtaskSplit;
    type Reader = SequentialReader<IteratorReader<I, SubtaskSplit>>;

    fn name(&self) -> String {
        "iterator".to_owned()
    }

    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }

    fn enumeration(&self) -> Enumeration<Self> {
        SubtaskSplit::enumeration()
    }

    fn create_reader(&self, context: &SourceReaderContext) -> Result<Self::Reader, TaskError> {
        let mut iterator = Some((self.make)(context.subtask(), context.parallelism()));
        Ok(SequentialReader::new(move |_| {
            let iterator = iterator.take();
            let iterator = iterator.ok_or_else(|| TaskError::runtime("a subtask's iterator was asked for twice"))?;
            Ok(IteratorReader::new(iterator))
        }))
    }
}

/// The records of a collection, by one subtask, in their order.
#[derive(Debug, Clone)]
pub struct CollectionSource<T>(pub Vec<T>);

impl<T: Clone + Send + 'static> Source for CollectionSource<T> {
    type Record = T;
    type Split = SubtaskSplit;
    type Reader = SequentialReader<IteratorReader<std::vec::IntoIter<T>, SubtaskSplit>>;

    fn name(&self) -> String {
        "collection".to_owned()
    }

    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }

    fn fixed_parallelism(&self) -> Option<u32> {
        Some(1)
    }

    fn enumeration(&self) -> Enumeration<Self> {
        SubtaskSplit::enumeration()
    }

    fn create_reader(&self, _: &SourceReaderContext) -> Result<Self::Reader, TaskError> {
        let mut records = self.0.clone();
        Ok(SequentialReader::new(move |_| {
            Ok(IteratorReader::new(std::mem::take(&mut records).into_iter()))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::read_all;

    #[test]
    fn a_sequence_is_split_without_gap_or_overlap() {
        for (from, to) in [(0, 0), (5, 25), (0, 9), (7, 6), (u64::MAX - 3, u64::MAX)] {
            for parallelism in [1, 2, 3, 7, 40] {
                let numbers = read_all(&SequenceSource::new(from, to), parallelism).unwrap();
                assert!(numbers.into_iter().eq(from..=to), "{from}..={to} over {parallelism}");
            }
        }
    }

    #[test]
    fn the_longest_sequence_is_split_evenly() {
        let whole = SequenceSource::new(0, u64::MAX);
        let half = u64::MAX / 2;
        assert_eq!(whole.part(0, 2), Some(NumberRange { from: 0, to: half }));
        let (from, to) = (half + 1, u64::MAX);
        assert_eq!(whole.part(1, 2), Some(NumberRange { from, to }));
    }

    #[test]
    fn iterators_and_collections_are_emitted_whole() {
        let source =
            IteratorSource::new(|subtask, parallelism| (u64::from(subtask)..100).step_by(parallelism as usize));
        let mut numbers = read_all(&source, 3).unwrap();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..100));
        let texts = ["to", "be"].map(str::to_owned);
        assert_eq!(read_all(&CollectionSource(texts.to_vec()), 1).unwrap(), texts);
    }
}

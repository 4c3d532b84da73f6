//! Operators that look at one record at a time: map, filter, flat map.

use std::error::Error;

use flink_record::Timestamp;

use super::Collector;
use crate::{
    error::TaskError,
    operator::{Operator, Outputs},
};

/// One record to one record.
#[derive(Debug, Clone)]
pub struct Map<F>(pub F);

impl<I, O, F: FnMut(I) -> O> Operator<I> for Map<F> {
    type Out = O;

    #[inline]
    fn process(&mut self, record: I, timestamp: Timestamp, output: &mut Outputs<O>) -> Result<(), TaskError> {
        output.collect((self.0)(record), timestamp)
    }
}

/// One record to one record, or to a failure of the job.
#[derive(Debug, Clone)]
pub struct TryMap<F>(pub F);

impl<I, O, E, F> Operator<I> for TryMap<F>
where
    F: FnMut(I) -> Result<O, E>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    type Out = O;

    #[inline]
    fn process(&mut self, record: I, timestamp: Timestamp, output: &mut Outputs<O>) -> Result<(), TaskError> {
        match (self.0)(record) {
            Ok(record) => output.collect(record, timestamp),
            Err(error) => Err(TaskError::operator(error)),
        }
    }
}

/// Lets records through.
#[derive(Debug, Clone)]
pub struct Filter<F>(pub F);

impl<I, F: FnMut(&I) -> bool> Operator<I> for Filter<F> {
    type Out = I;

    #[inline]
    fn process(&mut self, record: I, timestamp: Timestamp, output: &mut Outputs<I>) -> Result<(), TaskError> {
        if (self.0)(&record) {
            output.collect(record, timestamp)
        } else {
            Ok(())
        }
    }
}

/// One record to as many as an iterator has.
#[derive(Debug, Clone)]
pub struct FlatMap<F>(pub F);

impl<I, R: IntoIterator, F: FnMut(I) -> R> Operator<I> for FlatMap<F> {
    type Out = R::Item;

    #[inline]
    fn process(&mut self, record: I, timestamp: Timestamp, output: &mut Outputs<R::Item>) -> Result<(), TaskError> {
        (self.0)(record)
            .into_iter()
            .try_for_each(|item| output.collect(item, timestamp))
    }
}

/// One record to as many as an iterator has, or to a failure of the job.
#[derive(Debug, Clone)]
pub struct TryFlatMap<F>(pub F);

impl<I, R, E, F> Operator<I> for TryFlatMap<F>
where
    R: IntoIterator,
    F: FnMut(I) -> Result<R, E>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    type Out = R::Item;

    #[inline]
    fn process(&mut self, record: I, timestamp: Timestamp, output: &mut Outputs<R::Item>) -> Result<(), TaskError> {
        match (self.0)(record) {
            Ok(items) => items.into_iter().try_for_each(|item| output.collect(item, timestamp)),
            Err(error) => Err(TaskError::operator(error)),
        }
    }
}

/// One record to as many as the closure collects.
#[derive(Debug)]
pub struct FlatMapWith<F, O> {
    closure: F,
    emits: std::marker::PhantomData<fn() -> O>,
}

impl<F, O> FlatMapWith<F, O> {
    /// The operator of this closure.
    pub fn new(closure: F) -> Self {
        Self {
            closure,
            emits: std::marker::PhantomData,
        }
    }
}

impl<F: Clone, O> Clone for FlatMapWith<F, O> {
    fn clone(&self) -> Self {
        Self::new(self.closure.clone())
    }
}

impl<I, O, F: FnMut(I, &mut Collector<'_, O>)> Operator<I> for FlatMapWith<F, O> {
    type Out = O;

    #[inline]
    fn process(&mut self, record: I, timestamp: Timestamp, output: &mut Outputs<O>) -> Result<(), TaskError> {
        let mut collector = Collector::new(timestamp, output);
        (self.closure)(record, &mut collector);
        collector.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Harness, process_all};

    #[test]
    fn each_operator_does_its_own() {
        assert_eq!(process_all(Map(|n: u32| n * 2), [1, 2]), [2, 4]);
        assert_eq!(process_all(Filter(|n: &u32| *n > 1), [1, 2]), [2]);
        assert_eq!(process_all(FlatMap(|n: u32| 0..n), [1, 2]), [0, 0, 1]);
        let with = FlatMapWith::new(|n: u32, out: &mut Collector<'_, u32>| out.extend(0..n));
        assert_eq!(process_all(with, [1, 2]), [0, 0, 1]);
        assert_eq!(process_all(TryMap(|text: &str| text.parse::<u8>()), ["1", "2"]), [1, 2]);
    }

    #[test]
    fn records_keep_their_timestamps() {
        let mut filter = Harness::new(Filter(|n: &u32| *n > 1));
        filter.process(1, 10);
        filter.process(2, 20);
        assert_eq!(filter.take_stamped(), [(2, 20)]);
        let mut flat_map = Harness::new(FlatMap(|n: u32| 0..n));
        flat_map.process(2, 30);
        assert_eq!(flat_map.take_stamped(), [(0, 30), (1, 30)]);
    }

    #[test]
    fn an_error_of_the_closure_is_the_operators() {
        let mut map = Harness::new(TryMap(|text: &str| text.parse::<u8>()));
        assert_eq!(map.process_err("x"), "invalid digit found in string");
        let mut map = Harness::new(TryFlatMap(|_: u8| Err::<[u8; 1], _>("no")));
        assert_eq!(map.process_err(1), "no");
    }

    #[test]
    fn a_collector_that_failed_drops_the_rest_and_tells() {
        let mut with = Harness::new(FlatMapWith::new(|n: u32, out: &mut Collector<'_, u32>| {
            out.extend(0..n);
            assert!(!out.is_open());
        }));
        with.set_capacity(1);
        assert_eq!(with.process_err(3), "full");
        assert_eq!(with.take(), [0]);
    }
}

//! Operators that look at one record at a time: map, filter, flat map.

use std::error::Error;

use crate::{
    error::TaskError,
    operator::{Operator, Output},
};

/// One record to one record.
#[derive(Debug, Clone)]
pub struct Map<F>(pub F);

impl<I, O, F: FnMut(I) -> O> Operator<I> for Map<F> {
    type Out = O;

    #[inline]
    fn process(&mut self, record: I, output: &mut dyn Output<O>) -> Result<(), TaskError> {
        output.collect((self.0)(record))
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
    fn process(&mut self, record: I, output: &mut dyn Output<O>) -> Result<(), TaskError> {
        match (self.0)(record) {
            Ok(record) => output.collect(record),
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
    fn process(&mut self, record: I, output: &mut dyn Output<I>) -> Result<(), TaskError> {
        if (self.0)(&record) {
            output.collect(record)
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
    fn process(&mut self, record: I, output: &mut dyn Output<R::Item>) -> Result<(), TaskError> {
        (self.0)(record).into_iter().try_for_each(|item| output.collect(item))
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
    fn process(&mut self, record: I, output: &mut dyn Output<R::Item>) -> Result<(), TaskError> {
        match (self.0)(record) {
            Ok(items) => items.into_iter().try_for_each(|item| output.collect(item)),
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
    fn process(&mut self, record: I, output: &mut dyn Output<O>) -> Result<(), TaskError> {
        let mut collector = Collector { output, result: Ok(()) };
        (self.closure)(record, &mut collector);
        collector.result
    }
}

/// Takes what a closure emits.
pub struct Collector<'a, T> {
    output: &'a mut dyn Output<T>,
    result: Result<(), TaskError>,
}

impl<T> Collector<'_, T> {
    /// Emits one record. Blocks under back-pressure.
    ///
    /// Once the task is ending (it was cancelled, or what follows has failed) records are dropped: a closure that emits
    /// without end should look at [`is_open`](Self::is_open) now and then.
    #[inline]
    pub fn collect(&mut self, record: T) {
        if self.result.is_ok() {
            self.result = self.output.collect(record);
        }
    }

    /// False once records are dropped.
    pub fn is_open(&self) -> bool {
        self.result.is_ok()
    }
}

impl<T> Extend<T> for Collector<'_, T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, records: I) {
        for record in records {
            if !self.is_open() {
                return;
            }
            self.collect(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Collected, process_all};

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
    fn an_error_of_the_closure_is_the_operators() {
        let mut output = Collected::default();
        let error = TryMap(|text: &str| text.parse::<u8>())
            .process("x", &mut output)
            .unwrap_err();
        assert_eq!(error.to_string(), "invalid digit found in string");
        let error = TryFlatMap(|_: u8| Err::<[u8; 1], _>("no"))
            .process(1, &mut output)
            .unwrap_err();
        assert_eq!(error.to_string(), "no");
    }

    #[test]
    fn a_collector_that_failed_drops_the_rest_and_tells() {
        let mut output = Collected {
            records: Vec::new(),
            capacity: 1,
        };
        let mut with = FlatMapWith::new(|n: u32, out: &mut Collector<'_, u32>| {
            out.extend(0..n);
            assert!(!out.is_open());
        });
        assert!(with.process(3, &mut output).is_err());
        assert_eq!(output.records, [0]);
    }
}

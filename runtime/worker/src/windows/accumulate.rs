//! What windows keep instead of their records.

use std::{any::type_name, marker::PhantomData};

use flink_record::Record;
use flink_state::AggregateFunction;

use crate::{error::TaskError, operators::Summable};

/// How records are aggregated into one accumulator: an [`AggregateFunction`] that may fail, and may have no result.
pub trait Accumulate<T>: Clone + 'static {
    /// What is kept.
    type Accumulator: Record + Clone;
    /// What is made of it.
    type Out;

    /// An accumulator of nothing.
    fn create(&self) -> Self::Accumulator;

    /// Adds a record.
    ///
    /// # Errors
    /// When there is no such accumulator, as after an overflow.
    fn add(&mut self, accumulator: &mut Self::Accumulator, record: T) -> Result<(), TaskError>;

    /// Adds all that was added to another.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn merge(&mut self, accumulator: &mut Self::Accumulator, other: Self::Accumulator) -> Result<(), TaskError>;

    /// The result of what was added, if there is any.
    fn result(&mut self, accumulator: &Self::Accumulator) -> Option<Self::Out>;

    /// The result of an accumulator that is not needed any more.
    #[inline]
    fn last_result(&mut self, accumulator: Self::Accumulator) -> Option<Self::Out> {
        self.result(&accumulator)
    }
}

/// A program's [`AggregateFunction`].
#[derive(Debug, Clone)]
pub struct Aggregated<A>(pub A);

impl<T, A: AggregateFunction<T, Accumulator: Record + Clone>> Accumulate<T> for Aggregated<A> {
    type Accumulator = A::Accumulator;
    type Out = A::Out;

    #[inline]
    fn create(&self) -> A::Accumulator {
        self.0.create_accumulator()
    }

    #[inline]
    fn add(&mut self, accumulator: &mut A::Accumulator, record: T) -> Result<(), TaskError> {
        self.0.add(accumulator, record);
        Ok(())
    }

    #[inline]
    fn merge(&mut self, accumulator: &mut A::Accumulator, other: A::Accumulator) -> Result<(), TaskError> {
        self.0.merge(accumulator, other);
        Ok(())
    }

    #[inline]
    fn result(&mut self, accumulator: &A::Accumulator) -> Option<A::Out> {
        Some(self.0.result(accumulator))
    }
}

/// What a closure makes of all records, two at a time.
#[derive(Debug, Clone)]
pub struct Reduced<F>(pub F);

impl<T: Record + Clone, F: FnMut(T, T) -> T + Clone + 'static> Accumulate<T> for Reduced<F> {
    /// `None` before the first record, and while the closure, which consumes the old value, makes the new one.
    type Accumulator = Option<T>;
    type Out = T;

    #[inline]
    fn create(&self) -> Option<T> {
        None
    }

    #[inline]
    fn add(&mut self, accumulator: &mut Option<T>, record: T) -> Result<(), TaskError> {
        *accumulator = Some(match accumulator.take() {
            Some(value) => (self.0)(value, record),
            None => record,
        });
        Ok(())
    }

    #[inline]
    fn merge(&mut self, accumulator: &mut Option<T>, other: Option<T>) -> Result<(), TaskError> {
        other.map_or(Ok(()), |other| self.add(accumulator, other))
    }

    #[inline]
    fn result(&mut self, accumulator: &Option<T>) -> Option<T> {
        accumulator.clone()
    }

    #[inline]
    fn last_result(&mut self, accumulator: Option<T>) -> Option<T> {
        accumulator
    }
}

/// How many records there are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted;

impl<T> Accumulate<T> for Counted {
    type Accumulator = u64;
    type Out = u64;

    #[inline]
    fn create(&self) -> u64 {
        0
    }

    #[inline]
    fn add(&mut self, accumulator: &mut u64, _: T) -> Result<(), TaskError> {
        *accumulator += 1;
        Ok(())
    }

    #[inline]
    fn merge(&mut self, accumulator: &mut u64, other: u64) -> Result<(), TaskError> {
        *accumulator += other;
        Ok(())
    }

    #[inline]
    fn result(&mut self, accumulator: &u64) -> Option<u64> {
        Some(*accumulator)
    }
}

/// The sum of what a closure finds in the records.
#[derive(Debug)]
pub struct Summed<F, N>(F, PhantomData<fn() -> N>);

impl<F, N> Summed<F, N> {
    /// The sum of what this closure finds.
    pub fn new(closure: F) -> Self {
        Self(closure, PhantomData)
    }
}

impl<F: Clone, N> Clone for Summed<F, N> {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl<F, N: Summable> Summed<F, N> {
    #[inline]
    fn sum(accumulator: &mut Option<N>, value: N) -> Result<(), TaskError> {
        *accumulator = Some(match *accumulator {
            None => value,
            Some(sum) => sum.checked_sum(value).ok_or_else(|| {
                TaskError::operator(format!("the sum of a window does not fit into {}", type_name::<N>()))
            })?,
        });
        Ok(())
    }
}

impl<T, N: Summable, F: FnMut(&T) -> N + Clone + 'static> Accumulate<T> for Summed<F, N> {
    type Accumulator = Option<N>;
    type Out = N;

    #[inline]
    fn create(&self) -> Option<N> {
        None
    }

    #[inline]
    fn add(&mut self, accumulator: &mut Option<N>, record: T) -> Result<(), TaskError> {
        let value = (self.0)(&record);
        Self::sum(accumulator, value)
    }

    #[inline]
    fn merge(&mut self, accumulator: &mut Option<N>, other: Option<N>) -> Result<(), TaskError> {
        other.map_or(Ok(()), |other| Self::sum(accumulator, other))
    }

    #[inline]
    fn result(&mut self, accumulator: &Option<N>) -> Option<N> {
        *accumulator
    }
}

//! What a window keeps, and what it emits when it fires.

use std::marker::PhantomData;

use flink_record::{Record, Timestamp};

use super::{
    Accumulate, Evictor, Window, WindowContext,
    evictor::TimestampedValue,
    function::{EmitAll, EmitValue},
};
use crate::{
    error::TaskError,
    functions::FunctionResult,
    operator::{Either, Outputs},
    operators::{Collector, collecting},
};

/// What is kept of a window's records, and what is emitted when it fires.
pub trait WindowContents<K, W: Window, T> {
    /// What is kept per key and window.
    type Kept: Record;
    /// What is emitted.
    type Out;

    /// What is kept of no records.
    fn create(&self) -> Self::Kept;

    /// Adds a record.
    ///
    /// # Errors
    /// When the task cannot go on; so with the other methods.
    fn add(&mut self, kept: &mut Self::Kept, record: T, timestamp: Timestamp) -> Result<(), TaskError>;

    /// Adds what another window has kept.
    ///
    /// # Errors
    /// When the task cannot go on.
    fn merge(&mut self, kept: &mut Self::Kept, other: Self::Kept) -> Result<(), TaskError>;

    /// Emits the result.
    ///
    /// # Errors
    /// When the task cannot go on.
    fn fire(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        kept: Fired<'_, Self::Kept>,
        output: &mut Outputs<Self::Out>,
    ) -> Result<(), TaskError>;

    /// Whether nothing is left, after firing, that could fire again.
    fn is_empty(&self, kept: &Self::Kept) -> bool {
        let _ = kept;
        false
    }

    /// The window is going away.
    ///
    /// # Errors
    /// Those of the function.
    fn clear(&mut self, key: &K, context: &WindowContext<'_, W>) -> FunctionResult;
}

/// The contents of a window that fires.
#[derive(Debug)]
pub enum Fired<'a, C> {
    /// They stay.
    Kept(&'a mut C),
    /// They were taken out of the window, which goes away or is purged.
    Last(C),
}

/// One accumulator.
#[derive(Debug)]
pub struct Accumulated<A, E> {
    aggregate: A,
    emit: E,
}

impl<A, E> Accumulated<A, E> {
    /// Aggregates so, and emits so.
    pub fn new(aggregate: A, emit: E) -> Self {
        Self { aggregate, emit }
    }
}

impl<K, W, T, A, E> WindowContents<K, W, T> for Accumulated<A, E>
where
    W: Window,
    A: Accumulate<T>,
    E: EmitValue<K, W, A::Out>,
{
    type Kept = A::Accumulator;
    type Out = E::Out;

    fn create(&self) -> A::Accumulator {
        self.aggregate.create()
    }

    #[inline]
    fn add(&mut self, kept: &mut A::Accumulator, record: T, _: Timestamp) -> Result<(), TaskError> {
        self.aggregate.add(kept, record)
    }

    fn merge(&mut self, kept: &mut A::Accumulator, other: A::Accumulator) -> Result<(), TaskError> {
        self.aggregate.merge(kept, other)
    }

    #[inline]
    fn fire(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        kept: Fired<'_, A::Accumulator>,
        output: &mut Outputs<E::Out>,
    ) -> Result<(), TaskError> {
        let result = match kept {
            Fired::Kept(kept) => self.aggregate.result(kept),
            Fired::Last(kept) => self.aggregate.last_result(kept),
        };
        result.map_or(Ok(()), |value| {
            let emit = &mut self.emit;
            collecting(context.window().max_timestamp(), output, |out| {
                emit.emit(key, context, value, out)
            })
        })
    }

    fn clear(&mut self, key: &K, context: &WindowContext<'_, W>) -> FunctionResult {
        self.emit.clear(key, context)
    }
}

/// All records, in the order in which they came; where windows have merged, those of one after those of another.
#[derive(Debug)]
pub struct Listed<E> {
    emit: E,
}

impl<E> Listed<E> {
    /// Emits so.
    pub fn new(emit: E) -> Self {
        Self { emit }
    }
}

impl<K, W, T, E> WindowContents<K, W, T> for Listed<E>
where
    W: Window,
    T: Record,
    E: EmitAll<K, W, T>,
{
    type Kept = Vec<T>;
    type Out = E::Out;

    fn create(&self) -> Vec<T> {
        Vec::new()
    }

    #[inline]
    fn add(&mut self, kept: &mut Vec<T>, record: T, _: Timestamp) -> Result<(), TaskError> {
        kept.push(record);
        Ok(())
    }

    fn merge(&mut self, kept: &mut Vec<T>, other: Vec<T>) -> Result<(), TaskError> {
        kept.extend(other);
        Ok(())
    }

    fn fire(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        kept: Fired<'_, Vec<T>>,
        output: &mut Outputs<E::Out>,
    ) -> Result<(), TaskError> {
        let elements = match &kept {
            Fired::Kept(kept) => kept.as_slice(),
            Fired::Last(kept) => kept.as_slice(),
        };
        let emit = &mut self.emit;
        collecting(context.window().max_timestamp(), output, |out| {
            emit.emit_all(key, context, elements, out)
        })
    }

    fn clear(&mut self, key: &K, context: &WindowContext<'_, W>) -> FunctionResult {
        self.emit.clear(key, context)
    }
}

/// All records with their timestamps, of which an evictor removes some when the window fires.
pub struct Evicted<T, W, E> {
    evictor: Box<dyn Evictor<T, W>>,
    emit: E,
}

impl<T, W: Window, E> Evicted<T, W, E> {
    /// Evicts so, and emits so what is left.
    pub fn new(evictor: Box<dyn Evictor<T, W>>, emit: E) -> Self {
        Self { evictor, emit }
    }
}

impl<K, W, T, E> WindowContents<K, W, T> for Evicted<T, W, E>
where
    W: Window,
    T: Record,
    E: EmitAll<K, W, T>,
{
    /// Apart, so that functions can be given the records as they are.
    type Kept = (Vec<T>, Vec<Timestamp>);
    type Out = E::Out;

    fn create(&self) -> Self::Kept {
        (Vec::new(), Vec::new())
    }

    #[inline]
    fn add(&mut self, kept: &mut Self::Kept, record: T, timestamp: Timestamp) -> Result<(), TaskError> {
        kept.0.push(record);
        kept.1.push(timestamp);
        Ok(())
    }

    fn merge(&mut self, kept: &mut Self::Kept, other: Self::Kept) -> Result<(), TaskError> {
        kept.0.extend(other.0);
        kept.1.extend(other.1);
        Ok(())
    }

    fn fire(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        kept: Fired<'_, Self::Kept>,
        output: &mut Outputs<E::Out>,
    ) -> Result<(), TaskError> {
        let mut last;
        let kept = match kept {
            Fired::Kept(kept) => kept,
            Fired::Last(kept) => {
                last = kept;
                &mut last
            }
        };
        edit(kept, |elements| self.evictor.evict_before(elements, context));
        let emit = &mut self.emit;
        collecting(context.window().max_timestamp(), output, |out| {
            emit.emit_all(key, context, &kept.0, out)
        })?;
        edit(kept, |elements| self.evictor.evict_after(elements, context));
        Ok(())
    }

    fn is_empty(&self, kept: &Self::Kept) -> bool {
        kept.0.is_empty()
    }

    fn clear(&mut self, key: &K, context: &WindowContext<'_, W>) -> FunctionResult {
        self.emit.clear(key, context)
    }
}

/// Lets `change` see records and timestamps as one.
fn edit<T>((values, timestamps): &mut (Vec<T>, Vec<Timestamp>), change: impl FnOnce(&mut Vec<TimestampedValue<T>>)) {
    let both = values.drain(..).zip(timestamps.drain(..));
    let mut elements = both
        .map(|(value, timestamp)| TimestampedValue { value, timestamp })
        .collect();
    change(&mut elements);
    for TimestampedValue { value, timestamp } in elements {
        values.push(value);
        timestamps.push(timestamp);
    }
}

/// Aggregates the records that an evictor has left.
#[derive(Debug)]
pub struct AccumulateAll<A, E> {
    aggregate: A,
    emit: E,
}

impl<A, E> AccumulateAll<A, E> {
    /// Aggregates so, and emits so.
    pub fn new(aggregate: A, emit: E) -> Self {
        Self { aggregate, emit }
    }
}

impl<K, W, T, A, E> EmitAll<K, W, T> for AccumulateAll<A, E>
where
    W: Window,
    T: Clone,
    A: Accumulate<T>,
    E: EmitValue<K, W, A::Out>,
{
    type Out = E::Out;

    fn emit_all(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        elements: &[T],
        out: &mut Collector<'_, E::Out>,
    ) -> FunctionResult {
        if elements.is_empty() {
            return Ok(());
        }
        let mut accumulator = self.aggregate.create();
        for element in elements {
            self.aggregate.add(&mut accumulator, element.clone())?;
        }
        self.aggregate
            .last_result(accumulator)
            .map_or(Ok(()), |value| self.emit.emit(key, context, value, out))
    }

    fn clear(&mut self, key: &K, context: &WindowContext<'_, W>) -> FunctionResult {
        self.emit.clear(key, context)
    }
}

/// The records of two streams.
#[derive(Debug)]
pub struct CoGrouped<F, O> {
    closure: F,
    emits: PhantomData<fn() -> O>,
}

impl<F, O> CoGrouped<F, O> {
    /// Emits what the closure makes of the records of both.
    pub fn new(closure: F) -> Self {
        let emits = PhantomData;
        Self { closure, emits }
    }
}

impl<K, W, A, B, O, F> WindowContents<K, W, Either<A, B>> for CoGrouped<F, O>
where
    W: Window,
    A: Record,
    B: Record,
    F: FnMut(&[A], &[B], &mut Collector<'_, O>) -> FunctionResult,
{
    type Kept = (Vec<A>, Vec<B>);
    type Out = O;

    fn create(&self) -> Self::Kept {
        (Vec::new(), Vec::new())
    }

    #[inline]
    fn add(&mut self, kept: &mut Self::Kept, record: Either<A, B>, _: Timestamp) -> Result<(), TaskError> {
        match record {
            Either::First(record) => kept.0.push(record),
            Either::Second(record) => kept.1.push(record),
        }
        Ok(())
    }

    fn merge(&mut self, kept: &mut Self::Kept, other: Self::Kept) -> Result<(), TaskError> {
        kept.0.extend(other.0);
        kept.1.extend(other.1);
        Ok(())
    }

    fn fire(
        &mut self,
        _: &K,
        context: &WindowContext<'_, W>,
        kept: Fired<'_, Self::Kept>,
        output: &mut Outputs<O>,
    ) -> Result<(), TaskError> {
        let (first, second) = match &kept {
            Fired::Kept(kept) => (&kept.0, &kept.1),
            Fired::Last(kept) => (&kept.0, &kept.1),
        };
        let closure = &mut self.closure;
        collecting(context.window().max_timestamp(), output, |out| {
            closure(first, second, out)
        })
    }

    fn clear(&mut self, _: &K, _: &WindowContext<'_, W>) -> FunctionResult {
        Ok(())
    }
}

//! An accumulator per key.

use std::{cell::RefCell, fmt, rc::Rc};

use flink_record::{Key, Record};

use super::Single;
use crate::{context::Namespace, function::AggregateFunction, ttl::Expiry};

/// The aggregate of the values that were added under the current key.
///
/// A handle: clones are the same state. All methods panic when there is no current key
/// (see [`KeyContext`](crate::KeyContext)).
pub struct AggregatingState<In, Out>(Rc<dyn AggregatingAccess<In, Out>>);

/// What a backend does for an aggregating state.
trait AggregatingAccess<In, Out> {
    fn add(&self, value: In);
    fn get(&self) -> Option<Out>;
    fn clear(&self);
}

impl<In: 'static, Out: 'static> AggregatingState<In, Out> {
    pub(crate) fn new<K: Key, N: Namespace, E: Expiry, A>(
        aggregating: HeapAggregating<K, N, A::Accumulator, E, A>,
    ) -> Self
    where
        A: AggregateFunction<In, Out = Out, Accumulator: Record>,
    {
        Self(Rc::new(aggregating))
    }

    /// Adds a value.
    #[inline]
    pub fn add(&self, value: In) {
        self.0.add(value);
    }

    /// The result of what was added; `None` if nothing was.
    #[inline]
    pub fn get(&self) -> Option<Out> {
        self.0.get()
    }

    /// Removes what was added.
    #[inline]
    pub fn clear(&self) {
        self.0.clear();
    }
}

impl<In, Out> Clone for AggregatingState<In, Out> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<In, Out> fmt::Debug for AggregatingState<In, Out> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AggregatingState").finish_non_exhaustive()
    }
}

/// Accumulators on the heap.
pub(crate) struct HeapAggregating<K, N, Accumulator, E: Expiry, A> {
    pub(crate) accumulators: Single<K, N, Accumulator, E>,
    pub(crate) function: RefCell<A>,
}

impl<K, N, In, E, A> AggregatingAccess<In, A::Out> for HeapAggregating<K, N, A::Accumulator, E, A>
where
    K: Key,
    N: Namespace,
    E: Expiry,
    A: AggregateFunction<In, Accumulator: Record>,
{
    fn add(&self, value: In) {
        let mut function = self.function.borrow_mut();
        let mut accumulator = match self.accumulators.write() {
            Some(accumulator) => accumulator,
            None => self.accumulators.init(function.create_accumulator()),
        };
        function.add(&mut accumulator, value);
    }

    fn get(&self) -> Option<A::Out> {
        let accumulator = self.accumulators.read()?;
        Some(self.function.borrow().result(&accumulator))
    }

    fn clear(&self) {
        self.accumulators.take();
    }
}

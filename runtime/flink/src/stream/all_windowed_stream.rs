//! Streams all of whose records are grouped into windows, whatever their key.

use std::time::Duration;

use flink_record::Record;
use flink_state::AggregateFunction;
use flink_worker::{
    functions::{FunctionError, FunctionResult, OutputTag, SendFunction},
    operators::{Collector, NullKey, Summable},
    windows::{Evictor, ProcessWindowFunction, Trigger, WindowAssigner, WindowRuntimeContext},
};

use super::{DataStream, WindowedStream};

/// A stream whose records are grouped into windows, without a key: what [`DataStream::window_all`] makes.
///
/// One subtask has all windows: the parallelism is 1. All is as with [`WindowedStream`], whose key is `()` here.
#[must_use = "windows that nothing is made of are an error"]
pub struct AllWindowedStream<T, A: WindowAssigner<T>, G>(pub(super) WindowedStream<T, NullKey, A, G>);

impl<T, A, G> AllWindowedStream<T, A, G>
where
    T: Record + Clone,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
{
    /// Sets when windows fire; see [`WindowedStream::trigger`].
    pub fn trigger<H: Trigger<T, A::Window>>(self, trigger: H) -> AllWindowedStream<T, A, H> {
        AllWindowedStream(self.0.trigger(trigger))
    }

    /// Removes records from windows when they fire; see [`WindowedStream::evictor`].
    pub fn evictor<E>(self, evictor: E) -> Self
    where
        E: Evictor<T, A::Window> + Clone + Send + 'static,
    {
        Self(self.0.evictor(evictor))
    }

    /// Keeps windows after their end; see [`WindowedStream::allowed_lateness`].
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        Self(self.0.allowed_lateness(lateness))
    }

    /// Sends records that are too late to a side output; see [`WindowedStream::side_output_late_data`].
    pub fn side_output_late_data(self, tag: &OutputTag<T>) -> Self {
        Self(self.0.side_output_late_data(tag))
    }

    /// Combines the records of each window; see [`WindowedStream::reduce`].
    pub fn reduce<F>(self, reduce: F) -> DataStream<T>
    where
        F: FnMut(T, T) -> T + Clone + SendFunction + 'static,
    {
        self.0.reduce(reduce)
    }

    /// As [`reduce`](Self::reduce), with a closure that is given window and value, and emits what it likes.
    pub fn reduce_with<F, P, R>(self, reduce: F, mut process: P) -> DataStream<R>
    where
        R: Record,
        F: FnMut(T, T) -> T + Clone + SendFunction + 'static,
        P: FnMut(&A::Window, T, &mut Collector<'_, R>) -> FunctionResult + Clone + SendFunction + 'static,
    {
        self.0
            .reduce_with(reduce, move |(), window, value, out| process(window, value, out))
    }

    /// As [`reduce`](Self::reduce), with a [`ProcessWindowFunction`] that is given the value, as the only element.
    pub fn reduce_process<F, P, M>(self, reduce: F, make: M) -> DataStream<P::Out>
    where
        F: FnMut(T, T) -> T + Clone + SendFunction + 'static,
        P: ProcessWindowFunction<T, (), A::Window, Out: Record> + 'static,
        M: Fn(&WindowRuntimeContext<'_, (), A::Window>) -> Result<P, FunctionError> + SendFunction + 'static,
    {
        self.0.reduce_process(reduce, make)
    }

    /// Aggregates the records of each window; see [`WindowedStream::aggregate`].
    pub fn aggregate<F>(self, aggregate: F) -> DataStream<F::Out>
    where
        F: AggregateFunction<T, Accumulator: Record + Clone, Out: Record> + Send,
    {
        self.0.aggregate(aggregate)
    }

    /// As [`aggregate`](Self::aggregate), with a closure that is given window and result, and emits what it likes.
    pub fn aggregate_with<F, P, R>(self, aggregate: F, mut process: P) -> DataStream<R>
    where
        R: Record,
        F: AggregateFunction<T, Accumulator: Record + Clone> + Send,
        P: FnMut(&A::Window, F::Out, &mut Collector<'_, R>) -> FunctionResult + Clone + SendFunction + 'static,
    {
        self.0
            .aggregate_with(aggregate, move |(), window, value, out| process(window, value, out))
    }

    /// As [`aggregate`](Self::aggregate), with a [`ProcessWindowFunction`] that is given the result, as the only element.
    pub fn aggregate_process<F, P, M>(self, aggregate: F, make: M) -> DataStream<P::Out>
    where
        F: AggregateFunction<T, Accumulator: Record + Clone> + Send,
        P: ProcessWindowFunction<F::Out, (), A::Window, Out: Record> + 'static,
        M: Fn(&WindowRuntimeContext<'_, (), A::Window>) -> Result<P, FunctionError> + SendFunction + 'static,
    {
        self.0.aggregate_process(aggregate, make)
    }

    /// Counts the records of each window.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// // How many numbers there were, at each tenth.
    /// env.from_sequence(1..=100).count_window_all(10).count().print();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn count(self) -> DataStream<u64> {
        self.0.count_all()
    }

    /// Sums up what the closure finds in the records of each window. A sum that leaves the range of its type fails the job.
    pub fn sum<N: Summable, F>(self, value: F) -> DataStream<N>
    where
        F: FnMut(&T) -> N + Clone + SendFunction + 'static,
    {
        self.0.sum_all(value)
    }

    /// The record of each window for which the closure finds the least; of several, the one that was first.
    pub fn min_by<V: PartialOrd, F>(self, value: F) -> DataStream<T>
    where
        F: Fn(&T) -> V + Clone + SendFunction + 'static,
    {
        self.0.min_by(value)
    }

    /// The record of each window for which the closure finds the most; of several, the one that was first.
    pub fn max_by<V: PartialOrd, F>(self, value: F) -> DataStream<T>
    where
        F: Fn(&T) -> V + Clone + SendFunction + 'static,
    {
        self.0.max_by(value)
    }

    /// Processes all records of each window with a [`ProcessWindowFunction`]; see [`WindowedStream::process`].
    pub fn process<P, M>(self, make: M) -> DataStream<P::Out>
    where
        P: ProcessWindowFunction<T, (), A::Window, Out: Record> + 'static,
        M: Fn(&WindowRuntimeContext<'_, (), A::Window>) -> Result<P, FunctionError> + SendFunction + 'static,
    {
        self.0.process(make)
    }

    /// Processes all records of each window with a closure: it is given window and records, and emits what it likes.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// let largest = env.from_sequence(1..=100).count_window_all(10).process_with(|_, numbers, out| {
    ///     out.extend(numbers.iter().copied().max());
    ///     Ok(())
    /// });
    /// largest.print();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn process_with<P, R>(self, mut process: P) -> DataStream<R>
    where
        R: Record,
        P: FnMut(&A::Window, &[T], &mut Collector<'_, R>) -> FunctionResult + Clone + SendFunction + 'static,
    {
        self.0
            .process_with(move |(), window, elements, out| process(window, elements, out))
    }
}

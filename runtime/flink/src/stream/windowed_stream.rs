//! Streams whose records are grouped into windows.

use std::{any::TypeId, time::Duration};

use flink_record::Record;
use flink_state::AggregateFunction;
use flink_worker::{
    NodeFactory, TaskError,
    functions::{FunctionError, FunctionResult, OutputTag, SendFunction},
    operators::{Collector, KeySelector, Summable},
    windows::{
        Accumulate, AccumulateAll, Accumulated, Aggregated, ClosureOfWindow, Counted, EmitAll, EmitValue,
        EventTimeTrigger, Evicted, Evictor, Listed, MergeWindows, PlainValue, ProcessWindowFunction, Reduced, Slicing,
        SlidingStore, Summed, Trigger, TumblingStore, WindowAssigner, WindowBackend, WindowOperator,
        WindowRuntimeContext, WindowSettings, WithKey,
    },
};

use super::{
    DataStream, KeyedStream,
    window_factories::{Backend, sessions, slices},
};
use crate::declared::Declared;

/// Makes a subtask's evictor.
type MakeEvictor<T, W> = Box<dyn Fn() -> Box<dyn Evictor<T, W>> + Send>;

/// A keyed stream whose records are grouped into windows, per key: what [`KeyedStream::window`] makes.
///
/// Results have the timestamp of their window's last millisecond. The windows of a key that have no records emit nothing.
///
/// Tumbling and sliding windows with `reduce`, `aggregate`, `count` or `sum` cost per record about as much as the same aggregation
/// without windows, however many windows a record is in: they share what they have in common. Sessions of event time are about
/// as cheap. That is so unless a trigger or an evictor is set.
#[must_use = "windows that nothing is made of are an error"]
pub struct WindowedStream<T, S, A: WindowAssigner<T>, G> {
    stream: KeyedStream<T, S>,
    assigner: A,
    trigger: G,
    default_trigger: bool,
    evictor: Option<MakeEvictor<T, A::Window>>,
    settings: WindowSettings,
    /// All windows are in one subtask.
    non_parallel: bool,
}

impl<T, S, A> WindowedStream<T, S, A, A::DefaultTrigger>
where
    T: Record + Clone,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
{
    pub(super) fn new(stream: KeyedStream<T, S>, assigner: A) -> Self {
        if let Err(problem) = assigner.validate() {
            stream.declared().fail(|| problem);
        }
        Self {
            stream,
            assigner,
            trigger: A::DefaultTrigger::default(),
            default_trigger: true,
            evictor: None,
            settings: WindowSettings::default(),
            non_parallel: false,
        }
    }
}

impl<T, S, A, G> WindowedStream<T, S, A, G>
where
    T: Record + Clone,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
{
    /// Sets when windows fire. Default: that of the assigner.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use flink::{CountTrigger, GlobalWindows, PurgingTrigger};
    ///
    /// // The sum of each three numbers.
    /// let numbers = env.from_sequence(1..=100).key_by(|number| number % 10).window(GlobalWindows::create());
    /// numbers.trigger(PurgingTrigger::of(CountTrigger::of(3))).sum(|number| *number).collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn trigger<H: Trigger<T, A::Window>>(self, trigger: H) -> WindowedStream<T, S, A, H> {
        check_merging::<T, A, H>(&self.assigner, &trigger, self.stream.declared());
        WindowedStream {
            stream: self.stream,
            assigner: self.assigner,
            trigger,
            default_trigger: false,
            evictor: self.evictor,
            settings: self.settings,
            non_parallel: self.non_parallel,
        }
    }

    /// Removes records from windows when they fire. Windows then keep all of their records, even if these are only counted.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use flink::{CountEvictor, CountTrigger, GlobalWindows};
    ///
    /// // The largest of the last ten numbers, at each fifth.
    /// let numbers = env.from_sequence(1..=100).key_by(|number| number % 2).window(GlobalWindows::create());
    /// numbers.trigger(CountTrigger::of(5)).evictor(CountEvictor::of(10)).reduce(Ord::max).print();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn evictor<E>(mut self, evictor: E) -> Self
    where
        E: Evictor<T, A::Window> + Clone + Send + 'static,
    {
        self.evictor = Some(Box::new(move || Box::new(evictor.clone())));
        self
    }

    /// Keeps windows for so long, in event time, after the watermark has passed their end: each record that comes meanwhile
    /// makes its windows fire again. Whole milliseconds; default: zero.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use std::time::Duration;
    ///
    /// use flink::{OutputTag, TumblingEventTimeWindows, WatermarkStrategy};
    ///
    /// let late = OutputTag::<(String, i64)>::new("late");
    /// let strategy = WatermarkStrategy::for_monotonous_timestamps()
    ///     .with_timestamp_assigner(|visit: &(String, i64), _| visit.1);
    /// let visits = env.from_collection([("ann".to_owned(), 1_000_i64), ("bob".to_owned(), 2_000)]);
    /// let counts = visits
    ///     .assign_timestamps_and_watermarks(strategy)
    ///     .key_by(|visit| visit.0.clone())
    ///     .window(TumblingEventTimeWindows::of(Duration::from_secs(1)))
    ///     .allowed_lateness(Duration::from_secs(60))
    ///     .side_output_late_data(&late)
    ///     .count();
    /// counts.get_side_output(&late).collect();
    /// counts.collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.settings.set_allowed_lateness(lateness);
        self
    }

    /// Sends records that are too late for their windows to a side output, which
    /// [`get_side_output`](DataStream::get_side_output) of the result returns. Without, they are dropped.
    pub fn side_output_late_data(mut self, tag: &OutputTag<T>) -> Self {
        self.settings.set_late_output(tag.name());
        self
    }

    /// Combines the records of each window, two at a time. The closure must be associative: `a` with (`b` with `c`) is (`a`
    /// with `b`) with `c`.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use std::time::Duration;
    ///
    /// use flink::{SlidingEventTimeWindows, WatermarkStrategy};
    ///
    /// // The highest temperature of each minute, every ten seconds.
    /// let strategy = WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_secs(1))
    ///     .with_timestamp_assigner(|reading: &(i64, u32, f64), _| reading.0);
    /// let readings = env.from_collection([(1_000_i64, 1_u32, 20.5), (12_000, 1, 22.0), (40_000, 2, 18.0)]);
    /// readings
    ///     .assign_timestamps_and_watermarks(strategy)
    ///     .key_by(|reading| reading.1)
    ///     .window(SlidingEventTimeWindows::of(Duration::from_secs(60), Duration::from_secs(10)))
    ///     .reduce(|a, b| if a.2 < b.2 { b } else { a })
    ///     .collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn reduce<F>(self, reduce: F) -> DataStream<T>
    where
        F: FnMut(T, T) -> T + Clone + SendFunction + 'static,
    {
        self.accumulate("window-reduce", Reduced(reduce), |_| Ok(PlainValue))
    }

    /// As [`reduce`](Self::reduce), with a closure that is given key, window and value, and emits what it likes.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// // The largest of each three numbers, with the key.
    /// let numbers = env.from_sequence(1..=100).key_by(|number| number % 10).count_window(3);
    /// let largest = numbers.reduce_with(Ord::max, |key, _, value, out| {
    ///     out.collect((*key, value));
    ///     Ok(())
    /// });
    /// largest.collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn reduce_with<F, P, R>(self, reduce: F, process: P) -> DataStream<R>
    where
        R: Record,
        F: FnMut(T, T) -> T + Clone + SendFunction + 'static,
        P: FnMut(&S::Key, &A::Window, T, &mut Collector<'_, R>) -> FunctionResult + Clone + SendFunction + 'static,
    {
        let process = ClosureOfWindow::new(process);
        self.accumulate("window-reduce", Reduced(reduce), move |_| Ok(process.clone()))
    }

    /// As [`reduce`](Self::reduce), with a [`ProcessWindowFunction`] that is given the value, as the only element.
    pub fn reduce_process<F, P, M>(self, reduce: F, make: M) -> DataStream<P::Out>
    where
        F: FnMut(T, T) -> T + Clone + SendFunction + 'static,
        P: ProcessWindowFunction<T, S::Key, A::Window, Out: Record> + 'static,
        M: Fn(&WindowRuntimeContext<'_, S::Key, A::Window>) -> Result<P, FunctionError> + SendFunction + 'static,
    {
        let merging = self.assigner.merging().is_some();
        self.accumulate("window-reduce", Reduced(reduce), move |backend| {
            backend.make(merging, &make)
        })
    }

    /// Aggregates the records of each window: one accumulator is kept per key and window, or per key and slice of it, and not the
    /// records. Accumulators are merged where windows share slices, and where sessions become one.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use std::time::Duration;
    ///
    /// use flink::{AggregateFunction, EventTimeSessionWindows, WatermarkStrategy};
    ///
    /// #[derive(Clone)]
    /// struct Average;
    ///
    /// impl AggregateFunction<(i64, u32, f64)> for Average {
    ///     type Accumulator = (u64, f64);
    ///     type Out = f64;
    ///
    ///     fn create_accumulator(&self) -> (u64, f64) {
    ///         (0, 0.0)
    ///     }
    ///
    ///     fn add(&mut self, accumulator: &mut (u64, f64), value: (i64, u32, f64)) {
    ///         *accumulator = (accumulator.0 + 1, accumulator.1 + value.2);
    ///     }
    ///
    ///     fn result(&self, accumulator: &(u64, f64)) -> f64 {
    ///         accumulator.1 / accumulator.0 as f64
    ///     }
    ///
    ///     fn merge(&mut self, accumulator: &mut (u64, f64), other: (u64, f64)) {
    ///         *accumulator = (accumulator.0 + other.0, accumulator.1 + other.1);
    ///     }
    /// }
    ///
    /// let strategy = WatermarkStrategy::for_monotonous_timestamps()
    ///     .with_timestamp_assigner(|reading: &(i64, u32, f64), _| reading.0);
    /// let readings = env.from_collection([(1_000_i64, 1_u32, 20.5), (2_000, 1, 22.0), (40_000, 1, 18.0)]);
    /// readings
    ///     .assign_timestamps_and_watermarks(strategy)
    ///     .key_by(|reading| reading.1)
    ///     .window(EventTimeSessionWindows::with_gap(Duration::from_secs(5)))
    ///     .aggregate(Average)
    ///     .collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn aggregate<F>(self, aggregate: F) -> DataStream<F::Out>
    where
        F: AggregateFunction<T, Accumulator: Record + Clone, Out: Record> + Send,
    {
        self.accumulate("window-aggregate", Aggregated(aggregate), |_| Ok(PlainValue))
    }

    /// As [`aggregate`](Self::aggregate), with a closure that is given key, window and result, and emits what it likes.
    pub fn aggregate_with<F, P, R>(self, aggregate: F, process: P) -> DataStream<R>
    where
        R: Record,
        F: AggregateFunction<T, Accumulator: Record + Clone> + Send,
        P: FnMut(&S::Key, &A::Window, F::Out, &mut Collector<'_, R>) -> FunctionResult + Clone + SendFunction + 'static,
    {
        let process = ClosureOfWindow::new(process);
        self.accumulate("window-aggregate", Aggregated(aggregate), move |_| Ok(process.clone()))
    }

    /// As [`aggregate`](Self::aggregate), with a [`ProcessWindowFunction`] that is given the result, as the only element.
    pub fn aggregate_process<F, P, M>(self, aggregate: F, make: M) -> DataStream<P::Out>
    where
        F: AggregateFunction<T, Accumulator: Record + Clone> + Send,
        P: ProcessWindowFunction<F::Out, S::Key, A::Window, Out: Record> + 'static,
        M: Fn(&WindowRuntimeContext<'_, S::Key, A::Window>) -> Result<P, FunctionError> + SendFunction + 'static,
    {
        let merging = self.assigner.merging().is_some();
        self.accumulate("window-aggregate", Aggregated(aggregate), move |backend| {
            backend.make(merging, &make)
        })
    }

    /// Counts the records of each window.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use std::time::Duration;
    ///
    /// use flink::{TumblingEventTimeWindows, WatermarkStrategy};
    ///
    /// let strategy = WatermarkStrategy::for_monotonous_timestamps()
    ///     .with_timestamp_assigner(|number: &u64, _| *number as i64);
    /// env.from_sequence(1..=10_000)
    ///     .assign_timestamps_and_watermarks(strategy)
    ///     .key_by(|number| number % 3)
    ///     .window(TumblingEventTimeWindows::of(Duration::from_secs(1)))
    ///     .count()
    ///     .collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn count(self) -> DataStream<(S::Key, u64)> {
        self.accumulate("window-count", Counted, |_| Ok(WithKey))
    }

    /// Sums up what the closure finds in the records of each window. A sum that leaves the range of its type fails the job.
    pub fn sum<N: Summable, F>(self, value: F) -> DataStream<(S::Key, N)>
    where
        F: FnMut(&T) -> N + Clone + SendFunction + 'static,
    {
        self.accumulate("window-sum", Summed::new(value), |_| Ok(WithKey))
    }

    /// The record of each window for which the closure finds the least; of several, the one that was first.
    pub fn min_by<V: PartialOrd, F>(self, value: F) -> DataStream<T>
    where
        F: Fn(&T) -> V + Clone + SendFunction + 'static,
    {
        self.reduce(move |a, b| if value(&b) < value(&a) { b } else { a })
    }

    /// The record of each window for which the closure finds the most; of several, the one that was first.
    pub fn max_by<V: PartialOrd, F>(self, value: F) -> DataStream<T>
    where
        F: Fn(&T) -> V + Clone + SendFunction + 'static,
    {
        self.reduce(move |a, b| if value(&b) > value(&a) { b } else { a })
    }

    /// Processes all records of each window with a [`ProcessWindowFunction`]. `make` makes it, once per subtask: it is told about
    /// the task and gets the function's states. Windows keep all of their records: `aggregate_process` is cheaper where it
    /// does as well.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use std::time::Duration;
    ///
    /// use flink::{
    ///     Collector, FunctionResult, ProcessWindowFunction, TimeWindow, TumblingEventTimeWindows, ValueState,
    ///     ValueStateDescriptor, WatermarkStrategy, WindowContext, WindowRuntimeContext,
    /// };
    ///
    /// /// Numbers the windows of each key.
    /// struct Number {
    ///     windows: ValueState<u64>,
    /// }
    ///
    /// impl ProcessWindowFunction<u64, u64, TimeWindow> for Number {
    ///     type Out = (u64, u64, i64, u64);
    ///
    ///     fn process(
    ///         &mut self,
    ///         key: &u64,
    ///         context: &WindowContext<'_, TimeWindow>,
    ///         elements: &[u64],
    ///         out: &mut Collector<'_, Self::Out>,
    ///     ) -> FunctionResult {
    ///         let number = self.windows.get().unwrap_or(0);
    ///         self.windows.update(number + 1);
    ///         out.collect((*key, number, context.window().start, elements.len() as u64));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let strategy = WatermarkStrategy::for_monotonous_timestamps()
    ///     .with_timestamp_assigner(|number: &u64, _| *number as i64);
    /// env.from_sequence(1..=10_000)
    ///     .assign_timestamps_and_watermarks(strategy)
    ///     .key_by(|number| number % 3)
    ///     .window(TumblingEventTimeWindows::of(Duration::from_secs(1)))
    ///     .process(|context: &WindowRuntimeContext<'_, u64, TimeWindow>| {
    ///         Ok(Number { windows: context.value_state(&ValueStateDescriptor::new("windows"))? })
    ///     })
    ///     .collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn process<P, M>(self, make: M) -> DataStream<P::Out>
    where
        P: ProcessWindowFunction<T, S::Key, A::Window, Out: Record> + 'static,
        M: Fn(&WindowRuntimeContext<'_, S::Key, A::Window>) -> Result<P, FunctionError> + SendFunction + 'static,
    {
        let merging = self.assigner.merging().is_some();
        self.process_all(move |backend| backend.make(merging, &make))
    }

    /// Processes all records of each window with a closure: it is given key, window and records, and emits what it likes.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// let numbers = env.from_sequence(1..=100).key_by(|number| number % 10).count_window(3);
    /// let medians = numbers.process_with(|key, _, numbers, out| {
    ///     out.collect((*key, numbers[1]));
    ///     Ok(())
    /// });
    /// medians.collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn process_with<P, R>(self, process: P) -> DataStream<R>
    where
        R: Record,
        P: FnMut(&S::Key, &A::Window, &[T], &mut Collector<'_, R>) -> FunctionResult + Clone + SendFunction + 'static,
    {
        let process = ClosureOfWindow::new(process);
        self.process_all(move |_| Ok(process.clone()))
    }

    fn process_all<E, M>(self, make: M) -> DataStream<E::Out>
    where
        E: EmitAll<S::Key, A::Window, T, Out: Record> + 'static,
        M: Fn(&Backend<T, S, A>) -> Result<E, TaskError> + SendFunction + 'static,
    {
        let parts = (self.stream.key().clone(), self.assigner.clone(), self.trigger.clone());
        let settings = self.settings.clone();
        if let Some(merge) = self.sessions() {
            let make = move |backend: &Backend<T, S, A>| Ok(Listed::new(make(backend)?));
            let factory = sessions(parts.0, parts.1, merge, settings, make);
            return add_operator(self.stream, "window-process", factory, self.non_parallel);
        }
        let factory = match self.evictor {
            None => NodeFactory::operator::<T, _>(move |context| {
                let backend = WindowBackend::open(context);
                let contents = Listed::new(make(&backend)?);
                WindowOperator::new(parts.clone(), &settings, backend, contents)
            }),
            Some(evictor) => NodeFactory::operator::<T, _>(move |context| {
                let backend = WindowBackend::open(context);
                let contents = Evicted::new(evictor(), make(&backend)?);
                WindowOperator::new(parts.clone(), &settings, backend, contents)
            }),
        };
        add_operator(self.stream, "window-process", factory, self.non_parallel)
    }

    fn accumulate<X, E, M>(self, name: &str, aggregate: X, make: M) -> DataStream<E::Out>
    where
        X: Accumulate<T> + Send,
        E: EmitValue<S::Key, A::Window, X::Out, Out: Record> + 'static,
        M: Fn(&Backend<T, S, A>) -> Result<E, TaskError> + SendFunction + 'static,
    {
        if let Some(slicing) = self.slicing(E::CLEARS) {
            let (key, settings) = (self.stream.key().clone(), self.settings);
            let factory = if slicing.is_tumbling() {
                slices::<T, S, A, X, E, TumblingStore<_, _>, M>(key, slicing, settings, aggregate, make)
            } else {
                slices::<T, S, A, X, E, SlidingStore<_, _>, M>(key, slicing, settings, aggregate, make)
            };
            return add_operator(self.stream, name, factory, self.non_parallel);
        }
        let parts = (self.stream.key().clone(), self.assigner.clone(), self.trigger.clone());
        let settings = self.settings.clone();
        if let Some(merge) = self.sessions() {
            let make = move |backend: &Backend<T, S, A>| Ok(Accumulated::new(aggregate.clone(), make(backend)?));
            let factory = sessions(parts.0, parts.1, merge, settings, make);
            return add_operator(self.stream, name, factory, self.non_parallel);
        }
        let factory = match self.evictor {
            None => NodeFactory::operator::<T, _>(move |context| {
                let backend = WindowBackend::open(context);
                let contents = Accumulated::new(aggregate.clone(), make(&backend)?);
                WindowOperator::new(parts.clone(), &settings, backend, contents)
            }),
            Some(evictor) => NodeFactory::operator::<T, _>(move |context| {
                let backend = WindowBackend::open(context);
                let all = AccumulateAll::new(aggregate.clone(), make(&backend)?);
                WindowOperator::new(parts.clone(), &settings, backend, Evicted::new(evictor(), all))
            }),
        };
        add_operator(self.stream, name, factory, self.non_parallel)
    }

    /// The slices of the windows, if they can be used. `clears` is whether a function must be told when windows go away, which
    /// slices know only of windows that go away when they fire.
    fn slicing(&self, clears: bool) -> Option<Slicing<A::Window>> {
        let plain = self.default_trigger && self.evictor.is_none() && !(clears && self.settings.allows_lateness());
        self.assigner.slicing().filter(|_| plain)
    }

    /// How the windows merge, if they are sessions of event time that fire at their ends.
    fn sessions(&self) -> Option<MergeWindows<A::Window>> {
        let fires_at_ends = TypeId::of::<G>() == TypeId::of::<EventTimeTrigger>() && self.assigner.is_event_time();
        let plain = fires_at_ends && self.evictor.is_none();
        self.assigner.merging().filter(|_| plain)
    }

    /// [`count`](Self::count), without the key.
    pub(super) fn count_all(self) -> DataStream<u64> {
        self.accumulate("window-count", Counted, |_| Ok(PlainValue))
    }

    /// [`sum`](Self::sum), without the key.
    pub(super) fn sum_all<N: Summable, F>(self, value: F) -> DataStream<N>
    where
        F: FnMut(&T) -> N + Clone + SendFunction + 'static,
    {
        self.accumulate("window-sum", Summed::new(value), |_| Ok(PlainValue))
    }

    /// Has all windows in one subtask.
    pub(super) fn non_parallel(mut self) -> Self {
        self.non_parallel = true;
        self
    }
}

fn add_operator<T: Record, S: KeySelector<T>, R: Record>(
    stream: KeyedStream<T, S>,
    name: &str,
    factory: NodeFactory,
    non_parallel: bool,
) -> DataStream<R> {
    let stream = stream.partitioned().add_operator(name, factory);
    if non_parallel {
        stream.force_non_parallel()
    } else {
        stream
    }
}

/// Checks that windows that merge have a trigger that can.
pub(super) fn check_merging<T, A: WindowAssigner<T>, G: Trigger<T, A::Window>>(
    assigner: &A,
    trigger: &G,
    declared: &Declared,
) {
    if assigner.merging().is_some() && !trigger.can_merge() {
        declared
            .fail(|| "windows that merge, as sessions do, need a trigger that can merge, which this one cannot".into());
    }
}

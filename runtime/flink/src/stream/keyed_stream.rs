//! Streams that are partitioned by a key.

use flink_graph::Partitioner;
use flink_record::{Key, Record};
use flink_worker::{
    EdgeFactory, NodeFactory,
    functions::{FunctionError, KeyedProcessFunction, KeyedRuntimeContext, SendFunction},
    operators::{
        Aggregation, Count, ExtremeRecord, Extremum, Fold, KeyByRef, KeySelector, KeyedAggregate, KeyedFunctionContext,
        KeyedProcess, LocalAggregate, OfKeyed, Reduce, Sum, Summable, WithKey,
    },
    windows::{CountEvictor, CountTrigger, GlobalWindows, PurgingTrigger, WindowAssigner},
};

use super::{DataStream, IntervalJoined, KeyedBroadcastConnectedStream, KeyedConnectedStreams, WindowedStream};
use crate::declared::Declared;

/// A stream of records of type `T` that is partitioned by a key: what [`DataStream::key_by`] makes.
///
/// Aggregations keep a state per key. In [`RuntimeMode::Streaming`](crate::RuntimeMode::Streaming) each record of a key emits the key's new
/// result; in [`RuntimeMode::Batch`](crate::RuntimeMode::Batch) each key's last result is emitted once, when the input has ended,
/// and all but [`fold`](Self::fold) aggregate in two phases: each producer what it has of a key, before that is sent, and then the
/// results of the producers.
#[must_use = "a stream that ends in no sink is an error"]
pub struct KeyedStream<T, S> {
    stream: DataStream<T>,
    key: S,
    /// The stream is partitioned by the key already.
    partitioned: bool,
}

impl<T: Record, S: KeySelector<T>> KeyedStream<T, S> {
    pub(super) fn new(stream: DataStream<T>, key: S) -> Self {
        let partitioned = false;
        Self {
            stream,
            key,
            partitioned,
        }
    }

    /// Of a stream that is partitioned by this key already.
    pub(super) fn reinterpret(stream: DataStream<T>, key: S) -> Self {
        let partitioned = true;
        Self {
            stream,
            key,
            partitioned,
        }
    }

    /// Processes each key's records with a [`KeyedProcessFunction`], with state and timers. `make` makes the function, once per
    /// subtask: it is told about the task and gets the function's states.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use flink::{
    ///     Collector, FunctionResult, KeyedContext, KeyedProcessFunction, KeyedRuntimeContext, OnTimerContext,
    ///     ValueState, ValueStateDescriptor,
    /// };
    ///
    /// /// Emits each key's count when it has had no record for a minute of event time.
    /// struct CountWithTimeout {
    ///     state: ValueState<(u64, i64)>,
    /// }
    ///
    /// impl KeyedProcessFunction<String, (String, i64)> for CountWithTimeout {
    ///     type Out = (String, u64);
    ///
    ///     fn process_element(
    ///         &mut self,
    ///         _: (String, i64),
    ///         context: &mut KeyedContext<'_, String>,
    ///         _: &mut Collector<'_, Self::Out>,
    ///     ) -> FunctionResult {
    ///         let time = context.timestamp().ok_or("a record without a timestamp")?;
    ///         let (count, last) = self.state.get().unwrap_or((0, time));
    ///         context.timer_service().delete_event_time_timer(last + 60_000);
    ///         context.timer_service().register_event_time_timer(time + 60_000);
    ///         self.state.update((count + 1, time));
    ///         Ok(())
    ///     }
    ///
    ///     fn on_timer(
    ///         &mut self,
    ///         _: i64,
    ///         context: &mut OnTimerContext<'_, String>,
    ///         out: &mut Collector<'_, Self::Out>,
    ///     ) -> FunctionResult {
    ///         let (count, _) = self.state.get().unwrap_or_default();
    ///         out.collect((context.current_key().clone(), count));
    ///         self.state.clear();
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let strategy = flink::WatermarkStrategy::for_monotonous_timestamps()
    ///     .with_timestamp_assigner(|visit: &(String, i64), _| visit.1);
    /// let visits = env.from_collection([("ann".to_owned(), 1_000_i64), ("bob".to_owned(), 2_000)]);
    /// let counts = visits.assign_timestamps_and_watermarks(strategy).key_by(|visit| visit.0.clone()).process(
    ///     |context: &KeyedRuntimeContext<'_, String>| {
    ///         Ok(CountWithTimeout { state: context.value_state(&ValueStateDescriptor::new("count"))? })
    ///     },
    /// );
    /// counts.collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn process<F, M>(self, make: M) -> DataStream<F::Out>
    where
        F: KeyedProcessFunction<S::Key, T, Out: Record> + 'static,
        M: Fn(&KeyedRuntimeContext<'_, S::Key>) -> Result<F, FunctionError> + SendFunction + 'static,
    {
        let key = self.key.clone();
        let factory = NodeFactory::operator::<T, KeyedProcess<S::Key, S, F>>(move |context| {
            Ok(KeyedProcess::new(
                key.clone(),
                KeyedFunctionContext::open(context, &make)?,
            ))
        });
        self.partitioned().add_operator("process", factory)
    }

    /// Groups each key's records into windows: see [`WindowedStream`] for what can be made of these.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use std::time::Duration;
    ///
    /// use flink::{TumblingEventTimeWindows, WatermarkStrategy};
    ///
    /// // Visits per user and hour.
    /// let strategy = WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_secs(10))
    ///     .with_timestamp_assigner(|visit: &(String, i64), _| visit.1);
    /// let visits = env.from_collection([("ann".to_owned(), 1_000_i64), ("bob".to_owned(), 2_000)]);
    /// visits
    ///     .assign_timestamps_and_watermarks(strategy)
    ///     .key_by(|visit| visit.0.clone())
    ///     .window(TumblingEventTimeWindows::of(Duration::from_secs(3600)))
    ///     .count()
    ///     .collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn window<A: WindowAssigner<T>>(self, assigner: A) -> WindowedStream<T, S, A, A::DefaultTrigger>
    where
        T: Clone,
    {
        WindowedStream::new(self, assigner)
    }

    /// Groups each key's records into windows of so many, one after the other. A window that does not fill up emits nothing.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// // The sum of each three numbers.
    /// env.from_sequence(1..=100).key_by(|number| number % 10).count_window(3).sum(|number| *number).collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn count_window(self, size: u64) -> WindowedStream<T, S, GlobalWindows, PurgingTrigger<CountTrigger>>
    where
        T: Clone,
    {
        self.check_count("the size of a count window", size);
        let trigger = PurgingTrigger::of(CountTrigger::of(size));
        self.window(GlobalWindows::create()).trigger(trigger)
    }

    /// At each `slide`th record of a key, groups its last `size` records into a window. Windows keep all records that they
    /// have.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// // The sum of the last five numbers, at each second one.
    /// env.from_sequence(1..=100).key_by(|number| number % 10).count_window_sliding(5, 2).sum(|number| *number).collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn count_window_sliding(self, size: u64, slide: u64) -> WindowedStream<T, S, GlobalWindows, CountTrigger>
    where
        T: Clone,
    {
        self.check_count("the size of a count window", size);
        self.check_count("the slide of a count window", slide);
        self.window(GlobalWindows::create())
            .trigger(CountTrigger::of(slide))
            .evictor(CountEvictor::of(size))
    }

    fn check_count(&self, what: &str, count: u64) {
        if count == 0 {
            self.declared().fail(|| format!("{what} must be at least 1"));
        }
    }

    /// Connects the stream with another that is keyed by keys of the same type: one operator sees all that both have of a key.
    pub fn connect<U: Record, R: KeySelector<U, Key = S::Key>>(
        self,
        other: KeyedStream<U, R>,
    ) -> KeyedConnectedStreams<T, S, U, R> {
        KeyedConnectedStreams {
            first: self,
            second: other,
        }
    }

    /// Joins the stream with another by key and time: see [`IntervalJoined`].
    pub fn interval_join<U: Record, R: KeySelector<U, Key = S::Key>>(
        self,
        other: KeyedStream<U, R>,
    ) -> IntervalJoined<T, S, U, R> {
        IntervalJoined::new(self, other)
    }

    /// Connects the stream with a broadcast, of which every subtask is given all records.
    pub fn connect_broadcast<U: Record + Clone>(
        self,
        broadcast: DataStream<U>,
    ) -> KeyedBroadcastConnectedStream<T, S, U> {
        KeyedBroadcastConnectedStream {
            stream: self,
            broadcast,
        }
    }

    /// Combines each key's records, the result so far with the next record. The closure must be associative, as in Flink:
    /// what is combined first may be some of the records that follow each other.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// // The largest number of each remainder.
    /// env.from_sequence(1..=100).key_by(|number| number % 10).reduce(Ord::max).print();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn reduce<F>(self, reduce: F) -> DataStream<T>
    where
        T: Clone,
        F: FnMut(T, T) -> T + Clone + SendFunction + 'static,
    {
        let reduce = Reduce::new(reduce);
        self.aggregate_records("reduce", reduce)
    }

    /// Counts each key's records.
    pub fn count(self) -> DataStream<(S::Key, u64)> {
        self.aggregate_values("count", Count::default(), Sum::new(value_of))
    }

    /// Sums up what the closure finds in each key's records. A sum that leaves the range of its type fails the job; so does, in
    /// [`RuntimeMode::Batch`](crate::RuntimeMode::Batch), the sum of what one producer has of a key.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// let sales = env.from_collection([(1_u32, 250_u64), (2, 100), (1, 50)]);
    /// sales.key_by(|sale| sale.0).sum(|sale| sale.1).collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn sum<N: Summable, F>(self, value: F) -> DataStream<(S::Key, N)>
    where
        F: FnMut(&T) -> N + Clone + SendFunction + 'static,
    {
        self.aggregate_values("sum", Sum::new(value), Sum::new(value_of))
    }

    /// The least of what the closure finds in each key's records. What does not compare, as NaN, replaces nothing.
    pub fn min<N: Record + PartialOrd + Clone, F>(self, value: F) -> DataStream<(S::Key, N)>
    where
        F: FnMut(&T) -> N + Clone + SendFunction + 'static,
    {
        self.aggregate_values("min", Extremum::least(value), Extremum::least(value_of))
    }

    /// The greatest of what the closure finds in each key's records. What does not compare, as NaN, replaces nothing.
    pub fn max<N: Record + PartialOrd + Clone, F>(self, value: F) -> DataStream<(S::Key, N)>
    where
        F: FnMut(&T) -> N + Clone + SendFunction + 'static,
    {
        self.aggregate_values("max", Extremum::greatest(value), Extremum::greatest(value_of))
    }

    /// The record of each key in which the closure finds the least value, the first of several.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// let offers = env.from_collection([("tea".to_owned(), 3.5), ("tea".to_owned(), 2.9), ("cake".to_owned(), 4.0)]);
    /// offers.key_by_ref(|offer| &offer.0).min_by(|offer| offer.1).collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn min_by<N: PartialOrd + 'static, F>(self, value: F) -> DataStream<T>
    where
        T: Clone,
        F: FnMut(&T) -> N + Clone + SendFunction + 'static,
    {
        self.aggregate_records("min_by", ExtremeRecord::least(value))
    }

    /// The record of each key in which the closure finds the greatest value, the first of several.
    pub fn max_by<N: PartialOrd + 'static, F>(self, value: F) -> DataStream<T>
    where
        T: Clone,
        F: FnMut(&T) -> N + Clone + SendFunction + 'static,
    {
        self.aggregate_records("max_by", ExtremeRecord::greatest(value))
    }

    /// Adds each key's records, one after another, to a value that starts as a clone of `initial`.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// // Count and sum of each remainder in one pass.
    /// let numbers = env.from_sequence(1..=100).key_by(|number| number % 10);
    /// let totals = numbers.fold((0_u64, 0_u64), |(count, sum), number| {
    ///     *count += 1;
    ///     *sum += number;
    /// });
    /// totals.collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn fold<A, F>(self, initial: A, add: F) -> DataStream<(S::Key, A)>
    where
        A: Record + Clone,
        F: FnMut(&mut A, T) + Clone + SendFunction + 'static,
    {
        self.aggregate("fold", Fold::new(initial, add))
    }

    /// Aggregates records to records of their own kind, which are aggregated alike. They stay with the key of the records
    /// that they were made of.
    fn aggregate_records<A>(self, name: &str, aggregation: A) -> DataStream<T>
    where
        A: Aggregation<T, Key = S::Key, State: 'static, Out = T> + Clone + Send + 'static,
    {
        match self.aggregate_locally(name, &WithKey(aggregation.clone())) {
            Ok(local) => by_first(local).aggregate(name, OfKeyed(aggregation)),
            Err(this) => this.aggregate(name, aggregation),
        }
    }

    /// Aggregates records to a value per key; `merge` does so with such values.
    fn aggregate_values<N: Record, A, M>(self, name: &str, aggregation: A, merge: M) -> DataStream<(S::Key, N)>
    where
        A: Aggregation<T, Key = S::Key, State: 'static, Out = (S::Key, N)> + Clone + Send + 'static,
        M: Aggregation<(S::Key, N), Key = S::Key, State: 'static, Out = (S::Key, N)> + Clone + Send + 'static,
    {
        match self.aggregate_locally(name, &aggregation) {
            Ok(local) => by_first(local).aggregate(name, merge),
            Err(this) => this.aggregate(name, aggregation),
        }
    }

    /// Aggregates what each producer has of a key, before it is sent; gives the stream back where that is of no use: where
    /// each record emits a result, or stays in its task anyway.
    fn aggregate_locally<A>(self, name: &str, aggregation: &A) -> Result<DataStream<A::Out>, Self>
    where
        A: Aggregation<T, Key = S::Key, State: 'static, Out: Record> + Clone + Send + 'static,
    {
        if self.partitioned || !self.declared().emits_at_the_end() {
            return Err(self);
        }
        let Self { stream, key, .. } = self;
        Ok(stream.at_producers(&format!("local {name}"), || {
            let (key, aggregation) = (key.clone(), aggregation.clone());
            NodeFactory::operator::<T, LocalAggregate<S, A, S::Key, A::State>>(move |_| {
                Ok(LocalAggregate::new(key.clone(), aggregation.clone()))
            })
        }))
    }

    fn aggregate<A>(self, name: &str, aggregation: A) -> DataStream<A::Out>
    where
        A: Aggregation<T, Key = S::Key, State: 'static, Out: Record> + Clone + Send + 'static,
    {
        let key = self.key.clone();
        let factory = NodeFactory::operator::<T, KeyedAggregate<T, S, A>>(move |context| {
            let emission = context.config.emission;
            let groups = context.key_groups();
            Ok(KeyedAggregate::new(key.clone(), aggregation.clone(), emission, groups))
        });
        self.partitioned().add_operator(name, factory)
    }

    pub(super) fn declared(&self) -> &Declared {
        self.stream.declared()
    }

    pub(super) fn key(&self) -> &S {
        &self.key
    }

    /// The stream, partitioned by the key.
    pub(super) fn partitioned(self) -> DataStream<T> {
        let key = self.key;
        if self.partitioned {
            return self.stream.forward();
        }
        self.stream
            .partition_as(Partitioner::Hash, move || EdgeFactory::keyed::<T, S>(key.clone()))
    }
}

/// Results with their keys, by these.
fn by_first<K: Key, N: Record>(results: DataStream<(K, N)>) -> KeyedStream<(K, N), impl KeySelector<(K, N), Key = K>> {
    KeyedStream::new(results, KeyByRef::new(first_of::<K, N>))
}

fn first_of<K, N>(result: &(K, N)) -> &K {
    &result.0
}

fn value_of<K, N: Clone>(result: &(K, N)) -> N {
    result.1.clone()
}

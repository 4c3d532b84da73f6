//! Streams of records.

use std::{any::type_name, fmt::Debug, marker::PhantomData, rc::Rc, sync::Arc, time::Duration};

use flink_connectors::{
    CollectSink, DiscardingSink, PrintSink,
    sink::{Sink, sink_factory},
};
use flink_graph::{ChainingStrategy, OperatorKind, Partitioner};
use flink_record::{Key, Record};
use flink_worker::{
    EdgeFactory, NodeFactory, Operator, WatermarkStrategy,
    functions::{
        FunctionError, FunctionResult, OutputTag, ProcessContext, ProcessFunction, RuntimeContext, SendFunction,
    },
    operators::{
        Collector, Filter, FlatMap, FlatMapWith, KeyBy, KeyByRef, Map, NullKey, Process, ProcessWith,
        TimestampsAndWatermarks, TryFlatMap, TryMap,
    },
    windows::{CountTrigger, GlobalWindows, PurgingTrigger, WindowAssigner},
};

use super::{
    AllWindowedStream, BroadcastConnectedStream, CoGroupedStreams, ConnectedStreams, DataStreamSink, JoinedStreams,
    KeyedStream, Printable, WindowedStream, operator_settings,
};
use crate::declared::{Declared, Upstream};

/// A stream of records of type `T`.
///
/// Each transformation takes the stream and returns the next one. To use a stream twice, clone it: then its records are
/// cloned, too. Settings such as [`name`](Self::name) and [`set_parallelism`](Self::set_parallelism) are those of the operator
/// that was declared last.
///
/// Closures are cloned for each subtask; what they capture is not shared between subtasks. One that may fail is given to
/// [`try_map`](Self::try_map) or [`try_flat_map`](Self::try_flat_map): an error fails the job and is shown to who runs it, as is a panic.
#[must_use = "a stream that ends in no sink is an error"]
pub struct DataStream<T> {
    pub(super) declared: Declared,
    upstreams: Vec<Upstream>,
    /// The operator that settings are for; `None` where there is none: after a union or a partitioning.
    operator: Option<u32>,
    records: PhantomData<fn() -> T>,
}

impl<T: Record> DataStream<T> {
    pub(crate) fn of_node(declared: Declared, node: u32) -> Self {
        let upstream = Upstream {
            node,
            side_output: None,
            partitioner: None,
            edge: Rc::new(EdgeFactory::of::<T>),
        };
        Self {
            declared,
            upstreams: vec![upstream],
            operator: Some(node),
            records: PhantomData,
        }
    }

    /// Turns each record into another.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// env.from_sequence(1..=3).map(|number| number * number).print();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn map<R: Record, F>(self, map: F) -> DataStream<R>
    where
        F: FnMut(T) -> R + Clone + SendFunction + 'static,
    {
        self.transform("map", Map(map))
    }

    /// Turns each record into another; an error fails the job.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// let texts = env.from_collection(["1", "2"].map(String::from));
    /// texts.try_map(|text| text.parse::<u64>()).discard();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn try_map<R: Record, E, F>(self, map: F) -> DataStream<R>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
        F: FnMut(T) -> Result<R, E> + Clone + SendFunction + 'static,
    {
        self.transform("map", TryMap(map))
    }

    /// Keeps the records that fulfil a condition.
    pub fn filter<F>(self, keep: F) -> Self
    where
        F: FnMut(&T) -> bool + Clone + SendFunction + 'static,
    {
        self.transform("filter", Filter(keep))
    }

    /// Turns each record into as many as an iterator yields.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// env.from_sequence(1..=3).flat_map(|number| 0..number).discard();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn flat_map<I, F>(self, map: F) -> DataStream<I::Item>
    where
        I: IntoIterator<Item: Record> + 'static,
        F: FnMut(T) -> I + Clone + SendFunction + 'static,
    {
        self.transform("flat_map", FlatMap(map))
    }

    /// Turns each record into as many as an iterator yields; an error fails the job.
    pub fn try_flat_map<I, E, F>(self, map: F) -> DataStream<I::Item>
    where
        I: IntoIterator<Item: Record> + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
        F: FnMut(T) -> Result<I, E> + Clone + SendFunction + 'static,
    {
        self.transform("flat_map", TryFlatMap(map))
    }

    /// Turns each record into as many as the closure hands to the collector. Unlike an iterator that is returned, what is
    /// collected may be made from borrowed parts of the record, and nothing needs to be kept in between.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// let lines = env.from_collection(["to be or not to be".to_owned()]);
    /// lines.flat_map_with(|line, out| out.extend(line.split(' ').map(str::to_owned))).print();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn flat_map_with<R: Record, F>(self, map: F) -> DataStream<R>
    where
        F: FnMut(T, &mut Collector<'_, R>) + Clone + SendFunction + 'static,
    {
        self.transform("flat_map", FlatMapWith::new(map))
    }

    /// Partitions the stream by a key: all records of a key go to the same subtask of the next operator, in the order in which each
    /// of their producers sent them. The closure must find the same key whenever it is given the same record.
    ///
    /// A key that lies in the record as it is need not be copied for each record: see [`key_by_ref`](Self::key_by_ref).
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// env.from_sequence(1..=100).key_by(|number| number % 10).count().collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn key_by<K: Key, F>(self, key: F) -> KeyedStream<T, KeyBy<F, K>>
    where
        F: Fn(&T) -> K + Clone + SendFunction + 'static,
    {
        KeyedStream::new(self, KeyBy::new(key))
    }

    /// As [`key_by`](Self::key_by), for a key that lies in the record: it is copied once per key, not once per record.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// let words = env.from_collection(["to", "be", "or", "not", "to", "be"].map(String::from));
    /// words.key_by_ref(|word| word).count().collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn key_by_ref<K: Key, F>(self, key: F) -> KeyedStream<T, KeyByRef<F, K>>
    where
        F: Fn(&T) -> &K + Clone + SendFunction + 'static,
    {
        KeyedStream::new(self, KeyByRef::new(key))
    }

    /// Partitions the stream by a key by which it is partitioned already: records stay in their subtasks. The key must be that
    /// of an earlier [`key_by`](Self::key_by), from which on neither key nor parallelism has changed; a record that is in the wrong
    /// subtask fails the job where state is kept for it.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// let counts = env.from_sequence(1..=100).key_by(|number| number % 10).count();
    /// counts.reinterpret_as_keyed(|count| count.0).reduce(|a, b| if a.1 > b.1 { a } else { b }).discard();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn reinterpret_as_keyed<K: Key, F>(self, key: F) -> KeyedStream<T, KeyBy<F, K>>
    where
        F: Fn(&T) -> K + Clone + SendFunction + 'static,
    {
        KeyedStream::reinterpret(self, KeyBy::new(key))
    }

    /// Processes each record with a [`ProcessFunction`], which `make` makes once per subtask.
    pub fn process<F, M>(self, make: M) -> DataStream<F::Out>
    where
        F: ProcessFunction<T, Out: Record> + 'static,
        M: Fn(&RuntimeContext) -> Result<F, FunctionError> + SendFunction + 'static,
    {
        let factory = NodeFactory::operator::<T, Process<F>>(move |context| {
            Ok(Process::new(RuntimeContext::make(context, &make)?, context.clock))
        });
        self.add_operator("process", factory)
    }

    /// Processes each record with a closure, which is told the record's timestamp and the time, and may emit to side outputs.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use flink::OutputTag;
    ///
    /// let odd = OutputTag::<u64>::new("odd");
    /// let tag = odd.clone();
    /// let even = env.from_sequence(1..=10).process_with(move |number, _, out| {
    ///     if number % 2 == 0 {
    ///         out.collect(number);
    ///     } else {
    ///         out.output(&tag, number);
    ///     }
    ///     Ok(())
    /// });
    /// even.get_side_output(&odd).map(|number| format!("odd: {number}")).print();
    /// even.print();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn process_with<R: Record, F>(self, process: F) -> DataStream<R>
    where
        F: FnMut(T, &mut ProcessContext<'_>, &mut Collector<'_, R>) -> FunctionResult + Clone + SendFunction + 'static,
    {
        self.process(move |_| Ok(ProcessWith::new(process.clone())))
    }

    /// What the operator that was declared last emits to a side output: see [`Collector::output`]. Consumers must expect the
    /// type that it emits. To use it twice, take it once and clone it.
    pub fn get_side_output<S: Record>(&self, tag: &OutputTag<S>) -> DataStream<S> {
        let Some((declared, node)) = self.operator("get_side_output") else {
            return DataStream {
                declared: self.declared.clone(),
                upstreams: Vec::new(),
                operator: None,
                records: PhantomData,
            };
        };
        let mut stream = DataStream::of_node(declared.clone(), node);
        let name = tag.name().into();
        declared.take_side_output(node, &name);
        for upstream in &mut stream.upstreams {
            upstream.side_output = Some(Arc::clone(&name));
        }
        // Settings would be those of the operator, whose stream this is not.
        stream.operator = None;
        stream
    }

    /// Connects the stream with another, of any type: one operator consumes both.
    pub fn connect<U: Record>(self, other: DataStream<U>) -> ConnectedStreams<T, U> {
        ConnectedStreams {
            first: self,
            second: other,
        }
    }

    /// Connects the stream with a broadcast, of which every subtask is given all records: rules, say, by which this stream's
    /// records are processed.
    pub fn connect_broadcast<U: Record + Clone>(self, broadcast: DataStream<U>) -> BroadcastConnectedStream<T, U> {
        BroadcastConnectedStream {
            stream: self,
            broadcast,
        }
    }

    /// Joins the records of two streams that have the same key and are in the same window:
    /// `a.join(b).where_key(..).equal_to(..).window(..).apply(..)`. See [`WindowedPair::apply`](crate::WindowedPair::apply).
    pub fn join<U: Record>(self, other: DataStream<U>) -> JoinedStreams<T, U> {
        JoinedStreams::new(self, other)
    }

    /// Groups the records of two streams that have the same key and are in the same window, with those that have no
    /// partner: `a.co_group(b).where_key(..).equal_to(..).window(..).apply(..)`.
    pub fn co_group<U: Record>(self, other: DataStream<U>) -> CoGroupedStreams<T, U> {
        CoGroupedStreams::new(self, other)
    }

    /// Groups all records into windows, in one subtask. With a key there is [`KeyedStream::window`], which is spread over many.
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
    ///     .window_all(TumblingEventTimeWindows::of(Duration::from_secs(1)))
    ///     .sum(|number| *number)
    ///     .print();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn window_all<A: WindowAssigner<T>>(self, assigner: A) -> AllWindowedStream<T, A, A::DefaultTrigger>
    where
        T: Clone,
    {
        let windows = WindowedStream::new(KeyedStream::new(self, NullKey), assigner);
        AllWindowedStream(windows.non_parallel())
    }

    /// Groups all records into windows of so many, one after the other, in one subtask. A window that does not fill up emits
    /// nothing.
    pub fn count_window_all(self, size: u64) -> AllWindowedStream<T, GlobalWindows, PurgingTrigger<CountTrigger>>
    where
        T: Clone,
    {
        let windows = KeyedStream::new(self, NullKey).count_window(size);
        AllWindowedStream(windows.non_parallel())
    }

    /// At each `slide`th record, groups the last `size` records into a window, in one subtask.
    pub fn count_window_all_sliding(self, size: u64, slide: u64) -> AllWindowedStream<T, GlobalWindows, CountTrigger>
    where
        T: Clone,
    {
        let windows = KeyedStream::new(self, NullKey).count_window_sliding(size, slide);
        AllWindowedStream(windows.non_parallel())
    }

    /// The records of this stream and of another of the same type, in no particular order.
    pub fn union(mut self, other: Self) -> Self {
        self.upstreams.extend(other.upstreams);
        self.operator = None;
        self
    }

    pub(super) fn declared(&self) -> &Declared {
        &self.declared
    }

    /// Gives the operator one subtask, for good.
    pub(super) fn force_non_parallel(self) -> Self {
        if let Some(node) = self.operator {
            self.declared.force_non_parallel(node);
        }
        self
    }

    /// Gives the records timestamps, and the stream watermarks, from here on: what event time windows and timers go by.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use std::time::Duration;
    ///
    /// use flink::WatermarkStrategy;
    ///
    /// // (milliseconds since 1970, value), at most five seconds out of order.
    /// let readings = env.from_collection([(1_000_i64, 20.5), (3_000, 21.0), (2_000, 20.7)]);
    /// let strategy = WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_secs(5))
    ///     .with_timestamp_assigner(|reading: &(i64, f64), _| reading.0);
    /// readings.assign_timestamps_and_watermarks(strategy).discard();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn assign_timestamps_and_watermarks(self, strategy: WatermarkStrategy<T>) -> Self {
        let factory = NodeFactory::operator::<T, TimestampsAndWatermarks<T>>(move |context| {
            Ok(TimestampsAndWatermarks::new(&strategy, context))
        });
        self.add_operator("timestamps", factory)
    }

    /// Ends the stream in a sink.
    ///
    /// ```no_run
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use flink::FileSink;
    ///
    /// env.from_sequence(1..=100).sink_to(FileSink::new("/tmp/numbers")).name("numbers");
    /// # Ok(())
    /// # }
    /// ```
    pub fn sink_to(self, sink: impl Sink<T>) -> DataStreamSink {
        let name = sink.name();
        let factory = sink_factory(sink);
        let node = self
            .declared
            .add_node(OperatorKind::Sink, name, &[type_name::<T>()], None, factory);
        self.connect_to(node, 0);
        DataStreamSink::new(self.declared, node)
    }

    /// Prints each record, as [`Display`](std::fmt::Display) writes it, on a line of the standard output of who runs the job: of this program, or
    /// of the `flinkctl` that waits for the job. Of a detached job they can be seen with `flinkctl job logs`.
    pub fn print(self) -> DataStreamSink
    where
        T: Printable,
    {
        self.sink_to(PrintSink)
    }

    /// As [`print`](Self::print), with records as [`Debug`] writes them.
    pub fn collect(self) -> DataStreamSink
    where
        T: Debug,
    {
        self.sink_to(CollectSink)
    }

    /// Forgets the records.
    pub fn discard(self) -> DataStreamSink {
        self.sink_to(DiscardingSink)
    }

    /// The number of subtasks of the operator that the stream comes from, as set so far; of a union, the highest.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// let numbers = env.from_sequence(1..=100).set_parallelism(1);
    /// // In the same task, however parallel the job is.
    /// let parallelism = numbers.parallelism();
    /// numbers.filter(|number| number % 2 == 0).set_parallelism(parallelism).print();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn parallelism(&self) -> u32 {
        let each = self.upstreams.iter();
        let each = each.map(|upstream| self.declared.node_parallelism(upstream.node));
        each.max().unwrap_or_else(|| self.declared.parallelism())
    }

    /// Begins a new task with this operator, even where it could run in one with the operator before it.
    pub fn start_new_chain(self) -> Self {
        self.configure("start_new_chain", |node| node.chaining = ChainingStrategy::Head)
    }

    /// Sets how long this operator's records may wait in a buffer that does not fill up; see
    /// [`StreamExecutionEnvironment::set_buffer_timeout`](crate::StreamExecutionEnvironment::set_buffer_timeout).
    pub fn set_buffer_timeout(self, timeout: Duration) -> Self {
        if let Some((declared, node)) = self.operator("set_buffer_timeout") {
            declared.factory(node, |factory| factory.set_buffer_timeout(timeout));
        }
        self
    }

    operator_settings!();

    /// The operator that a setting is for.
    fn operator(&self, setting: &str) -> Option<(&Declared, u32)> {
        if self.operator.is_none() {
            self.declared.fail(|| {
                format!("`{setting}` needs an operator before it: a union or a partitioning (rebalance, ...) is none")
            });
        }
        self.operator.map(|node| (&self.declared, node))
    }

    /// Spreads the records over the next operator so.
    pub(super) fn partition_as(
        mut self,
        partitioner: Partitioner,
        edge: impl Fn() -> EdgeFactory + Clone + 'static,
    ) -> Self {
        for upstream in &mut self.upstreams {
            upstream.partitioner = Some(partitioner);
            upstream.edge = Rc::new(edge.clone());
        }
        self.operator = None;
        self
    }

    /// Adds an operator that is cloned for each subtask.
    fn transform<P>(self, name: &str, operator: P) -> DataStream<P::Out>
    where
        P: Operator<T, Out: Record> + Clone + Send + 'static,
    {
        let factory = NodeFactory::operator::<T, P>(move |_| Ok(operator.clone()));
        self.add_operator(name, factory)
    }

    /// Adds an operator that consumes this stream.
    pub(super) fn add_operator<R: Record>(self, name: &str, factory: NodeFactory) -> DataStream<R> {
        let (input, output) = ([type_name::<T>()], Some(type_name::<R>()));
        let node = self
            .declared
            .add_node(OperatorKind::Operator, name.to_owned(), &input, output, factory);
        self.connect_to(node, 0);
        DataStream::of_node(self.declared, node)
    }

    /// Adds an operator to each of the operators that this stream comes from, as parallel as that one and chained to it where
    /// possible, however the stream was to be partitioned.
    pub(super) fn at_producers<R: Record>(self, name: &str, make: impl Fn() -> NodeFactory) -> DataStream<R> {
        let Self {
            declared, upstreams, ..
        } = self;
        let each = upstreams.into_iter().flat_map(|upstream| {
            let source = upstream.node;
            let producer = Self {
                declared: declared.clone(),
                upstreams: vec![Upstream {
                    partitioner: None,
                    edge: Rc::new(EdgeFactory::of::<T>),
                    ..upstream
                }],
                operator: None,
                records: PhantomData,
            };
            let result = producer.add_operator::<R>(name, make());
            if let Some(node) = result.operator {
                declared.set_parallelism_of(node, source);
            }
            result.upstreams
        });
        let upstreams = each.collect();
        DataStream {
            declared,
            upstreams,
            operator: None,
            records: PhantomData,
        }
    }

    /// Connects the stream to an input of a node.
    pub(super) fn connect_to(&self, node: u32, input: u32) {
        for upstream in &self.upstreams {
            self.declared.add_edge(upstream, node, input);
        }
    }
}

impl<T: Record + Clone> Clone for DataStream<T> {
    /// The same stream once more: each consumer gets all of its records.
    fn clone(&self) -> Self {
        for upstream in &self.upstreams {
            let side_output = upstream.side_output.clone();
            self.declared
                .factory(upstream.node, |factory| factory.clone_records::<T>(side_output));
        }
        Self {
            declared: self.declared.clone(),
            upstreams: self.upstreams.clone(),
            operator: self.operator,
            records: PhantomData,
        }
    }
}

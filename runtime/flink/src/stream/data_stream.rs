//! Streams of records.

use std::{
    any::type_name,
    fmt::{Debug, Display},
    marker::PhantomData,
    time::Duration,
};

use flink_connectors::{CollectSink, DiscardingSink, PrintSink, Sink};
use flink_exchange::{Key, Record};
use flink_graph::{ChainingStrategy, OperatorKind, Partitioner};
use flink_worker::{
    EdgeFactory, NodeFactory, Operator,
    operators::{Collector, Filter, FlatMap, FlatMapWith, KeyBy, KeyByRef, Map, TryFlatMap, TryMap},
};

use super::{DataStreamSink, KeyedStream, operator_settings};
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
    declared: Declared,
    upstreams: Vec<Upstream>,
    /// The operator that settings are for; `None` where there is none: after a union or a partitioning.
    operator: Option<u32>,
    records: PhantomData<fn() -> T>,
}

impl<T: Record> DataStream<T> {
    pub(crate) fn of_node(declared: Declared, node: u32) -> Self {
        let upstream = Upstream {
            node,
            partitioner: None,
            edge: EdgeFactory::of::<T>,
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
        F: FnMut(T) -> R + Clone + Send + 'static,
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
        F: FnMut(T) -> Result<R, E> + Clone + Send + 'static,
    {
        self.transform("map", TryMap(map))
    }

    /// Keeps the records that fulfil a condition.
    pub fn filter<F>(self, keep: F) -> Self
    where
        F: FnMut(&T) -> bool + Clone + Send + 'static,
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
        F: FnMut(T) -> I + Clone + Send + 'static,
    {
        self.transform("flat_map", FlatMap(map))
    }

    /// Turns each record into as many as an iterator yields; an error fails the job.
    pub fn try_flat_map<I, E, F>(self, map: F) -> DataStream<I::Item>
    where
        I: IntoIterator<Item: Record> + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
        F: FnMut(T) -> Result<I, E> + Clone + Send + 'static,
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
        F: FnMut(T, &mut Collector<'_, R>) + Clone + Send + 'static,
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
        F: Fn(&T) -> K + Clone + Send + 'static,
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
        F: Fn(&T) -> &K + Clone + Send + 'static,
    {
        KeyedStream::new(self, KeyByRef::new(key))
    }

    /// The records of this stream and of another of the same type, in no particular order.
    pub fn union(mut self, other: Self) -> Self {
        self.upstreams.extend(other.upstreams);
        self.operator = None;
        self
    }

    /// Spreads the records evenly, round robin, over the subtasks of the next operator.
    pub fn rebalance(self) -> Self {
        self.partition(Partitioner::Rebalance)
    }

    /// Spreads the records round robin over those subtasks of the next operator that are next to the producer: as
    /// [`rebalance`](Self::rebalance), with fewer channels.
    pub fn rescale(self) -> Self {
        self.partition(Partitioner::Rescale)
    }

    /// Sends records from each subtask to the subtask with the same index of the next operator, which must have the same
    /// parallelism. The default where it has.
    pub fn forward(self) -> Self {
        self.partition(Partitioner::Forward)
    }

    /// Sends all records to the first subtask of the next operator.
    pub fn global(self) -> Self {
        self.partition(Partitioner::Global)
    }

    /// Sends each record to every subtask of the next operator.
    pub fn broadcast(mut self) -> Self
    where
        T: Clone,
    {
        self.upstreams
            .iter_mut()
            .for_each(|upstream| upstream.edge = EdgeFactory::broadcast::<T>);
        self.partition_as(Partitioner::Broadcast)
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
        let factory = sink.into_factory();
        let node = self
            .declared
            .add_node(OperatorKind::Sink, name, Some(type_name::<T>()), None, factory);
        self.connect(node);
        DataStreamSink::new(self.declared, node)
    }

    /// Prints each record, as [`Display`] writes it, on a line of the standard output of who runs the job: of this program, or
    /// of the `flinkctl` that waits for the job. Of a detached job they can be seen with `flinkctl job logs`.
    pub fn print(self) -> DataStreamSink
    where
        T: Display,
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

    fn partition(mut self, partitioner: Partitioner) -> Self {
        self.upstreams
            .iter_mut()
            .for_each(|upstream| upstream.edge = EdgeFactory::of::<T>);
        self.partition_as(partitioner)
    }

    fn partition_as(mut self, partitioner: Partitioner) -> Self {
        self.upstreams
            .iter_mut()
            .for_each(|upstream| upstream.partitioner = Some(partitioner));
        self.operator = None;
        self
    }

    /// Adds an operator that is cloned for each subtask.
    fn transform<P>(self, name: &str, operator: P) -> DataStream<P::Out>
    where
        P: Operator<T, Out: Record> + Clone + Send + 'static,
    {
        let factory = NodeFactory::operator::<T, P>(move |_| Ok(operator.clone()));
        let node = self.add_operator::<P::Out>(name, factory);
        self.connect(node);
        DataStream::of_node(self.declared, node)
    }

    /// Adds an operator that is connected to nothing yet.
    pub(super) fn add_operator<R>(&self, name: &str, factory: NodeFactory) -> u32 {
        let (input, output) = (Some(type_name::<T>()), Some(type_name::<R>()));
        self.declared
            .add_node(OperatorKind::Operator, name.to_owned(), input, output, factory)
    }

    fn connect(&self, node: u32) {
        for upstream in &self.upstreams {
            self.declared.add_edge(upstream, node, (upstream.edge)());
        }
    }

    /// Connects with edges that partition by key.
    pub(super) fn connect_keyed(self, node: u32, edge: impl Fn() -> EdgeFactory) -> Declared {
        for upstream in &self.upstreams {
            let upstream = Upstream {
                partitioner: Some(Partitioner::Hash),
                ..*upstream
            };
            self.declared.add_edge(&upstream, node, edge());
        }
        self.declared
    }

    pub(super) fn declared(&self) -> &Declared {
        &self.declared
    }
}

impl<T: Record + Clone> Clone for DataStream<T> {
    /// The same stream once more: each consumer gets all of its records.
    fn clone(&self) -> Self {
        for upstream in &self.upstreams {
            self.declared.factory(upstream.node, NodeFactory::clone_records::<T>);
        }
        Self {
            declared: self.declared.clone(),
            upstreams: self.upstreams.clone(),
            operator: self.operator,
            records: PhantomData,
        }
    }
}

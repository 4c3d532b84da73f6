//! Two streams that one operator consumes.

use std::any::type_name;

use flink_graph::OperatorKind;
use flink_record::{Key, Record};
use flink_worker::{
    Either, NodeFactory, Operator,
    functions::{
        BroadcastProcessFunction, CoProcessFunction, FunctionError, KeyedBroadcastProcessFunction,
        KeyedCoProcessFunction, KeyedRuntimeContext, RuntimeContext, SendFunction,
    },
    operators::{
        BroadcastProcess, CoFlatMap, CoMap, CoProcess, Collector, KeyBy, KeySelector, KeyedBroadcastProcess,
        KeyedCoProcess, KeyedFunctionContext,
    },
};

use super::{DataStream, KeyedStream};

/// Adds an operator that consumes two streams.
pub(super) fn add_operator<A: Record, B: Record, R: Record>(
    first: DataStream<A>,
    second: &DataStream<B>,
    name: &str,
    factory: NodeFactory,
) -> DataStream<R> {
    let inputs = [type_name::<A>(), type_name::<B>()];
    let declared = first.declared().clone();
    let node = declared.add_node(
        OperatorKind::Operator,
        name.to_owned(),
        &inputs,
        Some(type_name::<R>()),
        factory,
    );
    first.connect_to(node, 0);
    second.connect_to(node, 1);
    DataStream::of_node(declared, node)
}

/// Two streams, of different types perhaps, whose records one operator sees in the order in which they come: what
/// [`DataStream::connect`] makes. Between records of the two there is no other order.
#[must_use = "streams that end in no sink are an error"]
pub struct ConnectedStreams<A, B> {
    pub(super) first: DataStream<A>,
    pub(super) second: DataStream<B>,
}

impl<A: Record, B: Record> ConnectedStreams<A, B> {
    /// Turns each record of either stream into another.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// let numbers = env.from_sequence(1..=3);
    /// let words = env.from_collection(["to", "be"].map(String::from));
    /// numbers.connect(words).map(|number| number.to_string(), |word| word).print();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn map<R: Record, F, G>(self, first: F, second: G) -> DataStream<R>
    where
        F: FnMut(A) -> R + Clone + SendFunction + 'static,
        G: FnMut(B) -> R + Clone + SendFunction + 'static,
    {
        self.transform("co-map", CoMap(first, second))
    }

    /// Turns each record of either stream into as many as the closure collects.
    pub fn flat_map_with<R: Record, F, G>(self, first: F, second: G) -> DataStream<R>
    where
        F: FnMut(A, &mut Collector<'_, R>) + Clone + SendFunction + 'static,
        G: FnMut(B, &mut Collector<'_, R>) + Clone + SendFunction + 'static,
    {
        self.transform("co-flat_map", CoFlatMap::new(first, second))
    }

    /// Processes the records of both streams with a [`CoProcessFunction`], which is made once per subtask.
    pub fn process<F, M>(self, make: M) -> DataStream<F::Out>
    where
        F: CoProcessFunction<A, B, Out: Record> + 'static,
        M: Fn(&RuntimeContext) -> Result<F, FunctionError> + SendFunction + 'static,
    {
        let factory = NodeFactory::two_input_operator::<A, B, CoProcess<F>>(move |context| {
            Ok(CoProcess::new(RuntimeContext::make(context, &make)?, context.clock))
        });
        add_operator(self.first, &self.second, "co-process", factory)
    }

    /// Partitions both streams by keys of one type: records of both with the same key go to the same subtask.
    pub fn key_by<K: Key, F, G>(self, first: F, second: G) -> KeyedConnectedStreams<A, KeyBy<F, K>, B, KeyBy<G, K>>
    where
        F: Fn(&A) -> K + Clone + SendFunction + 'static,
        G: Fn(&B) -> K + Clone + SendFunction + 'static,
    {
        self.first.key_by(first).connect(self.second.key_by(second))
    }

    fn transform<P>(self, name: &str, operator: P) -> DataStream<P::Out>
    where
        P: Operator<Either<A, B>, Out: Record> + Clone + Send + 'static,
    {
        let factory = NodeFactory::two_input_operator::<A, B, P>(move |_| Ok(operator.clone()));
        add_operator(self.first, &self.second, name, factory)
    }
}

/// Two streams that are partitioned by keys of the same type: what [`KeyedStream::connect`] makes.
#[must_use = "streams that end in no sink are an error"]
pub struct KeyedConnectedStreams<A, S, B, R> {
    pub(super) first: KeyedStream<A, S>,
    pub(super) second: KeyedStream<B, R>,
}

impl<K: Key, A: Record, B: Record, S, R> KeyedConnectedStreams<A, S, B, R>
where
    S: KeySelector<A, Key = K>,
    R: KeySelector<B, Key = K>,
{
    /// Processes the records of both streams with a [`KeyedCoProcessFunction`], which is made once per subtask: with state per
    /// key that both streams share, and with timers.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use flink::{
    ///     Collector, FunctionResult, KeyedCoProcessFunction, KeyedContext, KeyedRuntimeContext, ValueState,
    ///     ValueStateDescriptor,
    /// };
    ///
    /// /// Puts the latest price of its product to each order.
    /// struct Price {
    ///     latest: ValueState<u64>,
    /// }
    ///
    /// impl KeyedCoProcessFunction<String, (String, u64), (String, u64)> for Price {
    ///     type Out = (String, u64, Option<u64>);
    ///
    ///     fn process_element1(
    ///         &mut self,
    ///         order: (String, u64),
    ///         _: &mut KeyedContext<'_, String>,
    ///         out: &mut Collector<'_, Self::Out>,
    ///     ) -> FunctionResult {
    ///         out.collect((order.0, order.1, self.latest.get()));
    ///         Ok(())
    ///     }
    ///
    ///     fn process_element2(
    ///         &mut self,
    ///         price: (String, u64),
    ///         _: &mut KeyedContext<'_, String>,
    ///         _: &mut Collector<'_, Self::Out>,
    ///     ) -> FunctionResult {
    ///         self.latest.update(price.1);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let orders = env.from_collection([("tea".to_owned(), 3_u64)]);
    /// let prices = env.from_collection([("tea".to_owned(), 250_u64), ("cake".to_owned(), 400)]);
    /// let priced = orders.key_by(|order| order.0.clone()).connect(prices.key_by(|price| price.0.clone())).process(
    ///     |context: &KeyedRuntimeContext<'_, String>| {
    ///         Ok(Price { latest: context.value_state(&ValueStateDescriptor::new("latest"))? })
    ///     },
    /// );
    /// priced.collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn process<F, M>(self, make: M) -> DataStream<F::Out>
    where
        F: KeyedCoProcessFunction<K, A, B, Out: Record> + 'static,
        M: Fn(&KeyedRuntimeContext<'_, K>) -> Result<F, FunctionError> + SendFunction + 'static,
    {
        let (first, second) = (self.first.key().clone(), self.second.key().clone());
        let factory = NodeFactory::two_input_operator::<A, B, KeyedCoProcess<K, S, R, F>>(move |context| {
            let function = KeyedFunctionContext::open(context, &make)?;
            Ok(KeyedCoProcess::new(first.clone(), second.clone(), function))
        });
        add_operator(
            self.first.partitioned(),
            &self.second.partitioned(),
            "co-process",
            factory,
        )
    }
}

/// A stream and a broadcast, of which every subtask is given all records: what [`DataStream::connect_broadcast`] makes.
#[must_use = "streams that end in no sink are an error"]
pub struct BroadcastConnectedStream<A, B> {
    pub(super) stream: DataStream<A>,
    pub(super) broadcast: DataStream<B>,
}

impl<A: Record, B: Record + Clone> BroadcastConnectedStream<A, B> {
    /// Processes the records of both with a [`BroadcastProcessFunction`], which is made once per subtask.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use flink::{
    ///     BroadcastContext, BroadcastProcessFunction, Collector, FunctionResult, MapStateDescriptor, ProcessContext,
    ///     ReadOnlyBroadcastState, RuntimeContext,
    /// };
    ///
    /// /// Replaces words as the broadcast (word, replacement) says.
    /// struct Replace {
    ///     rules: ReadOnlyBroadcastState<String, String>,
    /// }
    ///
    /// impl BroadcastProcessFunction<String, (String, String)> for Replace {
    ///     type Out = String;
    ///
    ///     fn process_element(
    ///         &mut self,
    ///         word: String,
    ///         _: &mut ProcessContext<'_>,
    ///         out: &mut Collector<'_, String>,
    ///     ) -> FunctionResult {
    ///         out.collect(self.rules.get(&word).unwrap_or(word));
    ///         Ok(())
    ///     }
    ///
    ///     fn process_broadcast_element(
    ///         &mut self,
    ///         rule: (String, String),
    ///         context: &mut BroadcastContext<'_>,
    ///         _: &mut Collector<'_, String>,
    ///     ) -> FunctionResult {
    ///         context.broadcast_state(&self.rules).put(rule.0, rule.1);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let words = env.from_collection(["to", "be"].map(String::from));
    /// let rules = env.from_collection([("to".to_owned(), "two".to_owned())]);
    /// let replaced = words.connect_broadcast(rules).process(|context: &RuntimeContext| {
    ///     Ok(Replace { rules: context.broadcast_state(&MapStateDescriptor::new("rules"))? })
    /// });
    /// replaced.print();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn process<F, M>(self, make: M) -> DataStream<F::Out>
    where
        F: BroadcastProcessFunction<A, B, Out: Record> + 'static,
        M: Fn(&RuntimeContext) -> Result<F, FunctionError> + SendFunction + 'static,
    {
        let factory = NodeFactory::two_input_operator::<A, B, BroadcastProcess<F>>(move |context| {
            Ok(BroadcastProcess::new(
                RuntimeContext::make(context, &make)?,
                context.clock,
            ))
        });
        add_operator(self.stream, &self.broadcast.broadcast(), "broadcast-process", factory)
    }
}

/// A keyed stream and a broadcast, of which every subtask is given all records: what [`KeyedStream::connect_broadcast`] makes.
#[must_use = "streams that end in no sink are an error"]
pub struct KeyedBroadcastConnectedStream<A, S, B> {
    pub(super) stream: KeyedStream<A, S>,
    pub(super) broadcast: DataStream<B>,
}

impl<A: Record, S: KeySelector<A>, B: Record + Clone> KeyedBroadcastConnectedStream<A, S, B> {
    /// Processes the records of both with a [`KeyedBroadcastProcessFunction`], which is made once per subtask.
    pub fn process<F, M>(self, make: M) -> DataStream<F::Out>
    where
        F: KeyedBroadcastProcessFunction<S::Key, A, B, Out: Record> + 'static,
        M: Fn(&KeyedRuntimeContext<'_, S::Key>) -> Result<F, FunctionError> + SendFunction + 'static,
    {
        let key = self.stream.key().clone();
        let factory = NodeFactory::two_input_operator::<A, B, KeyedBroadcastProcess<S::Key, S, F>>(move |context| {
            let function = KeyedFunctionContext::open(context, &make)?;
            Ok(KeyedBroadcastProcess::new(key.clone(), function, context.clock))
        });
        add_operator(
            self.stream.partitioned(),
            &self.broadcast.broadcast(),
            "broadcast-process",
            factory,
        )
    }
}

//! Streams that are partitioned by a key.

use flink_exchange::Record;
use flink_worker::{
    EdgeFactory, NodeFactory,
    operators::{Aggregation, Count, Emission, Fold, KeySelector, KeyedAggregate, Reduce, Sum, Summable},
};

use super::DataStream;

/// A stream of records of type `T` that is partitioned by a key: what [`DataStream::key_by`] makes.
///
/// Aggregations keep a state per key. In [`RuntimeMode::Streaming`](crate::RuntimeMode::Streaming) each record of a key emits the key's new
/// result; in [`RuntimeMode::Batch`](crate::RuntimeMode::Batch) each key's last result is emitted once, when the input has ended.
#[must_use = "a stream that ends in no sink is an error"]
pub struct KeyedStream<T, S> {
    stream: DataStream<T>,
    key: S,
}

impl<T: Record, S: KeySelector<T>> KeyedStream<T, S> {
    pub(super) fn new(stream: DataStream<T>, key: S) -> Self {
        Self { stream, key }
    }

    /// Combines each key's records, the result so far with the next record.
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
        F: FnMut(T, T) -> T + Clone + Send + 'static,
    {
        self.aggregate("reduce", Reduce::new(reduce))
    }

    /// Counts each key's records.
    pub fn count(self) -> DataStream<(S::Key, u64)> {
        self.aggregate("count", Count::default())
    }

    /// Sums up what the closure finds in each key's records. A sum that leaves the range of its type fails the job.
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
        F: FnMut(&T) -> N + Clone + Send + 'static,
    {
        self.aggregate("sum", Sum::new(value))
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
        F: FnMut(&mut A, T) + Clone + Send + 'static,
    {
        self.aggregate("fold", Fold::new(initial, add))
    }

    fn aggregate<A>(self, name: &str, aggregation: A) -> DataStream<A::Out>
    where
        A: Aggregation<T, Key = S::Key, State: 'static, Out: Record> + Clone + Send + 'static,
    {
        let (key, emission) = (self.key.clone(), self.stream.declared().emission());
        let factory = NodeFactory::operator::<T, KeyedAggregate<T, S, A>>(move |_| {
            let emission = emission.get().copied().unwrap_or(Emission::Rolling);
            Ok(KeyedAggregate::new(key.clone(), aggregation.clone(), emission))
        });
        let node = self.stream.add_operator::<A::Out>(name, factory);
        let key = self.key;
        let declared = self
            .stream
            .connect_keyed(node, || EdgeFactory::keyed::<T, S>(key.clone()));
        DataStream::of_node(declared, node)
    }
}

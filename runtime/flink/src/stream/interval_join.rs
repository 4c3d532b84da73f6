//! Interval joins.

use flink_record::{Key, Record};
use flink_worker::{
    NodeFactory,
    functions::{OutputTag, SendFunction},
    operators::{Collector, IntervalBounds, IntervalJoin, IntervalJoinContext, JoinFunction, KeySelector},
};

use super::{DataStream, KeyedStream, connected_streams::add_operator};

/// Two keyed streams whose records are joined by time: what [`KeyedStream::interval_join`] makes.
#[must_use = "streams that end in no sink are an error"]
pub struct IntervalJoined<A, S, B, R> {
    first: KeyedStream<A, S>,
    second: KeyedStream<B, R>,
    bounds: IntervalBounds<A, B>,
}

impl<K: Key, A: Record, B: Record, S, R> IntervalJoined<A, S, B, R>
where
    S: KeySelector<A, Key = K>,
    R: KeySelector<B, Key = K>,
{
    pub(super) fn new(first: KeyedStream<A, S>, second: KeyedStream<B, R>) -> Self {
        let bounds = IntervalBounds {
            lower: 0,
            upper: 0,
            late_first: None,
            late_second: None,
        };
        Self { first, second, bounds }
    }

    /// Joins a record with those of the second stream that have the same key and a timestamp from `lower` to `upper` milliseconds after
    /// its own, both included; negative numbers are before it. Without this, timestamps must be equal.
    pub fn between(mut self, lower: i64, upper: i64) -> Self {
        (self.bounds.lower, self.bounds.upper) = (lower, upper);
        self
    }

    /// Excludes records that are exactly `lower` ms after.
    pub fn lower_bound_exclusive(mut self) -> Self {
        self.bounds.lower = self.bounds.lower.saturating_add(1);
        self
    }

    /// Excludes records that are exactly `upper` ms after.
    pub fn upper_bound_exclusive(mut self) -> Self {
        self.bounds.upper = self.bounds.upper.saturating_sub(1);
        self
    }

    /// Sends records of the first stream that come late, at or behind the watermark, to a side output; without it they are dropped.
    pub fn side_output_left_late_data(mut self, tag: &OutputTag<A>) -> Self {
        self.bounds.late_first = Some(tag.clone());
        self
    }

    /// Sends records of the second stream that come late, at or behind the watermark, to a side output; without it they are dropped.
    pub fn side_output_right_late_data(mut self, tag: &OutputTag<B>) -> Self {
        self.bounds.late_second = Some(tag.clone());
        self
    }

    /// Calls the closure with each pair. What it collects has the later of the two timestamps.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use flink::WatermarkStrategy;
    ///
    /// // (order, milliseconds since 1970)
    /// let strategy = || WatermarkStrategy::for_monotonous_timestamps().with_timestamp_assigner(|event: &(u64, i64), _| event.1);
    /// let orders = env.from_collection([(1_u64, 1_000_i64), (2, 2_000)]).assign_timestamps_and_watermarks(strategy());
    /// let payments = env.from_collection([(1_u64, 5_000_i64), (2, 90_000)]).assign_timestamps_and_watermarks(strategy());
    /// // Orders that were paid within a minute.
    /// let paid = orders
    ///     .key_by(|order| order.0)
    ///     .interval_join(payments.key_by(|payment| payment.0))
    ///     .between(0, 60_000)
    ///     .process(|order, payment, _, out| out.collect((order.0, payment.1 - order.1)));
    /// paid.collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn process<O: Record, F>(self, function: F) -> DataStream<O>
    where
        F: FnMut(&A, &B, IntervalJoinContext, &mut Collector<'_, O>) + Clone + SendFunction + 'static,
    {
        let (first, second, bounds) = (self.first.key().clone(), self.second.key().clone(), self.bounds);
        let (lower, upper) = (bounds.lower, bounds.upper);
        if lower > upper {
            let declared = self.first.declared();
            declared.fail(|| format!("an interval join from {lower} to {upper} ms, both included, joins nothing"));
        }
        type Join<K, A, B, S, R, F, O> = IntervalJoin<K, A, B, S, R, JoinFunction<F, O>>;
        let factory = NodeFactory::two_input_operator::<A, B, Join<K, A, B, S, R, F, O>>(move |context| {
            let selectors = (first.clone(), second.clone());
            IntervalJoin::open(context, selectors, bounds.clone(), JoinFunction::new(function.clone()))
        });
        add_operator(
            self.first.partitioned(),
            &self.second.partitioned(),
            "interval-join",
            factory,
        )
    }
}

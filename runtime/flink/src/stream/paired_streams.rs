//! Two streams whose records meet in windows: joins and co-groups.

use std::{marker::PhantomData, time::Duration};

use flink_record::{Key, Record};
use flink_worker::{
    Either, NodeFactory,
    functions::{FunctionResult, SendFunction},
    operators::{Collector, EitherKey, KeyBy, KeySelector},
    windows::{CoGrouped, Trigger, WindowAssigner, WindowBackend, WindowOperator, WindowSettings},
};

use super::{DataStream, KeyedStream, connected_streams::add_operator, windowed_stream::check_merging};

/// Two streams of which each pair of records with the same key that are in the same window is joined: what
/// [`DataStream::join`] makes.
pub type JoinedStreams<A, B> = PairedStreams<Join, A, B>;

/// Two streams whose records with the same key are grouped, window by window: what [`DataStream::co_group`] makes.
pub type CoGroupedStreams<A, B> = PairedStreams<CoGroup, A, B>;

/// Records are joined in pairs.
#[derive(Debug, Clone, Copy)]
pub struct Join;

/// Records are grouped.
#[derive(Debug, Clone, Copy)]
pub struct CoGroup;

/// Two streams that are going to meet in windows: [`JoinedStreams`] or [`CoGroupedStreams`].
#[must_use = "streams that end in no sink are an error"]
pub struct PairedStreams<P, A, B> {
    first: DataStream<A>,
    second: DataStream<B>,
    kind: PhantomData<P>,
}

impl<P, A: Record, B: Record> PairedStreams<P, A, B> {
    pub(super) fn new(first: DataStream<A>, second: DataStream<B>) -> Self {
        Self {
            first,
            second,
            kind: PhantomData,
        }
    }

    /// The key of the first stream's records (`where` in Flink).
    pub fn where_key<K: Key, F>(self, key: F) -> PairedWhere<P, A, B, KeyBy<F, K>>
    where
        F: Fn(&A) -> K + Clone + SendFunction + 'static,
    {
        PairedWhere {
            first: self.first.key_by(key),
            second: self.second,
            kind: PhantomData,
        }
    }
}

/// Two streams, with the key of the first.
#[must_use = "streams that end in no sink are an error"]
pub struct PairedWhere<P, A, B, S> {
    first: KeyedStream<A, S>,
    second: DataStream<B>,
    kind: PhantomData<P>,
}

impl<P, A: Record, B: Record, S: KeySelector<A>> PairedWhere<P, A, B, S> {
    /// The key of the second stream's records, of the same type.
    pub fn equal_to<F>(self, key: F) -> PairedEqualTo<P, A, B, S, KeyBy<F, S::Key>>
    where
        F: Fn(&B) -> S::Key + Clone + SendFunction + 'static,
    {
        PairedEqualTo {
            first: self.first,
            second: self.second.key_by(key),
            kind: PhantomData,
        }
    }
}

/// Two streams, with the keys of both.
#[must_use = "streams that end in no sink are an error"]
pub struct PairedEqualTo<P, A, B, S, R> {
    first: KeyedStream<A, S>,
    second: KeyedStream<B, R>,
    kind: PhantomData<P>,
}

impl<P, A, B, S, R> PairedEqualTo<P, A, B, S, R>
where
    A: Record + Clone,
    B: Record + Clone,
    S: KeySelector<A>,
    R: KeySelector<B, Key = S::Key>,
{
    /// The windows in which records meet.
    pub fn window<W>(self, assigner: W) -> WindowedPair<P, A, B, S, R, W, W::DefaultTrigger>
    where
        W: WindowAssigner<Either<A, B>>,
    {
        if let Err(problem) = assigner.validate() {
            self.first.declared().fail(|| problem);
        }
        WindowedPair {
            first: self.first,
            second: self.second,
            assigner,
            trigger: W::DefaultTrigger::default(),
            settings: WindowSettings::default(),
            kind: PhantomData,
        }
    }
}

/// Two streams whose records meet in windows.
#[must_use = "streams that end in no sink are an error"]
pub struct WindowedPair<P, A, B, S, R, W, G> {
    first: KeyedStream<A, S>,
    second: KeyedStream<B, R>,
    assigner: W,
    trigger: G,
    settings: WindowSettings,
    kind: PhantomData<P>,
}

impl<P, A, B, S, R, W, G> WindowedPair<P, A, B, S, R, W, G>
where
    A: Record + Clone,
    B: Record + Clone,
    S: KeySelector<A>,
    R: KeySelector<B, Key = S::Key>,
    W: WindowAssigner<Either<A, B>>,
    G: Trigger<Either<A, B>, W::Window>,
{
    /// Sets when windows fire; see [`WindowedStream::trigger`](crate::WindowedStream::trigger).
    pub fn trigger<H: Trigger<Either<A, B>, W::Window>>(self, trigger: H) -> WindowedPair<P, A, B, S, R, W, H> {
        check_merging::<Either<A, B>, W, H>(&self.assigner, &trigger, self.first.declared());
        WindowedPair {
            first: self.first,
            second: self.second,
            assigner: self.assigner,
            trigger,
            settings: self.settings,
            kind: PhantomData,
        }
    }

    /// Keeps windows after their end; see [`WindowedStream::allowed_lateness`](crate::WindowedStream::allowed_lateness).
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.settings.set_allowed_lateness(lateness);
        self
    }

    fn co_group<F, O>(self, name: &str, closure: F) -> DataStream<O>
    where
        O: Record,
        F: FnMut(&[A], &[B], &mut Collector<'_, O>) -> FunctionResult + Clone + SendFunction + 'static,
    {
        let key = EitherKey::new(self.first.key().clone(), self.second.key().clone());
        let (parts, settings) = ((key, self.assigner, self.trigger), self.settings);
        let factory =
            NodeFactory::two_input_operator::<A, B, WindowOperator<_, _, _, _, CoGrouped<F, O>>>(move |context| {
                let backend = WindowBackend::open(context);
                WindowOperator::new(parts.clone(), &settings, backend, CoGrouped::new(closure.clone()))
            });
        add_operator(self.first.partitioned(), &self.second.partitioned(), name, factory)
    }
}

impl<A, B, S, R, W, G> WindowedPair<Join, A, B, S, R, W, G>
where
    A: Record + Clone,
    B: Record + Clone,
    S: KeySelector<A>,
    R: KeySelector<B, Key = S::Key>,
    W: WindowAssigner<Either<A, B>>,
    G: Trigger<Either<A, B>, W::Window>,
{
    /// Makes a record of each pair with the same key in the same window. It has the timestamp of the window's last
    /// millisecond. A record that meets no other is in no result: for outer joins there is [`DataStream::co_group`].
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use std::time::Duration;
    ///
    /// use flink::{TumblingEventTimeWindows, WatermarkStrategy};
    ///
    /// let time = || {
    ///     WatermarkStrategy::for_monotonous_timestamps()
    ///         .with_timestamp_assigner(|event: &(String, u64, i64), _| event.2)
    /// };
    /// let clicks = env.from_collection([("ann".to_owned(), 1_u64, 100_i64), ("bob".to_owned(), 2, 200)]);
    /// let orders = env.from_collection([("ann".to_owned(), 7_u64, 150_i64), ("bob".to_owned(), 8, 1_500)]);
    /// clicks
    ///     .assign_timestamps_and_watermarks(time())
    ///     .join(orders.assign_timestamps_and_watermarks(time()))
    ///     .where_key(|click| click.0.clone())
    ///     .equal_to(|order| order.0.clone())
    ///     .window(TumblingEventTimeWindows::of(Duration::from_secs(1)))
    ///     .apply(|click, order| (click.0.clone(), click.1, order.1))
    ///     .collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn apply<F, O>(self, mut join: F) -> DataStream<O>
    where
        O: Record,
        F: FnMut(&A, &B) -> O + Clone + SendFunction + 'static,
    {
        self.apply_with(move |first, second, out| {
            out.collect(join(first, second));
            Ok(())
        })
    }

    /// As [`apply`](Self::apply), with a closure that emits as many records as it likes for each pair.
    pub fn apply_with<F, O>(self, mut join: F) -> DataStream<O>
    where
        O: Record,
        F: FnMut(&A, &B, &mut Collector<'_, O>) -> FunctionResult + Clone + SendFunction + 'static,
    {
        self.co_group("window-join", move |firsts, seconds, out| {
            for first in firsts {
                for second in seconds {
                    join(first, second, out)?;
                }
            }
            Ok(())
        })
    }
}

impl<A, B, S, R, W, G> WindowedPair<CoGroup, A, B, S, R, W, G>
where
    A: Record + Clone,
    B: Record + Clone,
    S: KeySelector<A>,
    R: KeySelector<B, Key = S::Key>,
    W: WindowAssigner<Either<A, B>>,
    G: Trigger<Either<A, B>, W::Window>,
{
    /// Calls the closure, for each key and window, with the records of both streams; either may have none. What it emits has the
    /// timestamp of the window's last millisecond.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use std::time::Duration;
    ///
    /// use flink::{TumblingEventTimeWindows, WatermarkStrategy};
    ///
    /// let time = || {
    ///     WatermarkStrategy::for_monotonous_timestamps()
    ///         .with_timestamp_assigner(|event: &(String, u64, i64), _| event.2)
    /// };
    /// let clicks = env.from_collection([("ann".to_owned(), 1_u64, 100_i64), ("bob".to_owned(), 2, 200)]);
    /// let orders = env.from_collection([("ann".to_owned(), 7_u64, 150_i64), ("bob".to_owned(), 8, 1_500)]);
    /// // Each click with the first order of the same second, if there is one.
    /// clicks
    ///     .assign_timestamps_and_watermarks(time())
    ///     .co_group(orders.assign_timestamps_and_watermarks(time()))
    ///     .where_key(|click| click.0.clone())
    ///     .equal_to(|order| order.0.clone())
    ///     .window(TumblingEventTimeWindows::of(Duration::from_secs(1)))
    ///     .apply(|clicks, orders, out| {
    ///         out.extend(clicks.iter().map(|click| (click.1, orders.first().map(|order| order.1))));
    ///         Ok(())
    ///     })
    ///     .collect();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn apply<F, O>(self, co_group: F) -> DataStream<O>
    where
        O: Record,
        F: FnMut(&[A], &[B], &mut Collector<'_, O>) -> FunctionResult + Clone + SendFunction + 'static,
    {
        self.co_group("window-co-group", co_group)
    }
}

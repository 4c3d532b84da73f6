//! Joins records of two keyed streams whose timestamps are close to one another.
//!
//! Each side's records wait in state, by key and timestamp, until no record of the other side that is not late can meet
//! them any more. A record that comes looks up the other side's interval, so that each pair is made once: by the later of
//! the two to come.

use std::{collections::BTreeMap, ops::RangeInclusive, rc::Rc, sync::Arc};

use flink_exchange::Event;
use flink_record::{Key, NO_TIMESTAMP, Record, Timestamp};
use flink_state::{HeapKeyedStateBackend, KeyedStateBackend, SharedTable};

use super::{Collector, KeySelector};
use crate::{
    boundary::Counter,
    error::TaskError,
    functions::{OutputTag, RuntimeContext},
    operator::{Either, Operator, Outputs},
    program::OperatorContext,
    time::InternalTimerService,
};

/// Which records are joined, and where late ones go.
pub struct IntervalBounds<A, B> {
    /// The least distance of the second record's timestamp from the first's, ms; may be negative.
    pub lower: Timestamp,
    /// The greatest.
    pub upper: Timestamp,
    /// Where late records of the first stream go; without it they are dropped.
    pub late_first: Option<OutputTag<A>>,
    /// Where late records of the second stream go; without it they are dropped.
    pub late_second: Option<OutputTag<B>>,
}

impl<A, B> Clone for IntervalBounds<A, B> {
    fn clone(&self) -> Self {
        Self {
            late_first: self.late_first.clone(),
            late_second: self.late_second.clone(),
            ..*self
        }
    }
}

/// What the function of an interval join is told about a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntervalJoinContext {
    /// The timestamp of the first stream's record, ms.
    pub left_timestamp: Timestamp,
    /// The timestamp of the second stream's record, ms.
    pub right_timestamp: Timestamp,
}

/// Records of one side and one key, by timestamp.
type Buffer<T> = BTreeMap<Timestamp, Vec<T>>;

/// Whose records a timer clears away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Side {
    First,
    Second,
}

/// Joins two keyed streams by time; what it emits has the later of the pair's timestamps.
pub struct IntervalJoin<K, A, B, S, R, F> {
    selectors: (S, R),
    function: F,
    bounds: IntervalBounds<A, B>,
    keys: HeapKeyedStateBackend<K>,
    first: SharedTable<K, (), Buffer<A>>,
    second: SharedTable<K, (), Buffer<B>>,
    timers: InternalTimerService<K, Side>,
    late_records: Arc<Counter>,
}

impl<K: Key, A: Record, B: Record, S, R, F> IntervalJoin<K, A, B, S, R, F> {
    /// The operator of one subtask.
    ///
    /// # Errors
    /// Never, as long as its two states have different names.
    pub fn open(
        context: &OperatorContext<'_>,
        selectors: (S, R),
        bounds: IntervalBounds<A, B>,
        function: F,
    ) -> Result<Self, TaskError> {
        let runtime = RuntimeContext::new(context);
        let clock = context.clock.clone();
        let now = Rc::new(move || clock.now());
        let keys = HeapKeyedStateBackend::new(runtime.operator_name(), runtime.key_groups(), now);
        Ok(Self {
            selectors,
            function,
            bounds,
            first: keys.table("left").map_err(TaskError::runtime)?,
            second: keys.table("right").map_err(TaskError::runtime)?,
            timers: InternalTimerService::new(context.clock),
            late_records: context.late_records(),
            keys,
        })
    }

    /// Sets the record's key and says whether the record is late: event time has passed it.
    fn begin(&mut self, key: &K, timestamp: Timestamp) -> Result<bool, TaskError> {
        if timestamp == NO_TIMESTAMP {
            return Err(TaskError::operator(
                "a record without a timestamp came to an interval join: call `assign_timestamps_and_watermarks` before it",
            ));
        }
        self.keys.set_current_key(key).map_err(TaskError::operator)?;
        Ok(timestamp <= self.timers.watermark())
    }

    /// Asks to be called when records of a side with this timestamp can meet none of the other side any more.
    fn clean_up_later(&mut self, side: Side, timestamp: Timestamp) {
        let reach = match side {
            Side::First => self.bounds.upper,
            Side::Second => self.bounds.lower.saturating_neg(),
        };
        if let Some(key) = self.keys.context().key() {
            let time = timestamp.saturating_add(reach.max(0));
            self.timers.register_event_time(time, key.clone(), side);
        }
    }

    /// Removes what a timer is for.
    fn clean_up(&mut self, side: Side, time: Timestamp) {
        match side {
            Side::First => remove(&self.keys, &self.first, time.saturating_sub(self.bounds.upper.max(0))),
            Side::Second => {
                let reach = self.bounds.lower.saturating_neg().max(0);
                remove(&self.keys, &self.second, time.saturating_sub(reach));
            }
        }
    }
}

fn remove<K: Key, T: Record>(keys: &HeapKeyedStateBackend<K>, table: &SharedTable<K, (), Buffer<T>>, time: Timestamp) {
    let context = keys.context();
    let (Some(position), Some(key)) = (context.position(), context.key()) else {
        return;
    };
    let mut table = table.borrow_mut();
    if let Some(buffer) = table.get_mut(position, &key, &()) {
        buffer.remove(&time);
        if buffer.is_empty() {
            table.remove(position, &key, &());
        }
    }
}

fn insert<K: Key, T: Record>(
    keys: &HeapKeyedStateBackend<K>,
    table: &SharedTable<K, (), Buffer<T>>,
    timestamp: Timestamp,
    record: T,
) {
    let context = keys.context();
    if let (Some(position), Some(key)) = (context.position(), context.key()) {
        let mut table = table.borrow_mut();
        let buffer = table.get_or_insert_with(position, &key, &(), Buffer::new);
        buffer.entry(timestamp).or_default().push(record);
    }
}

/// Calls `each` with the records of the current key in an interval.
fn for_each_in<K: Key, T: Record>(
    keys: &HeapKeyedStateBackend<K>,
    table: &SharedTable<K, (), Buffer<T>>,
    interval: RangeInclusive<Timestamp>,
    mut each: impl FnMut(&T, Timestamp) -> Result<(), TaskError>,
) -> Result<(), TaskError> {
    let context = keys.context();
    let (Some(position), Some(key)) = (context.position(), context.key()) else {
        return Ok(());
    };
    let table = table.borrow();
    let Some(buffer) = table.get(position, &key, &()) else {
        return Ok(());
    };
    buffer
        .range(interval)
        .flat_map(|(timestamp, records)| records.iter().map(move |record| (record, *timestamp)))
        .try_for_each(|(record, timestamp)| each(record, timestamp))
}

impl<K, A, B, S, R, F, O> Operator<Either<A, B>> for IntervalJoin<K, A, B, S, R, JoinFunction<F, O>>
where
    K: Key,
    A: Record,
    B: Record,
    S: KeySelector<A, Key = K>,
    R: KeySelector<B, Key = K>,
    F: FnMut(&A, &B, IntervalJoinContext, &mut Collector<'_, O>),
    O: 'static,
{
    type Out = O;

    fn process(
        &mut self,
        record: Either<A, B>,
        timestamp: Timestamp,
        output: &mut Outputs<O>,
    ) -> Result<(), TaskError> {
        match record {
            Either::First(record) => {
                let key = self.selectors.0.key(&record).into_owned();
                if self.begin(&key, timestamp)? {
                    return late(
                        self.bounds.late_first.as_ref(),
                        (record, timestamp),
                        output,
                        &self.late_records,
                    );
                }
                let (lower, upper) = (self.bounds.lower, self.bounds.upper);
                let interval = timestamp.saturating_add(lower)..=timestamp.saturating_add(upper);
                let function = &mut self.function;
                for_each_in(&self.keys, &self.second, interval, |other, right| {
                    function.call(&record, other, (timestamp, right), output)
                })?;
                insert(&self.keys, &self.first, timestamp, record);
                self.clean_up_later(Side::First, timestamp);
            }
            Either::Second(record) => {
                let key = self.selectors.1.key(&record).into_owned();
                if self.begin(&key, timestamp)? {
                    return late(
                        self.bounds.late_second.as_ref(),
                        (record, timestamp),
                        output,
                        &self.late_records,
                    );
                }
                let (lower, upper) = (self.bounds.lower, self.bounds.upper);
                let interval = timestamp.saturating_sub(upper)..=timestamp.saturating_sub(lower);
                let function = &mut self.function;
                for_each_in(&self.keys, &self.first, interval, |other, left| {
                    function.call(other, &record, (left, timestamp), output)
                })?;
                insert(&self.keys, &self.second, timestamp, record);
                self.clean_up_later(Side::Second, timestamp);
            }
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Outputs<O>) -> Result<(), TaskError> {
        self.timers.advance_watermark(watermark);
        while let Some((time, key, side)) = self.timers.pop_event_time() {
            self.keys.set_current_key(&key).map_err(TaskError::operator)?;
            self.clean_up(side, time);
        }
        output.event(Event::Watermark(watermark))
    }
}

fn late<T: 'static, O>(
    tag: Option<&OutputTag<T>>,
    (record, timestamp): (T, Timestamp),
    output: &mut Outputs<O>,
    dropped: &Counter,
) -> Result<(), TaskError> {
    match tag {
        Some(tag) => output.collect_side(tag.name(), record, timestamp),
        None => {
            dropped.add(1);
            Ok(())
        }
    }
}

/// The closure of an interval join.
#[derive(Debug)]
pub struct JoinFunction<F, O> {
    closure: F,
    emits: std::marker::PhantomData<fn() -> O>,
}

impl<F, O> JoinFunction<F, O> {
    /// The function of this closure.
    pub fn new(closure: F) -> Self {
        let emits = std::marker::PhantomData;
        Self { closure, emits }
    }

    fn call<A, B>(
        &mut self,
        left: &A,
        right: &B,
        (left_timestamp, right_timestamp): (Timestamp, Timestamp),
        output: &mut Outputs<O>,
    ) -> Result<(), TaskError>
    where
        F: FnMut(&A, &B, IntervalJoinContext, &mut Collector<'_, O>),
    {
        let context = IntervalJoinContext {
            left_timestamp,
            right_timestamp,
        };
        let mut collector = Collector::new(left_timestamp.max(right_timestamp), output);
        (self.closure)(left, right, context, &mut collector);
        collector.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Emitted, Harness, with_context};

    /// Key, number.
    type Row = (u8, u32);

    fn harness(
        lower: Timestamp,
        upper: Timestamp,
        late_first: Option<OutputTag<Row>>,
    ) -> Harness<Either<Row, Row>, impl Operator<Either<Row, Row>, Out = (Row, Row)>> {
        let bounds = IntervalBounds {
            lower,
            upper,
            late_first,
            late_second: None,
        };
        let key = super::super::KeyBy::new(|row: &Row| row.0);
        let function =
            JoinFunction::new(|a: &Row, b: &Row, _, out: &mut Collector<'_, (Row, Row)>| out.collect((*a, *b)));
        with_context(|context| {
            Harness::new(IntervalJoin::open(context, (key.clone(), key.clone()), bounds.clone(), function).unwrap())
        })
    }

    #[derive(Debug, Clone)]
    enum Step {
        First(Row, Timestamp),
        Second(Row, Timestamp),
        Watermark(Timestamp),
    }

    fn step() -> impl Strategy<Value = Step> {
        let row = || (0..3u8, any::<u32>());
        prop_oneof![
            3 => (row(), -30..60i64).prop_map(|(row, time)| Step::First(row, time)),
            3 => (row(), -30..60i64).prop_map(|(row, time)| Step::Second(row, time)),
            1 => (-30..60i64).prop_map(Step::Watermark),
        ]
    }

    proptest! {
        #[test]
        fn pairs_are_those_of_a_nested_loop(
            steps in prop::collection::vec(step(), 0..80),
            (lower, upper) in (-15..15i64, 0..20i64).prop_map(|(lower, length)| (lower, lower + length)),
        ) {
            let mut join = harness(lower, upper, None);
            let (mut firsts, mut seconds, mut watermark) = (Vec::new(), Vec::new(), Timestamp::MIN);
            for step in steps {
                match step {
                    Step::First(row, time) => {
                        join.process(Either::First(row), time);
                        if time > watermark {
                            firsts.push((row, time));
                        }
                    }
                    Step::Second(row, time) => {
                        join.process(Either::Second(row), time);
                        if time > watermark {
                            seconds.push((row, time));
                        }
                    }
                    Step::Watermark(time) if time > watermark => {
                        join.watermark(time);
                        watermark = time;
                    }
                    Step::Watermark(_) => {}
                }
            }
            let mut expected = Vec::new();
            for (a, left) in &firsts {
                for (b, right) in &seconds {
                    if a.0 == b.0 && (lower..=upper).contains(&(right - left)) {
                        expected.push(((*a, *b), *left.max(right)));
                    }
                }
            }
            let mut found = join.take_stamped();
            expected.sort_unstable();
            found.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn late_records_without_a_side_output_are_counted_by_the_task() {
        with_context(|context| {
            let function = JoinFunction::new(|_: &Row, _: &Row, _, _: &mut Collector<'_, Row>| ());
            let bounds = IntervalBounds {
                lower: -5,
                upper: 5,
                late_first: None,
                late_second: Some(OutputTag::new("late")),
            };
            let key = super::super::KeyBy::new(|row: &Row| row.0);
            let join = IntervalJoin::open(context, (key.clone(), key), bounds, function).unwrap();
            let mut join = Harness::new(join);
            join.watermark(10);
            join.process(Either::First((1, 1)), 10);
            join.process(Either::Second((1, 2)), 10);
            let (metrics, _) = context.counters.snapshot(context.attempt);
            assert_eq!(metrics.late_records_dropped, 1);
        });
    }

    #[test]
    fn late_records_go_to_their_side_output() {
        let mut join = harness(-5, 5, Some(OutputTag::new("late")));
        let late = join.side_output::<Row>("late");
        join.watermark(10);
        join.process(Either::First((1, 1)), 10);
        join.process(Either::Second((1, 2)), 10);
        join.process(Either::First((1, 3)), 11);
        assert_eq!(join.take(), []);
        assert!(late.take().contains(&Emitted::Record((1, 1), 10)));
        assert!(
            join.process_err(Either::First((1, 1)))
                .starts_with("a record without a timestamp")
        );
    }
}

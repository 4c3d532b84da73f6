//! The ends of a chain: sources and sinks, and the traits that connectors implement for them.
//!
//! They are the low level: what hosts a source's reader and what hosts a sink's writer. The traits that users implement
//! stand on them, in `flink-connectors`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flink_exchange::{Event, ExchangeError, GateStatus, InputGate, RecordWriter, TaskSignal};
use flink_record::{Record, Timestamp};

use crate::{
    error::TaskError,
    operator::{BoxedOutput, Either, Output, Outputs},
    panics::OperatorScope,
    program::OperatorContext,
    time::{ProcessingTimeService, WatermarkValve},
};

/// Brings records in. One instance per subtask, used by one thread.
pub trait SourceOperator<T> {
    /// Emits at most `budget` records, or about as many as it has at hand.
    ///
    /// # Errors
    /// Its own, or the output's.
    fn poll_next(&mut self, budget: u32, output: &mut Outputs<T>) -> Result<Polled, TaskError>;

    /// The clock has reached a time for which an operator of the chain has set its alarm, perhaps this one.
    ///
    /// # Errors
    /// Its own, or the output's.
    fn processing_time(&mut self, now: Timestamp, output: &mut Outputs<T>) -> Result<(), TaskError> {
        let (_, _) = (now, output);
        Ok(())
    }
}

/// What came of polling a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polled {
    /// Records emitted.
    pub records: u32,
    /// What is to be expected next.
    pub next: Availability,
}

/// When a source has records again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// At once, perhaps.
    Now,
    /// When its task is woken, or at this time at the latest.
    Later(Option<Instant>),
    /// Never: that was all.
    End,
}

/// Takes records out. One instance per subtask, used by one thread. One that is dropped before it has finished leaves
/// nothing visible behind.
pub trait SinkOperator<T> {
    /// Takes one record with its timestamp, or [`NO_TIMESTAMP`](flink_record::NO_TIMESTAMP).
    ///
    /// # Errors
    /// Its own: what it writes to does not work.
    fn write(&mut self, record: T, timestamp: Timestamp) -> Result<(), TaskError>;

    /// Event time has advanced.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn watermark(&mut self, watermark: Timestamp) -> Result<(), TaskError> {
        let _ = watermark;
        Ok(())
    }

    /// The task has processed the input that it had at hand: passes on what waits in a buffer for the sake of latency only.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn flush(&mut self) -> Result<(), TaskError> {
        Ok(())
    }

    /// The clock has reached a time for which an operator of the chain has set its alarm, perhaps this one.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn processing_time(&mut self, now: Timestamp) -> Result<(), TaskError> {
        let _ = now;
        Ok(())
    }

    /// No more records: makes all of them visible.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn finish(&mut self) -> Result<(), TaskError>;
}

/// A counter with one writing thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds without the cost of a locked instruction, which only several writers would need.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a task does over and over: its mailbox's default action.
pub(crate) trait TaskInput {
    /// Processes what input there is at hand. If there is none, waits for some, until `deadline` at most.
    fn step(&mut self, deadline: Option<Instant>) -> Result<Step, TaskError>;

    /// The clock has reached a time for which an operator of the chain has set its alarm.
    fn processing_time(&mut self, now: Timestamp) -> Result<(), TaskError>;
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There may be more.
    More,
    /// The input is over, and so is what follows it in the chain.
    Ended,
}

/// A source at the head of a chain.
pub(crate) struct SourceInput<S, T> {
    source: S,
    output: Outputs<T>,
    name: Arc<str>,
    signal: TaskSignal,
    clock: ProcessingTimeService,
    records: Arc<Counter>,
    budget: u32,
    since: Instant,
}

/// Records of one poll of a source, at most.
const MAX_BUDGET: u32 = 1024;

/// A poll that is over sooner may be longer next time.
const SHORT_POLL: Duration = Duration::from_millis(1);

/// A poll that takes longer delays cancellation and buffer timeouts.
const LONG_POLL: Duration = Duration::from_millis(5);

impl<S, T> SourceInput<S, T> {
    pub(crate) fn new(source: S, output: Outputs<T>, context: &OperatorContext<'_>, records: Arc<Counter>) -> Self {
        Self {
            source,
            output,
            name: Arc::clone(&context.name),
            signal: context.signal(),
            clock: context.clock.clone(),
            records,
            budget: 1,
            since: Instant::now(),
        }
    }

    /// One clock read per poll keeps polls short and the costs of a poll spread over many records.
    fn adapt_budget(&mut self) {
        let now = Instant::now();
        let elapsed = now.duration_since(self.since);
        self.since = now;
        if elapsed < SHORT_POLL {
            self.budget = (self.budget * 2).min(MAX_BUDGET);
        } else if elapsed > LONG_POLL {
            self.budget = (self.budget / 2).max(1);
        }
    }
}

impl<T, S: SourceOperator<T>> TaskInput for SourceInput<S, T> {
    fn step(&mut self, _: Option<Instant>) -> Result<Step, TaskError> {
        // Taken before the poll: a wake-up during it asks for another one.
        self.signal.take_woken();
        let scope = OperatorScope::enter(&self.name);
        let polled = self.source.poll_next(self.budget, &mut self.output);
        scope.leave();
        let polled = polled.map_err(|error| error.at(&self.name))?;
        self.records.add(polled.records.into());
        match polled.next {
            Availability::End => {
                self.output.event(Event::Watermark(Timestamp::MAX))?;
                self.output.event(Event::EndOfData)?;
                return Ok(Step::Ended);
            }
            Availability::Now => {
                self.adapt_budget();
                self.output.batch_done()?;
            }
            Availability::Later(until) => {
                self.output.batch_done()?;
                // The records may have set an alarm that is earlier than any before.
                self.wait(earlier(until, self.clock.deadline()));
                self.since = Instant::now();
            }
        }
        Ok(Step::More)
    }

    fn processing_time(&mut self, now: Timestamp) -> Result<(), TaskError> {
        let scope = OperatorScope::enter(&self.name);
        let result = self.source.processing_time(now, &mut self.output);
        scope.leave();
        result.map_err(|error| error.at(&self.name))?;
        self.output.processing_time(now)
    }
}

impl<S, T> SourceInput<S, T> {
    /// Waits until the task is woken, cancelled, or the time has come.
    fn wait(&self, until: Option<Instant>) {
        self.signal.bind();
        while !self.signal.is_cancelled() && !self.signal.take_woken() {
            if until.is_some_and(|until| until <= Instant::now()) {
                return;
            }
            self.signal.park(until);
        }
    }
}

/// The earlier of two deadlines.
fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

/// The input of a chain is over: event time has come to its end, and there will be no more records.
fn end_input<T>(head: &mut dyn Output<T>) -> Result<(), TaskError> {
    head.event(Event::Watermark(Timestamp::MAX))?;
    head.event(Event::EndOfData)
}

/// An input gate before the head of a chain.
pub(crate) struct GateInput<T> {
    gate: InputGate<T>,
    valve: WatermarkValve,
    head: BoxedOutput<T>,
    signal: TaskSignal,
}

/// Passes a record on, unless the task was cancelled: a batch of records that take their time must not delay that.
#[inline]
fn pass<T>(head: &mut BoxedOutput<T>, signal: &TaskSignal, record: T, timestamp: Timestamp) -> Result<(), TaskError> {
    if signal.is_cancelled() {
        return Err(ExchangeError::Cancelled.into());
    }
    head.collect(record, timestamp)
}

impl<T: Record> GateInput<T> {
    pub(crate) fn new(gate: InputGate<T>, head: BoxedOutput<T>, signal: TaskSignal) -> Self {
        let valve = WatermarkValve::new(gate.metrics().len());
        Self {
            gate,
            valve,
            head,
            signal,
        }
    }
}

impl<T: Record> TaskInput for GateInput<T> {
    fn step(&mut self, deadline: Option<Instant>) -> Result<Step, TaskError> {
        let Self {
            gate,
            valve,
            head,
            signal,
        } = self;
        match gate.next(deadline, &mut |record, timestamp| pass(head, signal, record, timestamp))? {
            GateStatus::Finished => {
                end_input(&mut **head)?;
                return Ok(Step::Ended);
            }
            GateStatus::Event { channel, event } => {
                valve.handle(channel, event).try_for_each(|event| head.event(event))?;
            }
            _ => {}
        }
        head.batch_done()?;
        Ok(Step::More)
    }

    fn processing_time(&mut self, now: Timestamp) -> Result<(), TaskError> {
        self.head.processing_time(now)
    }
}

/// Two input gates before the head of a chain.
///
/// Neither is ever waited for alone: whatever has come is read, the two taking turns, so that a branch that is slow or empty
/// cannot keep the other, and with it a producer that both have in common, from going on.
pub(crate) struct TwoGateInput<A, B> {
    first: InputGate<A>,
    second: InputGate<B>,
    /// The channels of both, those of the first before those of the second.
    valve: WatermarkValve,
    head: BoxedOutput<Either<A, B>>,
    signal: TaskSignal,
    /// Whose turn it is.
    second_next: bool,
    /// Which have ended.
    ended: [bool; 2],
}

impl<A: Record, B: Record> TwoGateInput<A, B> {
    pub(crate) fn new(
        first: InputGate<A>,
        second: InputGate<B>,
        head: BoxedOutput<Either<A, B>>,
        signal: TaskSignal,
    ) -> Self {
        let valve = WatermarkValve::new(first.metrics().len() + second.metrics().len());
        Self {
            first,
            second,
            valve,
            head,
            signal,
            second_next: false,
            ended: [false; 2],
        }
    }

    /// Gives each gate that has not ended a turn; true when anything came of it.
    fn turns(&mut self) -> Result<bool, TaskError> {
        for _ in 0..2 {
            let second = self.second_next;
            self.second_next = !second;
            if self.ended[usize::from(second)] {
                continue;
            }
            let Self {
                first,
                second: other,
                head,
                signal,
                ..
            } = self;
            let status = if second {
                other.poll_next(&mut |record, timestamp| pass(head, signal, Either::Second(record), timestamp))
            } else {
                first.poll_next(&mut |record, timestamp| pass(head, signal, Either::First(record), timestamp))
            };
            match status? {
                None => continue,
                Some(GateStatus::Finished) => self.ended[usize::from(second)] = true,
                Some(GateStatus::Event { channel, event }) => {
                    let before = if second { self.first.metrics().len() } else { 0 };
                    let head = &mut self.head;
                    self.valve
                        .handle(before + channel, event)
                        .try_for_each(|event| head.event(event))?;
                }
                Some(_) => {}
            }
            return Ok(true);
        }
        Ok(false)
    }
}

impl<A: Record, B: Record> TaskInput for TwoGateInput<A, B> {
    fn step(&mut self, deadline: Option<Instant>) -> Result<Step, TaskError> {
        let mut bound = false;
        while !self.turns()? {
            if self.signal.is_cancelled() {
                return Err(ExchangeError::Cancelled.into());
            }
            if !bound {
                // From here on this thread is the one to be woken; what came before must be looked at once more.
                self.signal.bind();
                bound = true;
                continue;
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                break;
            }
            self.signal.park(deadline);
        }
        if self.ended == [true, true] {
            end_input(&mut *self.head)?;
            return Ok(Step::Ended);
        }
        self.head.batch_done()?;
        Ok(Step::More)
    }

    fn processing_time(&mut self, now: Timestamp) -> Result<(), TaskError> {
        self.head.processing_time(now)
    }
}

/// A sink at the end of a chain.
pub(crate) struct SinkOutput<S> {
    pub(crate) sink: S,
    pub(crate) name: Arc<str>,
    pub(crate) records: Arc<Counter>,
}

impl<S> SinkOutput<S> {
    #[inline]
    fn call(&mut self, call: impl FnOnce(&mut S) -> Result<(), TaskError>) -> Result<(), TaskError> {
        let scope = OperatorScope::enter(&self.name);
        let result = call(&mut self.sink);
        scope.leave();
        result.map_err(|error| error.at(&self.name))
    }
}

impl<T, S: SinkOperator<T>> Output<T> for SinkOutput<S> {
    #[inline]
    fn collect(&mut self, record: T, timestamp: Timestamp) -> Result<(), TaskError> {
        self.call(|sink| sink.write(record, timestamp))?;
        self.records.add(1);
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), TaskError> {
        match event {
            Event::Watermark(watermark) => self.call(|sink| sink.watermark(watermark)),
            Event::EndOfData => self.call(S::finish),
            _ => Ok(()),
        }
    }

    fn batch_done(&mut self) -> Result<(), TaskError> {
        self.call(S::flush)
    }

    fn processing_time(&mut self, now: Timestamp) -> Result<(), TaskError> {
        self.call(|sink| sink.processing_time(now))
    }
}

/// The writer of an exchange at the end of a chain. Dropped before it has finished, its consumers see a failed producer.
pub(crate) struct ExchangeOutput<T>(pub(crate) Option<RecordWriter<T>>);

impl<T: Record> Output<T> for ExchangeOutput<T> {
    #[inline]
    fn collect(&mut self, record: T, timestamp: Timestamp) -> Result<(), TaskError> {
        match &mut self.0 {
            Some(writer) => Ok(writer.write(record, timestamp)?),
            None => Ok(()),
        }
    }

    fn event(&mut self, event: Event) -> Result<(), TaskError> {
        if event == Event::EndOfData {
            return self.0.take().map_or(Ok(()), |writer| Ok(writer.finish()?));
        }
        match &mut self.0 {
            Some(writer) => Ok(writer.broadcast_event(event)?),
            None => Ok(()),
        }
    }

    fn batch_done(&mut self) -> Result<(), TaskError> {
        match &mut self.0 {
            Some(writer) => Ok(writer.flush_if_due()?),
            None => Ok(()),
        }
    }

    fn processing_time(&mut self, _: Timestamp) -> Result<(), TaskError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use flink_exchange::{ChannelId, First, Peer};
    use flink_graph::JobId;
    use flink_record::NO_TIMESTAMP;

    use super::*;
    use crate::testing::environment;

    /// Is cancelled with the first record.
    struct Interrupted {
        signal: TaskSignal,
        seen: Rc<Cell<u32>>,
    }

    impl Output<u64> for Interrupted {
        fn collect(&mut self, _: u64, _: Timestamp) -> Result<(), TaskError> {
            self.seen.update(|seen| seen + 1);
            self.signal.cancel();
            Ok(())
        }

        fn event(&mut self, _: Event) -> Result<(), TaskError> {
            Ok(())
        }

        fn batch_done(&mut self) -> Result<(), TaskError> {
            Ok(())
        }

        fn processing_time(&mut self, _: Timestamp) -> Result<(), TaskError> {
            Ok(())
        }
    }

    #[test]
    fn a_cancelled_task_takes_no_further_record_of_a_batch() {
        let environment = environment(JobId::random());
        let channel = ChannelId {
            edge: 0,
            producer: 0,
            consumer: 0,
            attempt: 0,
        };
        let channels = || vec![(channel, Peer::Local)];
        let (producer, signal) = (TaskSignal::new(), TaskSignal::new());
        let mut writer = RecordWriter::new(&environment, channels(), First, producer, Duration::MAX).unwrap();
        (0..10_u64).for_each(|number| writer.write(number, NO_TIMESTAMP).unwrap());
        writer.finish().unwrap();
        let gate = InputGate::<u64>::new(&environment, channels(), signal.clone()).unwrap();
        let seen = Rc::<Cell<u32>>::default();
        let head = Interrupted {
            signal: signal.clone(),
            seen: Rc::clone(&seen),
        };
        let mut input = GateInput::new(gate, Box::new(head), signal);
        let error = input.step(None).unwrap_err();
        assert_eq!((error.to_string().as_str(), seen.get()), ("the task was cancelled", 1));
    }
}

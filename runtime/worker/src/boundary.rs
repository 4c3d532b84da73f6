//! The ends of a chain: sources and sinks, and the traits that connectors implement for them.
//!
//! These traits are what the built-in connectors need; they are not yet what users implement.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flink_exchange::{Event, GateStatus, InputGate, Record, RecordWriter};

use crate::{
    error::TaskError,
    operator::{BoxedOutput, Output},
    panics::OperatorScope,
};

/// Brings records in. One instance per subtask, used by one thread.
pub trait SourceReader<T> {
    /// Emits at most `budget` records, or about as many as it has at hand.
    ///
    /// # Errors
    /// Its own, or the output's.
    fn poll_next(&mut self, budget: u32, output: &mut dyn Output<T>) -> Result<Polled, TaskError>;
}

/// What came of polling a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polled {
    /// Records emitted.
    pub records: u32,
    /// Nothing will follow.
    pub end: bool,
}

/// Takes records out. One instance per subtask, used by one thread. One that is dropped before it has finished leaves
/// nothing visible behind.
pub trait SinkWriter<T> {
    /// Takes one record.
    ///
    /// # Errors
    /// Its own: what it writes to does not work.
    fn write(&mut self, record: T) -> Result<(), TaskError>;

    /// Passes on what waits in a buffer for the sake of latency only.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn flush(&mut self) -> Result<(), TaskError> {
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
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds without the cost of a locked instruction, which only several writers would need.
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a task does over and over: its mailbox's default action.
pub(crate) trait TaskInput {
    /// Processes what input there is at hand, waiting for some if there is none.
    fn step(&mut self) -> Result<Step, TaskError>;
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
pub(crate) struct SourceInput<R, T> {
    reader: R,
    output: BoxedOutput<T>,
    name: Arc<str>,
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

impl<R, T> SourceInput<R, T> {
    pub(crate) fn new(reader: R, output: BoxedOutput<T>, name: Arc<str>, records: Arc<Counter>) -> Self {
        Self {
            reader,
            output,
            name,
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

impl<T, R: SourceReader<T>> TaskInput for SourceInput<R, T> {
    fn step(&mut self) -> Result<Step, TaskError> {
        let scope = OperatorScope::enter(&self.name);
        let polled = self.reader.poll_next(self.budget, &mut *self.output);
        scope.leave();
        let polled = polled.map_err(|error| error.at(&self.name))?;
        self.records.add(polled.records.into());
        if polled.end {
            self.output.event(Event::EndOfData)?;
            return Ok(Step::Ended);
        }
        self.adapt_budget();
        self.output.batch_done()?;
        Ok(Step::More)
    }
}

/// An input gate before the head of a chain.
pub(crate) struct GateInput<T> {
    pub(crate) gate: InputGate<T>,
    pub(crate) head: BoxedOutput<T>,
}

impl<T: Record> TaskInput for GateInput<T> {
    fn step(&mut self) -> Result<Step, TaskError> {
        let Self { gate, head } = self;
        match gate.next(None, &mut |record| head.collect(record))? {
            GateStatus::Finished => {
                head.event(Event::EndOfData)?;
                Ok(Step::Ended)
            }
            // The end of one channel is not the end of the input.
            _ => {
                head.batch_done()?;
                Ok(Step::More)
            }
        }
    }
}

/// A sink at the end of a chain.
pub(crate) struct SinkOutput<W> {
    pub(crate) writer: W,
    pub(crate) name: Arc<str>,
    pub(crate) records: Arc<Counter>,
}

impl<W> SinkOutput<W> {
    #[inline]
    fn call(&mut self, call: impl FnOnce(&mut W) -> Result<(), TaskError>) -> Result<(), TaskError> {
        let scope = OperatorScope::enter(&self.name);
        let result = call(&mut self.writer);
        scope.leave();
        result.map_err(|error| error.at(&self.name))
    }
}

impl<T, W: SinkWriter<T>> Output<T> for SinkOutput<W> {
    #[inline]
    fn collect(&mut self, record: T) -> Result<(), TaskError> {
        self.call(|writer| writer.write(record))?;
        self.records.add(1);
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), TaskError> {
        if event == Event::EndOfData {
            self.call(W::finish)
        } else {
            Ok(())
        }
    }

    fn batch_done(&mut self) -> Result<(), TaskError> {
        self.call(W::flush)
    }
}

/// The writer of an exchange at the end of a chain. Dropped before it has finished, its consumers see a failed producer.
pub(crate) struct ExchangeOutput<T>(pub(crate) Option<RecordWriter<T>>);

impl<T: Record> Output<T> for ExchangeOutput<T> {
    #[inline]
    fn collect(&mut self, record: T) -> Result<(), TaskError> {
        match &mut self.0 {
            Some(writer) => Ok(writer.write(record)?),
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
}

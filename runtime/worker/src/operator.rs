//! Operators, and the outputs between them.
//!
//! Records are pushed: an operator calls the [`Output`] behind it, which is the next operator of the chain, the writer
//! of an exchange, or a tee before several of these. Between two operators stands one dynamic call (0.6 ns); inside an
//! operator, the user's closure is generic and inlined. A record's timestamp is an argument of that call and not part of
//! the record, so that it stays in a register. Refused: pulling through boxed operators (13 ns over four of
//! them, 30 with large records, because every hop returns an enum through memory), a chain that is one generic type
//! (compile times, unreadable errors, no chaining switch at run time), and an async call per record (78 ns).

use std::{any::Any, sync::Arc};

use flink_exchange::{Event, WatermarkStatus};
use flink_record::Timestamp;

use crate::{error::TaskError, panics::OperatorScope};

/// Where an operator's records go.
pub trait Output<T> {
    /// Takes one record with its timestamp, or [`NO_TIMESTAMP`](flink_record::NO_TIMESTAMP). Blocks under back-pressure.
    ///
    /// # Errors
    /// When the task cannot go on; nothing may be collected afterwards.
    fn collect(&mut self, record: T, timestamp: Timestamp) -> Result<(), TaskError>;

    /// Takes what travels between records. After [`Event::EndOfData`] nothing is collected any more.
    ///
    /// # Errors
    /// When the task cannot go on.
    fn event(&mut self, event: Event) -> Result<(), TaskError>;

    /// The task has processed the input that it had at hand: what has waited long enough goes out.
    ///
    /// # Errors
    /// When the task cannot go on.
    fn batch_done(&mut self) -> Result<(), TaskError>;

    /// The clock has reached a time for which an operator of the chain has set its alarm.
    ///
    /// # Errors
    /// When the task cannot go on.
    fn processing_time(&mut self, now: Timestamp) -> Result<(), TaskError>;
}

/// An output behind a pointer: the boundary between two operators.
pub type BoxedOutput<T> = Box<dyn Output<T>>;

/// All that an operator emits to: the output of its records, and those of its side outputs that somebody consumes.
pub struct Outputs<T> {
    main: BoxedOutput<T>,
    sides: SideOutputs,
}

/// The side outputs of an operator that somebody consumes.
#[derive(Default)]
pub struct SideOutputs(Vec<SideOutput>);

struct SideOutput {
    tag: Arc<str>,
    output: Box<dyn AnyOutput>,
}

/// An output whose record type is not known: a [`BoxedOutput`] of some type.
pub(crate) trait AnyOutput: Any {
    fn any_event(&mut self, event: Event) -> Result<(), TaskError>;
    fn any_batch_done(&mut self) -> Result<(), TaskError>;
    fn any_processing_time(&mut self, now: Timestamp) -> Result<(), TaskError>;
}

impl<T: 'static> AnyOutput for BoxedOutput<T> {
    fn any_event(&mut self, event: Event) -> Result<(), TaskError> {
        (**self).event(event)
    }

    fn any_batch_done(&mut self) -> Result<(), TaskError> {
        (**self).batch_done()
    }

    fn any_processing_time(&mut self, now: Timestamp) -> Result<(), TaskError> {
        (**self).processing_time(now)
    }
}

impl<T> Outputs<T> {
    /// An operator's output, without side outputs.
    pub fn new(main: BoxedOutput<T>) -> Self {
        let sides = SideOutputs::default();
        Self { main, sides }
    }

    /// Adds a side output with this tag. The runtime does it; a test of an operator may.
    pub fn add_side_output<S: 'static>(&mut self, tag: &str, output: BoxedOutput<S>) {
        self.add_side(tag.into(), Box::new(output));
    }

    pub(crate) fn add_side(&mut self, tag: Arc<str>, output: Box<dyn AnyOutput>) {
        self.sides.0.push(SideOutput { tag, output });
    }

    /// Emits a record.
    ///
    /// # Errors
    /// When the task cannot go on.
    #[inline]
    pub fn collect(&mut self, record: T, timestamp: Timestamp) -> Result<(), TaskError> {
        self.main.collect(record, timestamp)
    }

    /// Emits a record to the side output of that tag; it is dropped when nobody consumes that.
    ///
    /// # Errors
    /// When the task cannot go on, also when the consumers of the side output expect records of another type.
    #[inline]
    pub fn collect_side<S: 'static>(&mut self, tag: &str, record: S, timestamp: Timestamp) -> Result<(), TaskError> {
        self.sides.collect(tag, record, timestamp)
    }

    /// The output of the operator's records, and its side outputs, to be used side by side.
    pub fn parts(&mut self) -> (&mut dyn Output<T>, &mut SideOutputs) {
        (&mut *self.main, &mut self.sides)
    }

    /// Emits what travels between records, to all outputs.
    ///
    /// # Errors
    /// When the task cannot go on.
    pub fn event(&mut self, event: Event) -> Result<(), TaskError> {
        self.main.event(event)?;
        self.sides.event(event)
    }

    pub(crate) fn batch_done(&mut self) -> Result<(), TaskError> {
        self.main.batch_done()?;
        self.sides
            .0
            .iter_mut()
            .try_for_each(|side| side.output.any_batch_done())
    }

    pub(crate) fn processing_time(&mut self, now: Timestamp) -> Result<(), TaskError> {
        self.main.processing_time(now)?;
        self.sides
            .0
            .iter_mut()
            .try_for_each(|side| side.output.any_processing_time(now))
    }
}

impl SideOutputs {
    /// Emits a record to the side output of that tag; it is dropped when nobody consumes that.
    ///
    /// # Errors
    /// When the task cannot go on, also when the consumers of the side output expect records of another type.
    pub fn collect<S: 'static>(&mut self, tag: &str, record: S, timestamp: Timestamp) -> Result<(), TaskError> {
        let Some(side) = self.0.iter_mut().find(|side| *side.tag == *tag) else {
            return Ok(());
        };
        let output: &mut dyn Any = &mut *side.output;
        let output = output.downcast_mut::<BoxedOutput<S>>().ok_or_else(|| {
            let emitted = std::any::type_name::<S>();
            TaskError::operator(format!(
                "the side output `{tag}` is consumed as another type than {emitted}"
            ))
        })?;
        output.collect(record, timestamp)
    }

    /// Emits what travels between records.
    ///
    /// # Errors
    /// When the task cannot go on.
    pub fn event(&mut self, event: Event) -> Result<(), TaskError> {
        self.0.iter_mut().try_for_each(|side| side.output.any_event(event))
    }
}

/// Turns records into records. One instance per subtask, used by one thread. An operator with two inputs takes
/// [`Either`] record.
pub trait Operator<I> {
    /// What it emits.
    type Out;

    /// Processes one record.
    ///
    /// # Errors
    /// Its own, or the output's.
    fn process(&mut self, record: I, timestamp: Timestamp, output: &mut Outputs<Self::Out>) -> Result<(), TaskError>;

    /// Event time has advanced. Emits what that makes due, then the watermark.
    ///
    /// # Errors
    /// Its own, or the output's.
    fn watermark(&mut self, watermark: Timestamp, output: &mut Outputs<Self::Out>) -> Result<(), TaskError> {
        output.event(Event::Watermark(watermark))
    }

    /// The input begins or ceases to take part in event time; so does the output.
    ///
    /// # Errors
    /// The output's.
    fn watermark_status(&mut self, status: WatermarkStatus, output: &mut Outputs<Self::Out>) -> Result<(), TaskError> {
        output.event(Event::WatermarkStatus(status))
    }

    /// The clock has reached a time for which an operator of the chain has set its alarm, perhaps this one.
    ///
    /// # Errors
    /// Its own, or the output's.
    fn processing_time(&mut self, now: Timestamp, output: &mut Outputs<Self::Out>) -> Result<(), TaskError> {
        let (_, _) = (now, output);
        Ok(())
    }

    /// The task has processed the input that it had at hand, or was woken without any.
    ///
    /// # Errors
    /// Its own, or the output's.
    fn batch_done(&mut self, output: &mut Outputs<Self::Out>) -> Result<(), TaskError> {
        let _ = output;
        Ok(())
    }

    /// The last record was processed, and after it the watermark `Timestamp::MAX`: emits what was held back.
    ///
    /// # Errors
    /// Its own, or the output's.
    fn end_of_data(&mut self, output: &mut Outputs<Self::Out>) -> Result<(), TaskError> {
        let _ = output;
        Ok(())
    }
}

/// A record of one of an operator's two inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either<A, B> {
    /// Of the first.
    First(A),
    /// Of the second.
    Second(B),
}

/// An operator in its place in a chain.
pub(crate) struct Chained<P, O> {
    pub(crate) operator: P,
    pub(crate) outputs: Outputs<O>,
    pub(crate) name: Arc<str>,
}

impl<P, O> Chained<P, O> {
    #[inline]
    fn call(&mut self, call: impl FnOnce(&mut P, &mut Outputs<O>) -> Result<(), TaskError>) -> Result<(), TaskError> {
        let scope = OperatorScope::enter(&self.name);
        let result = call(&mut self.operator, &mut self.outputs);
        scope.leave();
        result.map_err(|error| error.at(&self.name))
    }
}

impl<I, P: Operator<I>> Output<I> for Chained<P, P::Out> {
    #[inline]
    fn collect(&mut self, record: I, timestamp: Timestamp) -> Result<(), TaskError> {
        self.call(|operator, outputs| operator.process(record, timestamp, outputs))
    }

    fn event(&mut self, event: Event) -> Result<(), TaskError> {
        match event {
            Event::Watermark(watermark) => self.call(|operator, outputs| operator.watermark(watermark, outputs)),
            Event::WatermarkStatus(status) => self.call(|operator, outputs| operator.watermark_status(status, outputs)),
            Event::EndOfData => {
                self.call(P::end_of_data)?;
                self.outputs.event(event)
            }
            _ => self.outputs.event(event),
        }
    }

    fn batch_done(&mut self) -> Result<(), TaskError> {
        self.call(P::batch_done)?;
        self.outputs.batch_done()
    }

    fn processing_time(&mut self, now: Timestamp) -> Result<(), TaskError> {
        self.call(|operator, outputs| operator.processing_time(now, outputs))?;
        self.outputs.processing_time(now)
    }
}

/// Several outputs of one operator. All but the last get clones.
pub(crate) struct Tee<T> {
    pub(crate) clones: Vec<BoxedOutput<T>>,
    pub(crate) last: BoxedOutput<T>,
}

impl<T> Tee<T> {
    fn each(&mut self, mut call: impl FnMut(&mut BoxedOutput<T>) -> Result<(), TaskError>) -> Result<(), TaskError> {
        self.clones.iter_mut().try_for_each(&mut call)?;
        call(&mut self.last)
    }
}

impl<T: Clone> Output<T> for Tee<T> {
    fn collect(&mut self, record: T, timestamp: Timestamp) -> Result<(), TaskError> {
        for output in &mut self.clones {
            output.collect(record.clone(), timestamp)?;
        }
        self.last.collect(record, timestamp)
    }

    fn event(&mut self, event: Event) -> Result<(), TaskError> {
        self.each(|output| output.event(event))
    }

    fn batch_done(&mut self) -> Result<(), TaskError> {
        self.each(|output| output.batch_done())
    }

    fn processing_time(&mut self, now: Timestamp) -> Result<(), TaskError> {
        self.each(|output| output.processing_time(now))
    }
}

/// The output of an operator whose records nobody consumes, since only side outputs of it are.
pub(crate) struct Unconsumed;

impl<T> Output<T> for Unconsumed {
    fn collect(&mut self, _: T, _: Timestamp) -> Result<(), TaskError> {
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

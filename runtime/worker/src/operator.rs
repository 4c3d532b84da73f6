//! Operators, and the outputs between them.
//!
//! Records are pushed: an operator calls the [`Output`] behind it, which is the next operator of the chain, the writer
//! of an exchange, or a tee before several of these. Between two operators stands one dynamic call (0.6 ns); inside an
//! operator, the user's closure is generic and inlined. Refused: pulling through boxed operators (13 ns over four of
//! them, 30 with large records, because every hop returns an enum through memory), a chain that is one generic type
//! (compile times, unreadable errors, no chaining switch at run time), and an async call per record (78 ns).

use std::sync::Arc;

use flink_exchange::Event;

use crate::{error::TaskError, panics::OperatorScope};

/// Where an operator's records go.
pub trait Output<T> {
    /// Takes one record. Blocks under back-pressure.
    ///
    /// # Errors
    /// When the task cannot go on; nothing may be collected afterwards.
    fn collect(&mut self, record: T) -> Result<(), TaskError>;

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
}

/// An output behind a pointer: the boundary between two operators.
pub type BoxedOutput<T> = Box<dyn Output<T>>;

/// Turns records into records. One instance per subtask, used by one thread.
pub trait Operator<I> {
    /// What it emits.
    type Out;

    /// Processes one record.
    ///
    /// # Errors
    /// Its own, or the output's.
    fn process(&mut self, record: I, output: &mut dyn Output<Self::Out>) -> Result<(), TaskError>;

    /// The last record was processed: emits what was held back.
    ///
    /// # Errors
    /// Its own, or the output's.
    fn end_of_data(&mut self, output: &mut dyn Output<Self::Out>) -> Result<(), TaskError> {
        let _ = output;
        Ok(())
    }
}

/// An operator in its place in a chain.
pub(crate) struct Chained<P, O> {
    pub(crate) operator: P,
    pub(crate) output: BoxedOutput<O>,
    pub(crate) name: Arc<str>,
}

impl<I, P: Operator<I>> Output<I> for Chained<P, P::Out> {
    #[inline]
    fn collect(&mut self, record: I) -> Result<(), TaskError> {
        let scope = OperatorScope::enter(&self.name);
        let result = self.operator.process(record, &mut *self.output);
        scope.leave();
        result.map_err(|error| error.at(&self.name))
    }

    fn event(&mut self, event: Event) -> Result<(), TaskError> {
        if event == Event::EndOfData {
            let scope = OperatorScope::enter(&self.name);
            let result = self.operator.end_of_data(&mut *self.output);
            scope.leave();
            result.map_err(|error| error.at(&self.name))?;
        }
        self.output.event(event)
    }

    fn batch_done(&mut self) -> Result<(), TaskError> {
        self.output.batch_done()
    }
}

/// Several outputs of one operator. All but the last get clones.
pub(crate) struct Tee<T> {
    pub(crate) clones: Vec<BoxedOutput<T>>,
    pub(crate) last: BoxedOutput<T>,
}

impl<T: Clone> Output<T> for Tee<T> {
    fn collect(&mut self, record: T) -> Result<(), TaskError> {
        for output in &mut self.clones {
            output.collect(record.clone())?;
        }
        self.last.collect(record)
    }

    fn event(&mut self, event: Event) -> Result<(), TaskError> {
        self.clones.iter_mut().try_for_each(|output| output.event(event))?;
        self.last.event(event)
    }

    fn batch_done(&mut self) -> Result<(), TaskError> {
        self.clones.iter_mut().try_for_each(|output| output.batch_done())?;
        self.last.batch_done()
    }
}

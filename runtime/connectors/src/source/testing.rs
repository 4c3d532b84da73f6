//! What unit tests of readers stand on.

use std::{cell::RefCell, rc::Rc};

use flink_exchange::Event;
use flink_record::Timestamp;
use flink_worker::{Availability, Output, Outputs, Polled, ProcessingTimeService, SourceOperator, TaskError};

use super::{Enumeration, Source, SourceReaderContext, operator::ReaderOperator, protocol::SplitRequests};

/// What a source has emitted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Emitted<T> {
    Record(T, Timestamp),
    Event(Event),
}

pub(crate) struct Log<T>(pub(crate) Kept<T>);

impl<T> Output<T> for Log<T> {
    fn collect(&mut self, record: T, timestamp: Timestamp) -> Result<(), TaskError> {
        self.0.borrow_mut().push(Emitted::Record(record, timestamp));
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), TaskError> {
        self.0.borrow_mut().push(Emitted::Event(event));
        Ok(())
    }

    fn batch_done(&mut self) -> Result<(), TaskError> {
        Ok(())
    }

    fn processing_time(&mut self, _: Timestamp) -> Result<(), TaskError> {
        Ok(())
    }
}

/// What an output keeps.
pub(crate) type Kept<T> = Rc<RefCell<Vec<Emitted<T>>>>;

/// An output that is kept, and what is kept of it.
pub(crate) fn log<T: 'static>() -> (Outputs<T>, Kept<T>) {
    let emitted = Rc::default();
    (Outputs::new(Box::new(Log(Rc::clone(&emitted)))), emitted)
}

pub(crate) fn records<T>(emitted: Vec<Emitted<T>>) -> Vec<T> {
    let records = emitted.into_iter().filter_map(|emitted| match emitted {
        Emitted::Record(record, _) => Some(record),
        Emitted::Event(_) => None,
    });
    records.collect()
}

/// One subtask of a source that works out its own splits.
pub(crate) struct Subtask<S: Source> {
    operator: ReaderOperator<S::Reader>,
    pub(crate) outputs: Outputs<S::Record>,
    emitted: Kept<S::Record>,
    pub(crate) context: SourceReaderContext,
}

impl<S: Source> Subtask<S> {
    pub(crate) fn new(
        source: &S,
        subtask: u32,
        parallelism: u32,
        clock: &ProcessingTimeService,
    ) -> Result<Self, TaskError> {
        let context = SourceReaderContext::new(subtask, parallelism, clock);
        let mut operator = ReaderOperator::new(source.create_reader(&context)?, SplitRequests::none(), None, None);
        if let Enumeration::PerSubtask(splits_of) = source.enumeration() {
            operator.add_splits(splits_of(source, subtask, parallelism)?)?;
        }
        let (outputs, emitted) = log();
        Ok(Self {
            operator,
            outputs,
            emitted,
            context,
        })
    }

    pub(crate) fn poll(&mut self, budget: u32) -> Result<Polled, TaskError> {
        self.operator.poll_next(budget, &mut self.outputs)
    }

    /// Records since the last look.
    pub(crate) fn take(&mut self) -> Vec<S::Record> {
        records(self.emitted.take())
    }

    /// All records to the end; budgets vary.
    pub(crate) fn read_all(&mut self) -> Result<Vec<S::Record>, TaskError> {
        for budget in (1..).step_by(3) {
            if self.poll(budget)?.next == Availability::End {
                break;
            }
        }
        Ok(self.take())
    }
}

/// All records of all subtasks, in the order of subtasks.
pub(crate) fn read_all<S: Source>(source: &S, parallelism: u32) -> Result<Vec<S::Record>, TaskError> {
    let clock = ProcessingTimeService::manual(0);
    let mut records = Vec::new();
    for subtask in 0..parallelism {
        records.extend(Subtask::new(source, subtask, parallelism, &clock)?.read_all()?);
    }
    Ok(records)
}

//! What reads splits in a task.

use std::{collections::VecDeque, sync::Arc};

use flink_exchange::TaskSignal;
use flink_worker::{Availability, Counter, OperatorContext, ProcessingTimeService, TaskError};

use super::{
    Split,
    output::{ReaderOutput, SourceOutput},
};

/// Reads the splits that it is given. One instance per subtask, used by one thread.
///
/// Implement it for a source that reads many splits at once; for one that reads them one after another, there is
/// [`SequentialReader`].
pub trait SourceReader {
    /// Its records.
    type Record: 'static;

    /// What its input is cut into.
    type Split: Split;

    /// More to read.
    ///
    /// # Errors
    /// What the task cannot go on after.
    fn add_splits(&mut self, splits: Vec<Self::Split>) -> Result<(), TaskError>;

    /// Emits records, as long as the output [wants more](ReaderOutput::wants_more), and says when there will be more:
    /// [`Availability::End`] when all splits that it was given so far are read to their ends. It must not wait: a reader that
    /// has nothing at hand says so, and has its task [woken](Waker).
    ///
    /// # Errors
    /// What the task cannot go on after, the output's errors among it.
    fn poll_next(&mut self, output: &mut ReaderOutput<'_, Self::Record>) -> Result<Availability, TaskError>;
}

/// Reads one split.
pub trait SplitReader {
    /// Its records.
    type Record: 'static;

    /// What the input is cut into.
    type Split: Split;

    /// Emits records, as long as the output [wants more](SourceOutput::wants_more), and says when there will be more:
    /// [`Availability::End`] when the split is read to its end. It must not wait: a reader that has nothing at hand says so,
    /// and has its task [woken](Waker).
    ///
    /// # Errors
    /// What the task cannot go on after, the output's errors among it.
    fn poll_next(&mut self, output: &mut SourceOutput<'_, Self::Record>) -> Result<Availability, TaskError>;
}

/// Reads splits one after another.
pub struct SequentialReader<R: SplitReader> {
    open: Box<dyn FnMut(R::Split) -> Result<R, TaskError>>,
    waiting: VecDeque<R::Split>,
    current: Option<(String, R)>,
}

impl<R: SplitReader> SequentialReader<R> {
    /// `open` makes the reader of a split when its turn has come.
    pub fn new(open: impl FnMut(R::Split) -> Result<R, TaskError> + 'static) -> Self {
        Self {
            open: Box::new(open),
            waiting: VecDeque::new(),
            current: None,
        }
    }
}

impl<R: SplitReader> SourceReader for SequentialReader<R> {
    type Record = R::Record;
    type Split = R::Split;

    fn add_splits(&mut self, splits: Vec<R::Split>) -> Result<(), TaskError> {
        self.waiting.extend(splits);
        Ok(())
    }

    fn poll_next(&mut self, output: &mut ReaderOutput<'_, R::Record>) -> Result<Availability, TaskError> {
        let (id, reader) = match &mut self.current {
            Some(current) => current,
            None => {
                let Some(split) = self.waiting.pop_front() else {
                    return Ok(Availability::End);
                };
                let id = split.split_id();
                self.current.insert((id, (self.open)(split)?))
            }
        };
        let available = reader.poll_next(&mut output.split(id)?)?;
        match available {
            Availability::End => {
                output.finish_split(id)?;
                self.current = None;
                let last = self.waiting.is_empty();
                Ok(if last { Availability::End } else { Availability::Now })
            }
            available => Ok(available),
        }
    }
}

/// What a reader is told when it is made.
#[derive(Clone)]
pub struct SourceReaderContext {
    subtask: u32,
    parallelism: u32,
    clock: ProcessingTimeService,
    signal: TaskSignal,
    skipped: Arc<Counter>,
}

impl SourceReaderContext {
    /// For a reader outside of a job: a test of it.
    pub fn new(subtask: u32, parallelism: u32, clock: &ProcessingTimeService) -> Self {
        Self {
            subtask,
            parallelism,
            clock: clock.clone(),
            signal: TaskSignal::new(),
            skipped: Arc::default(),
        }
    }

    pub(crate) fn of_task(context: &OperatorContext<'_>) -> Self {
        Self {
            subtask: context.subtask(),
            parallelism: context.parallelism,
            clock: context.clock.clone(),
            signal: context.signal(),
            skipped: context.skipped_records(),
        }
    }

    /// Subtask index, 0-based.
    pub fn subtask(&self) -> u32 {
        self.subtask
    }

    /// Number of subtasks.
    pub fn parallelism(&self) -> u32 {
        self.parallelism
    }

    /// The task's clock.
    pub fn clock(&self) -> &ProcessingTimeService {
        &self.clock
    }

    /// What another thread wakes the reader's task with.
    pub fn waker(&self) -> Waker {
        Waker(self.signal.clone())
    }

    /// Whether the task is to end: something that takes long looks at it now and then.
    pub fn is_cancelled(&self) -> bool {
        self.signal.is_cancelled()
    }

    /// Counts records that were left out because they could not be read.
    pub fn skipped_records(&self) -> &Arc<Counter> {
        &self.skipped
    }
}

/// Wakes the task of a reader, so that it is polled again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Waker(TaskSignal);

impl Waker {
    /// Has the reader polled soon. Wake-ups do not add up.
    pub fn wake(&self) {
        self.0.wake();
    }
}

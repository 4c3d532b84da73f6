//! Sinks: what takes records out of a job, as traits that jobs can implement.
//!
//! A [`Sink`] is a description. A [`SinkWriter`], one per subtask, writes records. Where what was written must not be seen
//! before it is complete, writing and showing are two steps: the writer hands over [committables](SinkWriter::Committable), each a
//! description of something that is safely written and hidden (a file under another name, a prepared transaction), and a
//! [`Committer`] makes it visible. The names are those of Flink (FLIP-143, FLIP-191).
//!
//! A committable is committed at the end of the input, or earlier when its writer says that it is [complete by
//! itself](SinkWriter::has_committables). A task that fails leaves behind nothing visible that was not committed.

pub(crate) mod operator;

use flink_record::{Record, Timestamp};
use flink_worker::{
    NodeFactory, OperatorContext, OperatorCoordinator, OutputStream, ProcessingTimeService, SubtaskGateway, TaskError,
};

/// Something that takes records out of a job.
///
/// ```
/// use flink_connectors::sink::{NoCommitter, Sink, SinkWriter, SinkWriterContext, WriteContext};
/// use flink_worker::TaskError;
///
/// /// Writes the longest line of each subtask to the standard error.
/// struct Longest;
///
/// impl Sink<String> for Longest {
///     type Writer = LongestWriter;
///     type Committer = NoCommitter;
///
///     fn name(&self) -> String {
///         "longest".to_owned()
///     }
///
///     fn create_writer(&self, _: &SinkWriterContext<'_>) -> Result<LongestWriter, TaskError> {
///         Ok(LongestWriter::default())
///     }
/// }
///
/// #[derive(Default)]
/// struct LongestWriter(String);
///
/// impl SinkWriter<String> for LongestWriter {
///     type Committable = ();
///
///     fn write(&mut self, record: String, _: WriteContext) -> Result<(), TaskError> {
///         if record.len() > self.0.len() {
///             self.0 = record;
///         }
///         Ok(())
///     }
///
///     fn flush(&mut self, end_of_input: bool) -> Result<(), TaskError> {
///         if end_of_input {
///             eprintln!("{}", self.0);
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Sink<T>: Send + Sized + 'static {
    /// What writes records.
    type Writer: SinkWriter<T> + 'static;

    /// What makes visible what was written: [`NoCommitter`] where that is one with writing.
    type Committer: Committer<<Self::Writer as SinkWriter<T>>::Committable> + 'static;

    /// Its name for people, until the job gives it one.
    fn name(&self) -> String;

    /// A check that is made in each worker before any task of the job runs anywhere.
    ///
    /// # Errors
    /// What keeps the job from starting.
    fn preflight(&self) -> Result<(), TaskError> {
        Ok(())
    }

    /// What writes in one subtask.
    ///
    /// # Errors
    /// What keeps the task from starting.
    fn create_writer(&self, context: &SinkWriterContext<'_>) -> Result<Self::Writer, TaskError>;

    /// What commits what one subtask has written. `None`, where nothing is ever to be committed.
    ///
    /// # Errors
    /// What keeps the task from starting.
    fn create_committer(&self, context: &SinkWriterContext<'_>) -> Result<Option<Self::Committer>, TaskError> {
        let _ = context;
        Ok(None)
    }

    /// What makes the sink's coordinator, if it has one: it runs once for all subtasks, in the job's coordinator process, and
    /// they talk to it through [`SinkWriterContext::coordinator`].
    fn coordinator(&self) -> Option<MakeCoordinator> {
        None
    }
}

/// What makes the coordinator of a sink.
pub type MakeCoordinator = Box<dyn Fn() -> Result<Box<dyn OperatorCoordinator>, TaskError> + Send>;

/// Writes the records of one subtask. One that is dropped before the end of the input leaves nothing visible behind that was not
/// committed.
pub trait SinkWriter<T> {
    /// What is handed to the committer. `()` where there is none.
    type Committable: Record;

    /// Takes one record.
    ///
    /// # Errors
    /// What it writes to does not work.
    fn write(&mut self, record: T, context: WriteContext) -> Result<(), TaskError>;

    /// Passes on what waits in a buffer. Called often with `false`, whenever the task has nothing else to do: for what waits
    /// for the sake of latency alone. Called once with `true`, after the last record: then all is to be passed on.
    ///
    /// # Errors
    /// What it writes to does not work.
    fn flush(&mut self, end_of_input: bool) -> Result<(), TaskError>;

    /// Whether something is complete by itself and can be committed before the end of the input, as a file that has reached its size.
    fn has_committables(&self) -> bool {
        false
    }

    /// Hands over what is complete: safely written, and not visible.
    ///
    /// # Errors
    /// What it writes to does not work.
    fn prepare_commit(&mut self) -> Result<Vec<Self::Committable>, TaskError> {
        Ok(Vec::new())
    }

    /// The clock has reached a time that somebody in the task has asked for, perhaps this writer
    /// ([`SinkWriterContext::clock`]).
    ///
    /// # Errors
    /// What it writes to does not work.
    fn processing_time(&mut self, now: Timestamp) -> Result<(), TaskError> {
        let _ = now;
        Ok(())
    }
}

/// Makes visible what was written.
pub trait Committer<C> {
    /// Commits these. One that was committed before must not be committed twice, nor be an error: after a failure nobody may
    /// know that it was.
    ///
    /// # Errors
    /// What could not be committed.
    fn commit(&mut self, committables: Vec<C>) -> Result<(), TaskError>;
}

/// The committer of sinks that have none.
#[derive(Debug, Clone, Copy)]
pub struct NoCommitter;

impl<C> Committer<C> for NoCommitter {
    fn commit(&mut self, _: Vec<C>) -> Result<(), TaskError> {
        Ok(())
    }
}

/// What is known of a record beside the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteContext {
    /// Its timestamp, or [`NO_TIMESTAMP`](flink_record::NO_TIMESTAMP).
    pub timestamp: Timestamp,
    /// The watermark, `Timestamp::MIN` before the first.
    pub watermark: Timestamp,
}

/// What a writer is told when it is made.
pub struct SinkWriterContext<'a> {
    subtask: u32,
    parallelism: u32,
    attempt: u32,
    clock: ProcessingTimeService,
    /// `None` outside of a job.
    task: Option<&'a OperatorContext<'a>>,
}

impl<'a> SinkWriterContext<'a> {
    /// For a writer outside of a job: a test of it.
    pub fn new(subtask: u32, parallelism: u32, clock: &ProcessingTimeService) -> Self {
        Self {
            subtask,
            parallelism,
            attempt: 0,
            clock: clock.clone(),
            task: None,
        }
    }

    pub(crate) fn of_task(context: &'a OperatorContext<'a>) -> Self {
        Self {
            subtask: context.subtask(),
            parallelism: context.parallelism,
            attempt: context.attempt.attempt,
            clock: context.clock.clone(),
            task: Some(context),
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

    /// How often the subtask was started before.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The task's clock. A writer that wants to be called at a time asks it.
    pub fn clock(&self) -> &ProcessingTimeService {
        &self.clock
    }

    /// The way to the sink's coordinator.
    ///
    /// # Errors
    /// When it has none.
    pub fn coordinator(&self) -> Result<SubtaskGateway, TaskError> {
        match self.task {
            Some(task) => task.coordinator(),
            None => Err(TaskError::runtime("outside of a job there are no coordinators")),
        }
    }

    /// A stream to where the job prints.
    ///
    /// # Errors
    /// When there is no way there.
    pub fn open_job_output(&self) -> Result<Box<dyn OutputStream>, TaskError> {
        match self.task {
            Some(task) => task.open_job_output(),
            None => Err(TaskError::runtime("outside of a job there is nowhere to print to")),
        }
    }
}

/// What runs a sink in a task.
pub fn sink_factory<T: 'static, S: Sink<T>>(sink: S) -> NodeFactory {
    operator::factory(sink)
}

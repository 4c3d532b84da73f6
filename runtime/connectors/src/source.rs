//! Sources: what brings records into a job, as traits that jobs can implement.
//!
//! The parts and their names are those of Flink (FLIP-27). A [`Source`] is a description. Its input is cut into [`Split`]s: a
//! file, a range of bytes, a partition of a queue. A [`SourceReader`], one per subtask, is given splits and emits their
//! records. Where splits come from is the source's [`Enumeration`]:
//!
//! - *per subtask*: each subtask works out its own splits. Nobody needs to be asked, so that the job starts without waiting;
//!   for what is known in advance and can be cut evenly: numbers, collections, files that do not change.
//! - *coordinated*: one [`SplitEnumerator`] per job, in the job's coordinator process, hands splits to readers that ask for
//!   them. For what is found while the job runs, and for sharing out by speed.
//!
//! Most readers read one split after another: these implement [`SplitReader`], for one split, and are put into a
//! [`SequentialReader`].
//!
//! # Time
//! With a `WatermarkStrategy`, each split has timestamps and watermarks of its own; the watermark of the subtask is the
//! smallest of those of its splits that are neither finished nor idle. A split counts from the moment it is given to the reader, read or not, so
//! that records of a file that is read later are not late. Without a strategy a record costs nothing but the call.

pub(crate) mod alignment;
mod coordinator;
pub(crate) mod enumerator;
pub(crate) mod event_time;
pub(crate) mod operator;
pub(crate) mod output;
pub(crate) mod protocol;
pub(crate) mod reader;
#[cfg(test)]
pub(crate) mod testing;

use flink_record::Record;
use flink_worker::{NodeFactory, TaskError, WatermarkStrategy};

pub use alignment::AlignmentGroups;
pub use enumerator::{EnumeratorContext, QueueEnumerator, SplitEnumerator};
pub use flink_worker::Availability;
pub use output::{ReaderOutput, SourceOutput};
pub use reader::{SequentialReader, SourceReader, SourceReaderContext, SplitReader, Waker};

/// A part of a source's input, and how far it was read: what is given to readers, and what will be kept of them in checkpoints.
pub trait Split: Record {
    /// What tells it from all other splits of the source.
    fn split_id(&self) -> String;
}

/// Whether a source ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundedness {
    /// It ends.
    Bounded,
    /// It goes on until the job is cancelled.
    Unbounded,
}

/// The splits of one subtask: `(source, subtask, parallelism)`, with the subtask counted from 0.
type SplitsOf<S> = fn(&S, u32, u32) -> Result<Vec<<S as Source>::Split>, TaskError>;

/// What makes an enumerator.
type MakeEnumerator<S> = fn(&S) -> Result<Box<dyn SplitEnumerator<<S as Source>::Split>>, TaskError>;

/// Where the splits of a source come from.
pub enum Enumeration<S: Source> {
    /// Each subtask works them out by itself, given `(source, subtask, parallelism)` with the subtask counted from 0. All
    /// subtasks must have the same idea of the input: each split belongs to exactly one of them.
    PerSubtask(SplitsOf<S>),
    /// An enumerator in the job's coordinator process hands them out.
    Coordinated(MakeEnumerator<S>),
}

impl<S: Source> Clone for Enumeration<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Source> Copy for Enumeration<S> {}

/// Something that brings records into a job.
///
/// ```
/// use flink_connectors::source::{
///     Availability, Boundedness, Enumeration, SequentialReader, Source, SourceOutput, SourceReaderContext, Split, SplitReader,
/// };
/// use flink_record::{DecodeError, Record};
/// use flink_worker::TaskError;
///
/// /// The squares of the numbers below a limit; a split is every n-th of them.
/// struct Squares(u64);
///
/// struct EveryNth { next: u64, step: u64 }
///
/// impl Record for EveryNth {
///     fn encode(&self, out: &mut Vec<u8>) {
///         (self.next, self.step).encode(out);
///     }
///
///     fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
///         let (next, step) = Record::decode(input)?;
///         Ok(Self { next, step })
///     }
/// }
///
/// impl Split for EveryNth {
///     fn split_id(&self) -> String {
///         (self.next % self.step).to_string()
///     }
/// }
///
/// impl Source for Squares {
///     type Record = u64;
///     type Split = EveryNth;
///     type Reader = SequentialReader<SquaresReader>;
///
///     fn name(&self) -> String {
///         "squares".to_owned()
///     }
///
///     fn boundedness(&self) -> Boundedness {
///         Boundedness::Bounded
///     }
///
///     fn enumeration(&self) -> Enumeration<Self> {
///         Enumeration::PerSubtask(|_, subtask, parallelism| {
///             Ok(vec![EveryNth { next: subtask.into(), step: parallelism.into() }])
///         })
///     }
///
///     fn create_reader(&self, _: &SourceReaderContext) -> Result<Self::Reader, TaskError> {
///         let limit = self.0;
///         Ok(SequentialReader::new(move |split| Ok(SquaresReader { split, limit })))
///     }
/// }
///
/// struct SquaresReader { split: EveryNth, limit: u64 }
///
/// impl SplitReader for SquaresReader {
///     type Record = u64;
///     type Split = EveryNth;
///
///     fn poll_next(&mut self, output: &mut SourceOutput<'_, u64>) -> Result<Availability, TaskError> {
///         while output.wants_more() {
///             let number = self.split.next;
///             if number >= self.limit {
///                 return Ok(Availability::End);
///             }
///             self.split.next += self.split.step;
///             output.collect(number * number)?;
///         }
///         Ok(Availability::Now)
///     }
/// }
/// ```
pub trait Source: Sized + Send + 'static {
    /// Its records.
    type Record: 'static;

    /// What its input is cut into.
    type Split: Split;

    /// What reads splits.
    type Reader: SourceReader<Record = Self::Record, Split = Self::Split> + 'static;

    /// Its name for people, until the job gives it one.
    fn name(&self) -> String;

    /// Whether it ends by itself.
    fn boundedness(&self) -> Boundedness;

    /// Its parallelism, when that is not for the job to choose.
    fn fixed_parallelism(&self) -> Option<u32> {
        None
    }

    /// Where its splits come from.
    fn enumeration(&self) -> Enumeration<Self>;

    /// What reads in one subtask.
    ///
    /// # Errors
    /// What keeps the task from starting.
    fn create_reader(&self, context: &SourceReaderContext) -> Result<Self::Reader, TaskError>;
}

/// What runs a source in a task, with the timestamps and watermarks of a strategy. `groups` are those of the job.
pub fn source_factory<S: Source>(
    source: S,
    strategy: WatermarkStrategy<S::Record>,
    groups: &mut AlignmentGroups,
) -> NodeFactory {
    operator::factory(source, strategy, groups)
}

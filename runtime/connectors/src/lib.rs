//! Where records come from and go to: text files, sequences, iterators; files, the job's output, nowhere.
//!
//! What a job program names is re-exported by `flink`. Sources and sinks make [`NodeFactory`]s;
//! the traits below them will become split-based sources and two-phase sinks.

mod discard;
mod file_sink;
mod generated;
mod print;
mod text;

use flink_worker::NodeFactory;

pub use discard::DiscardingSink;
pub use file_sink::FileSink;
pub use generated::{CollectionSource, IteratorSource, SequenceSource};
pub use print::{CollectSink, PrintSink};
pub use text::TextFileSource;

/// Something that brings records into a job.
pub trait Source {
    /// Its records.
    type Record;

    /// Its name for people.
    fn name(&self) -> String;

    /// Its parallelism, when that is not for the job to choose.
    fn fixed_parallelism(&self) -> Option<u32> {
        None
    }

    /// What opens it in each subtask.
    fn into_factory(self) -> NodeFactory;
}

/// Something that takes records out of a job.
pub trait Sink<T> {
    /// Its name for people.
    fn name(&self) -> String;

    /// What opens it in each subtask.
    fn into_factory(self) -> NodeFactory;
}

//! Where records come from and go to: files, numbers, iterators, generators, sockets; files, the job's output, nowhere.
//!
//! [`source`] and [`sink`] are the traits that a job's own connectors implement; the built-in ones stand on them, too. What a job
//! program names is re-exported by `flink`.

mod discard;
mod file_sink;
mod files;
mod generated;
mod generator;
mod print;
pub mod sink;
mod socket;
pub mod source;

/// What reads and writes in the tasks of the built-in sources and sinks; nothing that a job needs to name.
pub mod parts {
    #[cfg(feature = "csv")]
    pub use crate::files::CsvReader;
    #[cfg(feature = "json")]
    pub use crate::files::JsonLinesReader;
    #[cfg(feature = "parquet")]
    pub use crate::files::ParquetReader;
    pub use crate::{
        file_sink::{FileCommittable, FileCommitter, FileWriter},
        files::TextReader,
        generated::IteratorReader,
        generator::GeneratorReader,
        print::LineWriter,
        socket::SocketReader,
    };
}

pub use discard::DiscardingSink;
#[cfg(feature = "csv")]
pub use file_sink::CsvEncoder;
#[cfg(feature = "json")]
pub use file_sink::JsonLinesEncoder;
pub use file_sink::{
    BucketAssigner, BucketContext, DateTimeBuckets, DisplayLines, Encoder, FileSink, NoBuckets, RollingPolicy,
};
#[cfg(feature = "parquet")]
pub use file_sink::{ParquetEncoder, ParquetSchemaError};
#[cfg(feature = "csv")]
pub use files::{CsvFormat, CsvSource};
pub use files::{
    FileContext, FileFormat, FileSource, FileSplit, MalformedRecord, OnParseError, TextFileSource, TextFormat,
};
#[cfg(feature = "json")]
pub use files::{JsonLinesFormat, JsonLinesSource};
#[cfg(feature = "parquet")]
pub use files::{ParquetFormat, ParquetSource};
pub use generated::{CollectionSource, IteratorSource, NumberRange, SequenceSource, SubtaskSplit};
pub use generator::DataGeneratorSource;
pub use print::{CollectSink, PrintSink};
pub use socket::SocketTextSource;

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

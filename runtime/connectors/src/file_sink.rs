//! Files as a sink: parts, visible only when they are complete.
//!
//! A part is written to `.part-<subtask>-<n>.inprogress.<attempt>`. When it is complete (its policy says so, or the input has
//! ended) its bytes are brought to disk; it gets its name, `part-<subtask>-<n>`, when it is committed. Hidden files are ignored by those who
//! read such directories. What is in progress is removed when the task fails or is cancelled (not when its process is killed).
//!
//! An output directory must be new or empty. Subtasks cannot tell that when they start: the first of them may have
//! made the directory, and even finished, before the last is deployed. So it is checked in each worker before any task of the job
//! runs anywhere; and no part ever replaces a file.

mod bucket;
mod committer;
#[cfg(feature = "csv")]
mod csv;
mod encoder;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "parquet")]
mod parquet;
mod part;
mod rolling;
mod writer;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use flink_worker::TaskError;

use crate::{
    BoxError,
    sink::{Sink, SinkWriterContext},
};

pub use bucket::{BucketAssigner, BucketContext, DateTimeBuckets, NoBuckets};
pub use committer::{FileCommittable, FileCommitter};
#[cfg(feature = "csv")]
pub use csv::CsvEncoder;
pub use encoder::{DisplayLines, Encoder};
#[cfg(feature = "json")]
pub use json::JsonLinesEncoder;
#[cfg(feature = "parquet")]
pub use parquet::{ParquetEncoder, ParquetSchemaError};
pub use rolling::RollingPolicy;
pub use writer::FileWriter;

/// Writes records to files in a directory: one per line as `Display` writes them, or in [another format](Self::with_encoder).
///
/// Without more, each subtask writes one file, `part-<subtask>-0`. A [rolling policy](Self::with_rolling_policy) begins new ones
/// (`part-<subtask>-1` ...), each of which is visible as soon as it is complete. A [bucket assigner](Self::with_bucket_assigner) spreads
/// records over directories.
///
/// ```
/// use std::time::Duration;
///
/// use flink_connectors::{CsvEncoder, DateTimeBuckets, FileSink, RollingPolicy};
///
/// let sink = FileSink::new("/data/sales")
///     .with_encoder(CsvEncoder::new())
///     .with_rolling_policy(RollingPolicy::new().max_size(128 << 20).max_age(Duration::from_secs(900)))
///     .with_bucket_assigner(DateTimeBuckets::event_time());
/// ```
#[derive(Debug, Clone)]
pub struct FileSink<E = DisplayLines, B = NoBuckets> {
    directory: PathBuf,
    encoder: E,
    rolling: RollingPolicy,
    buckets: B,
}

impl FileSink {
    /// Files in this directory, on the host of each subtask. It is made if there is none; one that is not empty is
    /// refused before the job starts.
    pub fn new(directory: impl AsRef<Path>) -> Self {
        Self {
            directory: directory.as_ref().to_owned(),
            encoder: DisplayLines,
            rolling: RollingPolicy::new(),
            buckets: NoBuckets,
        }
    }
}

impl<E, B> FileSink<E, B> {
    /// Sets how records are written: [`CsvEncoder`], [`JsonLinesEncoder`], `ParquetEncoder`, or one of your own.
    #[must_use]
    pub fn with_encoder<F>(self, encoder: F) -> FileSink<F, B> {
        let Self {
            directory,
            rolling,
            buckets,
            ..
        } = self;
        FileSink {
            directory,
            encoder,
            rolling,
            buckets,
        }
    }

    /// Sets when a file is complete and another is begun. Default: at the end of the input.
    #[must_use]
    pub fn with_rolling_policy(mut self, policy: RollingPolicy) -> Self {
        self.rolling = policy;
        self
    }

    /// Sets which directory below the sink's a record goes to: [`DateTimeBuckets`], or what a closure `(record, context)` names.
    /// Default: none. At most 256 files are being written at a time, by each subtask; then the one that was begun first is completed.
    ///
    /// ```
    /// use flink_connectors::{BucketContext, FileSink};
    ///
    /// let by_shop = |sale: &(u32, String), _: &BucketContext<'_>| format!("shop={}", sale.0);
    /// let sink = FileSink::new("/data/sales").with_bucket_assigner(by_shop);
    /// ```
    #[must_use]
    pub fn with_bucket_assigner<C>(self, buckets: C) -> FileSink<E, C> {
        let Self {
            directory,
            rolling,
            encoder,
            ..
        } = self;
        FileSink {
            directory,
            encoder,
            rolling,
            buckets,
        }
    }
}

/// An output could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FileSinkError {
    #[error("the output path {} exists and is not an empty directory", .0.display())]
    Exists(PathBuf),
    #[error("could not write {}: a file of that name is there already", .0.display())]
    Taken(PathBuf),
    #[error("could not write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("could not encode a record for {}: {source}", path.display())]
    Encode { path: PathBuf, source: BoxError },
    #[error("`{0}` is no bucket: it must be a path below the output directory, of names that are not hidden")]
    Bucket(String),
    #[error("{0}")]
    NoBucket(BoxError),
}

impl FileSinkError {
    fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        |source| Self::Write {
            path: path.to_owned(),
            source,
        }
    }
}

impl<T: 'static, E: Encoder<T>, B: BucketAssigner<T>> Sink<T> for FileSink<E, B> {
    type Writer = FileWriter<E, B>;
    type Committer = FileCommitter;

    fn name(&self) -> String {
        "files".to_owned()
    }

    fn preflight(&self) -> Result<(), TaskError> {
        check_is_new(&self.directory).map_err(TaskError::operator)
    }

    fn create_writer(&self, context: &SinkWriterContext<'_>) -> Result<Self::Writer, TaskError> {
        FileWriter::open::<T>(self, context).map_err(TaskError::operator)
    }

    fn create_committer(&self, _: &SinkWriterContext<'_>) -> Result<Option<FileCommitter>, TaskError> {
        Ok(Some(FileCommitter::new(self.directory.clone())))
    }
}

fn check_is_new(directory: &Path) -> Result<(), FileSinkError> {
    match fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(FileSinkError::Exists(directory.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && directory.exists() => {
            Err(FileSinkError::Exists(directory.to_owned()))
        }
        Err(error) => Err(FileSinkError::write(directory)(error)),
    }
}

#[cfg(test)]
mod tests;

//! Files as sources: lines of text, CSV, JSON lines, Parquet.
//!
//! The files of a source, in sorted order, are thought of as one long run of bytes, which is cut into as many ranges of
//! equal length as there are subtasks. A record belongs to the range in which it begins: a subtask skips the rest of the line that
//! its range begins in, and reads the line that its range ends in to its end. (A row group of a Parquet file belongs to the range in
//! which its middle lies.) No one needs to be asked, as long as all subtasks see the same files; these must not change
//! while a job is being started. Where records cannot be told apart from the middle of a file, whole files are shared out.
//!
//! A directory can also be watched, without end: then an enumerator, which alone looks at the directory, hands the files to the
//! subtasks. See [`FileSource::watch`].

#[cfg(feature = "csv")]
mod csv;
#[cfg(feature = "json")]
mod json;
mod lines;
mod listing;
mod malformed;
#[cfg(feature = "parquet")]
mod parquet;
mod split;
mod text;
mod watch;

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use flink_worker::TaskError;

use crate::source::{
    Boundedness, Enumeration, SequentialReader, Source, SourceReaderContext, SplitEnumerator, SplitReader,
};

#[cfg(feature = "csv")]
pub use csv::{CsvFormat, CsvReader, CsvSource};
#[cfg(feature = "json")]
pub use json::{JsonLinesFormat, JsonLinesReader, JsonLinesSource};
pub(crate) use lines::MAX_LINE_BYTES;
use listing::Missing;
pub(crate) use malformed::ParseErrors;
pub use malformed::{MalformedRecord, OnParseError};
#[cfg(feature = "parquet")]
pub use parquet::{ParquetFormat, ParquetReader, ParquetSource};
pub use split::FileSplit;
pub use text::{TextFileSource, TextFormat, TextReader};

/// How the records of a file are read.
pub trait FileFormat: Clone + Send + 'static {
    /// What they are.
    type Record: 'static;

    /// What reads a split.
    type Reader: SplitReader<Record = Self::Record, Split = FileSplit> + 'static;

    /// Name of sources of this format, for people.
    fn name(&self) -> &'static str;

    /// Whether a file may be read in parts: whether records that begin in a range of bytes can be found without reading what is
    /// before it.
    fn is_splittable(&self) -> bool;

    /// Opens a split.
    ///
    /// # Errors
    /// What the task cannot go on after.
    fn open(&self, split: FileSplit, context: &FileContext) -> Result<Self::Reader, TaskError>;
}

/// What the reader of a split is told when it is made.
pub struct FileContext {
    on_error: OnParseError,
    reader: SourceReaderContext,
    /// The buffer of the last split, for the next one.
    buffer: Rc<Cell<Vec<u8>>>,
}

impl FileContext {
    fn new(on_error: OnParseError, reader: SourceReaderContext) -> Self {
        Self {
            on_error,
            reader,
            buffer: Rc::default(),
        }
    }

    /// What is to become of a record that cannot be parsed.
    pub fn on_error(&self) -> OnParseError {
        self.on_error
    }

    /// What the source's reader was told: among it, the counter of records that are left out.
    pub fn reader(&self) -> &SourceReaderContext {
        &self.reader
    }

    fn parse_errors(&self, path: &Path) -> ParseErrors {
        ParseErrors::new(path, self.on_error, self.reader.clone())
    }
}

/// The records of a file, of the files of a directory, or of the files that match a pattern.
///
/// `path` is a file, a directory (with all directories below it, without files whose names begin with `.` or `_`), or, when
/// there is no such thing, a pattern with `*`, `?` or `[`. It is read on the hosts of the workers: each must see the same
/// files.
#[derive(Debug, Clone)]
pub struct FileSource<F> {
    path: PathBuf,
    pub(crate) format: F,
    on_error: OnParseError,
    watch: Option<Duration>,
}

impl<F: FileFormat> FileSource<F> {
    /// The records of the files that `path` names, in a format of your own. For the built-in formats there are
    /// [`TextFileSource`], `CsvSource`, `JsonLinesSource` and `ParquetSource`.
    pub fn with_format(path: impl AsRef<Path>, format: F) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            format,
            on_error: OnParseError::Fail,
            watch: None,
        }
    }

    /// Sets what becomes of a record that cannot be parsed. Default: [`OnParseError::Fail`].
    #[must_use]
    pub fn on_error(mut self, on_error: OnParseError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Looks for new files again and again, at this interval, until the job is cancelled: each file is read once. One that has
    /// been read is known by its path; that it changes later is not noticed.
    ///
    /// A file is read only when it is complete. What is being written should have a hidden name (one that begins with `.` or
    /// `_`) until it is; any other file is taken to be complete when its size and its time of modification have been the same in two looks.
    ///
    /// One process looks, beside the JobManager: it must see the same files as the workers. The paths of all files that were
    /// read are kept in memory.
    #[must_use]
    pub fn watch(mut self, interval: Duration) -> Self {
        self.watch = Some(interval);
        self
    }

    fn splits_of(&self, subtask: u32, parallelism: u32) -> Result<Vec<FileSplit>, TaskError> {
        let files = listing::list(&self.path, Missing::Refused).map_err(TaskError::operator)?;
        Ok(if self.format.is_splittable() {
            split::by_bytes(&files, subtask, parallelism)
        } else {
            split::whole_files(files, subtask, parallelism)
        })
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator<FileSplit>>, TaskError> {
        let interval = self.watch.unwrap_or_default();
        let splittable = self.format.is_splittable();
        Ok(Box::new(watch::WatchEnumerator::new(
            self.path.clone(),
            interval,
            splittable,
        )))
    }
}

impl<F: FileFormat> Source for FileSource<F> {
    type Record = F::Record;
    type Split = FileSplit;
    type Reader = SequentialReader<F::Reader>;

    fn name(&self) -> String {
        self.format.name().to_owned()
    }

    fn boundedness(&self) -> Boundedness {
        match self.watch {
            None => Boundedness::Bounded,
            Some(_) => Boundedness::Unbounded,
        }
    }

    fn enumeration(&self) -> Enumeration<Self> {
        match self.watch {
            None => Enumeration::PerSubtask(Self::splits_of),
            Some(_) => Enumeration::Coordinated(Self::enumerator),
        }
    }

    fn create_reader(&self, context: &SourceReaderContext) -> Result<Self::Reader, TaskError> {
        let format = self.format.clone();
        let context = FileContext::new(self.on_error, context.clone());
        Ok(SequentialReader::new(move |split| format.open(split, &context)))
    }
}

/// A file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FileError {
    #[error("could not read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{}` is neither a file nor a directory nor a valid pattern: {source}", path.display())]
    Pattern { path: PathBuf, source: glob::PatternError },
    #[error("no file matches `{}`", path.display())]
    NoMatch { path: PathBuf },
    #[error("{}: the directory contains itself, through a symbolic link", path.display())]
    Cycle { path: PathBuf },
    #[error("{}: the line at byte {offset} is longer than {} MiB", path.display(), lines::MAX_LINE_BYTES >> 20)]
    LineTooLong { path: PathBuf, offset: u64 },
}

impl FileError {
    fn read(path: &Path) -> impl FnOnce(std::io::Error) -> TaskError + use<'_> {
        |source| {
            TaskError::operator(Self::Read {
                path: path.to_owned(),
                source,
            })
        }
    }
}

//! Text files, read line by line, each line exactly once whatever the parallelism.
//!
//! The files of a source, in sorted order, are thought of as one long run of bytes, which is cut into as many ranges of
//! equal length as there are subtasks. A line belongs to the range in which its first byte lies: a subtask skips the
//! rest of the line that its range begins in, and reads the line that its range ends in to its end. No one needs to be
//! asked, as long as all subtasks see the same files; these must not change while a job is being started.

mod listing;
mod reader;

use std::path::{Path, PathBuf};

use flink_worker::{NodeFactory, TaskError};

use crate::Source;

/// The lines of a text file, of the files of a directory, or of the files that match a pattern.
#[derive(Debug, Clone)]
pub struct TextFileSource {
    path: PathBuf,
}

impl TextFileSource {
    /// Lines of what `path` names on the workers' hosts: a file, a directory (with all directories below it, without
    /// hidden files and those whose name begins with `_`), or, when there is no such thing, a pattern with `*`, `?` or `[`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
        }
    }
}

impl Source for TextFileSource {
    type Record = String;

    fn name(&self) -> String {
        "text".to_owned()
    }

    fn into_factory(self) -> NodeFactory {
        NodeFactory::source::<String, _>(move |context| {
            let files = listing::list(&self.path).map_err(TaskError::operator)?;
            Ok(reader::LineReader::new(listing::split(
                &files,
                context.subtask(),
                context.parallelism,
            )))
        })
    }
}

/// A text could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TextError {
    #[error("could not read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{}` is neither a file nor a directory nor a valid pattern: {source}", path.display())]
    Pattern { path: PathBuf, source: glob::PatternError },
    #[error("no file matches `{}`", path.display())]
    NoMatch { path: PathBuf },
    #[error("{}: the directory contains itself, through a symbolic link", path.display())]
    Cycle { path: PathBuf },
    #[error("{}: invalid UTF-8 at byte {offset}", path.display())]
    Encoding { path: PathBuf, offset: u64 },
    #[error("{}: the line at byte {offset} is longer than {} MiB", path.display(), reader::MAX_LINE_BYTES >> 20)]
    LineTooLong { path: PathBuf, offset: u64 },
}

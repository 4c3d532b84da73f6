//! Files: one part per subtask, visible only when it is complete.
//!
//! A part is written to `.part-<subtask>-0.inprogress.<attempt>` and gets its name, `part-<subtask>-0`, when the
//! subtask's input has ended and its bytes are on disk; hidden files are ignored by those who read such directories.
//! What is in progress is removed when the task fails or is cancelled (not when its process is killed).
//!
//! An output directory must be new or empty. Subtasks cannot tell that when they start: the first of them may have
//! made the directory, and even finished, before the last is deployed. So it is checked in each worker before any task of the job
//! runs anywhere; and no part ever replaces a file.

use std::{
    fmt::Display,
    fs::{self, File},
    io::{self, BufWriter, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use flink_worker::{NodeFactory, SinkWriter, TaskError};
use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};

use crate::Sink;

/// Bytes written at once.
const BUFFER_BYTES: usize = 128 << 10;

/// Writes records as [`Display`] writes them, one per line, to files in a directory.
#[derive(Debug, Clone)]
pub struct FileSink {
    directory: PathBuf,
}

impl FileSink {
    /// Files in this directory, on the host of each subtask. It is made if there is none; one that is not empty is
    /// refused before the job starts.
    pub fn new(directory: impl AsRef<Path>) -> Self {
        Self {
            directory: directory.as_ref().to_owned(),
        }
    }
}

/// An output could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum FileSinkError {
    #[error("the output path {} exists and is not an empty directory", .0.display())]
    Exists(PathBuf),
    #[error("could not write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl<T: Display + 'static> Sink<T> for FileSink {
    fn name(&self) -> String {
        "files".to_owned()
    }

    fn into_factory(self) -> NodeFactory {
        let directory = self.directory.clone();
        NodeFactory::sink::<T, _>(move |context| {
            let subtask = context.subtask();
            PartWriter::open(&self.directory, subtask, context.attempt.attempt).map_err(TaskError::operator)
        })
        .with_preflight(move || check_is_new(&directory).map_err(TaskError::operator))
    }
}

fn check_is_new(directory: &Path) -> Result<(), FileSinkError> {
    let failed = |source| FileSinkError::Write {
        path: directory.to_owned(),
        source,
    };
    match fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(FileSinkError::Exists(directory.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && directory.exists() => {
            Err(FileSinkError::Exists(directory.to_owned()))
        }
        Err(error) => Err(failed(error)),
    }
}

struct PartWriter<T> {
    directory: PathBuf,
    in_progress: PathBuf,
    part: PathBuf,
    /// `None` once the part is complete.
    file: Option<BufWriter<File>>,
    records: PhantomData<fn(T)>,
}

impl<T> PartWriter<T> {
    fn open(directory: &Path, subtask: u32, attempt: u32) -> Result<Self, FileSinkError> {
        let in_progress = directory.join(format!(".part-{subtask}-0.inprogress.{attempt}"));
        let opened = fs::create_dir_all(directory).and_then(|()| File::create_new(&in_progress));
        let file = opened.map_err(|source| FileSinkError::Write {
            path: in_progress.clone(),
            source,
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            in_progress,
            part: directory.join(format!("part-{subtask}-0")),
            file: Some(BufWriter::with_capacity(BUFFER_BYTES, file)),
            records: PhantomData,
        })
    }

    fn complete(&mut self, file: BufWriter<File>) -> io::Result<()> {
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        rename_new(&self.in_progress, &self.part)?;
        // The new name is safe only when the directory is.
        File::open(&self.directory)?.sync_all()
    }

    fn failed(&self, source: io::Error) -> TaskError {
        TaskError::operator(FileSinkError::Write {
            path: self.in_progress.clone(),
            source,
        })
    }
}

/// Renames a file unless the new name exists.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // NFS, among others, cannot do both in one step.
        Err(Errno::INVAL | Errno::NOSYS) if !to.try_exists()? => fs::rename(from, to),
        result => Ok(result?),
    }
}

impl<T: Display> SinkWriter<T> for PartWriter<T> {
    fn write(&mut self, record: T) -> Result<(), TaskError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        writeln!(file, "{record}").map_err(|error| self.failed(error))
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        let Some(file) = self.file.take() else { return Ok(()) };
        if let Err(error) = self.complete(file) {
            let error = self.failed(error);
            self.remove();
            return Err(error);
        }
        Ok(())
    }
}

impl<T> PartWriter<T> {
    fn remove(&self) {
        // Nothing more can be done about a file that cannot be removed; it stays hidden.
        let _left = fs::remove_file(&self.in_progress);
    }
}

impl<T> Drop for PartWriter<T> {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // What is in the buffer is not wanted on disk any more.
            let _unwritten = file.into_parts();
            self.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_part_is_visible_only_when_it_is_complete() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/b");
        let mut writer = PartWriter::open(&directory, 3, 1).unwrap();
        writer.write("x").unwrap();
        assert_eq!(entries(&directory), [".part-3-0.inprogress.1"]);
        writer.write("y").unwrap();
        writer.finish().unwrap();
        assert_eq!(entries(&directory), ["part-3-0"]);
        assert_eq!(fs::read_to_string(directory.join("part-3-0")).unwrap(), "x\ny\n");
    }

    #[test]
    fn what_is_dropped_in_progress_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = PartWriter::open(root.path(), 0, 0).unwrap();
        writer.write(1).unwrap();
        drop(writer);
        assert_eq!(entries(root.path()), [""; 0]);
    }

    #[test]
    fn a_part_never_replaces_a_file() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("part-0-0"), "old").unwrap();
        let mut writer = PartWriter::open(root.path(), 0, 0).unwrap();
        writer.write("new").unwrap();
        let error = writer.finish().unwrap_err().to_string();
        assert!(error.ends_with("File exists (os error 17)"), "{error}");
        assert_eq!(entries(root.path()), ["part-0-0"]);
        assert_eq!(fs::read_to_string(root.path().join("part-0-0")).unwrap(), "old");
    }

    #[test]
    fn an_output_must_be_new_or_empty() {
        let root = tempfile::tempdir().unwrap();
        check_is_new(root.path()).unwrap();
        check_is_new(&root.path().join("new")).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        for path in [root.path().to_owned(), root.path().join("file")] {
            let error = check_is_new(&path).unwrap_err().to_string();
            assert_eq!(
                error,
                format!(
                    "the output path {} exists and is not an empty directory",
                    path.display()
                )
            );
        }
        assert!(matches!(
            check_is_new(&root.path().join("file/below")),
            Err(FileSinkError::Write { .. })
        ));
    }
}

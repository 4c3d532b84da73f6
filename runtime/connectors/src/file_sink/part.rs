//! A file that is being written.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use flink_record::Timestamp;

use super::{Encoder, FileCommittable, FileSinkError, rolling::Activity};

/// Bytes written at once.
const BUFFER_BYTES: usize = 128 << 10;

/// A file that is being written. Dropped before it is closed, it is removed.
pub(super) struct Part<E> {
    names: FileCommittable,
    /// `None` once the part is closed.
    file: Option<File>,
    encoder: E,
    buffer: Vec<u8>,
    /// Bytes that are in the file.
    written: u64,
    pub(super) activity: Activity,
}

impl<E> Part<E> {
    pub(super) fn begin<T>(
        directory: &Path,
        name: &str,
        attempt: u32,
        encoder: E,
        now: Timestamp,
    ) -> Result<Self, FileSinkError>
    where
        E: Encoder<T>,
    {
        let hidden = directory.join(format!(".{name}.inprogress.{attempt}"));
        let opened = fs::create_dir_all(directory).and_then(|()| File::create_new(&hidden));
        let file = opened.map_err(FileSinkError::write(&hidden))?;
        let mut part = Self {
            names: FileCommittable {
                hidden,
                visible: directory.join(name),
            },
            file: Some(file),
            encoder,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            written: 0,
            activity: Activity::begin(now),
        };
        let started = part.encoder.start(&mut part.buffer);
        started.map_err(|source| part.encode_error(source))?;
        Ok(part)
    }

    /// Appends a record: about how many bytes the part has now.
    #[inline]
    pub(super) fn write<T>(&mut self, record: &T) -> Result<u64, FileSinkError>
    where
        E: Encoder<T>,
    {
        if let Err(source) = self.encoder.encode(record, &mut self.buffer) {
            return Err(self.encode_error(source));
        }
        self.activity.write();
        if self.buffer.len() >= BUFFER_BYTES {
            self.pass_on()?;
        }
        Ok(self.written + self.buffer.len() as u64 + self.encoder.pending_bytes())
    }

    /// Brings all of it to disk. What is returned is hidden, and not removed any more by anyone but its committer.
    pub(super) fn close<T>(mut self) -> Result<FileCommittable, FileSinkError>
    where
        E: Encoder<T>,
    {
        let finished = self.encoder.finish(&mut self.buffer);
        finished.map_err(|source| self.encode_error(source))?;
        self.pass_on()?;
        if let Some(file) = &self.file {
            file.sync_all().map_err(FileSinkError::write(&self.names.hidden))?;
        }
        self.file = None;
        Ok(self.names.clone())
    }

    fn pass_on(&mut self) -> Result<(), FileSinkError> {
        if let Some(file) = &mut self.file {
            file.write_all(&self.buffer)
                .map_err(FileSinkError::write(&self.names.hidden))?;
        }
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    #[cold]
    fn encode_error(&self, source: crate::BoxError) -> FileSinkError {
        let path: PathBuf = self.names.hidden.clone();
        FileSinkError::Encode { path, source }
    }
}

impl<E> Drop for Part<E> {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Nothing more can be done about a file that cannot be removed; it stays hidden.
            let _left = fs::remove_file(&self.names.hidden);
        }
    }
}

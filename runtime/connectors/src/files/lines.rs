//! Reads the lines of a split through one large buffer.

use std::{
    cell::Cell,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
    rc::Rc,
};

use flink_worker::TaskError;

use super::{FileContext, FileError, FileSplit};

/// Bytes read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Longest line, bytes: what no line end comes in is no text.
pub(crate) const MAX_LINE_BYTES: usize = 64 << 20;

/// Reads the lines that begin in a split.
pub(super) struct LineReader {
    file: File,
    path: PathBuf,
    /// Lines that begin here or later are not ours.
    end: u64,
    /// Place in the file of `buffer[start]`.
    offset: u64,
    /// Longer than [`BUFFER_BYTES`] only while a longer line needs it.
    buffer: Vec<u8>,
    /// What is in the buffer and not consumed.
    start: usize,
    filled: usize,
    /// The split begins inside a line, the rest of which is to be skipped.
    skip_line: bool,
    end_of_file: bool,
    /// Where the buffer goes in the end.
    spare: Rc<Cell<Vec<u8>>>,
}

/// A line without its end (`\n` or `\r\n`).
pub(super) struct Line<'a> {
    pub(super) bytes: &'a [u8],
    /// Where it begins in the file.
    pub(super) offset: u64,
}

impl LineReader {
    pub(super) fn open(split: FileSplit, context: &FileContext) -> Result<Self, TaskError> {
        let FileSplit { path, bytes } = split;
        // One byte earlier: if that is a line end, a line begins where the split does.
        let offset = bytes.start.saturating_sub(1);
        let opened = File::open(&path).and_then(|mut file| {
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        });
        let file = opened.map_err(FileError::read(&path))?;
        Ok(Self {
            file,
            path,
            end: bytes.end,
            offset,
            buffer: context.buffer.take(),
            start: 0,
            filled: 0,
            skip_line: bytes.start > 0,
            end_of_file: false,
            spare: Rc::clone(&context.buffer),
        })
    }

    /// The next line; `None` after the last.
    pub(super) fn next_line(&mut self) -> Result<Option<Line<'_>>, FileError> {
        if self.skip_line {
            self.skip_line = false;
            let skipped = self.line_length()?;
            self.consume(skipped);
        }
        if self.offset >= self.end {
            return Ok(None);
        }
        let length = self.line_length()?;
        if length == 0 {
            return Ok(None);
        }
        let (start, offset) = (self.start, self.offset);
        self.consume(length);
        let bytes = without_line_end(&self.buffer[start..start + length]);
        Ok(Some(Line { bytes, offset }))
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Length of the line that begins at `start`, its end included; 0 at the end of the file.
    fn line_length(&mut self) -> Result<usize, FileError> {
        let mut searched = 0;
        loop {
            if let Some(found) = memchr::memchr(b'\n', &self.buffer[self.start + searched..self.filled]) {
                return Ok(searched + found + 1);
            }
            searched = self.filled - self.start;
            if self.end_of_file {
                return Ok(searched);
            }
            if searched > MAX_LINE_BYTES {
                return Err(FileError::LineTooLong {
                    path: self.path.clone(),
                    offset: self.offset,
                });
            }
            self.fill()?;
        }
    }

    /// Moves what is left to the front and reads behind it.
    fn fill(&mut self) -> Result<(), FileError> {
        let buffer = &mut self.buffer;
        buffer.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.start = 0;
        if buffer.len() < self.filled + BUFFER_BYTES / 2 {
            buffer.resize((self.filled * 2).max(BUFFER_BYTES), 0);
        } else if buffer.len() > BUFFER_BYTES && self.filled <= BUFFER_BYTES / 2 {
            // The long line is out.
            buffer.truncate(BUFFER_BYTES);
            buffer.shrink_to_fit();
        }
        let read = loop {
            match self.file.read(&mut buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let read = read.map_err(|source| FileError::Read {
            path: self.path.clone(),
            source,
        })?;
        self.filled += read;
        self.end_of_file = read == 0;
        Ok(())
    }
}

impl Drop for LineReader {
    fn drop(&mut self) {
        self.spare.set(std::mem::take(&mut self.buffer));
    }
}

/// A line without `\n` or `\r\n`. A `\r` that no `\n` follows belongs to the line.
fn without_line_end(line: &[u8]) -> &[u8] {
    match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flink_worker::ProcessingTimeService;

    use super::*;
    use crate::{files::OnParseError, source::SourceReaderContext};

    #[test]
    fn a_long_line_does_not_keep_its_memory() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("long");
        let short = "short\n".repeat(BUFFER_BYTES * 4);
        let text = format!("{short}{}\n{short}", "x".repeat(BUFFER_BYTES * 9));
        fs::write(&path, &text).unwrap();
        let reader = SourceReaderContext::new(0, 1, &ProcessingTimeService::manual(0));
        let context = FileContext::new(OnParseError::Fail, reader);
        let bytes = 0..text.len() as u64;
        let mut reader = LineReader::open(FileSplit { path, bytes }, &context).unwrap();
        let mut largest = 0;
        while reader.next_line().unwrap().is_some() {
            largest = largest.max(reader.buffer.capacity());
        }
        assert!(largest > BUFFER_BYTES * 9);
        assert_eq!(reader.buffer.capacity(), BUFFER_BYTES);
        drop(reader);
        assert_eq!(context.buffer.take().capacity(), BUFFER_BYTES, "for the next split");
    }
}

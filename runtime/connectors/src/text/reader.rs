//! Reads the lines of splits through one large buffer, copying each once: into the record.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
    vec,
};

use flink_worker::{Output, Polled, SourceReader, TaskError};

use super::{TextError, listing::Split};

/// Bytes read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Longest line, bytes: what no line end comes in is no text.
pub(super) const MAX_LINE_BYTES: usize = 64 << 20;

/// Reads the lines that begin in some splits.
pub(crate) struct LineReader {
    splits: vec::IntoIter<Split>,
    open: Option<OpenSplit>,
    /// Reused from split to split; longer than [`BUFFER_BYTES`] only while a longer line needs it.
    buffer: Vec<u8>,
}

struct OpenSplit {
    file: File,
    path: PathBuf,
    /// Lines that begin here or later are not ours.
    end: u64,
    /// Place in the file of `buffer[start]`.
    offset: u64,
    /// What is in the buffer and not consumed.
    start: usize,
    filled: usize,
    /// The split begins inside a line, the rest of which is to be skipped.
    skip_line: bool,
    end_of_file: bool,
}

impl SourceReader<String> for LineReader {
    fn poll_next(&mut self, budget: u32, output: &mut dyn Output<String>) -> Result<Polled, TaskError> {
        for records in 0..budget {
            match self.next_line().map_err(TaskError::operator)? {
                Some(line) => output.collect(line)?,
                None => return Ok(Polled { records, end: true }),
            }
        }
        Ok(Polled {
            records: budget,
            end: false,
        })
    }
}

impl LineReader {
    pub(crate) fn new(splits: Vec<Split>) -> Self {
        Self {
            splits: splits.into_iter(),
            open: None,
            buffer: Vec::new(),
        }
    }

    /// The next line, without its end; `None` after the last.
    pub(crate) fn next_line(&mut self) -> Result<Option<String>, TextError> {
        loop {
            let Some(split) = &mut self.open else {
                let Some(split) = self.splits.next() else {
                    return Ok(None);
                };
                self.open = Some(OpenSplit::open(split)?);
                continue;
            };
            match split.next_line(&mut self.buffer)? {
                Some(line) => return Ok(Some(line)),
                None => self.open = None,
            }
        }
    }
}

impl OpenSplit {
    fn open(split: Split) -> Result<Self, TextError> {
        let Split { path, bytes } = split;
        // One byte earlier: if that is a line end, a line begins where the split does.
        let offset = bytes.start.saturating_sub(1);
        let opened = File::open(&path).and_then(|mut file| {
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        });
        let file = opened.map_err(|source| TextError::Read {
            path: path.clone(),
            source,
        })?;
        let skip_line = bytes.start > 0;
        Ok(Self {
            file,
            path,
            end: bytes.end,
            offset,
            start: 0,
            filled: 0,
            skip_line,
            end_of_file: false,
        })
    }

    fn next_line(&mut self, buffer: &mut Vec<u8>) -> Result<Option<String>, TextError> {
        if self.skip_line {
            self.skip_line = false;
            let skipped = self.line_length(buffer)?;
            self.consume(skipped);
        }
        if self.offset >= self.end {
            return Ok(None);
        }
        let length = self.line_length(buffer)?;
        if length == 0 {
            return Ok(None);
        }
        let line = without_line_end(&buffer[self.start..self.start + length]);
        let line = match std::str::from_utf8(line) {
            Ok(line) => line.to_owned(),
            Err(error) => {
                let offset = self.offset + error.valid_up_to() as u64;
                return Err(TextError::Encoding {
                    path: self.path.clone(),
                    offset,
                });
            }
        };
        self.consume(length);
        Ok(Some(line))
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Length of the line that begins at `start`, its end included; 0 at the end of the file.
    fn line_length(&mut self, buffer: &mut Vec<u8>) -> Result<usize, TextError> {
        let mut searched = 0;
        loop {
            if let Some(found) = memchr::memchr(b'\n', &buffer[self.start + searched..self.filled]) {
                return Ok(searched + found + 1);
            }
            searched = self.filled - self.start;
            if self.end_of_file {
                return Ok(searched);
            }
            if searched > MAX_LINE_BYTES {
                return Err(TextError::LineTooLong {
                    path: self.path.clone(),
                    offset: self.offset,
                });
            }
            self.fill(buffer)?;
        }
    }

    /// Moves what is left to the front and reads behind it.
    fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<(), TextError> {
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
        let read = read.map_err(|source| TextError::Read {
            path: self.path.clone(),
            source,
        })?;
        self.filled += read;
        self.end_of_file = read == 0;
        Ok(())
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
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::{
        super::listing::{list, split},
        *,
    };

    /// All lines that `parallelism` subtasks read from `path`, in the order of subtasks.
    fn lines(path: &Path, parallelism: u32) -> Result<Vec<String>, TextError> {
        let files = list(path)?;
        let mut lines = Vec::new();
        for subtask in 0..parallelism {
            let mut reader = LineReader::new(split(&files, subtask, parallelism));
            while let Some(line) = reader.next_line()? {
                lines.push(line);
            }
        }
        Ok(lines)
    }

    fn text() -> impl Strategy<Value = String> {
        let line = prop_oneof![Just(String::new()), "[a-zäöü\r ]{0,12}", "x{100}"];
        let lines = proptest::collection::vec((line, prop_oneof![Just("\n"), Just("\r\n")]), 0..20);
        (lines, "[a-z\r]{0,5}")
            .prop_map(|(lines, last)| lines.into_iter().map(|(line, end)| line + end).chain([last]).collect())
    }

    proptest! {
        #[test]
        fn every_line_is_read_exactly_once(texts in proptest::collection::vec(text(), 1..4), parallelism in 1_u32..9) {
            let root = tempfile::tempdir().unwrap();
            for (index, text) in texts.iter().enumerate() {
                fs::write(root.path().join(index.to_string()), text).unwrap();
            }
            let expected: Vec<&str> = texts.iter().flat_map(|text| text.lines()).collect();
            prop_assert_eq!(lines(root.path(), parallelism).unwrap(), expected);
        }
    }

    #[test]
    fn lines_longer_than_the_buffer_are_whole() {
        let root = tempfile::tempdir().unwrap();
        let text = [
            "a".repeat(BUFFER_BYTES * 3),
            "b".repeat(10),
            "c".repeat(BUFFER_BYTES - 1),
        ]
        .join("\r\n");
        fs::write(root.path().join("long"), &text).unwrap();
        for parallelism in [1, 2, 5] {
            assert!(lines(root.path(), parallelism).unwrap().iter().eq(text.lines()));
        }
    }

    #[test]
    fn a_long_line_does_not_keep_its_memory() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("long");
        let short = "short\n".repeat(BUFFER_BYTES * 4);
        fs::write(&path, format!("{short}{}\n{short}", "x".repeat(BUFFER_BYTES * 9))).unwrap();
        let files = list(&path).unwrap();
        let mut reader = LineReader::new(split(&files, 0, 1));
        let mut largest = 0;
        while reader.next_line().unwrap().is_some() {
            largest = largest.max(reader.buffer.capacity());
        }
        assert!(largest > BUFFER_BYTES * 9);
        assert_eq!(reader.buffer.capacity(), BUFFER_BYTES);
    }

    #[test]
    fn what_is_no_utf8_is_told_with_file_and_place() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("bad"), b"fine\nab\xffcd\n").unwrap();
        for parallelism in [1, 2] {
            let error = lines(root.path(), parallelism).unwrap_err().to_string();
            assert!(error.ends_with("bad: invalid UTF-8 at byte 7"), "{error}");
        }
    }
}

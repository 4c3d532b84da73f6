//! Records that cannot be parsed: told with file, line and column, or counted and passed to a side output; never silently left out.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use flink_record::{DecodeError, Record};
use flink_worker::TaskError;

use super::FileError;
use crate::source::{SourceOutput, SourceReaderContext};

/// What becomes of a record that cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnParseError {
    /// It fails the job, which tells file, line and column.
    #[default]
    Fail,
    /// It is left out. The task counts it; the first of each file is told in the worker's log; and each goes as a [`MalformedRecord`]
    /// to the source's side output with the tag [`MalformedRecord::TAG`], if somebody consumes that.
    Skip,
}

/// A record that could not be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct MalformedRecord {
    /// The file.
    pub file: String,
    /// The line, counted from 1; in a file without lines, the row.
    pub line: u64,
    /// The column, in characters, counted from 1; 0 in a file without lines.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// The text of the record. What is not UTF-8 in it is replaced. Empty in a file that is no text.
    pub record: String,
}

impl MalformedRecord {
    /// Tag of the side output that malformed records go to.
    pub const TAG: &'static str = "malformed";
}

impl fmt::Display for MalformedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
            ..
        } = self;
        match column {
            0 => write!(f, "{file}: row {line}: {message}"),
            _ => write!(f, "{file}:{line}:{column}: {message}"),
        }
    }
}

impl Record for MalformedRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        self.file.encode(out);
        (self.line, self.column).encode(out);
        self.message.encode(out);
        self.record.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let file = Record::decode(input)?;
        let (line, column) = Record::decode(input)?;
        Ok(Self {
            file,
            line,
            column,
            message: Record::decode(input)?,
            record: Record::decode(input)?,
        })
    }
}

/// What is wrong, as a reader of lines finds it.
pub(super) struct Malformed<'a> {
    /// Where in the file.
    pub(super) offset: u64,
    pub(super) message: String,
    pub(super) record: &'a [u8],
}

/// Deals with what cannot be parsed in one split.
pub(crate) struct ParseErrors {
    places: Places,
    on_error: OnParseError,
    reader: SourceReaderContext,
    told: bool,
}

impl ParseErrors {
    pub(crate) fn new(path: &Path, on_error: OnParseError, reader: SourceReaderContext) -> Self {
        Self {
            places: Places::new(path),
            on_error,
            reader,
            told: false,
        }
    }

    /// A record of text cannot be parsed.
    #[cold]
    pub(super) fn handle<T: 'static>(
        &mut self,
        malformed: Malformed<'_>,
        output: &mut SourceOutput<'_, T>,
    ) -> Result<(), TaskError> {
        let reader = &self.reader;
        let place = self.places.locate(malformed.offset, || reader.is_cancelled());
        let place = place.map_err(FileError::read(&self.places.path))?;
        let (line, column) = place.ok_or_else(TaskError::cancelled)?;
        let record = MalformedRecord {
            file: self.places.path.display().to_string(),
            line,
            column,
            message: malformed.message,
            record: String::from_utf8_lossy(malformed.record).into_owned(),
        };
        self.handle_record(record, output)
    }

    #[cold]
    pub(crate) fn handle_record<T: 'static>(
        &mut self,
        record: MalformedRecord,
        output: &mut SourceOutput<'_, T>,
    ) -> Result<(), TaskError> {
        match self.on_error {
            OnParseError::Fail => Err(TaskError::operator(record)),
            OnParseError::Skip => {
                self.reader.skipped_records().add(1);
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!("left out a record, perhaps the first of many in this file: {record}");
                }
                output.collect_side(MalformedRecord::TAG, record)
            }
        }
    }
}

/// Finds lines and columns. Only when something is wrong: then the file is read once more, from its beginning, so that no line has
/// to be counted before.
struct Places {
    path: PathBuf,
    /// How far lines were counted, and the number of the line there.
    counted: u64,
    line: u64,
    line_start: u64,
}

impl Places {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            counted: 0,
            line: 1,
            line_start: 0,
        }
    }

    /// Line and column of a byte, both counted from 1; `None` when it is not wanted any more.
    fn locate(&mut self, offset: u64, is_cancelled: impl Fn() -> bool) -> io::Result<Option<(u64, u64)>> {
        use std::os::unix::fs::FileExt;

        if offset < self.counted {
            (self.counted, self.line, self.line_start) = (0, 1, 0);
        }
        let file = File::open(&self.path)?;
        let mut buffer = vec![0; 256 << 10];
        while self.counted < offset {
            if is_cancelled() {
                return Ok(None);
            }
            let length = (offset - self.counted).min(buffer.len() as u64) as usize;
            let read = file.read_at(&mut buffer[..length], self.counted)?;
            if read == 0 {
                break;
            }
            for found in memchr::memchr_iter(b'\n', &buffer[..read]) {
                self.line += 1;
                self.line_start = self.counted + found as u64 + 1;
            }
            self.counted += read as u64;
        }
        Ok(Some((self.line, 1 + characters(&file, self.line_start, offset)?)))
    }
}

/// Number of characters between two places of a file.
fn characters(mut file: &File, start: u64, end: u64) -> io::Result<u64> {
    use std::io::{Seek, SeekFrom};

    file.seek(SeekFrom::Start(start))?;
    let bytes = io::BufReader::new(file.take(end.saturating_sub(start))).bytes();
    let mut count = 0;
    for byte in bytes {
        // Every character has one byte that does not continue another.
        count += u64::from(byte? & 0xc0 != 0x80);
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_lines_and_characters() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("text");
        let text = format!("ä€x\n\nab\r\n{}\nlast", "y".repeat(600 << 10));
        std::fs::write(&path, &text).unwrap();
        let mut places = Places::new(&path);
        let mut expect = |pattern: &str, place| {
            let offset = text.find(pattern).unwrap() as u64;
            assert_eq!(places.locate(offset, || false).unwrap(), Some(place), "{pattern}");
        };
        expect("ä", (1, 1));
        expect("x", (1, 3));
        expect("b", (3, 2));
        expect("last", (5, 1));
        expect("€", (1, 2));
        expect("ast", (5, 2));
    }

    #[test]
    fn a_malformed_record_survives_its_journey() {
        let record = MalformedRecord {
            file: "a.csv".to_owned(),
            line: 3,
            column: 7,
            message: "no".to_owned(),
            record: "x,y".to_owned(),
        };
        assert_eq!(record.to_string(), "a.csv:3:7: no");
        let bytes = crate::source::protocol::encode(&record);
        assert_eq!(MalformedRecord::decode(&mut &bytes[..]), Ok(record));
    }
}

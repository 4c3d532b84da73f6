//! Lines of text.

use std::path::Path;

use flink_worker::TaskError;

use super::{
    FileContext, FileFormat, FileSource, FileSplit,
    lines::LineReader,
    malformed::{Malformed, ParseErrors},
};
use crate::source::{Availability, SourceOutput, SplitReader};

/// The lines of text files, without their ends (`\n` or `\r\n`), each read exactly once. Text that is not UTF-8 is a record that
/// cannot be parsed; a line over 64 MiB fails the job.
pub type TextFileSource = FileSource<TextFormat>;

/// Lines of text.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextFormat;

impl FileSource<TextFormat> {
    /// Lines of the files that `path` names.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self::with_format(path, TextFormat)
    }
}

impl FileFormat for TextFormat {
    type Record = String;
    type Reader = TextReader;

    fn name(&self) -> &'static str {
        "text"
    }

    fn is_splittable(&self) -> bool {
        true
    }

    fn open(&self, split: FileSplit, context: &FileContext) -> Result<TextReader, TaskError> {
        Ok(TextReader {
            errors: context.parse_errors(&split.path),
            lines: LineReader::open(split, context)?,
        })
    }
}

/// Reads lines, copying each once: into the record.
pub struct TextReader {
    lines: LineReader,
    errors: ParseErrors,
}

impl SplitReader for TextReader {
    type Record = String;
    type Split = FileSplit;

    fn poll_next(&mut self, output: &mut SourceOutput<'_, String>) -> Result<Availability, TaskError> {
        while output.wants_more() {
            let Some(line) = self.lines.next_line().map_err(TaskError::operator)? else {
                return Ok(Availability::End);
            };
            match std::str::from_utf8(line.bytes) {
                Ok(text) => output.collect(text.to_owned())?,
                Err(error) => {
                    let malformed = Malformed {
                        offset: line.offset + error.valid_up_to() as u64,
                        message: "invalid UTF-8".to_owned(),
                        record: line.bytes,
                    };
                    self.errors.handle(malformed, output)?;
                }
            }
        }
        Ok(Availability::Now)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::source::testing::read_all;

    fn lines(path: &Path, parallelism: u32) -> Result<Vec<String>, TaskError> {
        read_all(&TextFileSource::new(path), parallelism)
    }

    fn text() -> impl Strategy<Value = String> {
        let line = prop_oneof![Just(String::new()), "[a-zäöü\r ]{0,12}", "x{100}"];
        let lines = prop::collection::vec((line, prop_oneof![Just("\n"), Just("\r\n")]), 0..20);
        (lines, "[a-z\r]{0,5}")
            .prop_map(|(lines, last)| lines.into_iter().map(|(line, end)| line + end).chain([last]).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_line_is_read_exactly_once(texts in prop::collection::vec(text(), 1..4), parallelism in 1_u32..9) {
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
        let text = ["a".repeat(3 << 18), "b".repeat(10), "c".repeat((1 << 18) - 1)].join("\r\n");
        fs::write(root.path().join("long"), &text).unwrap();
        for parallelism in [1, 2, 5] {
            assert!(lines(root.path(), parallelism).unwrap().iter().eq(text.lines()));
        }
    }

    #[test]
    fn what_is_no_utf8_is_told_with_file_and_place() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("bad"), b"fine\na\xc3\xa4b\xffcd\n").unwrap();
        for parallelism in [1, 2, 3] {
            let error = lines(root.path(), parallelism).unwrap_err().to_string();
            assert!(error.ends_with("bad:2:4: invalid UTF-8"), "{error}");
        }
    }
}

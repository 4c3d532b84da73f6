//! JSON, one value per line.

use std::{marker::PhantomData, path::Path};

use flink_worker::TaskError;
use serde::de::DeserializeOwned;

use super::{
    FileContext, FileFormat, FileSource, FileSplit,
    lines::LineReader,
    malformed::{Malformed, ParseErrors},
};
use crate::source::{Availability, SourceOutput, SplitReader};

/// Files with one JSON value per line, read as values of a serde type. Files are split by bytes among the subtasks; lines that are
/// blank are left out.
///
/// ```
/// use flink_connectors::{JsonLinesSource, OnParseError};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Sale { shop: u32, item: String }
///
/// let sales = JsonLinesSource::<Sale>::new("/data/sales/*.json").on_error(OnParseError::Skip);
/// ```
pub type JsonLinesSource<T> = FileSource<JsonLinesFormat<T>>;

/// JSON, one value per line.
#[derive(Debug)]
pub struct JsonLinesFormat<T>(PhantomData<fn() -> T>);

impl<T> Clone for JsonLinesFormat<T> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<T: DeserializeOwned + 'static> FileSource<JsonLinesFormat<T>> {
    /// Values of the files that `path` names.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self::with_format(path, JsonLinesFormat(PhantomData))
    }
}

impl<T: DeserializeOwned + 'static> FileFormat for JsonLinesFormat<T> {
    type Record = T;
    type Reader = JsonLinesReader<T>;

    fn name(&self) -> &'static str {
        "json"
    }

    fn is_splittable(&self) -> bool {
        true
    }

    fn open(&self, split: FileSplit, context: &FileContext) -> Result<JsonLinesReader<T>, TaskError> {
        Ok(JsonLinesReader {
            errors: context.parse_errors(&split.path),
            lines: LineReader::open(split, context)?,
            records: PhantomData,
        })
    }
}

/// Reads JSON values.
pub struct JsonLinesReader<T> {
    lines: LineReader,
    errors: ParseErrors,
    records: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + 'static> SplitReader for JsonLinesReader<T> {
    type Record = T;
    type Split = FileSplit;

    fn poll_next(&mut self, output: &mut SourceOutput<'_, T>) -> Result<Availability, TaskError> {
        while output.wants_more() {
            let Some(line) = self.lines.next_line().map_err(TaskError::operator)? else {
                return Ok(Availability::End);
            };
            let mark = if line.offset == 0 { BYTE_ORDER_MARK } else { b"" };
            let json = line.bytes.strip_prefix(mark).unwrap_or(line.bytes);
            if json.iter().all(u8::is_ascii_whitespace) {
                output.leave_out();
                continue;
            }
            match serde_json::from_slice(json) {
                Ok(record) => output.collect(record)?,
                Err(error) => {
                    let stripped = line.bytes.len() - json.len();
                    let malformed = Malformed {
                        offset: line.offset + stripped as u64 + error.column().saturating_sub(1) as u64,
                        message: message(&error),
                        record: json,
                    };
                    self.errors.handle(malformed, output)?;
                }
            }
        }
        Ok(Availability::Now)
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What is wrong, without the place in the line, which is told otherwise.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, fs, rc::Rc};

    use flink_worker::ProcessingTimeService;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{
        files::{MalformedRecord, OnParseError},
        source::testing::{Emitted, Log, Subtask, read_all, records},
    };

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Sale {
        shop: u32,
        item: String,
        price: Option<f64>,
    }

    fn sale() -> impl Strategy<Value = Sale> {
        let price = prop::option::of(-1e9..1e9_f64);
        (any::<u32>(), any::<String>(), price).prop_map(|(shop, item, price)| Sale { shop, item, price })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_value_is_read_exactly_once(sales in prop::collection::vec(sale(), 0..20), parallelism in 1_u32..9) {
            let root = tempfile::tempdir().unwrap();
            let lines: Vec<String> = sales.iter().map(|sale| serde_json::to_string(sale).unwrap()).collect();
            fs::write(root.path().join("sales"), lines.join("\n \n")).unwrap();
            prop_assert_eq!(read_all(&JsonLinesSource::<Sale>::new(root.path()), parallelism).unwrap(), sales);
        }
    }

    const TEXT: &str = concat!(
        "\u{feff}{\"shop\":1,\"item\":\"a\"}\n",
        "{\"shop\":2,\"item\":}\n",
        "{\"shop\":-3,\"item\":\"ä\"}\r\n",
        "{\"shop\":4,\"item\":\"d\"}\n",
        "{\"shop\":5",
    );

    #[test]
    fn an_error_has_file_line_and_column() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("sales.json");
        for (text, expected) in [
            (&TEXT[..45], "sales.json:2:18: expected value"),
            (
                "{\"item\":\"ä\",\"shop\":-3}\n",
                "sales.json:1:21: invalid value: integer `-3`, expected u32",
            ),
            ("\n\n[1,\"x\"", "sales.json:3:6: EOF while parsing a list"),
        ] {
            fs::write(&path, text).unwrap();
            for parallelism in [1, 3] {
                let error = read_all(&JsonLinesSource::<Sale>::new(&path), parallelism).unwrap_err();
                assert!(error.to_string().ends_with(expected), "{error}");
            }
        }
    }

    #[test]
    fn what_is_skipped_is_counted_and_passed_on() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("sales"), TEXT).unwrap();
        let source = JsonLinesSource::<Sale>::new(root.path()).on_error(OnParseError::Skip);
        let clock = ProcessingTimeService::manual(0);
        let mut subtask = Subtask::new(&source, 0, 1, &clock).unwrap();
        let malformed: Rc<RefCell<Vec<Emitted<MalformedRecord>>>> = Rc::default();
        subtask
            .outputs
            .add_side_output(MalformedRecord::TAG, Box::new(Log(Rc::clone(&malformed))));
        let shops: Vec<u32> = subtask.read_all().unwrap().iter().map(|sale| sale.shop).collect();
        assert_eq!(shops, [1, 4]);
        assert_eq!(subtask.context.skipped_records().get(), 3);
        let malformed = records(malformed.take());
        let places: Vec<(u64, u64)> = malformed.iter().map(|record| (record.line, record.column)).collect();
        assert_eq!(places, [(2, 18), (3, 10), (5, 9)]);
        assert_eq!(malformed[2].record, "{\"shop\":5");
    }
}

//! Parquet files.
//!
//! They are split by bytes as text is: a row group is read by who has its middle. So nobody needs to look into the files
//! before they are shared out.

mod value;

use std::{
    fs::File,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

use flink_worker::TaskError;
use parquet::{
    errors::ParquetError,
    file::{
        reader::FileReader,
        serialized_reader::{ReadOptionsBuilder, SerializedFileReader},
    },
    record::reader::RowIter,
    schema::types::Type,
};
use serde::de::DeserializeOwned;

use super::{
    FileContext, FileError, FileFormat, FileSource, FileSplit,
    malformed::{MalformedRecord, ParseErrors},
};
use crate::source::{Availability, SourceOutput, SplitReader};

/// Parquet files, read as values of a serde type: a struct, whose fields are found by the names of columns, or a tuple. Only the columns
/// that the struct has are read. Files are split by row groups among the subtasks. Compression: none, Snappy, Zstandard.
///
/// Dates are days and timestamps milli- or microseconds (as the file has them) since 1970; decimals are text, or floats where the
/// type wants one; lists, maps and nested groups are vectors, maps and structs.
///
/// ```
/// use flink_connectors::ParquetSource;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Sale { shop: u32, item: String, price: Option<f64> }
///
/// let sales = ParquetSource::<Sale>::new("/data/sales/*.parquet");
/// ```
pub type ParquetSource<T> = FileSource<ParquetFormat<T>>;

/// Parquet.
#[derive(Debug)]
pub struct ParquetFormat<T>(PhantomData<fn() -> T>);

impl<T> Clone for ParquetFormat<T> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<T: DeserializeOwned + 'static> FileSource<ParquetFormat<T>> {
    /// Rows of the files that `path` names.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self::with_format(path, ParquetFormat(PhantomData))
    }
}

impl<T: DeserializeOwned + 'static> FileFormat for ParquetFormat<T> {
    type Record = T;
    type Reader = ParquetReader<T>;

    fn name(&self) -> &'static str {
        "parquet"
    }

    fn is_splittable(&self) -> bool {
        true
    }

    fn open(&self, split: FileSplit, context: &FileContext) -> Result<ParquetReader<T>, TaskError> {
        let file = File::open(&split.path).map_err(FileError::read(&split.path))?;
        let rows = rows::<T>(file, &split).map_err(|error| unreadable(&split.path, error))?;
        Ok(ParquetReader {
            rows,
            read: 0,
            before: None,
            errors: context.parse_errors(&split.path),
            split,
            records: PhantomData,
        })
    }
}

/// The rows of a split, with the columns that `T` has.
fn rows<T: DeserializeOwned>(file: File, split: &FileSplit) -> Result<RowIter<'static>, ParquetError> {
    let place = |byte: u64| i64::try_from(byte).unwrap_or(i64::MAX);
    let (start, end) = (place(split.bytes.start), place(split.bytes.end));
    let options = ReadOptionsBuilder::new().with_predicate(Box::new(move |group, _| {
        let middle = group
            .columns()
            .first()
            .map_or(0, |first| first.byte_range().0 as i64 + group.compressed_size() / 2);
        (start..end).contains(&middle)
    }));
    let reader = SerializedFileReader::new_with_options(file, options.build())?;
    let schema = reader.metadata().file_metadata().schema();
    let projection = value::field_names::<T>().and_then(|names| project(schema, names));
    RowIter::from_file_into(Box::new(reader)).project(projection)
}

/// The columns with these names, if there are some.
fn project(schema: &Type, names: &[&str]) -> Option<Type> {
    let fields: Vec<Arc<Type>> = schema
        .get_fields()
        .iter()
        .filter(|field| names.contains(&field.name()))
        .cloned()
        .collect();
    if fields.is_empty() {
        return None;
    }
    Type::group_type_builder(schema.name()).with_fields(fields).build().ok()
}

fn unreadable(path: &Path, error: ParquetError) -> TaskError {
    let path: PathBuf = path.to_owned();
    let source = std::io::Error::other(error);
    TaskError::operator(FileError::Read { path, source })
}

/// Reads rows.
pub struct ParquetReader<T> {
    rows: RowIter<'static>,
    split: FileSplit,
    /// Rows that were read.
    read: u64,
    /// Rows of the file before those of the split, when that was asked for.
    before: Option<u64>,
    errors: ParseErrors,
    records: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + 'static> SplitReader for ParquetReader<T> {
    type Record = T;
    type Split = FileSplit;

    fn poll_next(&mut self, output: &mut SourceOutput<'_, T>) -> Result<Availability, TaskError> {
        while output.wants_more() {
            let Some(row) = self.rows.next() else {
                return Ok(Availability::End);
            };
            let row = row.map_err(|error| unreadable(&self.split.path, error))?;
            self.read += 1;
            match value::from_row(row) {
                Ok(record) => output.collect(record)?,
                Err(error) => self.malformed(error.to_string(), output)?,
            }
        }
        Ok(Availability::Now)
    }
}

impl<T: 'static> ParquetReader<T> {
    #[cold]
    fn malformed(&mut self, message: String, output: &mut SourceOutput<'_, T>) -> Result<(), TaskError> {
        let path = &self.split.path;
        let before = match self.before {
            Some(before) => before,
            None => rows_before(&self.split).map_err(|error| unreadable(path, error))?,
        };
        self.before = Some(before);
        let record = MalformedRecord {
            file: path.display().to_string(),
            line: before + self.read,
            column: 0,
            message,
            record: String::new(),
        };
        self.errors.handle_record(record, output)
    }
}

/// The number of rows before those of a split. Looked up only when something is wrong.
fn rows_before(split: &FileSplit) -> Result<u64, ParquetError> {
    let reader = SerializedFileReader::new(File::open(&split.path)?)?;
    let groups = reader.metadata().row_groups().iter();
    let before = groups.take_while(|group| {
        let first = group.columns().first().map_or(0, |first| first.byte_range().0);
        first + group.compressed_size() as u64 / 2 < split.bytes.start
    });
    Ok(before.map(|group| group.num_rows() as u64).sum())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flink_worker::ProcessingTimeService;
    use parquet::{
        data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type},
        file::writer::SerializedFileWriter,
        schema::parser::parse_message_type,
    };
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::{
        OnParseError,
        source::testing::{Subtask, read_all},
    };

    /// A file with a group per slice: numbers, and their texts where they are even.
    fn write(path: &Path, groups: &[Vec<i64>]) {
        let schema =
            "message numbers { required int64 number; optional binary text (UTF8); required int32 day (DATE); }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let file = File::create(path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
        for numbers in groups {
            let mut group = writer.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int64Type>().write_batch(numbers, None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let even = numbers.iter().filter(|number| *number % 2 == 0);
            let texts: Vec<ByteArray> = even.map(|number| number.to_string().as_str().into()).collect();
            let levels: Vec<i16> = numbers.iter().map(|number| i16::from(number % 2 == 0)).collect();
            column
                .typed::<ByteArrayType>()
                .write_batch(&texts, Some(&levels), None)
                .unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let days: Vec<i32> = numbers.iter().map(|number| *number as i32).collect();
            column.typed::<Int32Type>().write_batch(&days, None, None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Number {
        text: Option<String>,
        number: i64,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_row_is_read_exactly_once(
            files in prop::collection::vec(prop::collection::vec(prop::collection::vec(-9..9_i64, 1..4), 0..4), 1..4),
            parallelism in 1_u32..5,
        ) {
            let root = tempfile::tempdir().unwrap();
            for (index, groups) in files.iter().enumerate() {
                write(&root.path().join(index.to_string()), groups);
            }
            let numbers = files.iter().flatten().flatten().map(|number| Number {
                text: (number % 2 == 0).then(|| number.to_string()),
                number: *number,
            });
            let expected: Vec<Number> = numbers.collect();
            prop_assert_eq!(read_all(&ParquetSource::<Number>::new(root.path()), parallelism).unwrap(), expected);
        }
    }

    #[test]
    fn rows_are_tuples_and_maps_too() {
        let root = tempfile::tempdir().unwrap();
        write(root.path().join("a").as_path(), &[vec![2]]);
        let rows = read_all(&ParquetSource::<(u8, Option<String>, i32)>::new(root.path()), 1).unwrap();
        assert_eq!(rows, [(2, Some("2".to_owned()), 2)]);
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(untagged)]
        enum Any {
            Number(i64),
            Text(String),
        }
        let rows = read_all(&ParquetSource::<BTreeMap<String, Any>>::new(root.path()), 1).unwrap();
        assert_eq!(
            (&rows[0]["text"], &rows[0]["day"]),
            (&Any::Text("2".to_owned()), &Any::Number(2))
        );
    }

    #[test]
    fn an_error_has_file_and_row() {
        #[derive(Debug, Deserialize)]
        struct Even {
            #[expect(dead_code, reason = "what is not there cannot be read")]
            text: String,
        }
        let root = tempfile::tempdir().unwrap();
        write(root.path().join("a").as_path(), &[vec![2, 4, 6], vec![8, 5]]);
        for parallelism in [1, 2, 3] {
            let error = read_all(&ParquetSource::<Even>::new(root.path()), parallelism)
                .unwrap_err()
                .to_string();
            assert!(
                error.ends_with("/a: row 5: text: invalid type: unit value, expected a string"),
                "{error}"
            );
        }
        let source = ParquetSource::<Even>::new(root.path()).on_error(OnParseError::Skip);
        let mut subtask = Subtask::new(&source, 0, 1, &ProcessingTimeService::manual(0)).unwrap();
        assert_eq!(subtask.read_all().unwrap().len(), 4);
        assert_eq!(subtask.context.skipped_records().get(), 1);
        std::fs::write(root.path().join("b"), "no parquet").unwrap();
        let error = read_all(&ParquetSource::<Even>::new(root.path().join("b")), 1)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("could not read /") && error.contains("Invalid Parquet file"),
            "{error}"
        );
    }
}

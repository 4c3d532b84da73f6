//! CSV.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Take},
    marker::PhantomData,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use csv::{ByteRecord, Reader, ReaderBuilder};
use flink_worker::TaskError;
use serde::de::DeserializeOwned;

use super::{
    FileContext, FileError, FileFormat, FileSource, FileSplit,
    lines::MAX_LINE_BYTES,
    malformed::{Malformed, ParseErrors},
};
use crate::source::{Availability, SourceOutput, SplitReader};

/// CSV files, read as values of a serde type: a struct, whose fields are found by the names in the header, or a tuple.
///
/// A quoted field may contain line ends, and from the middle of a file nobody can tell whether one is inside of a field. So
/// each file is read by one subtask, unless the source is told that [records are lines](Self::records_are_lines).
///
/// ```
/// use flink_connectors::CsvSource;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Sale { shop: u32, item: String, price: Option<f64> }
///
/// let sales = CsvSource::<Sale>::new("/data/sales").delimiter(b';').records_are_lines();
/// let pairs = CsvSource::<(u32, String)>::new("/data/pairs.csv").header(false);
/// ```
pub type CsvSource<T> = FileSource<CsvFormat<T>>;

/// CSV.
#[derive(Debug)]
pub struct CsvFormat<T> {
    delimiter: u8,
    header: bool,
    records_are_lines: bool,
    records: PhantomData<fn() -> T>,
}

impl<T> Clone for CsvFormat<T> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<T: DeserializeOwned + 'static> FileSource<CsvFormat<T>> {
    /// Records of the files that `path` names, each with a header, separated by commas.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let format = CsvFormat {
            delimiter: b',',
            header: true,
            records_are_lines: false,
            records: PhantomData,
        };
        Self::with_format(path, format)
    }

    /// Sets what separates fields. Default: a comma.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.format.delimiter = delimiter;
        self
    }

    /// Sets whether the first record of each file is a header, by whose names fields are found. Default: yes. Without one, fields are
    /// found by their places.
    #[must_use]
    pub fn header(mut self, header: bool) -> Self {
        self.format.header = header;
        self
    }

    /// Promises that no field contains a line end, so that files can be split among the subtasks. Where the promise does not
    /// hold, records are cut.
    #[must_use]
    pub fn records_are_lines(mut self) -> Self {
        self.format.records_are_lines = true;
        self
    }
}

impl<T: DeserializeOwned + 'static> FileFormat for CsvFormat<T> {
    type Record = T;
    type Reader = CsvReader<T>;

    fn name(&self) -> &'static str {
        "csv"
    }

    fn is_splittable(&self) -> bool {
        self.records_are_lines
    }

    fn open(&self, split: FileSplit, context: &FileContext) -> Result<CsvReader<T>, TaskError> {
        CsvReader::open(self, &split, context).map_err(FileError::read(&split.path))
    }
}

/// Bytes read at once.
const BUFFER_BYTES: usize = 128 << 10;

/// Longest record, bytes: as a quote that is not closed makes one of all that follows.
const MAX_RECORD_BYTES: usize = MAX_LINE_BYTES;

/// Reads a file for a CSV reader, and refuses to while that makes one record of too much.
struct RecordLimit<R> {
    inner: R,
    limit: usize,
    /// Bytes that may still be read for the record.
    left: usize,
}

impl<R> RecordLimit<R> {
    fn new(inner: R, limit: usize) -> Self {
        Self {
            inner,
            limit,
            left: limit,
        }
    }

    /// The next record begins.
    fn begin_record(&mut self) {
        self.left = self.limit;
    }
}

impl<R: Read> Read for RecordLimit<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let limit = self.limit >> 20;
            let message = format!("a record is longer than {limit} MiB: is a quote not closed?");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let length = buffer.len().min(self.left);
        let read = self.inner.read(&mut buffer[..length])?;
        self.left -= read;
        Ok(read)
    }
}

/// Reads CSV records.
pub struct CsvReader<T> {
    reader: Reader<RecordLimit<Take<File>>>,
    path: PathBuf,
    /// Where in the file the reader began.
    start: u64,
    delimiter: u8,
    header: Option<ByteRecord>,
    record: ByteRecord,
    errors: ParseErrors,
    records: PhantomData<fn() -> T>,
}

impl<T> CsvReader<T> {
    fn open(format: &CsvFormat<T>, split: &FileSplit, context: &FileContext) -> io::Result<Self> {
        let mut builder = ReaderBuilder::new();
        builder
            .has_headers(false)
            .flexible(true)
            .delimiter(format.delimiter)
            .buffer_capacity(BUFFER_BYTES);
        let mut file = File::open(&split.path)?;
        let Range { mut start, mut end } = split.bytes;
        if format.records_are_lines {
            (start, end) = (line_start(&file, start)?, line_start(&file, end)?);
        }
        let mut header = None;
        if format.header {
            let (record, behind) = read_header(&builder, &file)?;
            start = start.max(behind);
            header = Some(record);
        }
        file.seek(SeekFrom::Start(start))?;
        Ok(Self {
            reader: builder.from_reader(RecordLimit::new(file.take(end.saturating_sub(start)), MAX_RECORD_BYTES)),
            path: split.path.clone(),
            start,
            delimiter: format.delimiter,
            header,
            record: ByteRecord::new(),
            errors: context.parse_errors(&split.path),
            records: PhantomData,
        })
    }
}

/// The first record of a file, and where it ends.
fn read_header(builder: &ReaderBuilder, file: &File) -> io::Result<(ByteRecord, u64)> {
    let mut file = File::try_clone(file)?;
    file.seek(SeekFrom::Start(0))?;
    let mut reader = builder.from_reader(RecordLimit::new(file, MAX_RECORD_BYTES));
    let mut record = ByteRecord::new();
    reader.read_byte_record(&mut record).map_err(io::Error::from)?;
    Ok((record, reader.position().byte()))
}

/// Where the first line begins that begins at this place or behind it.
fn line_start(file: &File, place: u64) -> io::Result<u64> {
    if place == 0 {
        return Ok(0);
    }
    // One byte earlier: if that is a line end, a line begins here.
    let mut from = place - 1;
    let mut buffer = vec![0; 4 << 10];
    loop {
        let read = file.read_at(&mut buffer, from)?;
        match memchr::memchr(b'\n', &buffer[..read]) {
            Some(found) => return Ok(from + found as u64 + 1),
            None if read == 0 => return Ok(from),
            None => from += read as u64,
        }
    }
}

impl<T: DeserializeOwned + 'static> SplitReader for CsvReader<T> {
    type Record = T;
    type Split = FileSplit;

    fn poll_next(&mut self, output: &mut SourceOutput<'_, T>) -> Result<Availability, TaskError> {
        while output.wants_more() {
            self.reader.get_mut().begin_record();
            let read = self.reader.read_byte_record(&mut self.record);
            if !read.map_err(io::Error::from).map_err(FileError::read(&self.path))? {
                return Ok(Availability::End);
            }
            match self.parse() {
                Ok(record) => output.collect(record)?,
                Err((field, message)) => self.malformed(field, message, output)?,
            }
        }
        Ok(Availability::Now)
    }
}

impl<T: DeserializeOwned + 'static> CsvReader<T> {
    /// The record that was read, or the index of the field that is wrong, if it is one, and what is.
    fn parse(&self) -> Result<T, (Option<u64>, String)> {
        if let Some(header) = &self.header
            && header.len() != self.record.len()
        {
            let (fields, expected) = (self.record.len(), header.len());
            return Err((
                Some(fields.min(expected) as u64),
                format!("the record has {fields} fields, and the header {expected}"),
            ));
        }
        self.record
            .deserialize(self.header.as_ref())
            .map_err(|error| match error.kind() {
                csv::ErrorKind::Deserialize { err, .. } => (err.field(), self.explain(err.kind())),
                _ => (None, error.to_string()),
            })
    }

    /// What is wrong; of a field that is not there, also which there are: the header may spell it otherwise.
    fn explain(&self, error: &csv::DeserializeErrorKind) -> String {
        let message = error.to_string();
        match &self.header {
            Some(header) if message.starts_with("missing field") => {
                let names: Vec<_> = header.iter().map(String::from_utf8_lossy).collect();
                format!("{message}; the header has {}", names.join(", "))
            }
            _ => message,
        }
    }

    #[cold]
    fn malformed(
        &mut self,
        field: Option<u64>,
        message: String,
        output: &mut SourceOutput<'_, T>,
    ) -> Result<(), TaskError> {
        let begin = self.record.position().map_or(0, csv::Position::byte);
        let length = self.reader.position().byte().saturating_sub(begin);
        let mut raw = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.start + begin))?;
            file.take(length).read_to_end(&mut raw)
        });
        read.map_err(FileError::read(&self.path))?;
        // The end of the line before, and blank lines, may belong to it.
        let record = raw.trim_ascii_end();
        let blank = record.iter().take_while(|byte| b"\r\n".contains(byte)).count();
        let record = &record[blank..];
        let header = self.header.as_ref();
        let name = field.and_then(|field| header?.get(usize::try_from(field).ok()?));
        let field = field.unwrap_or(0);
        let message = match name {
            Some(name) => format!("{}: {message}", String::from_utf8_lossy(name)),
            None => message,
        };
        let malformed = Malformed {
            offset: self.start + begin + blank as u64 + field_start(record, self.delimiter, field) as u64,
            message,
            record,
        };
        self.errors.handle(malformed, output)
    }
}

/// Where in a record a field begins; the record's end when it has no such field.
fn field_start(record: &[u8], delimiter: u8, field: u64) -> usize {
    let (mut quoted, mut fields) = (false, 0);
    if field == 0 {
        return 0;
    }
    for (place, byte) in record.iter().enumerate() {
        // A quote that is doubled begins and ends an empty part: the next one is inside again.
        quoted ^= *byte == b'"';
        fields += u64::from(*byte == delimiter && !quoted);
        if fields == field {
            return place + 1;
        }
    }
    record.len()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flink_worker::ProcessingTimeService;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{
        OnParseError,
        source::testing::{Subtask, read_all},
    };

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Sale {
        shop: u32,
        item: String,
        price: Option<f64>,
    }

    fn write(path: &Path, sales: &[Sale], terminator: csv::Terminator) {
        let mut writer = csv::WriterBuilder::new()
            .terminator(terminator)
            .from_path(path)
            .unwrap();
        writer.write_record(["shop", "item", "price"]).unwrap();
        let mut writer = csv::WriterBuilder::new()
            .terminator(terminator)
            .has_headers(false)
            .from_writer(writer.into_inner().unwrap());
        sales.iter().for_each(|sale| writer.serialize(sale).unwrap());
    }

    fn sale(item: &'static str) -> impl Strategy<Value = Sale> {
        let price = prop::option::of((-1000..1000).prop_map(|cents: i32| f64::from(cents) / 4.0));
        (any::<u32>(), item, price).prop_map(|(shop, item, price)| Sale { shop, item, price })
    }

    fn terminator() -> impl Strategy<Value = csv::Terminator> {
        prop_oneof![Just(csv::Terminator::CRLF), Just(csv::Terminator::Any(b'\n'))]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_record_is_read_exactly_once(
            files in prop::collection::vec(prop::collection::vec(sale("[a-zä,;\"\r\n ]{0,8}"), 0..10), 1..4),
            terminator in terminator(),
            parallelism in 1_u32..9,
        ) {
            let root = tempfile::tempdir().unwrap();
            for (index, sales) in files.iter().enumerate() {
                write(&root.path().join(index.to_string()), sales, terminator);
            }
            let mut read = read_all(&CsvSource::<Sale>::new(root.path()), parallelism).unwrap();
            let mut expected: Vec<Sale> = files.concat();
            read.sort_by_key(Sale::ordered);
            expected.sort_by_key(Sale::ordered);
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn records_that_are_lines_are_split(
            sales in prop::collection::vec(sale("[a-zä,;\" ]{0,8}"), 0..20),
            terminator in terminator(),
            parallelism in 1_u32..9,
        ) {
            let root = tempfile::tempdir().unwrap();
            write(&root.path().join("sales"), &sales, terminator);
            let source = CsvSource::<Sale>::new(root.path()).records_are_lines();
            prop_assert_eq!(read_all(&source, parallelism).unwrap(), sales);
        }
    }

    impl Sale {
        fn ordered(&self) -> (u32, String, Option<String>) {
            (self.shop, self.item.clone(), self.price.map(|price| price.to_string()))
        }
    }

    fn error(text: &str, source: impl Fn(&Path) -> CsvSource<Sale>) -> String {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("sales.csv");
        fs::write(&path, text).unwrap();
        let errors = [1, 2, 3].map(|parallelism| read_all(&source(&path), parallelism).unwrap_err().to_string());
        assert_eq!(errors[0], errors[1]);
        assert_eq!(errors[0], errors[2]);
        errors[0].rsplit_once('/').unwrap().1.to_owned()
    }

    #[test]
    fn an_error_has_file_line_and_column() {
        let text = "shop,item,price\r\n1,\"two\r\nlines\",3\r\n\r\n4,\"ä\"\",\",x\r\n5,b,\r\n";
        assert_eq!(
            error(text, |path| CsvSource::new(path)),
            "sales.csv:5:10: price: invalid float literal"
        );
        let text = "shop;item;price\n1;a;3\n4;b;x\n5;c;\n";
        let source = |path: &Path| CsvSource::new(path).delimiter(b';').records_are_lines();
        assert_eq!(error(text, source), "sales.csv:3:5: price: invalid float literal");
        let text = "1,a,3\n-4,b,1\n";
        let source = |path: &Path| CsvSource::new(path).header(false).records_are_lines();
        assert_eq!(error(text, source), "sales.csv:2:1: invalid digit found in string");
        let text = "shop,item,price\n1,a,3\n4,b\n";
        assert_eq!(
            error(text, |path| CsvSource::new(path)),
            "sales.csv:3:4: price: the record has 2 fields, and the header 3"
        );
    }

    #[test]
    fn a_field_that_the_header_spells_otherwise_is_told() {
        let text = "shop,items,price\n1,a,3\n";
        assert_eq!(
            error(text, |path| CsvSource::new(path)),
            "sales.csv:2:1: missing field `item`; the header has shop, items, price"
        );
    }

    #[test]
    fn a_quote_that_is_not_closed_is_no_record_of_any_length() {
        let text = format!("1,a\n2,\"b\n{}", "3,c\n".repeat(1000));
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).buffer_capacity(16);
        let read = |limit| -> Result<usize, io::Error> {
            let mut reader = builder.from_reader(RecordLimit::new(text.as_bytes(), limit));
            let (mut record, mut records) = (ByteRecord::new(), 0);
            loop {
                reader.get_mut().begin_record();
                if !reader.read_byte_record(&mut record)? {
                    return Ok(records);
                }
                records += 1;
            }
        };
        assert_eq!(read(text.len()).unwrap(), 2);
        let error = read(1000).unwrap_err().to_string();
        assert!(error.contains("is a quote not closed?"), "{error}");
    }

    #[test]
    fn what_is_skipped_is_counted() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("sales"), "shop,item,price\n1,a,\nx,b,\n3\n4,c,2.5\n").unwrap();
        let source = CsvSource::<Sale>::new(root.path()).on_error(OnParseError::Skip);
        let mut subtask = Subtask::new(&source, 0, 1, &ProcessingTimeService::manual(0)).unwrap();
        let shops: Vec<u32> = subtask.read_all().unwrap().iter().map(|sale| sale.shop).collect();
        assert_eq!((shops, subtask.context.skipped_records().get()), (vec![1, 4], 2));
    }

    #[test]
    fn the_task_has_its_turn_while_all_is_skipped() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("sales"), "x,a,\n".repeat(10)).unwrap();
        let source = CsvSource::<Sale>::new(root.path())
            .header(false)
            .on_error(OnParseError::Skip);
        let mut subtask = Subtask::new(&source, 0, 1, &ProcessingTimeService::manual(0)).unwrap();
        for skipped in [3, 6, 9] {
            assert_eq!(subtask.poll(3).unwrap().next, Availability::Now);
            assert_eq!(subtask.context.skipped_records().get(), skipped);
        }
        assert_eq!(subtask.poll(3).unwrap().next, Availability::End);
    }
}

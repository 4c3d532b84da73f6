//! CSV.

use std::fmt;

use csv::{Writer, WriterBuilder};
use serde::Serialize;

use super::Encoder;
use crate::BoxError;

/// Values of serde types as CSV: structs, whose field names are the header, or tuples, which have none.
///
/// ```
/// use flink_connectors::{CsvEncoder, FileSink};
///
/// let sink = FileSink::new("/data/sales").with_encoder(CsvEncoder::new().delimiter(b';'));
/// ```
#[derive(Default)]
pub struct CsvEncoder {
    delimiter: Option<u8>,
    no_header: bool,
    /// Of the file that is being written.
    writer: Option<Writer<Vec<u8>>>,
    /// Records that the writer has and the file has not.
    pending: u32,
}

/// Records that are handed on at once.
const BATCH: u32 = 64;

impl CsvEncoder {
    /// Separated by commas, with a header where there are names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what separates fields. Default: a comma.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = Some(delimiter);
        self
    }

    /// Sets whether each file begins with a header, of the names of the record's fields. Default: yes.
    #[must_use]
    pub fn header(mut self, header: bool) -> Self {
        self.no_header = !header;
        self
    }

    fn builder(&self) -> WriterBuilder {
        let mut builder = WriterBuilder::new();
        builder.delimiter(self.delimiter.unwrap_or(b','));
        builder
    }

    /// Hands on what was written so far.
    fn drain(&mut self, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let mut bytes = writer.into_inner().map_err(|error| error.error().to_string())?;
        out.append(&mut bytes);
        // The header is out.
        self.writer = Some(self.builder().has_headers(false).from_writer(bytes));
        self.pending = 0;
        Ok(())
    }
}

impl Clone for CsvEncoder {
    fn clone(&self) -> Self {
        Self {
            delimiter: self.delimiter,
            no_header: self.no_header,
            writer: None,
            pending: 0,
        }
    }
}

impl fmt::Debug for CsvEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsvEncoder")
            .field("delimiter", &self.delimiter)
            .field("header", &!self.no_header)
            .finish_non_exhaustive()
    }
}

impl<T: Serialize> Encoder<T> for CsvEncoder {
    fn start(&mut self, _: &mut Vec<u8>) -> Result<(), BoxError> {
        self.writer = Some(self.builder().has_headers(!self.no_header).from_writer(Vec::new()));
        Ok(())
    }

    fn encode(&mut self, record: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
        if let Some(writer) = &mut self.writer {
            writer.serialize(record)?;
        }
        self.pending += 1;
        if self.pending >= BATCH { self.drain(out) } else { Ok(()) }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), BoxError> {
        self.drain(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Sale {
        shop: u32,
        item: String,
        price: Option<f64>,
    }

    fn encode<T: Serialize>(mut encoder: CsvEncoder, records: &[T]) -> String {
        let mut out = Vec::new();
        Encoder::<T>::start(&mut encoder, &mut out).unwrap();
        records
            .iter()
            .for_each(|record| encoder.encode(record, &mut out).unwrap());
        Encoder::<T>::finish(&mut encoder, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_file_has_one_header() {
        let sales: Vec<Sale> = (0..200)
            .map(|shop| Sale {
                shop,
                item: format!("a \"b\", {shop}"),
                price: (shop % 2 == 0).then_some(1.5),
            })
            .collect();
        let text = encode(CsvEncoder::new(), &sales);
        assert!(
            text.starts_with("shop,item,price\n0,\"a \"\"b\"\", 0\",1.5\n1,\"a \"\"b\"\", 1\",\n2,"),
            "{text}"
        );
        assert_eq!((text.lines().count(), text.matches("shop").count()), (201, 1));
        assert_eq!(
            encode(CsvEncoder::new().header(false).delimiter(b';'), &sales[..1]),
            "0;\"a \"\"b\"\", 0\";1.5\n"
        );
        assert_eq!(encode(CsvEncoder::new(), &[(1, "x")]), "1,x\n");
        assert_eq!(encode::<Sale>(CsvEncoder::new(), &[]), "");
    }
}

//! Parquet.

mod columns;
mod row;

use std::sync::Arc;

use parquet::{
    basic::{Compression, ZstdLevel},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::{parser::parse_message_type, types::TypePtr},
};
use serde::Serialize;

use super::Encoder;
use crate::BoxError;
use columns::Columns;

/// Values of serde structs, or tuples, as Parquet, compressed with Snappy.
///
/// Columns are what a schema says, as Parquet's own tools write it: a flat one, of `boolean`, `int32`, `int64`, `float`, `double` and
/// `binary` columns, `required` or `optional`, with annotations such as `UTF8`, `UINT_64`, `DATE` or `TIMESTAMP_MILLIS`. A field goes to
/// the column of its name.
///
/// Rows are kept back until they amount to 64 MiB, or the file ends: each file that is being written needs that much memory.
///
/// ```
/// use flink_connectors::{FileSink, ParquetEncoder};
///
/// # fn build() -> Result<(), flink_connectors::ParquetSchemaError> {
/// let schema = "message sale { required int32 shop (UINT_32); required binary item (UTF8); optional double price; }";
/// let sink = FileSink::new("/data/sales").with_encoder(ParquetEncoder::new(schema)?);
/// # Ok(())
/// # }
/// # build().unwrap();
/// ```
pub struct ParquetEncoder {
    schema: TypePtr,
    compression: Compression,
    row_group_bytes: u64,
    /// Of the file that is being written.
    file: Option<OpenFile>,
}

struct OpenFile {
    writer: SerializedFileWriter<Vec<u8>>,
    columns: Columns,
}

/// What is no schema, or has columns that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ParquetSchemaError(BoxError);

/// Bytes of a row group, before they are compressed.
const ROW_GROUP_BYTES: u64 = 64 << 20;

impl ParquetEncoder {
    /// With this schema: `message name { required int64 id; ... }`.
    ///
    /// # Errors
    /// When it is no schema, or has columns that cannot be written.
    pub fn new(schema: &str) -> Result<Self, ParquetSchemaError> {
        let schema = parse_message_type(schema).map_err(|error| ParquetSchemaError(error.into()))?;
        let schema: TypePtr = Arc::new(schema);
        Columns::new(&schema).map_err(ParquetSchemaError)?;
        Ok(Self {
            schema,
            compression: Compression::SNAPPY,
            row_group_bytes: ROW_GROUP_BYTES,
            file: None,
        })
    }

    /// Compresses with Zstandard: smaller files, and more time to write them.
    #[must_use]
    pub fn zstd(mut self) -> Self {
        self.compression = Compression::ZSTD(ZstdLevel::default());
        self
    }

    /// Does not compress.
    #[must_use]
    pub fn uncompressed(mut self) -> Self {
        self.compression = Compression::UNCOMPRESSED;
        self
    }

    /// Sets how many bytes of rows, before they are compressed, make a row group. Default: 64 MiB.
    #[must_use]
    pub fn row_group_size(mut self, bytes: u64) -> Self {
        self.row_group_bytes = bytes;
        self
    }
}

impl Clone for ParquetEncoder {
    fn clone(&self) -> Self {
        Self {
            schema: Arc::clone(&self.schema),
            compression: self.compression,
            row_group_bytes: self.row_group_bytes,
            file: None,
        }
    }
}

impl OpenFile {
    fn write_group(&mut self) -> Result<(), BoxError> {
        if self.columns.rows() > 0 {
            let mut group = self.writer.next_row_group()?;
            self.columns.write(&mut group)?;
            group.close()?;
        }
        Ok(())
    }

    /// Hands on what was written. The writer counts its bytes itself, so that they may be taken away.
    fn drain(&mut self, out: &mut Vec<u8>) -> Result<(), BoxError> {
        self.writer.flush()?;
        out.append(self.writer.inner_mut());
        Ok(())
    }
}

impl<T: Serialize> Encoder<T> for ParquetEncoder {
    fn start(&mut self, _: &mut Vec<u8>) -> Result<(), BoxError> {
        let properties = WriterProperties::builder().set_compression(self.compression).build();
        let schema = Arc::clone(&self.schema);
        self.file = Some(OpenFile {
            columns: Columns::new(&schema)?,
            writer: SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?,
        });
        Ok(())
    }

    fn encode(&mut self, record: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        row::append(record, &mut file.columns)?;
        if file.columns.bytes() >= self.row_group_bytes {
            file.write_group()?;
            file.drain(out)?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let Some(mut file) = self.file.take() else {
            return Ok(());
        };
        file.write_group()?;
        file.writer.finish()?;
        file.drain(out)
    }

    fn pending_bytes(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.columns.bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde::Deserialize;

    use super::*;
    use crate::{ParquetSource, source::testing::read_all};

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Sale {
        shop: u32,
        item: String,
        price: Option<f64>,
        paid: bool,
        id: u64,
        kind: Kind,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Tea,
        Coffee,
    }

    const SCHEMA: &str = "message sale {
        required binary item (UTF8); required int32 shop (UINT_32); optional double price; required boolean paid;
        required int64 id (UINT_64); required binary kind (UTF8);
    }";

    fn encode<T: Serialize>(mut encoder: ParquetEncoder, records: &[T]) -> Result<Vec<u8>, BoxError> {
        let mut out = Vec::new();
        Encoder::<T>::start(&mut encoder, &mut out)?;
        records.iter().try_for_each(|record| encoder.encode(record, &mut out))?;
        Encoder::<T>::finish(&mut encoder, &mut out)?;
        Ok(out)
    }

    #[test]
    fn what_is_written_can_be_read() {
        let sales: Vec<Sale> = (0..1000)
            .map(|index| Sale {
                shop: u32::MAX - index,
                item: format!("item {index}"),
                price: (index % 3 > 0).then(|| f64::from(index) / 4.0),
                paid: index % 2 == 0,
                id: u64::MAX - u64::from(index),
                kind: if index % 5 == 0 { Kind::Tea } else { Kind::Coffee },
            })
            .collect();
        let root = tempfile::tempdir().unwrap();
        let encoder = ParquetEncoder::new(SCHEMA).unwrap().row_group_size(5000);
        for encoder in [encoder.clone(), encoder.clone().zstd(), encoder.uncompressed()] {
            fs::write(root.path().join("sales"), encode(encoder, &sales).unwrap()).unwrap();
            for parallelism in [1, 3] {
                assert_eq!(
                    read_all(&ParquetSource::<Sale>::new(root.path()), parallelism).unwrap(),
                    sales
                );
            }
        }
        fs::write(
            root.path().join("sales"),
            encode::<Sale>(ParquetEncoder::new(SCHEMA).unwrap(), &[]).unwrap(),
        )
        .unwrap();
        assert_eq!(read_all(&ParquetSource::<Sale>::new(root.path()), 2).unwrap(), []);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let encoder = |schema: &str| ParquetEncoder::new(schema).map_err(|error| error.to_string());
        let error = encoder("message m { required group g { required int32 x; } }")
            .err()
            .unwrap();
        assert_eq!(error, "column g: groups and repeated columns cannot be written");
        let error = encoder("message m { required int96 t; }").err().unwrap();
        assert_eq!(error, "column t: INT96 cannot be written");
        assert!(encoder("message").is_err());
        let encoder = encoder("message m { required int32 a; optional int32 b; }").unwrap();
        let told = |error: Result<Vec<u8>, BoxError>| error.unwrap_err().to_string();
        assert_eq!(
            told(encode(encoder.clone(), &[(1_i64 << 40, 2)])),
            "column a: 1099511627776 does not fit into INT32"
        );
        assert_eq!(
            told(encode(encoder.clone(), &[("x", 2)])),
            "column a: a text cannot be written as INT32"
        );
        assert_eq!(
            told(encode(encoder.clone(), &[(None::<i32>, 2)])),
            "column a: there is no value, and it is required"
        );
        assert_eq!(
            told(encode(encoder.clone(), &[(1, 2, 3)])),
            "there is no column for the third value"
        );
        #[derive(Serialize)]
        struct Other {
            c: i32,
        }
        assert_eq!(
            told(encode(encoder.clone(), &[Other { c: 1 }])),
            "there is no column `c`"
        );
        assert_eq!(
            told(encode(encoder.clone(), &[vec![vec![1]]])),
            "column a: a nested value cannot be written"
        );
        assert!(encode(encoder, &[(1,)]).is_ok(), "what is missing and optional is null");
    }
}

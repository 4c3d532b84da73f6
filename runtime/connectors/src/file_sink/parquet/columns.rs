//! Rows of a row group, column by column, until they are written.

use parquet::{
    basic::{ConvertedType, Type as PhysicalType},
    column::writer::ColumnWriter,
    data_type::ByteArray,
    file::writer::SerializedRowGroupWriter,
    schema::types::Type,
};

use crate::BoxError;

/// The columns of a schema, and the rows that are not written yet.
pub(super) struct Columns {
    columns: Vec<Column>,
    rows: usize,
    bytes: u64,
}

struct Column {
    name: String,
    optional: bool,
    unsigned: bool,
    /// By row, of an optional column: 1 where there is a value.
    levels: Vec<i16>,
    values: Values,
}

enum Values {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<ByteArray>),
}

/// A value on its way into a column.
pub(super) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl Columns {
    pub(super) fn new(schema: &Type) -> Result<Self, BoxError> {
        Ok(Self {
            columns: schema
                .get_fields()
                .iter()
                .map(|field| Column::new(field))
                .collect::<Result<_, _>>()?,
            rows: 0,
            bytes: 0,
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// About how many bytes the rows have.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    /// The column of this name. Looked for where it is when fields and columns have the same order.
    pub(super) fn index(&self, name: &str, expected: usize) -> Option<usize> {
        match self.columns.get(expected) {
            Some(column) if column.name == name => Some(expected),
            _ => self.columns.iter().position(|column| column.name == name),
        }
    }

    pub(super) fn push(&mut self, column: usize, cell: Cell<'_>) -> Result<(), BoxError> {
        let pushed = self.columns[column].push(cell);
        self.bytes += pushed.map_err(|error| self.error(column, &error))?;
        Ok(())
    }

    /// What is wrong with a value of a column.
    #[cold]
    pub(super) fn error(&self, column: usize, message: impl std::fmt::Display) -> BoxError {
        format!("column {}: {message}", self.columns[column].name).into()
    }

    /// A row is over: what was not given is null.
    pub(super) fn end_row(&mut self) -> Result<(), BoxError> {
        self.rows += 1;
        for index in 0..self.columns.len() {
            if self.columns[index].rows() < self.rows {
                self.push(index, Cell::Null)?;
            }
        }
        Ok(())
    }

    /// Writes all rows.
    pub(super) fn write(&mut self, group: &mut SerializedRowGroupWriter<'_, Vec<u8>>) -> Result<(), BoxError> {
        for column in &mut self.columns {
            if let Some(mut writer) = group.next_column()? {
                column.write(writer.untyped())?;
                writer.close()?;
            }
        }
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

/// What a value of bytes takes beside them: its handle, and what the allocator adds.
const BYTES_OVERHEAD: u64 = size_of::<ByteArray>() as u64 + 16;

impl Column {
    fn new(field: &Type) -> Result<Self, BoxError> {
        let name = field.name().to_owned();
        let info = field.get_basic_info();
        if !field.is_primitive() || info.has_repetition() && info.repetition() == parquet::basic::Repetition::REPEATED {
            return Err(format!("column {name}: groups and repeated columns cannot be written").into());
        }
        let values = match field.get_physical_type() {
            PhysicalType::BOOLEAN => Values::Bool(Vec::new()),
            PhysicalType::INT32 => Values::Int32(Vec::new()),
            PhysicalType::INT64 => Values::Int64(Vec::new()),
            PhysicalType::FLOAT => Values::Float(Vec::new()),
            PhysicalType::DOUBLE => Values::Double(Vec::new()),
            PhysicalType::BYTE_ARRAY => Values::Bytes(Vec::new()),
            other => return Err(format!("column {name}: {other} cannot be written").into()),
        };
        let unsigned = matches!(
            info.converted_type(),
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64
        );
        Ok(Self {
            name,
            optional: field.is_optional(),
            unsigned,
            levels: Vec::new(),
            values,
        })
    }

    fn rows(&self) -> usize {
        if self.optional {
            self.levels.len()
        } else {
            self.values.len()
        }
    }

    /// Appends a value; its bytes.
    fn push(&mut self, cell: Cell<'_>) -> Result<u64, BoxError> {
        if matches!(cell, Cell::Null) {
            if !self.optional {
                return Err("there is no value, and it is required".into());
            }
            self.levels.push(0);
            return Ok(1);
        }
        let bytes = self.values.push(cell, self.unsigned)?;
        if self.optional {
            self.levels.push(1);
        }
        Ok(bytes)
    }

    fn write(&mut self, writer: &mut ColumnWriter<'_>) -> Result<(), BoxError> {
        let levels = self.optional.then_some(&self.levels[..]);
        match (writer, &self.values) {
            (ColumnWriter::BoolColumnWriter(writer), Values::Bool(values)) => {
                writer.write_batch(values, levels, None)?
            }
            (ColumnWriter::Int32ColumnWriter(writer), Values::Int32(values)) => {
                writer.write_batch(values, levels, None)?
            }
            (ColumnWriter::Int64ColumnWriter(writer), Values::Int64(values)) => {
                writer.write_batch(values, levels, None)?
            }
            (ColumnWriter::FloatColumnWriter(writer), Values::Float(values)) => {
                writer.write_batch(values, levels, None)?
            }
            (ColumnWriter::DoubleColumnWriter(writer), Values::Double(values)) => {
                writer.write_batch(values, levels, None)?
            }
            (ColumnWriter::ByteArrayColumnWriter(writer), Values::Bytes(values)) => {
                writer.write_batch(values, levels, None)?
            }
            _ => return Err(format!("column {}: the file has another type", self.name).into()),
        };
        self.levels.clear();
        self.values.clear();
        Ok(())
    }
}

/// Calls something on the vector, whatever its type.
macro_rules! on_vector {
    ($values:expr, $vector:ident => $call:expr) => {
        match $values {
            Values::Bool($vector) => $call,
            Values::Int32($vector) => $call,
            Values::Int64($vector) => $call,
            Values::Float($vector) => $call,
            Values::Double($vector) => $call,
            Values::Bytes($vector) => $call,
        }
    };
}

impl Values {
    fn len(&self) -> usize {
        on_vector!(self, vector => vector.len())
    }

    fn clear(&mut self) {
        on_vector!(self, vector => vector.clear());
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "BOOLEAN",
            Self::Int32(_) => "INT32",
            Self::Int64(_) => "INT64",
            Self::Float(_) => "FLOAT",
            Self::Double(_) => "DOUBLE",
            Self::Bytes(_) => "BYTE_ARRAY",
        }
    }

    /// Appends a value; its bytes.
    fn push(&mut self, cell: Cell<'_>, unsigned: bool) -> Result<u64, BoxError> {
        let name = self.type_name();
        let too_large = |value: i128| format!("{value} does not fit into {name}");
        match (self, cell) {
            (Self::Bool(values), Cell::Bool(value)) => values.push(value),
            (Self::Int32(values), Cell::Int(value)) => values.push(match unsigned {
                true => u32::try_from(value).map_err(|_| too_large(value))?.cast_signed(),
                false => value.try_into().map_err(|_| too_large(value))?,
            }),
            (Self::Int64(values), Cell::Int(value)) => values.push(match unsigned {
                true => u64::try_from(value).map_err(|_| too_large(value))?.cast_signed(),
                false => value.try_into().map_err(|_| too_large(value))?,
            }),
            (Self::Float(values), Cell::Float(value)) => values.push(value as f32),
            (Self::Double(values), Cell::Float(value)) => values.push(value),
            (Self::Bytes(values), Cell::Text(value)) => {
                values.push(value.into());
                return Ok(value.len() as u64 + BYTES_OVERHEAD);
            }
            (Self::Bytes(values), Cell::Bytes(value)) => {
                values.push(value.to_vec().into());
                return Ok(value.len() as u64 + BYTES_OVERHEAD);
            }
            (_, cell) => return Err(format!("{} cannot be written as {name}", cell.describe()).into()),
        }
        Ok(8)
    }
}

impl Cell<'_> {
    fn describe(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a float",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "a sequence of bytes",
        }
    }
}

//! Serde types as rows.

use std::fmt;

use serde::{
    Serialize, Serializer,
    ser::{Error as _, Impossible, SerializeSeq, SerializeStruct, SerializeTuple, SerializeTupleStruct},
};

use super::columns::{Cell, Columns};
use crate::BoxError;

/// Appends a record to the columns.
pub(super) fn append<T: Serialize>(record: &T, columns: &mut Columns) -> Result<(), BoxError> {
    record.serialize(RowSerializer { columns })?;
    columns.end_row()
}

/// Why a record is no row.
#[derive(Debug)]
pub(super) struct RowError(String);

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RowError {}

impl serde::ser::Error for RowError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl From<BoxError> for RowError {
    fn from(error: BoxError) -> Self {
        Self(error.to_string())
    }
}

struct RowSerializer<'a> {
    columns: &'a mut Columns,
}

/// The fields of a record, one after another.
pub(super) struct Fields<'a> {
    columns: &'a mut Columns,
    next: usize,
}

impl Fields<'_> {
    fn named<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), RowError> {
        let column = self.columns.index(name, self.next);
        let column = column.ok_or_else(|| RowError(format!("there is no column `{name}`")))?;
        self.next = column + 1;
        self.put(column, value)
    }

    fn placed<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RowError> {
        if self.next >= self.columns.len() {
            const ORDINALS: [&str; 4] = ["first", "second", "third", "fourth"];
            let place = ORDINALS.get(self.next).copied().unwrap_or("next");
            return Err(RowError(format!("there is no column for the {place} value")));
        }
        self.next += 1;
        self.put(self.next - 1, value)
    }

    fn put<T: Serialize + ?Sized>(&mut self, column: usize, value: &T) -> Result<(), RowError> {
        value.serialize(CellSerializer {
            columns: &mut *self.columns,
            column,
        })
    }
}

macro_rules! no_row {
    ($($method:ident($type:ty)),+) => {
        $(fn $method(self, _: $type) -> Result<(), RowError> {
            Err(RowError::custom("a record must be a struct or a tuple to be a row"))
        })+
    };
}

impl<'a> Serializer for RowSerializer<'a> {
    type Ok = ();
    type Error = RowError;
    type SerializeSeq = Fields<'a>;
    type SerializeTuple = Fields<'a>;
    type SerializeTupleStruct = Fields<'a>;
    type SerializeTupleVariant = Impossible<(), RowError>;
    type SerializeMap = Impossible<(), RowError>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Impossible<(), RowError>;

    no_row!(
        serialize_bool(bool),
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64),
        serialize_u8(u8),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_f32(f32),
        serialize_f64(f64),
        serialize_char(char),
        serialize_str(&str),
        serialize_bytes(&[u8]),
        serialize_unit_struct(&'static str)
    );

    fn serialize_none(self) -> Result<(), RowError> {
        self.serialize_bool(false)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), RowError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), RowError> {
        self.serialize_bool(false)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), RowError> {
        self.serialize_bool(false)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), RowError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), RowError> {
        self.serialize_bool(false)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Fields<'a>, RowError> {
        Ok(self.fields())
    }

    fn serialize_tuple(self, _: usize) -> Result<Fields<'a>, RowError> {
        Ok(self.fields())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, RowError> {
        Ok(self.fields())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<(), RowError>, RowError> {
        Err(RowError::custom("an enum is no row"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Impossible<(), RowError>, RowError> {
        Err(RowError::custom("a map is no row"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, RowError> {
        Ok(self.fields())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<(), RowError>, RowError> {
        Err(RowError::custom("an enum is no row"))
    }
}

impl<'a> RowSerializer<'a> {
    fn fields(self) -> Fields<'a> {
        Fields {
            columns: self.columns,
            next: 0,
        }
    }
}

impl SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = RowError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), RowError> {
        self.named(name, value)
    }

    fn end(self) -> Result<(), RowError> {
        Ok(())
    }
}

macro_rules! by_place {
    ($($trait:ident $method:ident),+) => {
        $(impl $trait for Fields<'_> {
            type Ok = ();
            type Error = RowError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RowError> {
                self.placed(value)
            }

            fn end(self) -> Result<(), RowError> {
                Ok(())
            }
        })+
    };
}

by_place!(SerializeSeq serialize_element, SerializeTuple serialize_element, SerializeTupleStruct serialize_field);

/// Writes one value.
struct CellSerializer<'a> {
    columns: &'a mut Columns,
    column: usize,
}

impl CellSerializer<'_> {
    fn push(self, cell: Cell<'_>) -> Result<(), RowError> {
        Ok(self.columns.push(self.column, cell)?)
    }

    fn nested<R>(self) -> Result<R, RowError> {
        Err(self
            .columns
            .error(self.column, "a nested value cannot be written")
            .into())
    }
}

macro_rules! cells {
    ($($method:ident($type:ty) $cell:ident),+) => {
        $(fn $method(self, value: $type) -> Result<(), RowError> {
            self.push(Cell::$cell(value.into()))
        })+
    };
}

impl Serializer for CellSerializer<'_> {
    type Ok = ();
    type Error = RowError;
    type SerializeSeq = Impossible<(), RowError>;
    type SerializeTuple = Impossible<(), RowError>;
    type SerializeTupleStruct = Impossible<(), RowError>;
    type SerializeTupleVariant = Impossible<(), RowError>;
    type SerializeMap = Impossible<(), RowError>;
    type SerializeStruct = Impossible<(), RowError>;
    type SerializeStructVariant = Impossible<(), RowError>;

    cells!(
        serialize_bool(bool) Bool, serialize_i8(i8) Int, serialize_i16(i16) Int, serialize_i32(i32) Int,
        serialize_i64(i64) Int, serialize_u8(u8) Int, serialize_u16(u16) Int, serialize_u32(u32) Int,
        serialize_u64(u64) Int, serialize_f32(f32) Float, serialize_f64(f64) Float
    );

    fn serialize_char(self, value: char) -> Result<(), RowError> {
        self.push(Cell::Text(value.encode_utf8(&mut [0; 4])))
    }

    fn serialize_str(self, value: &str) -> Result<(), RowError> {
        self.push(Cell::Text(value))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), RowError> {
        self.push(Cell::Bytes(value))
    }

    fn serialize_none(self) -> Result<(), RowError> {
        self.push(Cell::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), RowError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), RowError> {
        self.push(Cell::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), RowError> {
        self.push(Cell::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), RowError> {
        self.push(Cell::Text(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), RowError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), RowError> {
        self.nested()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, RowError> {
        self.nested()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, RowError> {
        self.nested()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, RowError> {
        self.nested()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, RowError> {
        self.nested()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, RowError> {
        self.nested()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, RowError> {
        self.nested()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, RowError> {
        self.nested()
    }
}

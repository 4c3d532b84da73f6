//! Rows as serde types.

use std::vec;

use parquet::{
    data_type::Decimal,
    record::{Field, Row},
};
use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, Visitor,
        value::{Error, MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

/// The value of a row.
pub(super) fn from_row<T: DeserializeOwned>(row: Row) -> Result<T, Error> {
    T::deserialize(Value(Field::Group(row)))
}

/// The names of the fields of a struct; `None` for other types, and for structs that want to see all there is.
pub(super) fn field_names<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut names = None;
    // It fails as soon as it has said what it wants.
    let _failed = T::deserialize(Probe(&mut names)).err();
    names
}

/// Asks a type what it wants to see.
struct Probe<'a>(&'a mut Option<&'static [&'static str]>);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = Some(fields);
        Err(Error::custom(""))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom(""))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A field as something that serde reads.
struct Value(Field);

impl IntoDeserializer<'_, Error> for Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Value {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Field::Null => visitor.visit_unit(),
            Field::Bool(value) => visitor.visit_bool(value),
            Field::Byte(value) => visitor.visit_i8(value),
            Field::Short(value) => visitor.visit_i16(value),
            Field::Int(value) | Field::Date(value) | Field::TimeMillis(value) => visitor.visit_i32(value),
            Field::Long(value)
            | Field::TimeMicros(value)
            | Field::TimestampMillis(value)
            | Field::TimestampMicros(value) => visitor.visit_i64(value),
            Field::UByte(value) => visitor.visit_u8(value),
            Field::UShort(value) => visitor.visit_u16(value),
            Field::UInt(value) => visitor.visit_u32(value),
            Field::ULong(value) => visitor.visit_u64(value),
            Field::Float16(value) => visitor.visit_f32(value.into()),
            Field::Float(value) => visitor.visit_f32(value),
            Field::Double(value) => visitor.visit_f64(value),
            Field::Decimal(value) => visitor.visit_string(decimal(&value)?),
            Field::Str(value) => visitor.visit_string(value),
            Field::Bytes(value) => visitor.visit_byte_buf(value.data().to_vec()),
            Field::Group(row) => visitor.visit_map(Columns {
                columns: row.into_columns().into_iter(),
                value: None,
            }),
            Field::ListInternal(list) => {
                let elements = list.elements().iter().map(|element| Self(element.clone()));
                visitor.visit_seq(SeqDeserializer::new(elements))
            }
            Field::MapInternal(map) => {
                let entries = map.entries().iter();
                visitor.visit_map(MapDeserializer::new(
                    entries.map(|(key, value)| (Self(key.clone()), Self(value.clone()))),
                ))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Field::Null => visitor.visit_none(),
            value => visitor.visit_some(Self(value)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Field::Str(value) => visitor.visit_enum(value.into_deserializer()),
            value => Self(value).deserialize_any(visitor),
        }
    }

    /// A group is also what it consists of, in the order of its columns; and bytes are a sequence.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Field::Group(row) => {
                let values = row.into_columns().into_iter().map(|(_, value)| Self(value));
                visitor.visit_seq(SeqDeserializer::new(values))
            }
            Field::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.data().iter().copied())),
            value => Self(value).deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Field::Decimal(value) => visitor.visit_f64(decimal(&value)?.parse().map_err(Error::custom)?),
            value => Self(value).deserialize_any(visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    /// Text is often written as bytes that are not said to be text.
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Field::Bytes(bytes) => {
                let text = std::str::from_utf8(bytes.data()).map_err(|_| Error::custom("invalid UTF-8"))?;
                visitor.visit_str(text)
            }
            value => Self(value).deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_string(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char bytes byte_buf unit unit_struct map struct identifier ignored_any
    }
}

/// The columns of a group, one after another. Errors have the name of the column before them.
struct Columns {
    columns: vec::IntoIter<(String, Field)>,
    value: Option<(String, Field)>,
}

impl<'de> MapAccess<'de> for Columns {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.columns.next() else {
            return Ok(None);
        };
        let key = seed.deserialize(name.as_str().into_deserializer()).map(Some);
        self.value = Some((name, value));
        key
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (name, value) = self.value.take().unwrap_or((String::new(), Field::Null));
        seed.deserialize(Value(value))
            .map_err(|error| Error::custom(format_args!("{name}: {error}")))
    }
}

/// A decimal as text.
fn decimal(value: &Decimal) -> Result<String, Error> {
    let (bytes, scale) = (value.data(), value.scale().max(0) as usize);
    // Big-endian, of two's complement.
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    let start = 16_usize.checked_sub(bytes.len());
    let start = start.ok_or_else(|| Error::custom("a decimal of more than 16 bytes cannot be read"))?;
    wide[start..].copy_from_slice(bytes);
    let unscaled = i128::from_be_bytes(wide);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if negative { "-" } else { "" };
    Ok(match scale {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_text() {
        let text = |value, scale| decimal(&Decimal::from_i32(value, 9, scale)).unwrap();
        assert_eq!(text(12345, 2), "123.45");
        assert_eq!(text(-5, 2), "-0.05");
        assert_eq!(text(7, 0), "7");
        let bytes = |bytes: Vec<u8>| decimal(&Decimal::from_bytes(bytes.into(), 38, 1));
        assert_eq!(bytes(vec![0xff, 0x85]).unwrap(), "-12.3");
        assert!(bytes(vec![1; 17]).is_err());
    }
}

//! Records of variable width: strings, sequences, options, results and pointers.

use std::{borrow::Cow, collections::VecDeque, sync::Arc};

use super::{DecodeError, Record, decode_length, encode_length, nested, take};
use crate::schema::{Type, Types};

#[inline]
fn encode_str(text: &str, out: &mut Vec<u8>) {
    encode_length(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

/// Splits off a block of bytes with its length before it.
#[inline]
pub(crate) fn decode_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let length = decode_length(input)?;
    let (block, rest) = input.split_at_checked(length).ok_or(DecodeError::UnexpectedEnd)?;
    *input = rest;
    Ok(block)
}

#[inline]
pub(crate) fn decode_str<'a>(input: &mut &'a [u8]) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(decode_bytes(input)?).map_err(|_| DecodeError::Invalid("UTF-8 text"))
}

macro_rules! text {
    ($($type:ty: $from:expr),*) => {$(
        impl Record for $type {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                encode_str(self, out);
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                decode_str(input).map($from)
            }

            fn describe(_: &mut Types) -> Type {
                Type::primitive("String")
            }
        }
    )*};
}

text!(
    String: Self::from,
    Box<str>: Self::from,
    Arc<str>: Self::from,
    Cow<'static, str>: |text| Self::Owned(text.to_owned())
);

macro_rules! sequence {
    ($($type:ty: $($bound:ident)?),*) => {$(
        impl<T: Record $(+ $bound)?> Record for $type {
            fn encode(&self, out: &mut Vec<u8>) {
                encode_length(self.len(), out);
                T::encode_slice(self, out);
            }

            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                let length = decode_length(input)?;
                T::decode_vec(length, input).map(Self::from)
            }

            fn describe(types: &mut Types) -> Type {
                Type::List(Box::new(T::describe(types)))
            }
        }
    )*};
}

sequence!(Vec<T>:, Box<[T]>:, Arc<[T]>: Sync);

impl<T: Record> Record for VecDeque<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        let (front, back) = self.as_slices();
        encode_length(self.len(), out);
        T::encode_slice(front, out);
        T::encode_slice(back, out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Vec::decode(input).map(Self::from)
    }

    fn describe(types: &mut Types) -> Type {
        Vec::<T>::describe(types)
    }
}

impl<T: Record, const N: usize> Record for [T; N] {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        if N == 0 {
            // A record takes at least one byte.
            out.push(0);
        }
        T::encode_slice(self, out);
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        if N == 0 {
            take::<1>(input)?;
        }
        T::decode_array(input)
    }

    fn describe(types: &mut Types) -> Type {
        Type::Array(Box::new(T::describe(types)), N as u64)
    }
}

impl<T: Record> Record for Option<T> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.encode(out);
            }
        }
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        match take(input)? {
            [0] => Ok(None),
            [1] => T::decode(input).map(Some),
            _ => Err(DecodeError::Invalid("option")),
        }
    }

    fn describe(types: &mut Types) -> Type {
        Type::Option(Box::new(T::describe(types)))
    }
}

impl<T: Record, E: Record> Record for Result<T, E> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Ok(value) => {
                out.push(0);
                value.encode(out);
            }
            Err(error) => {
                out.push(1);
                error.encode(out);
            }
        }
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        match take(input)? {
            [0] => T::decode(input).map(Ok),
            [1] => E::decode(input).map(Err),
            _ => Err(DecodeError::Invalid("result")),
        }
    }

    fn describe(types: &mut Types) -> Type {
        Type::Result(Box::new(T::describe(types)), Box::new(E::describe(types)))
    }
}

/// Pointers are encoded as what they point to.
macro_rules! pointer {
    ($($type:ty: $($bound:ident)?),*) => {$(
        impl<T: Record $(+ $bound)?> Record for $type {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                T::encode(self, out);
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                nested::<T, _>(|| T::decode(input).map(Self::new))
            }

            fn describe(types: &mut Types) -> Type {
                T::describe(types)
            }
        }
    )*};
}

pointer!(Box<T>:, Arc<T>: Sync);

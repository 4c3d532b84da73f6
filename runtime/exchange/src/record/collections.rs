//! Records of variable width: strings, vectors, arrays, options and boxes.

use std::sync::Arc;

use super::{DecodeError, Record, decode_length, encode_length, take};

fn encode_str(text: &str, out: &mut Vec<u8>) {
    encode_length(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

fn decode_str<'a>(input: &mut &'a [u8]) -> Result<&'a str, DecodeError> {
    let length = decode_length(input)?;
    let (text, rest) = input.split_at_checked(length).ok_or(DecodeError::UnexpectedEnd)?;
    *input = rest;
    std::str::from_utf8(text).map_err(|_| DecodeError::Invalid("UTF-8 text"))
}

macro_rules! text {
    ($($type:ty),*) => {$(
        impl Record for $type {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                encode_str(self, out);
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                decode_str(input).map(Self::from)
            }
        }
    )*};
}

text!(String, Box<str>, Arc<str>);

impl<T: Record> Record for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_length(self.len(), out);
        T::encode_slice(self, out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let length = decode_length(input)?;
        T::decode_vec(length, input)
    }
}

impl<T: Record, const N: usize> Record for [T; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        if N == 0 {
            // A record takes at least one byte.
            out.push(0);
        }
        T::encode_slice(self, out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        if N == 0 {
            take::<1>(input)?;
        } else if N > input.len() {
            return Err(DecodeError::UnexpectedEnd);
        }
        let items = T::decode_vec(N, input)?;
        Self::try_from(items).map_err(|_| DecodeError::Invalid("array"))
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
}

impl<T: Record> Record for Box<T> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        T::encode(self, out);
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        T::decode(input).map(Self::new)
    }
}

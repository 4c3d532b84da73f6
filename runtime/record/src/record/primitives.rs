//! Records of fixed width: numbers, `bool`, `char`, the unit type and tuples.

use super::{DecodeError, Record};
use crate::schema::{Type, Types};

/// Splits `N` bytes off the front.
#[inline]
pub(super) fn take<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (head, rest) = input.split_first_chunk::<N>().ok_or(DecodeError::UnexpectedEnd)?;
    *input = rest;
    Ok(*head)
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Record for $type {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                take(input).map(Self::from_le_bytes)
            }

            fn describe(_: &mut Types) -> Type {
                Type::primitive(stringify!($type))
            }

            fn decode_vec(length: usize, input: &mut &[u8]) -> Result<Vec<Self>, DecodeError> {
                let bytes = length.checked_mul(size_of::<Self>()).ok_or(DecodeError::UnexpectedEnd)?;
                let (block, rest) = input.split_at_checked(bytes).ok_or(DecodeError::UnexpectedEnd)?;
                *input = rest;
                let (items, _) = block.as_chunks();
                Ok(items.iter().map(|item| Self::from_le_bytes(*item)).collect())
            }

            #[inline]
            fn decode_array<const N: usize>(input: &mut &[u8]) -> Result<[Self; N], DecodeError> {
                let bytes = N.checked_mul(size_of::<Self>()).ok_or(DecodeError::UnexpectedEnd)?;
                let (block, rest) = input.split_at_checked(bytes).ok_or(DecodeError::UnexpectedEnd)?;
                *input = rest;
                let mut items = [Self::default(); N];
                for (item, bytes) in items.iter_mut().zip(block.as_chunks().0) {
                    *item = Self::from_le_bytes(*bytes);
                }
                Ok(items)
            }
        }
    )*};
}

number!(u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

impl Record for u8 {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        take(input).map(|[byte]| byte)
    }

    fn describe(_: &mut Types) -> Type {
        Type::primitive("u8")
    }

    fn encode_slice(items: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(items);
    }

    fn decode_vec(length: usize, input: &mut &[u8]) -> Result<Vec<Self>, DecodeError> {
        let (block, rest) = input.split_at_checked(length).ok_or(DecodeError::UnexpectedEnd)?;
        *input = rest;
        Ok(block.to_vec())
    }

    #[inline]
    fn decode_array<const N: usize>(input: &mut &[u8]) -> Result<[Self; N], DecodeError> {
        take(input)
    }
}

impl Record for bool {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        match take(input)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(DecodeError::Invalid("bool")),
        }
    }

    fn describe(_: &mut Types) -> Type {
        Type::primitive("bool")
    }
}

/// On the wire 64 bits wide, whatever the machine.
macro_rules! size {
    ($($type:ty => $wire:ty),*) => {$(
        impl Record for $type {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                (*self as $wire).encode(out);
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                Self::try_from(<$wire>::decode(input)?).map_err(|_| DecodeError::Invalid(stringify!($type)))
            }

            fn describe(types: &mut Types) -> Type {
                <$wire>::describe(types)
            }
        }
    )*};
}

size!(usize => u64, isize => i64);

impl Record for char {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        u32::from(*self).encode(out);
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Self::from_u32(u32::decode(input)?).ok_or(DecodeError::Invalid("char"))
    }

    fn describe(_: &mut Types) -> Type {
        Type::primitive("char")
    }
}

impl Record for () {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(0);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        match take(input)? {
            [0] => Ok(()),
            _ => Err(DecodeError::Invalid("unit")),
        }
    }

    fn describe(_: &mut Types) -> Type {
        Type::Tuple(Vec::new())
    }
}

macro_rules! tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: Record),+> Record for ($($name,)+) {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$index.encode(out);)+
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                Ok(($($name::decode(input)?,)+))
            }

            fn describe(types: &mut Types) -> Type {
                Type::Tuple(vec![$($name::describe(types)),+])
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);

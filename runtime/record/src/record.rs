//! The record codec: fixed-width little-endian, `u32` lengths, no schema on the wire.

mod collections;
mod maps;
mod nesting;
mod primitives;
mod values;

pub(crate) use collections::{decode_bytes, decode_str};
pub use nesting::MAX_NESTING;
use nesting::nested;
use primitives::take;
pub(crate) use values::since_epoch;

use crate::schema::{Schema, Type, Types};

/// Bytes do not hold a record of the expected type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends inside a record.
    #[error("the input ends inside a record")]
    UnexpectedEnd,
    /// A length does not fit into the rest of the input.
    #[error("a length of {length} does not fit into the remaining {remaining} bytes")]
    Length {
        /// Elements announced.
        length: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// A byte pattern that the type does not have.
    #[error("not a valid {0}")]
    Invalid(&'static str),
    /// Boxes or collections are nested in each other more than [`MAX_NESTING`] times.
    #[error("nested more than {MAX_NESTING} levels deep")]
    Nesting,
}

/// A value that can cross a network edge.
///
/// The encoding has no schema: producer and consumer are tasks of the same program file. Every record takes **at least one
/// byte** (a type without content writes a zero), so that a length prefix can be checked against the bytes that follow
/// before anything is allocated. Decoding hostile bytes fails; it never panics, never reserves room for more
/// elements than there are bytes, and refuses values nested more than [`MAX_NESTING`] levels deep, which would overflow the stack.
///
/// `#[derive(Record)]` implements it for structs and enums of records.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can neither be kept in state nor be sent between tasks",
    label = "not a `Record`",
    note = "write `#[derive(Record)]` on `{Self}` (numbers, strings, and collections, options and tuples of records are records already)",
    note = "a type of another crate that has serde's traits can be wrapped: `Serde<{Self}>`"
)]
pub trait Record: Sized + Send + 'static {
    /// Appends the encoding, at least one byte, to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads one record from the front of `input` and moves `input` behind it. After an error the position of `input` is
    /// unspecified.
    ///
    /// # Errors
    /// When the bytes are not the encoding of such a record.
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError>;

    /// Describes the type to a schema. What the derive generates; by hand, see [`Types::define`]. By default the encoding is
    /// [opaque](Type::Opaque).
    fn describe(types: &mut Types) -> Type {
        let _ = types;
        Type::Opaque(std::any::type_name::<Self>().to_owned())
    }

    /// The type's name, fields and their types.
    fn schema() -> Schema {
        Schema::of::<Self>()
    }

    /// Encodes the elements of a sequence. For types whose encoding is one block of memory this is one copy.
    #[doc(hidden)]
    fn encode_slice(items: &[Self], out: &mut Vec<u8>) {
        for item in items {
            item.encode(out);
        }
    }

    /// Decodes `length` elements. The caller has checked that `length` is at most `input.len()`.
    #[doc(hidden)]
    fn decode_vec(length: usize, input: &mut &[u8]) -> Result<Vec<Self>, DecodeError> {
        nested::<Self, _>(|| {
            let mut items = Vec::with_capacity(capacity::<Self>(length, input));
            for _ in 0..length {
                items.push(Self::decode(input)?);
            }
            Ok(items)
        })
    }

    /// Decodes an array of at least one element.
    #[doc(hidden)]
    fn decode_array<const N: usize>(input: &mut &[u8]) -> Result<[Self; N], DecodeError> {
        if N > input.len() {
            return Err(DecodeError::UnexpectedEnd);
        }
        let items = Self::decode_vec(N, input)?;
        <[Self; N]>::try_from(items).map_err(|_| DecodeError::Invalid("array"))
    }
}

/// For how many elements of an announced number room is reserved.
#[inline]
fn capacity<T>(length: usize, input: &[u8]) -> usize {
    // Bounded by bytes, not only by elements: 4 GiB of one-byte elements of a large type must not reserve 4 GiB times
    // its size.
    length.min(input.len() / size_of::<T>().max(1) + 1)
}

/// Appends a length. Lengths above `u32::MAX` saturate: such a record is far beyond what a frame may hold, so that the
/// writer refuses it before anyone reads it.
#[inline]
fn encode_length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

/// Reads a length and checks that as many bytes follow: every element takes at least one.
#[inline]
fn decode_length(input: &mut &[u8]) -> Result<usize, DecodeError> {
    let length = u32::from_le_bytes(take(input)?) as usize;
    if length > input.len() {
        return Err(DecodeError::Length {
            length,
            remaining: input.len(),
        });
    }
    Ok(length)
}

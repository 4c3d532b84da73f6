//! Keys: records with a hash that is the same on every machine and in every version.

use std::{borrow::Cow, hash::Hash, sync::Arc};

use xxhash_rust::xxh3::xxh3_64;

mod values;

use crate::record::Record;

/// A record by which a stream can be partitioned.
///
/// [`stable_hash`](Self::stable_hash) decides the key group, hence in which subtask the state of a key lives and which part
/// of a savepoint holds it. It must never change: integers hash as in Java (`Integer.hashCode`, `Long.hashCode`), text and
/// bytes by xxh3 folded to 32 bits, compounds by `31 * hash + next`. Floats are no keys: `NaN != NaN`, and `0.0 == -0.0`
/// with different bits.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    label = "not a `Key`",
    note = "if it is a float: key by an integer that is made from it, such as `(x * 100.0).round() as i64`, since NaN does not equal itself",
    note = "if it is a type of your own: write `#[derive(Key)]` on it, next to `#[derive(Record, PartialEq, Eq, Hash, Clone)]` (integers, `bool`, `char`, strings, and tuples, vectors and options of keys are keys already)",
    note = "if it is a type of another crate that has serde's traits: wrap it, as `Serde<{Self}>`"
)]
pub trait Key: Record + Eq + Hash + Clone {
    /// The hash from which the key group is computed. Equal keys have equal hashes, on all machines and in all versions.
    fn stable_hash(&self) -> u32;

    /// The hash of a sequence of keys; bytes are hashed as one block.
    #[doc(hidden)]
    fn stable_hash_slice(items: &[Self]) -> u32 {
        items.iter().fold(1, |hash, item| combine(hash, item.stable_hash()))
    }
}

#[inline]
fn combine(hash: u32, next: u32) -> u32 {
    hash.wrapping_mul(31).wrapping_add(next)
}

#[inline]
pub(crate) fn fold(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

fn hash_bytes(bytes: &[u8]) -> u32 {
    fold(xxh3_64(bytes))
}

macro_rules! small_integer {
    ($($type:ty),*) => {$(
        impl Key for $type {
            #[inline]
            fn stable_hash(&self) -> u32 {
                *self as u32
            }
        }
    )*};
}

small_integer!(u16, u32, i8, i16, i32);

impl Key for u8 {
    #[inline]
    fn stable_hash(&self) -> u32 {
        u32::from(*self)
    }

    fn stable_hash_slice(items: &[Self]) -> u32 {
        hash_bytes(items)
    }
}

impl Key for u64 {
    #[inline]
    fn stable_hash(&self) -> u32 {
        fold(*self)
    }
}

impl Key for i64 {
    #[inline]
    fn stable_hash(&self) -> u32 {
        fold(*self as u64)
    }
}

impl Key for u128 {
    fn stable_hash(&self) -> u32 {
        combine(fold((*self >> 64) as u64), fold(*self as u64))
    }
}

impl Key for i128 {
    fn stable_hash(&self) -> u32 {
        (*self as u128).stable_hash()
    }
}

impl Key for bool {
    #[inline]
    fn stable_hash(&self) -> u32 {
        if *self { 1231 } else { 1237 }
    }
}

impl Key for char {
    #[inline]
    fn stable_hash(&self) -> u32 {
        u32::from(*self)
    }
}

impl Key for () {
    fn stable_hash(&self) -> u32 {
        0
    }
}

macro_rules! text {
    ($($type:ty),*) => {$(
        impl Key for $type {
            #[inline]
            fn stable_hash(&self) -> u32 {
                hash_bytes(self.as_bytes())
            }
        }
    )*};
}

text!(String, Box<str>, Arc<str>, Cow<'static, str>);

macro_rules! sequence {
    ($($type:ty: $($bound:ident)?),*) => {$(
        impl<T: Key $(+ $bound)?> Key for $type {
            fn stable_hash(&self) -> u32 {
                T::stable_hash_slice(self)
            }
        }
    )*};
}

sequence!(Vec<T>:, Box<[T]>:, Arc<[T]>: Sync);

impl<T: Key, const N: usize> Key for [T; N] {
    fn stable_hash(&self) -> u32 {
        T::stable_hash_slice(self)
    }
}

impl<T: Key> Key for Option<T> {
    fn stable_hash(&self) -> u32 {
        self.as_ref().map_or(0, |value| combine(1, value.stable_hash()))
    }
}

macro_rules! pointer {
    ($($type:ty: $($bound:ident)?),*) => {$(
        impl<T: Key $(+ $bound)?> Key for $type {
            fn stable_hash(&self) -> u32 {
                T::stable_hash(self)
            }
        }
    )*};
}

pointer!(Box<T>:, Arc<T>: Sync);

macro_rules! tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: Key),+> Key for ($($name,)+) {
            #[inline]
            fn stable_hash(&self) -> u32 {
                let mut hash = 1;
                $(hash = combine(hash, self.$index.stable_hash());)+
                hash
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_never_change() {
        assert_eq!(42u32.stable_hash(), 42);
        assert_eq!((-1i32).stable_hash(), u32::MAX);
        assert_eq!((-1i64).stable_hash(), 0);
        assert_eq!(0x1_0000_0002u64.stable_hash(), 3);
        assert_eq!(true.stable_hash(), 1231);
        assert_eq!((1u32, 2u32).stable_hash(), 994);
        assert_eq!(vec![1u32, 2u32].stable_hash(), 994);
        assert_eq!(None::<u32>.stable_hash(), 0);
        assert_eq!(String::from("flink").stable_hash(), fold(xxh3_64(b"flink")));
        assert_eq!(
            String::new().stable_hash(),
            fold(0x2d06_8005_38d3_94c2),
            "xxh3 of nothing, from its specification"
        );
    }

    #[test]
    fn text_hashes_alike_in_every_container() {
        let expected = String::from("key").stable_hash();
        assert_eq!(Box::<str>::from("key").stable_hash(), expected);
        assert_eq!(Arc::<str>::from("key").stable_hash(), expected);
        assert_eq!(b"key".to_vec().stable_hash(), expected);
    }
}

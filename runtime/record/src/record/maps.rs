//! Maps and sets. A key that occurs twice is not what the encoder wrote, and is refused.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::{BuildHasher, Hash},
};

use super::{DecodeError, Record, capacity, decode_length, encode_length, nested};
use crate::schema::{Type, Types};

const TWICE: DecodeError = DecodeError::Invalid("map or set: a key occurs twice");

impl<K: Record + Eq + Hash, V: Record, S: BuildHasher + Default + Send + 'static> Record for HashMap<K, V, S> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_entries(self.iter(), out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let length = decode_length(input)?;
        nested::<(K, V), _>(|| {
            let mut map = Self::with_capacity_and_hasher(capacity::<(K, V)>(length, input), S::default());
            for _ in 0..length {
                if map.insert(K::decode(input)?, V::decode(input)?).is_some() {
                    return Err(TWICE);
                }
            }
            Ok(map)
        })
    }

    fn describe(types: &mut Types) -> Type {
        map_of::<K, V>(types)
    }
}

impl<K: Record + Ord, V: Record> Record for BTreeMap<K, V> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_entries(self.iter(), out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let length = decode_length(input)?;
        // Built from a sorted sequence at once: cheaper than one insertion after the other.
        let map: Self = <(K, V)>::decode_vec(length, input)?.into_iter().collect();
        if map.len() == length { Ok(map) } else { Err(TWICE) }
    }

    fn describe(types: &mut Types) -> Type {
        map_of::<K, V>(types)
    }
}

impl<T: Record + Eq + Hash, S: BuildHasher + Default + Send + 'static> Record for HashSet<T, S> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_elements(self.iter(), out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let length = decode_length(input)?;
        nested::<T, _>(|| {
            let mut set = Self::with_capacity_and_hasher(capacity::<T>(length, input), S::default());
            for _ in 0..length {
                if !set.insert(T::decode(input)?) {
                    return Err(TWICE);
                }
            }
            Ok(set)
        })
    }

    fn describe(types: &mut Types) -> Type {
        Type::Set(Box::new(T::describe(types)))
    }
}

impl<T: Record + Ord> Record for BTreeSet<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_elements(self.iter(), out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let length = decode_length(input)?;
        let set: Self = T::decode_vec(length, input)?.into_iter().collect();
        if set.len() == length { Ok(set) } else { Err(TWICE) }
    }

    fn describe(types: &mut Types) -> Type {
        Type::Set(Box::new(T::describe(types)))
    }
}

fn encode_entries<'a, K: Record, V: Record>(entries: impl ExactSizeIterator<Item = (&'a K, &'a V)>, out: &mut Vec<u8>) {
    encode_length(entries.len(), out);
    for (key, value) in entries {
        key.encode(out);
        value.encode(out);
    }
}

fn encode_elements<'a, T: Record>(elements: impl ExactSizeIterator<Item = &'a T>, out: &mut Vec<u8>) {
    encode_length(elements.len(), out);
    for element in elements {
        element.encode(out);
    }
}

fn map_of<K: Record, V: Record>(types: &mut Types) -> Type {
    Type::Map(Box::new(K::describe(types)), Box::new(V::describe(types)))
}

//! Records by way of serde.

use std::{
    any::type_name,
    hash::Hash,
    ops::{Deref, DerefMut},
};

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    key::{Key, fold},
    record::{DecodeError, Record, decode_bytes},
    schema::{Type, Types},
};

/// A record of a type that has serde's traits only, such as one of another crate.
///
/// Encoded by postcard, with its length before it: about twice the cost of a derived [`Record`]. The schema knows its name only.
/// The number of its levels is not limited as that of other records is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Serde<T>(pub T);

impl<T> Deref for Serde<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Serde<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> From<T> for Serde<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Record for Serde<T> {
    /// # Panics
    /// When the type refuses to be serialized, or needs a format that describes itself: postcard does not, and has no room for
    /// sequences of unknown length, `#[serde(flatten)]` or `#[serde(untagged)]`. The task fails with the reason.
    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        serialize(&self.0, Appender(out));
        let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        match postcard::take_from_bytes(decode_bytes(input)?) {
            Ok((value, [])) => Ok(Self(value)),
            _ => Err(DecodeError::Invalid("value of a type that is read by serde")),
        }
    }

    fn describe(_: &mut Types) -> Type {
        Type::Opaque(type_name::<T>().to_owned())
    }
}

/// The hash of its encoding: equal values must be serialized equally.
impl<T: Serialize + DeserializeOwned + Eq + Hash + Clone + Send + 'static> Key for Serde<T> {
    fn stable_hash(&self) -> u32 {
        let mut hasher = Xxh3::new();
        serialize(&self.0, Hasher(&mut hasher));
        fold(hasher.digest())
    }
}

fn serialize<T: Serialize>(value: &T, flavor: impl Flavor) {
    if let Err(error) = postcard::serialize_with_flavor(value, flavor) {
        // Encoding cannot fail otherwise, and a record that is left out would be lost without a trace.
        panic!("a value of type `{}` cannot be serialized: {error}", type_name::<T>());
    }
}

/// Appends to a vector.
struct Appender<'a>(&'a mut Vec<u8>);

impl Flavor for Appender<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

struct Hasher<'a>(&'a mut Xxh3);

impl Flavor for Hasher<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.update(&[byte]);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.update(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

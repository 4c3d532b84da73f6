//! How deep values may be nested in each other.
//!
//! A recursive type is decoded by a recursive function, so that a few kilobytes of hostile input, each byte one more `Box`, would
//! overflow the stack, which nothing can catch. Whatever makes a type recursive (boxes, shared pointers, collections) therefore
//! counts its level in the thread. Records without recursion pay for their collections only, about a nanosecond each.

use std::cell::Cell;

use super::DecodeError;

/// Levels of boxes and collections that a decoded record may have. Elements of more than 512 bytes count for several.
pub const MAX_NESTING: usize = 256;

/// The size for which an element counts as a level, in bytes: with it, the levels bound the use of the stack.
const LEVEL_BYTES: usize = 512;

/// Levels for which an element counts at most, so that a large type without recursion is never refused.
const MAX_WEIGHT: usize = MAX_NESTING / 8;

thread_local! {
    static LEVELS: Cell<usize> = const { Cell::new(0) };
}

/// Leaves its levels when it is dropped, also in a panic.
struct Entered(usize);

impl Drop for Entered {
    fn drop(&mut self) {
        LEVELS.set(LEVELS.get().saturating_sub(self.0));
    }
}

/// Decodes one level deeper something that holds values of type `T`.
#[inline]
pub(super) fn nested<T, R>(decode: impl FnOnce() -> Result<R, DecodeError>) -> Result<R, DecodeError> {
    let weight = const {
        let weight = 1 + size_of::<T>() / LEVEL_BYTES;
        if weight < MAX_WEIGHT { weight } else { MAX_WEIGHT }
    };
    let levels = LEVELS.get() + weight;
    if levels > MAX_NESTING {
        return Err(DecodeError::Nesting);
    }
    LEVELS.set(levels);
    let _entered = Entered(weight);
    decode()
}

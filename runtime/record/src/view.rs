//! Views: records read without copying their text and bytes.

use std::fmt::Debug;

use crate::record::{DecodeError, Record, decode_bytes, decode_str};

/// A record that can be read in place: its view borrows text and bytes from where the record is encoded.
///
/// For a filter that looks at one field of many, a view costs a fraction of the record. `#[record(view)]` next to
/// `#[derive(Record)]` generates the view of a struct. Numbers, `bool` and `char` are their own views; strings are viewed as `&str`,
/// `Vec<u8>` as `&[u8]`, tuples and options as those of views.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no borrowed view",
    label = "not a `RecordView`",
    note = "write `#[derive(Record)]` and `#[record(view)]` on the struct, or leave the field without `#[record(view)]` to have it owned"
)]
pub trait RecordView: Record {
    /// The record as it is read in place.
    type View<'a>: Clone + Debug;

    /// Views the record. Fields that the view owns are cloned.
    fn view(&self) -> Self::View<'_>;

    /// Reads one record from the front of `input`, as [`Record::decode`] does, without copying what can be borrowed.
    ///
    /// # Errors
    /// When the bytes are not the encoding of such a record.
    fn decode_view<'a>(input: &mut &'a [u8]) -> Result<Self::View<'a>, DecodeError>;

    /// The record of a view: what is borrowed is copied.
    fn from_view(view: Self::View<'_>) -> Self;
}

macro_rules! copied {
    ($($type:ty),*) => {$(
        impl RecordView for $type {
            type View<'a> = Self;

            #[inline]
            fn view(&self) -> Self {
                *self
            }

            #[inline]
            fn decode_view(input: &mut &[u8]) -> Result<Self, DecodeError> {
                Self::decode(input)
            }

            #[inline]
            fn from_view(view: Self) -> Self {
                view
            }
        }
    )*};
}

copied!(
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    f32,
    f64,
    bool,
    char,
    ()
);

macro_rules! borrowed {
    ($($type:ty => $view:ty, $decode:path);*) => {$(
        impl RecordView for $type {
            type View<'a> = &'a $view;

            #[inline]
            fn view(&self) -> &$view {
                self
            }

            #[inline]
            fn decode_view<'a>(input: &mut &'a [u8]) -> Result<&'a $view, DecodeError> {
                $decode(input)
            }

            #[inline]
            fn from_view(view: &$view) -> Self {
                Self::from(view)
            }
        }
    )*};
}

borrowed!(String => str, decode_str; Box<str> => str, decode_str; Vec<u8> => [u8], decode_bytes; Box<[u8]> => [u8], decode_bytes);

impl<T: RecordView> RecordView for Option<T> {
    type View<'a> = Option<T::View<'a>>;

    #[inline]
    fn view(&self) -> Option<T::View<'_>> {
        self.as_ref().map(T::view)
    }

    #[inline]
    fn decode_view<'a>(input: &mut &'a [u8]) -> Result<Option<T::View<'a>>, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(None),
            1 => T::decode_view(input).map(Some),
            _ => Err(DecodeError::Invalid("option")),
        }
    }

    #[inline]
    fn from_view(view: Option<T::View<'_>>) -> Self {
        view.map(T::from_view)
    }
}

macro_rules! tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: RecordView),+> RecordView for ($($name,)+) {
            type View<'a> = ($($name::View<'a>,)+);

            #[inline]
            fn view(&self) -> Self::View<'_> {
                ($(self.$index.view(),)+)
            }

            #[inline]
            fn decode_view<'a>(input: &mut &'a [u8]) -> Result<Self::View<'a>, DecodeError> {
                Ok(($($name::decode_view(input)?,)+))
            }

            #[inline]
            fn from_view(view: Self::View<'_>) -> Self {
                ($($name::from_view(view.$index),)+)
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

//! `#[derive(Record)]` and `#[derive(Key)]`: the codec, the schema, the borrowed view and the stable hash of a user's types.
//!
//! The macros write what one would write by hand: fields in the order of their declaration, a variant's index before them. They
//! decide nothing at run time, and what they write calls the traits of the crate `flink-record` only.

mod attributes;
mod bounds;
mod input;
mod key;
mod record;
mod view;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

use input::Input;

/// Implements `Record` for a struct or an enum whose fields are records.
///
/// Fields are encoded in the order of their declaration, those of an enum behind the index of the variant: one byte, or two if
/// there are more than 256 variants. Reordering fields or variants therefore changes the encoding. A type without content is
/// encoded as a zero.
///
/// Options, as `#[record(...)]` on the type:
/// - `view`: also generates `NameView<'a>`, which borrows strings and bytes from the encoded record, and implements
///   `RecordView`. `String` becomes `&'a str`, `Vec<u8>` becomes `&'a [u8]`; other fields are owned and must be `Clone`, unless they
///   too are marked `#[record(view)]` and then are the view of their type.
/// - `derive(Copy, PartialEq, ...)`: what the view derives in addition to `Clone` and `Debug`.
/// - `bound = "T: Trait"`: the bounds of the implementations, in place of `T: Record` for each type parameter of a field.
/// - `crate = "path"`: where the traits are, in place of `::flink`.
#[proc_macro_derive(Record, attributes(record))]
pub fn derive_record(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let output = Input::new(&input, "Record").and_then(|input| {
        let mut output = record::implement(&input);
        if input.container.view.is_some() {
            output.extend(view::implement(&input)?);
        }
        Ok(output)
    });
    output.unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements `Key` for a struct or an enum whose fields are keys.
///
/// The type must also be a `Record`, `Eq`, `Hash` and `Clone`. Its hash is that of a tuple of its fields; in an enum the index
/// of the variant counts as the first field. Reordering fields or variants, or adding any, changes the hash, and with it where the
/// state of a key lives.
#[proc_macro_derive(Key, attributes(record))]
pub fn derive_key(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let output = Input::new(&input, "Key").map(|input| key::implement(&input));
    output.unwrap_or_else(syn::Error::into_compile_error).into()
}

//! Records that can be printed.

use std::fmt::Display;

/// What [`print`](crate::DataStream::print) can print.
///
/// All that is [`Display`] implements it. It stands in the API in the place of `Display` for the compiler's message alone.
#[diagnostic::on_unimplemented(
    message = "a stream of `{Self}` cannot be printed",
    label = "`{Self}` is not `Display`",
    note = "print it as `Debug` writes it, with `collect()` in the place of `print()`, or make text of it in a `map` before"
)]
pub trait Printable: Display {}

// Otherwise the message would be that of `Display`, which speaks of format strings.
#[diagnostic::do_not_recommend]
impl<T: Display> Printable for T {}

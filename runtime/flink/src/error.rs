//! What a program's `build` and driver functions return.

use std::fmt;

use flink_worker::with_causes;

/// Anything that went wrong in a program's `build` or driver function.
///
/// Every error type turns into it with `?`. It is not itself an [`std::error::Error`], which is what makes that
/// possible.
pub struct Error(Box<dyn std::error::Error + Send + Sync>);

/// What `build` and driver functions return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with this text: lower case, no full stop.
    pub fn msg(message: impl Into<String>) -> Self {
        Self(message.into().into())
    }

    /// The first error of this type among this error and its causes.
    pub fn find<E: std::error::Error + 'static>(&self) -> Option<&E> {
        let first: &(dyn std::error::Error + 'static) = self.0.as_ref();
        std::iter::successors(Some(first), |error| error.source()).find_map(|error| error.downcast_ref())
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for Error {
    /// The error with its causes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_causes(self.0.as_ref()))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

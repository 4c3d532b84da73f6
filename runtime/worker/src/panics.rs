//! Panics in user code: caught at the top of the task's thread, told with the operator they happened in.
//!
//! Which operator is running is not noted per record. Each call into an operator stands under an [`OperatorScope`],
//! which is forgotten when the call returns; only when a panic unwinds through it is it dropped, and then it notes
//! its operator. Chained operators call one another, so that the first scope to be dropped is the innermost. On the
//! way of a record that returns this costs nothing: it is a landing pad in the unwind tables.

use std::{
    cell::RefCell,
    fmt,
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::Once,
};

/// A panic of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CaughtPanic {
    /// Its message.
    pub(crate) message: String,
    /// File, line and column.
    pub(crate) location: Option<String>,
    /// The operator it happened in, when it happened in one.
    pub(crate) operator: Option<String>,
}

impl fmt::Display for CaughtPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("panicked")?;
        if let Some(location) = &self.location {
            write!(f, " at {location}")?;
        }
        write!(f, ": {}", self.message)
    }
}

thread_local! {
    /// The panic of this thread, while [`catch`] runs on it.
    static CAUGHT: RefCell<Option<CaughtPanic>> = const { RefCell::new(None) };
    static CATCHING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs a task's code.
pub(crate) fn catch<R>(task: impl FnOnce() -> R) -> Result<R, CaughtPanic> {
    install_hook();
    CATCHING.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(task));
    CATCHING.set(false);
    result.map_err(|_| {
        CAUGHT.take().unwrap_or_else(|| CaughtPanic {
            message: "panicked".to_owned(),
            location: None,
            operator: None,
        })
    })
}

/// Panics of tasks are kept for their failure report, with `RUST_BACKTRACE` set also told as ever; panics of other
/// threads are told as ever.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        let backtrace = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
        panic::set_hook(Box::new(move |info| {
            let caught = CATCHING.get();
            if caught {
                note(info);
            }
            if !caught || backtrace {
                previous(info);
            }
        }));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    let message = info
        .payload_as_str()
        .unwrap_or("panicked with a payload that is no text")
        .to_owned();
    let location = info.location().map(ToString::to_string);
    CAUGHT.set(Some(CaughtPanic {
        message,
        location,
        operator: None,
    }));
}

/// While it stands, an operator's code is running.
pub(crate) struct OperatorScope<'a>(&'a str);

impl<'a> OperatorScope<'a> {
    #[inline]
    pub(crate) fn enter(name: &'a str) -> Self {
        Self(name)
    }

    /// The operator's code has returned.
    #[inline]
    pub(crate) fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for OperatorScope<'_> {
    #[cold]
    fn drop(&mut self) {
        CAUGHT.with_borrow_mut(|caught| {
            if let Some(panic) = caught {
                panic.operator.get_or_insert_with(|| self.0.to_owned());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_operator_is_named_with_message_and_place() {
        let caught = catch(|| {
            let outer = OperatorScope::enter("outer");
            let inner = OperatorScope::enter("inner");
            if std::hint::black_box(true) {
                panic!("number {}", 7);
            }
            inner.leave();
            outer.leave();
        })
        .unwrap_err();
        assert_eq!(
            (caught.message.as_str(), caught.operator.as_deref()),
            ("number 7", Some("inner"))
        );
        assert!(caught.location.is_some_and(|place| place.contains("panics.rs:")));
    }

    #[test]
    fn an_operator_that_has_returned_is_not_named() {
        let caught = catch(|| {
            OperatorScope::enter("done").leave();
            let outer = OperatorScope::enter("outer");
            if std::hint::black_box(true) {
                panic!("x");
            }
            outer.leave();
        })
        .unwrap_err();
        assert_eq!(caught.operator.as_deref(), Some("outer"));
    }

    #[test]
    fn what_returns_is_returned() {
        assert_eq!(catch(|| 5), Ok(5));
    }
}

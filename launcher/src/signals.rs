//! Ctrl-C and SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{error::UserError, exit_code::ExitCode};

/// What a command ends with that was told to stop: `what` says what it had not done by then.
pub(crate) fn interrupted(what: impl std::fmt::Display) -> UserError {
    UserError::new("interrupted", ExitCode::Interrupted, format!("interrupted {what}"))
}

/// The requests to stop that this process gets. From its making on, they no longer end the process by themselves.
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Takes both signals over.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub(crate) fn new() -> Result<Self, UserError> {
        let take = |kind| signal(kind).map_err(anyhow::Error::new);
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
        })
    }

    /// What comes of `work`, or of `interrupted` when one of them comes first: then `work` is dropped.
    ///
    /// # Errors
    /// Those of `work`, and what `interrupted` makes.
    pub(crate) async fn or<T>(
        &mut self,
        interrupted: impl FnOnce() -> UserError,
        work: impl Future<Output = Result<T, UserError>>,
    ) -> Result<T, UserError> {
        tokio::select! {
            biased;
            () = self.next() => Err(interrupted()),
            result = work => result,
        }
    }

    /// The next of them. Cancel safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

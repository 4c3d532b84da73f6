//! Why a task cannot go on.

use std::{error::Error, fmt, sync::Arc};

use flink_exchange::ExchangeError;

/// Why a task cannot go on. One pointer wide, because every record passes a `Result` of it at every operator.
pub struct TaskError(Box<Inner>);

struct Inner {
    operator: Option<Arc<str>>,
    cause: Cause,
}

/// What kind of failure it is.
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// The task was cancelled: no failure.
    Cancelled,
    /// The data plane failed, most often because another task did.
    Exchange(ExchangeError),
    /// The operator's own code returned an error, or what it works on (a file, a line) is not as it must be.
    Operator(Box<dyn Error + Send + Sync>),
    /// The runtime failed under the operator.
    Runtime(Box<dyn Error + Send + Sync>),
    /// Nobody reads what the job prints any more.
    OutputClosed,
}

impl TaskError {
    fn new(cause: Cause) -> Self {
        Self(Box::new(Inner { operator: None, cause }))
    }

    /// The operator's own code, or what it works on, failed.
    #[cold]
    pub fn operator(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Cause::Operator(error.into()))
    }

    /// The runtime failed under the operator.
    #[cold]
    pub fn runtime(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Cause::Runtime(error.into()))
    }

    /// The task was cancelled.
    #[cold]
    pub fn cancelled() -> Self {
        Self::new(Cause::Cancelled)
    }

    /// Nobody reads what the job prints any more.
    #[cold]
    pub fn output_closed() -> Self {
        Self::new(Cause::OutputClosed)
    }

    /// The same, having happened in this operator, unless a more inner one is known.
    #[cold]
    #[must_use]
    pub fn at(mut self, operator: &Arc<str>) -> Self {
        self.0.operator.get_or_insert_with(|| Arc::clone(operator));
        self
    }

    /// What kind of failure it is.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// The operator it happened in, when it is known.
    pub fn operator_name(&self) -> Option<&str> {
        self.0.operator.as_deref()
    }
}

impl From<ExchangeError> for TaskError {
    #[cold]
    fn from(error: ExchangeError) -> Self {
        Self::new(match error {
            ExchangeError::Cancelled => Cause::Cancelled,
            error => Cause::Exchange(error),
        })
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause() {
            Cause::Cancelled => f.write_str("the task was cancelled"),
            Cause::Exchange(error) => error.fmt(f),
            Cause::Operator(error) | Cause::Runtime(error) => f.write_str(&with_causes(error.as_ref())),
            Cause::OutputClosed => f.write_str("nobody reads the job's output any more"),
        }
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskError")
            .field("operator", &self.0.operator)
            .field("cause", &self.0.cause)
            .finish()
    }
}

impl Error for TaskError {}

/// An error with what caused it, `a: b: c`. A cause that its error's text repeats already is left out.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_of_nothing_is_one_pointer() {
        assert_eq!(size_of::<Result<(), TaskError>>(), size_of::<usize>());
    }

    #[test]
    fn the_innermost_operator_stays() {
        let error = TaskError::operator("bad").at(&"inner".into()).at(&"outer".into());
        assert_eq!(
            (error.operator_name(), error.to_string().as_str()),
            (Some("inner"), "bad")
        );
    }

    #[test]
    fn a_cancelled_exchange_is_a_cancelled_task() {
        assert!(matches!(
            TaskError::from(ExchangeError::Cancelled).cause(),
            Cause::Cancelled
        ));
        assert!(matches!(
            TaskError::from(ExchangeError::ShutDown).cause(),
            Cause::Exchange(_)
        ));
    }

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("could not read: {0}")]
        struct Wrapped(#[source] std::num::ParseIntError);
        #[derive(Debug, thiserror::Error)]
        #[error("line 3")]
        struct Line(#[source] Wrapped);
        let cause = "x".parse::<u8>().unwrap_err();
        assert_eq!(
            with_causes(&Line(Wrapped(cause))),
            "line 3: could not read: invalid digit found in string"
        );
    }
}

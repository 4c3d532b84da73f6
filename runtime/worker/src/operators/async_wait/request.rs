//! One request: the future of the user's function, with its attempts and its timeout.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use super::{
    queue::AsyncOutputMode,
    retry::{AsyncRetryStrategy, BoxError},
};
use crate::{
    error::TaskError,
    panics::{self, CaughtPanic},
};

/// Requests that an operator makes at a time, unless it is told otherwise.
const DEFAULT_CAPACITY: usize = 100;

/// How an [`AsyncWait`](super::AsyncWait) calls its function.
pub struct AsyncOptions<I, O> {
    /// In which order results leave.
    pub mode: AsyncOutputMode,
    /// How long a request may take, all its attempts together. Above zero; `Duration::MAX` waits without end.
    pub timeout: Duration,
    /// Requests that have not completed, or whose results have not left, at most; above zero. Default: 100. More hide the latency
    /// of slow requests, and are more load for whoever answers them.
    pub capacity: usize,
    fallback: Option<Fallback<I, O>>,
    retry: Option<Retry<I, O>>,
}

/// What a record's results are when its request took too long.
struct Fallback<I, O> {
    copy: fn(&I) -> I,
    results: Arc<dyn Fn(I) -> Vec<O> + Send + Sync>,
}

struct Retry<I, O> {
    copy: fn(&I) -> I,
    strategy: AsyncRetryStrategy<O>,
}

impl<I, O> AsyncOptions<I, O> {
    /// Results in this order, requests that take so long at most.
    pub fn new(mode: AsyncOutputMode, timeout: Duration) -> Self {
        Self {
            mode,
            timeout,
            capacity: DEFAULT_CAPACITY,
            fallback: None,
            retry: None,
        }
    }

    /// Lets a request that takes too long have these results, instead of failing the job.
    #[must_use]
    pub fn timeout_with(mut self, results: impl Fn(I) -> Vec<O> + Send + Sync + 'static) -> Self
    where
        I: Clone,
    {
        self.fallback = Some(Fallback {
            copy: I::clone,
            results: Arc::new(results),
        });
        self
    }

    /// Lets requests be made more than once.
    #[must_use]
    pub fn retry(mut self, strategy: AsyncRetryStrategy<O>) -> Self
    where
        I: Clone,
    {
        self.retry = Some(Retry {
            copy: I::clone,
            strategy,
        });
        self
    }
}

impl<I, O> Clone for AsyncOptions<I, O> {
    fn clone(&self) -> Self {
        let fallback = self.fallback.as_ref().map(|fallback| Fallback {
            copy: fallback.copy,
            results: Arc::clone(&fallback.results),
        });
        let retry = self.retry.as_ref().map(|retry| Retry {
            copy: retry.copy,
            strategy: retry.strategy.clone(),
        });
        Self {
            mode: self.mode,
            timeout: self.timeout,
            capacity: self.capacity,
            fallback,
            retry,
        }
    }
}

impl<I, O> fmt::Debug for AsyncOptions<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncOptions")
            .field("mode", &self.mode)
            .field("timeout", &self.timeout)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// What a request can come to, other than results.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("an asynchronous request did not complete within its timeout of {0:?}")]
    TimedOut(Duration),
    #[error("{0}")]
    Panicked(CaughtPanic),
}

/// What all requests of an operator have in common.
pub(super) struct Requests<I, O, F> {
    function: F,
    options: AsyncOptions<I, O>,
}

impl<I, O, F> Requests<I, O, F> {
    pub(super) fn new(function: F, options: AsyncOptions<I, O>) -> Self {
        Self { function, options }
    }

    /// One request, from its first attempt to its end. The function is called by whoever polls this, so that it finds itself in
    /// the runtime's context.
    pub(super) async fn run<Fut, R, E>(self: Arc<Self>, input: I) -> Result<Vec<O>, TaskError>
    where
        F: Fn(I) -> Fut,
        Fut: Future<Output = Result<R, E>>,
        R: IntoIterator<Item = O>,
        E: Into<BoxError>,
    {
        match unless_it_panics(self.with_timeout(input)).await {
            Ok(outcome) => outcome.map_err(TaskError::operator),
            Err(panic) => Err(TaskError::operator(RequestError::Panicked(panic))),
        }
    }

    async fn with_timeout<Fut, R, E>(&self, input: I) -> Result<Vec<O>, BoxError>
    where
        F: Fn(I) -> Fut,
        Fut: Future<Output = Result<R, E>>,
        R: IntoIterator<Item = O>,
        E: Into<BoxError>,
    {
        let fallback = self.options.fallback.as_ref();
        let fallback = fallback.map(|fallback| (fallback, (fallback.copy)(&input)));
        match tokio::time::timeout(self.options.timeout, self.attempts(input)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => match fallback {
                Some((fallback, input)) => Ok((fallback.results)(input)),
                None => Err(RequestError::TimedOut(self.options.timeout).into()),
            },
        }
    }

    async fn attempts<Fut, R, E>(&self, input: I) -> Result<Vec<O>, BoxError>
    where
        F: Fn(I) -> Fut,
        Fut: Future<Output = Result<R, E>>,
        R: IntoIterator<Item = O>,
        E: Into<BoxError>,
    {
        let Some(retry) = &self.options.retry else {
            return results((self.function)(input).await);
        };
        let mut attempt = 1;
        loop {
            let future = (self.function)((retry.copy)(&input));
            let outcome = results(future.await);
            let Some(delay) = retry.strategy.next_attempt(attempt, &outcome) else {
                return outcome;
            };
            tokio::time::sleep(delay).await;
            attempt += 1;
        }
    }
}

fn results<O, R: IntoIterator<Item = O>, E: Into<BoxError>>(outcome: Result<R, E>) -> Result<Vec<O>, BoxError> {
    match outcome {
        Ok(results) => Ok(results.into_iter().collect()),
        Err(error) => Err(error.into()),
    }
}

/// Runs user code; a panic of it is caught as one on a task's thread is, with message and place.
async fn unless_it_panics<Fut: Future>(future: Fut) -> Result<Fut::Output, CaughtPanic> {
    let mut future = pin!(future);
    // After a panic the future is not polled any more.
    poll_fn(|context| match panics::catch(|| future.as_mut().poll(context)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

//! When a request is made once more, and how long after.

use std::{error::Error, fmt, sync::Arc, time::Duration};

/// An error of any type.
pub(super) type BoxError = Box<dyn Error + Send + Sync>;

type ErrorPredicate = Arc<dyn Fn(&(dyn Error + 'static)) -> bool + Send + Sync>;
type ResultPredicate<O> = Arc<dyn Fn(&[O]) -> bool + Send + Sync>;

/// When an asynchronous request is made once more.
///
/// Without predicates: after any error, never after results. When the attempts are used up, the last outcome counts: its
/// results are emitted, its error fails the job. The operator's timeout spans all attempts and the time between them.
pub struct AsyncRetryStrategy<O> {
    max_attempts: u32,
    delay: Delay,
    if_exception: Option<ErrorPredicate>,
    if_result: Option<ResultPredicate<O>>,
}

#[derive(Debug, Clone, Copy)]
enum Delay {
    Fixed(Duration),
    Exponential {
        initial: Duration,
        max: Duration,
        multiplier: f64,
    },
}

impl<O> AsyncRetryStrategy<O> {
    fn new(max_attempts: u32, delay: Delay) -> Self {
        Self {
            max_attempts,
            delay,
            if_exception: None,
            if_result: None,
        }
    }

    /// The same time between any two attempts. `max_attempts` counts all of them, the first included.
    pub fn fixed_delay(max_attempts: u32, delay: Duration) -> Self {
        Self::new(max_attempts, Delay::Fixed(delay))
    }

    /// First `initial_delay`, then each time `multiplier` times as long, up to `max_delay`. `max_attempts` counts all attempts,
    /// the first included.
    pub fn exponential_backoff(
        max_attempts: u32,
        initial_delay: Duration,
        max_delay: Duration,
        multiplier: f64,
    ) -> Self {
        let (initial, max) = (initial_delay, max_delay);
        Self::new(
            max_attempts,
            Delay::Exponential {
                initial,
                max,
                multiplier,
            },
        )
    }

    /// Tries again only after errors of which this is true; others fail the job at once.
    #[must_use]
    pub fn if_exception(mut self, retry: impl Fn(&(dyn Error + 'static)) -> bool + Send + Sync + 'static) -> Self {
        self.if_exception = Some(Arc::new(retry));
        self
    }

    /// Tries again also after results of which this is true.
    #[must_use]
    pub fn if_result(mut self, retry: impl Fn(&[O]) -> bool + Send + Sync + 'static) -> Self {
        self.if_result = Some(Arc::new(retry));
        self
    }

    /// Tries again also after an attempt without results.
    #[must_use]
    pub fn if_empty_result(self) -> Self
    where
        O: 'static,
    {
        self.if_result(<[O]>::is_empty)
    }

    /// How long after this outcome of the attempt of that number, counted from 1, the next one begins; `None` when there is none.
    pub(super) fn next_attempt(&self, attempt: u32, outcome: &Result<Vec<O>, BoxError>) -> Option<Duration> {
        let again = attempt < self.max_attempts
            && match outcome {
                Ok(results) => self.if_result.as_ref().is_some_and(|retry| retry(results)),
                Err(error) => self.if_exception.as_ref().is_none_or(|retry| retry(&**error)),
            };
        again.then(|| self.delay.after(attempt))
    }
}

impl Delay {
    fn after(self, attempt: u32) -> Duration {
        match self {
            Self::Fixed(delay) => delay,
            Self::Exponential {
                initial,
                max,
                multiplier,
            } => {
                let factor = multiplier.powi(i32::try_from(attempt - 1).unwrap_or(i32::MAX));
                // What no duration can hold is more than the maximum.
                Duration::try_from_secs_f64(initial.as_secs_f64() * factor).map_or(max, |delay| delay.min(max))
            }
        }
    }
}

impl<O> Clone for AsyncRetryStrategy<O> {
    fn clone(&self) -> Self {
        Self {
            max_attempts: self.max_attempts,
            delay: self.delay,
            if_exception: self.if_exception.clone(),
            if_result: self.if_result.clone(),
        }
    }
}

impl<O> fmt::Debug for AsyncRetryStrategy<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncRetryStrategy")
            .field("max_attempts", &self.max_attempts)
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn error(text: &str) -> Result<Vec<u8>, BoxError> {
        Err(text.into())
    }

    #[test]
    fn attempts_are_counted_from_the_first() {
        let strategy = AsyncRetryStrategy::fixed_delay(3, ms(7));
        assert_eq!(strategy.next_attempt(1, &error("x")), Some(ms(7)));
        assert_eq!(strategy.next_attempt(2, &error("x")), Some(ms(7)));
        assert_eq!(strategy.next_attempt(3, &error("x")), None);
        for max_attempts in [0, 1] {
            let strategy = AsyncRetryStrategy::fixed_delay(max_attempts, ms(7));
            assert_eq!(strategy.next_attempt(1, &error("x")), None);
        }
    }

    #[test]
    fn backoff_grows_to_its_maximum() {
        let strategy = AsyncRetryStrategy::exponential_backoff(u32::MAX, ms(10), ms(50), 2.0);
        let delays = [1, 2, 3, 4, 1000, u32::MAX - 1].map(|attempt| strategy.next_attempt(attempt, &error("x")));
        assert_eq!(delays, [10, 20, 40, 50, 50, 50].map(|delay| Some(ms(delay))));
        for nonsense in [f64::NAN, f64::INFINITY, -1.0] {
            let strategy = AsyncRetryStrategy::exponential_backoff(9, ms(10), ms(50), nonsense);
            assert_eq!(strategy.next_attempt(2, &error("x")), Some(ms(50)));
        }
    }

    #[test]
    fn predicates_choose() {
        let strategy = AsyncRetryStrategy::fixed_delay(9, ms(1));
        assert_eq!(strategy.next_attempt(1, &Ok(Vec::new())), None, "nothing is a result");
        let strategy = strategy
            .if_empty_result()
            .if_exception(|error| error.to_string() == "busy");
        assert_eq!(strategy.next_attempt(1, &Ok(Vec::new())), Some(ms(1)));
        assert_eq!(strategy.next_attempt(1, &Ok(vec![1])), None);
        assert_eq!(strategy.next_attempt(1, &error("busy")), Some(ms(1)));
        assert_eq!(strategy.next_attempt(1, &error("broken")), None);
    }
}

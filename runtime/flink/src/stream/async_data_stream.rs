//! Streams whose records are each looked up, or sent, somewhere else: Flink's asynchronous I/O.

use std::{error::Error, fmt, future::Future, time::Duration};

use flink_record::Record;
use flink_worker::{
    NodeFactory,
    operators::{AsyncOptions, AsyncOutputMode, AsyncRetryStrategy, AsyncWait},
};

use super::DataStream;

/// A stream for whose records an asynchronous function is about to be called: what [`DataStream::ordered_wait`] and
/// [`DataStream::unordered_wait`] make.
///
/// A task has many requests open at a time and needs no thread for any of them. Their futures run on a
/// [tokio](https://docs.rs/tokio) runtime of two threads that all operators of a process share: they must not block these
/// threads, neither by waiting without `.await` nor by computing for long (`tokio::task::spawn_blocking` is for that).
/// The job fails when a request returns an error, panics, or takes longer than its timeout. When the job ends for
/// another reason, open requests are dropped where they wait.
///
/// While the operator has as many requests open as it may, its task waits for one: meanwhile no timer fires in the operators that
/// are chained behind it. Where that matters, begin a new chain there (`start_new_chain`).
#[must_use = "nothing is called until `async_invoke` says what"]
pub struct AsyncDataStream<T, R> {
    stream: DataStream<T>,
    options: AsyncOptions<T, R>,
}

impl<T: Record> DataStream<T> {
    /// Calls an asynchronous function for each record; results leave in the order of the records they are made from. A
    /// request may take `timeout` at most, above zero.
    ///
    /// Each result waits for those before it. Where the order does not matter, [`unordered_wait`](Self::unordered_wait) is faster and
    /// needs less room.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use std::{convert::Infallible, time::Duration};
    ///
    /// let numbers = env.from_sequence(1..=10).ordered_wait(Duration::from_secs(5));
    /// let squares = numbers.async_invoke(|number| async move {
    ///     tokio::time::sleep(Duration::from_millis(10 - number)).await;
    ///     Ok::<_, Infallible>([number * number])
    /// });
    /// squares.name("squares").print();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn ordered_wait<R: Record>(self, timeout: Duration) -> AsyncDataStream<T, R> {
        AsyncDataStream::new(self, AsyncOutputMode::Ordered, timeout)
    }

    /// Calls an asynchronous function for each record; results leave as they come. A request may take `timeout` at most,
    /// above zero.
    ///
    /// Event time stays as it was: no result overtakes a watermark, and no watermark a result.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use std::{io, time::Duration};
    ///
    /// use flink::AsyncRetryStrategy;
    ///
    /// async fn look_up(user: u64) -> io::Result<Option<String>> {
    ///     Ok((user % 2 == 0).then(|| format!("user {user}")))
    /// }
    ///
    /// let backoff =
    ///     AsyncRetryStrategy::exponential_backoff(3, Duration::from_millis(100), Duration::from_secs(1), 2.0);
    /// let users = env.from_sequence(1..=10);
    /// let names = users
    ///     .unordered_wait(Duration::from_secs(5))
    ///     .capacity(50)
    ///     .retry(backoff)
    ///     .timeout_with(|user| vec![format!("somebody ({user})")])
    ///     .async_invoke(look_up);
    /// names.print();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn unordered_wait<R: Record>(self, timeout: Duration) -> AsyncDataStream<T, R> {
        AsyncDataStream::new(self, AsyncOutputMode::Unordered, timeout)
    }
}

impl<T: Record, R: Record> AsyncDataStream<T, R> {
    fn new(stream: DataStream<T>, mode: AsyncOutputMode, timeout: Duration) -> Self {
        let options = AsyncOptions::new(mode, timeout);
        Self { stream, options }
    }

    /// Sets how many requests a subtask has open at a time, those included whose results cannot leave yet; above zero. Default: 100.
    /// The task waits, and what is before it, when there are as many.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.options.capacity = capacity;
        self
    }

    /// Lets a request that takes too long have these results, instead of failing the job.
    pub fn timeout_with(mut self, results: impl Fn(T) -> Vec<R> + Send + Sync + 'static) -> Self
    where
        T: Clone,
    {
        self.options = self.options.timeout_with(results);
        self
    }

    /// Makes a request more than once, as the strategy says. The timeout spans all of its attempts.
    pub fn retry(mut self, strategy: AsyncRetryStrategy<R>) -> Self
    where
        T: Clone,
    {
        self.options = self.options.retry(strategy);
        self
    }

    /// The results of calling this function for each record: as many for each as it returns, with the record's timestamp.
    ///
    /// The function is cloned for each subtask. What it captures is the place for what its requests share, such as a client
    /// or a pool of connections. See [`DataStream::ordered_wait`] and [`DataStream::unordered_wait`] for examples.
    pub fn async_invoke<F, Fut, I, E>(self, function: F) -> DataStream<R>
    where
        F: Fn(T) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<I, E>> + Send + 'static,
        I: IntoIterator<Item = R> + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        let Self { stream, options } = self;
        if options.capacity == 0 {
            stream
                .declared
                .fail(|| "the capacity of asynchronous requests must be above zero".to_owned());
        }
        if options.timeout.is_zero() {
            stream
                .declared
                .fail(|| "the timeout of asynchronous requests must be above zero".to_owned());
        }
        let factory = NodeFactory::operator::<T, AsyncWait<T, R, F>>(move |context| {
            AsyncWait::new(options.clone(), function.clone(), context)
        });
        stream.add_operator("async_wait", factory)
    }
}

impl<T, R> fmt::Debug for AsyncDataStream<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        f.debug_struct("AsyncDataStream")
            .field("options", options)
            .finish_non_exhaustive()
    }
}

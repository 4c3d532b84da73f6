//! Asynchronous requests in jobs.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use flink::{AsyncRetryStrategy, DataStream, Record, Result, StreamExecutionEnvironment, run_for_test};
use tokio::sync::watch;

/// Long enough for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// The records of the stream that `declare` makes, as they come.
fn results<T: Record>(
    parallelism: u32,
    declare: impl Fn(&mut StreamExecutionEnvironment) -> DataStream<T>,
) -> Result<Vec<T>> {
    let results = Arc::new(Mutex::new(Vec::new()));
    let build = |env: &mut StreamExecutionEnvironment| -> Result<()> {
        let results = Arc::clone(&results);
        let stream = declare(env);
        stream.map(move |record| results.lock().unwrap().push(record)).discard();
        Ok(())
    };
    run_for_test(build, parallelism)?;
    let mut results = results.lock().unwrap();
    Ok(std::mem::take(&mut *results))
}

fn error<T: Record>(declare: impl Fn(&mut StreamExecutionEnvironment) -> DataStream<T>) -> String {
    results(1, declare).err().unwrap().to_string()
}

/// Has the answer when so many others have one.
async fn after(answered: Arc<watch::Sender<u64>>, others: u64) -> std::result::Result<(), watch::error::RecvError> {
    answered
        .subscribe()
        .wait_for(|answered| *answered == others)
        .await
        .map(|_| ())
}

#[test]
fn unordered_results_leave_while_earlier_requests_are_open() {
    let found = results(1, |env| {
        let emitted = Arc::new(watch::Sender::new(0));
        let (asked, counted) = (Arc::clone(&emitted), emitted);
        let numbers = env.from_collection(0..8).unordered_wait(PATIENCE).capacity(8);
        let answers = numbers.async_invoke(move |number| {
            let answer = after(Arc::clone(&asked), 7 - number);
            async move { answer.await.map(|()| [number]) }
        });
        answers.map(move |number| {
            counted.send_modify(|emitted| *emitted += 1);
            number
        })
    });
    assert_eq!(found.unwrap(), [7, 6, 5, 4, 3, 2, 1, 0]);
}

#[test]
fn ordered_results_leave_in_the_order_of_the_records() {
    let found = results(1, |env| {
        let answered = Arc::new(watch::Sender::new(0));
        let numbers = env.from_collection(0..8).ordered_wait(PATIENCE).capacity(8);
        numbers.async_invoke(move |number| {
            let (answered, answer) = (Arc::clone(&answered), after(Arc::clone(&answered), 7 - number));
            async move {
                answer.await?;
                answered.send_modify(|answered| *answered += 1);
                Ok::<_, watch::error::RecvError>([number])
            }
        })
    });
    assert_eq!(found.unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn nothing_is_lost_or_doubled_at_any_capacity() {
    for (parallelism, capacity) in [(1, 1), (2, 7), (3, 1000)] {
        let mut found = results(parallelism, |env| {
            let numbers = env.from_sequence(0..=1999).rebalance().unordered_wait(PATIENCE);
            let looked_up = numbers.capacity(capacity).async_invoke(|number| async move {
                for _ in 0..number % 3 {
                    tokio::task::yield_now().await;
                }
                Ok::<_, Infallible>((number % 2 == 0).then_some(number))
            });
            // A second one in the same task.
            let again = looked_up.ordered_wait(PATIENCE).capacity(capacity);
            again.async_invoke(|number| async move { Ok::<_, Infallible>(vec![number; 2]) })
        })
        .unwrap();
        found.sort_unstable();
        assert!(
            found
                .into_iter()
                .eq((0..2000).step_by(2).flat_map(|number| [number; 2]))
        );
    }
}

#[test]
fn a_lookup_that_hangs_fails_the_job_or_has_a_fallback() {
    let hang = |_| pending::<std::result::Result<[u64; 1], Infallible>>();
    let message = error(|env| {
        let numbers = env.from_sequence(0..=9).ordered_wait(Duration::from_millis(20));
        numbers.async_invoke(hang).name("lookup")
    });
    let expected = "operator lookup: an asynchronous request did not complete within its timeout of 20ms";
    assert!(message.ends_with(expected), "{message}");
    let unknown = results(1, |env| {
        let numbers = env.from_sequence(0..=9).ordered_wait(Duration::from_millis(20));
        numbers.timeout_with(|number| vec![number + 100]).async_invoke(hang)
    });
    assert_eq!(unknown.unwrap(), (100..110).collect::<Vec<u64>>());
}

#[test]
fn a_lookup_is_retried_as_often_as_it_may_be() {
    let declare = |attempts: u32| {
        move |env: &mut StreamExecutionEnvironment| {
            let made = Arc::new(AtomicU32::new(0));
            let strategy = AsyncRetryStrategy::fixed_delay(attempts, Duration::from_millis(1));
            let numbers = env.from_collection([7_u64]).unordered_wait(PATIENCE).retry(strategy);
            let answers = numbers.async_invoke(move |number| {
                let attempt = made.fetch_add(1, Ordering::SeqCst) + 1;
                async move {
                    if attempt < 3 {
                        Err(format!("attempt {attempt} failed"))
                    } else {
                        Ok([number])
                    }
                }
            });
            answers.name("lookup")
        }
    };
    assert_eq!(results(1, declare(3)).unwrap(), [7]);
    let message = error(declare(2));
    assert!(message.ends_with("operator lookup: attempt 2 failed"), "{message}");
}

#[test]
fn a_panic_names_its_operator_and_place() {
    let message = error(|env| {
        let numbers = env.from_sequence(0..=9).unordered_wait(PATIENCE);
        let checked = numbers.async_invoke(|number| async move {
            assert!(number < 5, "{number} is too much");
            Ok::<_, Infallible>([number])
        });
        checked.name("check")
    });
    assert!(message.contains("operator check: panicked at "), "{message}");
    assert!(
        message.contains("async_io.rs:") && message.ends_with(" is too much"),
        "{message}"
    );
}

#[test]
fn a_task_that_waits_for_room_is_cancelled_at_once() {
    let (asked, asking) = mpsc::channel();
    let asking = Arc::new(Mutex::new(asking));
    let started = Instant::now();
    let message = error(|env| {
        let asked = asked.clone();
        let hanging = env.from_sequence(0..=9).unordered_wait(Duration::MAX).capacity(1);
        let hanging = hanging.async_invoke(move |_| {
            asked.send(()).unwrap();
            pending::<std::result::Result<[u64; 1], Infallible>>()
        });
        let asking = Arc::clone(&asking);
        let failing = env.from_collection([1_u64]).try_map(move |_| {
            asking.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            Err::<u64, _>("enough")
        });
        hanging.union(failing.name("fail"))
    });
    assert!(message.ends_with("operator fail: enough"), "{message}");
    assert!(started.elapsed() < PATIENCE / 2);
}

#[test]
fn limits_of_zero_are_told() {
    let declare = |capacity, timeout| {
        error(move |env| {
            let numbers = env.from_sequence(0..=9).unordered_wait(timeout).capacity(capacity);
            numbers.async_invoke(|number| async move { Ok::<_, Infallible>([number]) })
        })
    };
    assert_eq!(
        declare(0, PATIENCE),
        "the capacity of asynchronous requests must be above zero"
    );
    assert_eq!(
        declare(1, Duration::ZERO),
        "the timeout of asynchronous requests must be above zero"
    );
}

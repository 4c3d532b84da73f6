//! The operator with its runtime. Requests complete when the test says so.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::pending,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use flink_record::NO_TIMESTAMP;
use tokio::sync::oneshot;

use super::*;
use crate::{
    error::Cause,
    testing::{Emitted, Harness},
};

/// Long enough for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service that answers when it is told to: what is waited for, by record.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<BTreeMap<u32, oneshot::Sender<u32>>>>);

impl Service {
    fn ask(&self, record: u32) -> impl Future<Output = Result<[u32; 1], oneshot::error::RecvError>> + use<> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().unwrap().insert(record, sender);
        async move { receiver.await.map(|answer| [answer]) }
    }

    /// Answers the request of this record, when it has come.
    fn answer(&self, record: u32) {
        let deadline = Instant::now() + PATIENCE;
        let sender = loop {
            if let Some(sender) = self.0.lock().unwrap().remove(&record) {
                break sender;
            }
            assert!(Instant::now() < deadline, "{record} was not asked for");
            thread::yield_now();
        };
        sender.send(record * 10).unwrap();
    }
}

fn options<O>(mode: AsyncOutputMode, capacity: usize) -> AsyncOptions<u32, O> {
    let mut options = AsyncOptions::new(mode, PATIENCE);
    options.capacity = capacity;
    options
}

fn harness<F>(options: AsyncOptions<u32, u32>, function: F) -> Harness<u32, AsyncWait<u32, u32, F>>
where
    AsyncWait<u32, u32, F>: Operator<u32, Out = u32>,
{
    Harness::new(AsyncWait::with_signal(options, function, TaskSignal::new()).unwrap())
}

/// Lets the operator look at what has completed until it has emitted so much.
fn wait_for<F>(harness: &mut Harness<u32, AsyncWait<u32, u32, F>>, count: usize) -> Vec<Emitted<u32>>
where
    AsyncWait<u32, u32, F>: Operator<u32, Out = u32>,
{
    let (mut emitted, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while emitted.len() < count {
        assert!(Instant::now() < deadline, "{emitted:?}");
        harness.batch_done();
        emitted.extend(harness.take_all());
        thread::yield_now();
    }
    emitted
}

fn record(record: u32) -> Emitted<u32> {
    Emitted::Record(record * 10, i64::from(record))
}

fn watermark(timestamp: Timestamp) -> Emitted<u32> {
    Emitted::Event(Event::Watermark(timestamp))
}

#[test]
fn unordered_results_leave_as_they_come_but_not_across_events() {
    let service = Service::default();
    let asked = service.clone();
    let mut harness = harness(options(AsyncOutputMode::Unordered, 9), move |record| asked.ask(record));
    (1..=2).for_each(|record| harness.process(record, i64::from(record)));
    harness.watermark(2);
    harness.process(3, 3);
    harness.watermark_status(WatermarkStatus::Idle);
    service.answer(3);
    service.answer(2);
    assert_eq!(wait_for(&mut harness, 1), [record(2)]);
    service.answer(1);
    let idle = Emitted::Event(Event::WatermarkStatus(WatermarkStatus::Idle));
    assert_eq!(wait_for(&mut harness, 4), [record(1), watermark(2), record(3), idle]);
}

#[test]
fn ordered_results_leave_in_order_and_the_end_waits_for_all() {
    let service = Service::default();
    let asked = service.clone();
    let mut harness = harness(options(AsyncOutputMode::Ordered, 9), move |record| asked.ask(record));
    (1..=3).for_each(|record| harness.process(record, i64::from(record)));
    harness.watermark(Timestamp::MAX);
    let answering = thread::spawn(move || [3, 1, 2].into_iter().for_each(|record| service.answer(record)));
    harness.end_of_data();
    let last = watermark(Timestamp::MAX);
    assert_eq!(harness.take_all(), [record(1), record(2), record(3), last]);
    answering.join().unwrap();
}

#[test]
fn the_task_waits_when_there_is_no_room() {
    let (service, open, most) = (
        Service::default(),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    let (asked, opened, highest) = (service.clone(), Arc::clone(&open), Arc::clone(&most));
    let function = move |record| {
        let (asked, open) = (asked.ask(record), Arc::clone(&opened));
        highest.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        async move {
            let answer = asked.await;
            open.fetch_sub(1, Ordering::SeqCst);
            answer
        }
    };
    let mut harness = harness(options(AsyncOutputMode::Unordered, 2), function);
    let answering = thread::spawn(move || (0..100).for_each(|record| service.answer(record)));
    (0..100).for_each(|record| harness.process(record, NO_TIMESTAMP));
    harness.end_of_data();
    let mut results = harness.take();
    results.sort_unstable();
    assert!(results.into_iter().eq((0..100).map(|record| record * 10)));
    assert!(most.load(Ordering::SeqCst) <= 2);
    answering.join().unwrap();
}

#[test]
fn cancellation_ends_the_wait_for_room() {
    let (asked, asking) = mpsc::channel();
    let signal = TaskSignal::new();
    let cancelling = thread::spawn({
        let signal = signal.clone();
        move || {
            asking.recv_timeout(PATIENCE).unwrap();
            signal.cancel();
        }
    });
    let function = move |_: u32| {
        asked.send(()).unwrap();
        pending::<Result<[u32; 1], Infallible>>()
    };
    let operator = AsyncWait::with_signal(options(AsyncOutputMode::Ordered, 1), function, signal).unwrap();
    let mut harness = Harness::new(operator);
    harness.process(1, NO_TIMESTAMP);
    assert_eq!(harness.process_err(2), "the task was cancelled");
    assert!(matches!(harness.end_of_data_err().cause(), Cause::Cancelled));
    cancelling.join().unwrap();
}

#[test]
fn a_completed_request_wakes_the_task() {
    let service = Service::default();
    let (asked, signal) = (service.clone(), TaskSignal::new());
    let operator = AsyncWait::with_signal(
        options(AsyncOutputMode::Unordered, 9),
        move |record| asked.ask(record),
        signal.clone(),
    );
    let mut harness = Harness::new(operator.unwrap());
    harness.process(1, 1);
    // As a task does before it waits for input.
    harness.batch_done();
    assert!(!signal.take_woken());
    signal.bind();
    service.answer(1);
    let deadline = Instant::now() + PATIENCE;
    while !signal.take_woken() {
        assert!(Instant::now() < deadline);
        signal.park(Some(deadline));
    }
    harness.batch_done();
    assert_eq!(harness.take_all(), [record(1)]);
}

#[test]
fn a_request_that_hangs_fails_or_has_results_of_its_own() {
    let timeout = Duration::from_millis(1);
    let function = |_: u32| pending::<Result<[u32; 1], Infallible>>();
    let mut options = options(AsyncOutputMode::Ordered, 1);
    options.timeout = timeout;
    let mut hanging = harness(options.clone(), function);
    hanging.process(1, NO_TIMESTAMP);
    assert_eq!(
        hanging.end_of_data_err().to_string(),
        "an asynchronous request did not complete within its timeout of 1ms"
    );
    let mut hanging = harness(options.timeout_with(|record| vec![record, record]), function);
    hanging.process(7, 3);
    hanging.end_of_data();
    assert_eq!(hanging.take_stamped(), [(7, 3), (7, 3)]);
}

#[test]
fn requests_are_retried_until_they_succeed_or_the_time_is_up() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let function = move |record: u32| {
        let attempt = counted.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            match attempt {
                1 => Err("busy"),
                2 => Ok(None),
                _ => Ok(Some(record)),
            }
        }
    };
    let strategy = AsyncRetryStrategy::fixed_delay(3, Duration::from_millis(1)).if_empty_result();
    let options = options(AsyncOutputMode::Ordered, 1).retry(strategy);
    let mut retried = harness(options.clone(), function.clone());
    retried.process(5, NO_TIMESTAMP);
    retried.end_of_data();
    assert_eq!((retried.take(), attempts.swap(0, Ordering::SeqCst)), (vec![5], 3));

    let mut options = options.retry(AsyncRetryStrategy::fixed_delay(3, Duration::MAX));
    options.timeout = Duration::from_millis(1);
    let mut retried = harness(options, function);
    retried.process(5, NO_TIMESTAMP);
    let error = retried.end_of_data_err().to_string();
    assert!(error.ends_with("within its timeout of 1ms"), "{error}");
}

#[test]
fn errors_and_panics_are_the_operators() {
    let mut failing = harness(options(AsyncOutputMode::Ordered, 1), |_| async {
        Err::<[u32; 1], _>("no")
    });
    failing.process(1, NO_TIMESTAMP);
    let error = failing.end_of_data_err();
    assert!(matches!(error.cause(), Cause::Operator(_)));
    assert_eq!(error.to_string(), "no");

    let mut panicking = harness(options(AsyncOutputMode::Ordered, 1), |record| async move {
        assert_ne!(record, 1, "not one");
        Ok::<_, Infallible>([record])
    });
    panicking.process(1, NO_TIMESTAMP);
    let error = panicking.end_of_data_err();
    assert!(matches!(error.cause(), Cause::Operator(_)));
    let error = error.to_string();
    assert!(
        error.starts_with("panicked at runtime/worker/src/operators/async_wait/tests.rs:"),
        "{error}"
    );
    assert!(error.contains("not one"), "{error}");
}

#[test]
fn a_dropped_operator_leaves_no_request_behind() {
    /// Tells that it was dropped.
    struct Guard(mpsc::Sender<()>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
        }
    }
    let (dropped, drops) = mpsc::channel();
    let function = move |_: u32| {
        let guard = Guard(dropped.clone());
        async move {
            let _guard = guard;
            pending::<Result<[u32; 1], Infallible>>().await
        }
    };
    let mut harness = harness(options(AsyncOutputMode::Unordered, 10), function);
    (0..10).for_each(|record| harness.process(record, NO_TIMESTAMP));
    harness.batch_done();
    assert!(drops.try_recv().is_err());
    drop(harness);
    // Those that never began are dropped without having made a guard; the function goes with the last of them.
    let deadline = Instant::now() + PATIENCE;
    while drops.recv_timeout(deadline - Instant::now()) != Err(mpsc::RecvTimeoutError::Disconnected) {}
    assert!(Instant::now() < deadline, "some are still there");
}

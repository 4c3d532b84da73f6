//! Query 12, which goes by the clock: where its windows begin is chance, what they add up to is not.

use std::{
    collections::BTreeMap,
    iter,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flink::{StreamExecutionEnvironment, run_for_test};

use crate::{jobs::all, model::Event, queries, reference, source::Generation};

const EVENTS: Generation = Generation {
    events: 20_000,
    rate: 500,
    out_of_order: 1,
};

/// How long a window is, by the clock.
const LENGTH: Duration = Duration::from_millis(100);

/// When to give up.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn q12_processing_time_windows() {
    let events = all(EVENTS);
    let expected = reference::q12_totals(&events);
    let bids: u64 = expected.values().sum();
    let somebody = events
        .into_iter()
        .find(|event| matches!(event, Event::Person(_)))
        .unwrap();
    for parallelism in [1, 2, 3] {
        let (counted, totals) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(BTreeMap::new())));
        let build = |env: &mut StreamExecutionEnvironment| {
            let (counted_so_far, somebody) = (Arc::clone(&counted), somebody.clone());
            let events = env.from_parallel_iterator(move |subtask, parallelism| {
                // Windows that are open when the input ends emit nothing: it ends when all have ended.
                let (counted, somebody, begin) = (Arc::clone(&counted_so_far), somebody.clone(), Instant::now());
                let waiting = move || {
                    let wait = counted.load(Ordering::Relaxed) < bids && begin.elapsed() < PATIENCE;
                    wait.then(|| somebody.clone())
                };
                let numbers = (u64::from(subtask)..EVENTS.events).step_by(parallelism as usize);
                numbers.map(EVENTS.make()).chain(iter::from_fn(waiting))
            });
            let (counted, totals) = (Arc::clone(&counted), Arc::clone(&totals));
            queries::q12::processing_time_windows(events, LENGTH)
                .map(move |window| {
                    assert!(window.bids > 0, "an empty window");
                    *totals.lock().unwrap().entry(window.bidder).or_default() += window.bids;
                    counted.fetch_add(window.bids, Ordering::Relaxed);
                })
                .discard();
            Ok(())
        };
        run_for_test(build, parallelism).unwrap();
        assert_eq!(*totals.lock().unwrap(), expected, "parallelism {parallelism}");
    }
}

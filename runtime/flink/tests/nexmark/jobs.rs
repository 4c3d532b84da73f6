//! Runs a query's job in this process and takes its answer.

use std::{
    fmt::Display,
    mem,
    sync::{Arc, Mutex},
};

use flink::{DataStream, Record, StreamExecutionEnvironment, run_for_test};

use crate::{model::Event, source::Generation};

/// Lines that a job hands out.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Takes all records of a stream.
    pub(crate) fn take<T: Record + Display>(&self, stream: DataStream<T>) {
        let lines = Arc::clone(&self.0);
        let take = move |record: T| lines.lock().unwrap().push(record.to_string());
        stream.map(take).name("take").discard();
    }

    /// Those that were taken, sorted.
    pub(crate) fn sorted(&self) -> Vec<String> {
        let mut lines = mem::take(&mut *self.0.lock().unwrap());
        lines.sort_unstable();
        lines
    }
}

/// All events, in the order of their numbers.
pub(crate) fn all(generation: Generation) -> Vec<Event> {
    (0..generation.events).map(generation.make()).collect()
}

/// What a query answers to generated events, sorted. Some queries need no event time and do not mind it.
pub(crate) fn answer<T: Record + Display>(
    generation: Generation,
    parallelism: u32,
    query: impl Fn(DataStream<Event>) -> DataStream<T>,
) -> Vec<String> {
    let lines = Lines::default();
    let build = |env: &mut StreamExecutionEnvironment| {
        let events = env.from_source(generation.source(None), generation.watermarks(), "events");
        lines.take(query(events));
        Ok(())
    };
    run_for_test(build, parallelism).unwrap();
    lines.sorted()
}

/// Compares sorted lines; of many that differ it shows the first.
pub(crate) fn assert_lines(found: &[String], expected: &[String], what: &str) {
    let differs = found.iter().zip(expected).find(|(found, expected)| found != expected);
    assert!(
        differs.is_none() && found.len() == expected.len(),
        "{what}: {} lines for {}, first difference: {differs:?}",
        found.len(),
        expected.len()
    );
}

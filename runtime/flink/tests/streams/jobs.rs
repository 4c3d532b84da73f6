//! Jobs and what they must compute.
use std::{
    fs,
    sync::{Arc, Mutex},
};

use flink::{DataStream, FileSink, Record, Result, RuntimeMode, StreamExecutionEnvironment, run_for_test};

/// Where a job's records end up.
struct Results<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Results<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Record> Results<T> {
    fn take(&self, stream: DataStream<T>) {
        let results = Arc::clone(&self.0);
        stream
            .map(move |record| results.lock().unwrap().push(record))
            .name("take")
            .discard();
    }
}

/// The records of the stream that `declare` makes, sorted.
pub(super) fn results<T: Record + Ord>(
    parallelism: u32,
    declare: impl Fn(&mut StreamExecutionEnvironment) -> DataStream<T>,
) -> Vec<T> {
    let results = Results(Arc::default());
    let build = |env: &mut StreamExecutionEnvironment| -> Result<()> {
        let stream = declare(env);
        results.take(stream);
        Ok(())
    };
    run_for_test(build, parallelism).unwrap();
    let mut records = std::mem::take(&mut *results.0.lock().unwrap());
    records.sort();
    records
}

/// Checks that a job gives the same answer at parallelism 1, 2 and 3.
pub(super) fn assert_results<T: Record + Ord + PartialEq + std::fmt::Debug>(
    expected: impl IntoIterator<Item = T>,
    declare: impl Fn(&mut StreamExecutionEnvironment) -> DataStream<T>,
) {
    let mut expected: Vec<T> = expected.into_iter().collect();
    expected.sort();
    for parallelism in [1, 2, 3] {
        assert_eq!(results(parallelism, &declare), expected, "parallelism {parallelism}");
    }
}

pub(super) fn error(build: impl Fn(&mut StreamExecutionEnvironment) -> Result<()>) -> String {
    run_for_test(build, 2).unwrap_err().to_string()
}

#[test]
fn stateless_operators() {
    assert_results((1..=500).filter(|n| n % 3 == 0).map(|n| n * 2), |env| {
        env.from_sequence(1..=500).filter(|n| n % 3 == 0).map(|n| n * 2)
    });
    assert_results((0..20_u64).flat_map(|n| 0..n), |env| {
        env.from_sequence(0..=19).flat_map(|n| 0..n)
    });
    assert_results((0..20_u64).flat_map(|n| 0..n), |env| {
        env.from_sequence(0..=19)
            .flat_map_with(|n, out| (0..n).for_each(|m| out.collect(m)))
    });
    assert_results((0..20_u64).flat_map(|n| [n, n]), |env| {
        env.from_sequence(0..=19).try_flat_map(|n| Ok::<_, String>([n, n]))
    });
}

#[test]
fn partitionings_lose_and_double_nothing() {
    type Partitioning = fn(DataStream<u64>) -> DataStream<u64>;
    let partitionings: [Partitioning; 5] = [
        DataStream::rebalance,
        DataStream::rescale,
        DataStream::forward,
        DataStream::global,
        |stream| stream.rebalance().map(|n| n).set_parallelism(2).rescale(),
    ];
    for partitioning in partitionings {
        assert_results(0..5000, |env| {
            let stream = partitioning(env.from_sequence(0..=4999));
            stream.map(|n| n)
        });
    }
}

#[test]
fn a_broadcast_reaches_every_subtask() {
    for parallelism in [1, 2, 3] {
        let everywhere = results(parallelism, |env| {
            env.from_collection([1_u64, 2]).broadcast().map(|n| n)
        });
        let expected: Vec<u64> = [1, 2].into_iter().flat_map(|n| vec![n; parallelism as usize]).collect();
        assert_eq!(everywhere, expected);
    }
}

#[test]
fn a_union_has_the_records_of_all() {
    let expected = (0..100).chain(200..300).chain(400..500);
    assert_results(expected, |env| {
        let (a, b, c) = (
            env.from_sequence(0..=99),
            env.from_sequence(200..=299),
            env.from_sequence(400..=499),
        );
        a.union(b.rebalance()).union(c).map(|n| n)
    });
}

#[test]
fn a_cloned_stream_goes_both_ways() {
    let expected = (0..100_u64).flat_map(|n| [n, n + 1000, n + 2000]);
    assert_results(expected, |env| {
        let numbers = env.from_sequence(0..=99).map(|n| n);
        let (second, third) = (
            numbers.clone().map(|n| n + 1000),
            numbers.clone().rebalance().map(|n| n + 2000),
        );
        numbers.union(second).union(third)
    });
    assert_results((0..100).chain(0..100), |env| {
        let numbers = env.from_sequence(0..=99);
        numbers.clone().union(numbers)
    });
}

#[test]
fn batch_aggregations_emit_each_key_once() {
    let sums = |key: u64| (1..=1000).filter(|n| n % 7 == key).sum::<u64>();
    assert_results((0..7).map(|key| (key, sums(key))), |env| {
        env.set_runtime_mode(RuntimeMode::Batch);
        env.from_sequence(1..=1000).key_by(|n| n % 7).sum(|n| *n)
    });
    assert_results(
        (0..7).map(|key| (key, (1..=1000).filter(|n| n % 7 == key).count() as u64)),
        |env| {
            let numbers = env.from_sequence(1..=1000);
            // As long as there is no aggregation.
            env.set_runtime_mode(RuntimeMode::Batch);
            numbers.key_by(|n| n % 7).count()
        },
    );
    // Of several producers that are not equally parallel.
    assert_results((0..7).map(|key| (key, 2 * sums(key))), |env| {
        env.set_runtime_mode(RuntimeMode::Batch);
        let few = env.from_sequence(1..=1000).map(|n| n).set_parallelism(1);
        let many = env.from_sequence(1..=1000).map(|n| n).set_parallelism(3);
        few.union(many).rebalance().key_by(|n| n % 7).sum(|n| *n)
    });
    assert_results(
        (0..7).map(|key| (key, (1..=1000).rfind(|n| n % 7 == key).unwrap_or_default())),
        |env| {
            env.set_runtime_mode(RuntimeMode::Batch);
            env.from_sequence(1..=1000).key_by(|n| n % 7).max(|n| *n)
        },
    );
    assert_results(1..=7, |env| {
        env.set_runtime_mode(RuntimeMode::Batch);
        env.from_sequence(1..=1000).key_by(|n| n % 7).min_by(|n| *n)
    });
    assert_results((994..=1000).map(|n| (n % 7, n)), |env| {
        env.set_runtime_mode(RuntimeMode::Batch);
        let pairs = env.from_sequence(1..=1000).map(|n| (n % 7, n));
        pairs
            .key_by_ref(|pair| &pair.0)
            .reduce(|a, b| if a.1 < b.1 { b } else { a })
    });
}

/// The sums have other keys than what was summed up.
#[test]
fn a_reduction_stays_with_the_key_of_its_records() {
    let sums = |key: u64| (1..=1000).filter(|n| n % 3 == key).sum::<u64>();
    assert_results((0..3).map(sums), |env| {
        env.set_runtime_mode(RuntimeMode::Batch);
        env.from_sequence(1..=1000).key_by(|n| n % 3).reduce(|a, b| a + b)
    });
}

#[test]
fn producers_that_are_more_parallel_than_the_job_aggregate_too() {
    assert_results(
        (0..7).map(|key| (key, (1..=1000).filter(|n| n % 7 == key).count() as u64)),
        |env| {
            env.set_runtime_mode(RuntimeMode::Batch);
            env.set_max_parallelism(4);
            let numbers = env.from_sequence(1..=1000).map(|n| n);
            let numbers = numbers.set_max_parallelism(8).set_parallelism(8);
            numbers.key_by(|n| n % 7).count().set_parallelism(2)
        },
    );
}

#[test]
fn the_mode_is_set_before_it_matters() {
    let error = error(|env| {
        env.from_sequence(1..=10).key_by(|n| n % 7).count().discard();
        env.set_runtime_mode(RuntimeMode::Batch);
        Ok(())
    });
    assert!(error.contains("set after a keyed aggregation was declared"), "{error}");
}

#[test]
fn streaming_aggregations_emit_every_update() {
    assert_results((0..3).flat_map(|key| (1..=100).map(move |count| (key, count))), |env| {
        env.from_sequence(0..=299).key_by(|n| n % 3).count()
    });
}

#[test]
fn chaining_changes_nothing_but_tasks() {
    let declare = |env: &mut StreamExecutionEnvironment| {
        env.from_sequence(1..=2000)
            .map(|n| n + 1)
            .start_new_chain()
            .filter(|n| n % 2 == 0)
            .disable_chaining()
            .map(|n| n)
    };
    assert_results((1..=2000).map(|n| n + 1).filter(|n| n % 2 == 0), declare);
    assert_results((1..=2000).map(|n| n + 1).filter(|n| n % 2 == 0), |env| {
        env.disable_operator_chaining();
        declare(env)
    });
    assert_results(0..100, |env| {
        env.set_buffer_timeout(std::time::Duration::ZERO);
        env.from_sequence(0..=99)
            .slot_sharing_group("other")
            .rebalance()
            .map(|n| n)
            .uid("same")
    });
}

#[test]
fn text_is_read_once_and_written_whole() {
    let root = tempfile::tempdir().unwrap();
    let (input, output) = (root.path().join("in"), root.path().join("out"));
    fs::create_dir(&input).unwrap();
    let text: String = (0..5000).map(|n| format!("line {n}\r\n")).collect();
    fs::write(input.join("a"), &text).unwrap();
    fs::write(input.join("b"), "no end").unwrap();
    for parallelism in [1, 2, 3] {
        let output = output.join(parallelism.to_string());
        let build = |env: &mut StreamExecutionEnvironment| -> Result<()> {
            env.read_text_file(&input)
                .rebalance()
                .map(|line| line + "!")
                .sink_to(FileSink::new(&output));
            Ok(())
        };
        run_for_test(build, parallelism).unwrap();
        let parts = fs::read_dir(&output)
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
        let parts: Vec<String> = parts.collect();
        assert_eq!(parts.len(), parallelism as usize);
        let written = parts.concat();
        let mut lines: Vec<&str> = written.lines().collect();
        lines.sort_unstable();
        let mut expected: Vec<String> = text.lines().chain(["no end"]).map(|line| format!("{line}!")).collect();
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }
}

#[test]
fn what_is_declared_wrong_is_told() {
    let message = error(|env| {
        env.from_sequence(0..=1).rebalance().name("x").discard();
        Ok(())
    });
    assert_eq!(
        message,
        "`name` needs an operator before it: a union or a partitioning (rebalance, ...) is none"
    );
    let message = error(|env| {
        env.from_collection([1_u8]).set_parallelism(2).discard();
        Ok(())
    });
    assert_eq!(message, "the parallelism of `collection` is always 1, not 2");
    let message = error(|env| {
        env.from_sequence(0..=1).uid("a").map(|n| n).uid("a").discard();
        Ok(())
    });
    assert_eq!(message, "uid `a` is given to both `sequence` and `map`");
}

#[test]
fn an_overflow_names_its_operator() {
    let message = error(|env| {
        env.from_collection([200_u8, 100])
            .key_by(|_| ())
            .sum(|n| *n)
            .name("total")
            .discard();
        Ok(())
    });
    assert!(
        message.ends_with("operator total: the sum of a key does not fit into u8"),
        "{message}"
    );
}

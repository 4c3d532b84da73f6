//! Tasks with several inputs: they read fairly, and never deadlock however the branches run.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use flink::{
    BroadcastContext, BroadcastProcessFunction, Collector, DataStream, FunctionResult, ProcessContext,
    StreamExecutionEnvironment, run_for_test,
};

/// More records than all the queues of a job can hold, so that a branch that waits for another fills up.
const RECORDS: u64 = 300_000;

/// Adds up what reaches it, over all subtasks.
fn add_up(stream: DataStream<u64>) -> Arc<AtomicU64> {
    let total = Arc::<AtomicU64>::default();
    let sum = Arc::clone(&total);
    let adding = stream.map(move |number| {
        sum.fetch_add(number, Ordering::Relaxed);
    });
    adding.discard();
    total
}

/// Runs a job that returns what to look at, and the sum that it found.
fn run(parallelism: u32, build: impl Fn(&mut StreamExecutionEnvironment) -> DataStream<u64>) -> u64 {
    let total = std::cell::RefCell::new(Arc::default());
    let build = |env: &mut StreamExecutionEnvironment| {
        *total.borrow_mut() = add_up(build(env));
        Ok(())
    };
    run_for_test(build, parallelism).unwrap();
    total.into_inner().load(Ordering::Relaxed)
}

/// Slow for a while, now and then.
fn slowly(number: u64) -> u64 {
    if number.is_multiple_of(5_000) {
        std::thread::yield_now();
        (0..20_000u64).for_each(|spin| {
            std::hint::black_box(spin);
        });
    }
    number
}

fn sum(numbers: u64) -> u64 {
    (1..=numbers).sum()
}

#[test]
fn a_diamond_with_a_slow_branch_comes_to_its_end() {
    for parallelism in [1, 3] {
        let found = run(parallelism, |env| {
            let source = env.from_sequence(1..=RECORDS);
            let slow = source.clone().rebalance().map(slowly);
            let fast = source.rebalance().map(|number| number);
            slow.connect(fast).map(|number| number, |number| number)
        });
        assert_eq!(found, 2 * sum(RECORDS));
    }
}

#[test]
fn a_keyed_diamond_with_a_branch_that_is_empty_until_the_end_comes_to_its_end() {
    let found = run(2, |env| {
        let source = env.from_sequence(1..=RECORDS);
        let nothing = source.clone().filter(|number| *number == RECORDS);
        nothing
            .connect(source)
            .key_by(|number| number % 7, |number| number % 7)
            .process(|_| Ok(Both))
    });
    assert_eq!(found, sum(RECORDS) + RECORDS);
}

struct Both;

impl flink::KeyedCoProcessFunction<u64, u64, u64> for Both {
    type Out = u64;

    fn process_element1(
        &mut self,
        value: u64,
        _: &mut flink::KeyedContext<'_, u64>,
        out: &mut Collector<'_, u64>,
    ) -> FunctionResult {
        out.collect(value);
        Ok(())
    }

    fn process_element2(
        &mut self,
        value: u64,
        _: &mut flink::KeyedContext<'_, u64>,
        out: &mut Collector<'_, u64>,
    ) -> FunctionResult {
        out.collect(value);
        Ok(())
    }
}

#[test]
fn a_stream_joined_with_itself_comes_to_its_end() {
    let found = run(2, |env| {
        let source = env.from_sequence(1..=RECORDS).rebalance().map(|number| number);
        source.clone().connect(source).map(|number| number, slowly)
    });
    assert_eq!(found, 2 * sum(RECORDS));
}

#[test]
fn a_broadcast_that_meets_its_own_stream_again_comes_to_its_end() {
    struct Counts;
    impl BroadcastProcessFunction<u64, u64> for Counts {
        type Out = u64;

        fn process_element(
            &mut self,
            value: u64,
            _: &mut ProcessContext<'_>,
            out: &mut Collector<'_, u64>,
        ) -> FunctionResult {
            out.collect(slowly(value));
            Ok(())
        }

        fn process_broadcast_element(
            &mut self,
            _: u64,
            _: &mut BroadcastContext<'_>,
            out: &mut Collector<'_, u64>,
        ) -> FunctionResult {
            out.collect(1);
            Ok(())
        }
    }
    let found = run(3, |env| {
        let source = env.from_sequence(1..=RECORDS);
        source
            .clone()
            .rebalance()
            .connect_broadcast(source)
            .process(|_| Ok(Counts))
    });
    assert_eq!(found, sum(RECORDS) + 3 * RECORDS);
}

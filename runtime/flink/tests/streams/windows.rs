//! Jobs with windows, at several parallelisms.
use std::{collections::BTreeMap, time::Duration};

use flink::{
    AggregateFunction, Collector, CountEvictor, CountTrigger, DataStream, DeltaTrigger, EventTimeSessionWindows,
    FunctionResult, GlobalWindows, OutputTag, ProcessWindowFunction, PurgingTrigger, SlidingEventTimeWindows,
    StreamExecutionEnvironment, TimeWindow, TumblingEventTimeWindows, TumblingProcessingTimeWindows, ValueState,
    ValueStateDescriptor, WatermarkGenerator, WatermarkOutput, WatermarkStrategy, WindowContext, WindowRuntimeContext,
};

use super::jobs::{assert_results, error};

/// A key, a value, a timestamp.
type Event = (u32, u64, i64);

const KEYS: u32 = 7;

/// Events of 20 s, up to two seconds out of order; some more than that.
fn events() -> Vec<Event> {
    let event = |n: u64| {
        let disorder = [0, 700, 1900, 300, 1100][n as usize % 5] + if n.is_multiple_of(97) { 4000 } else { 0 };
        ((n * n % u64::from(KEYS)) as u32, n, n as i64 * 20 - disorder)
    };
    (0..1000).map(event).collect()
}

/// Says after each event that none is to come that is more than so much older.
struct Punctuated(i64);

impl WatermarkGenerator<Event> for Punctuated {
    fn on_event(&mut self, _: &Event, timestamp: i64, output: &mut WatermarkOutput) {
        output.emit_watermark(timestamp - self.0);
    }

    fn on_periodic_emit(&mut self, _: &mut WatermarkOutput) {}
}

/// The events, with watermarks that are the same in each run. `disorder` of 2 s leaves few behind.
fn stream(env: &mut StreamExecutionEnvironment, disorder: i64) -> DataStream<Event> {
    let strategy = WatermarkStrategy::for_generator(move || Punctuated(disorder))
        .with_timestamp_assigner(|event: &Event, _| event.2);
    env.from_collection(events())
        .assign_timestamps_and_watermarks(strategy)
        .set_parallelism(1)
}

/// No event is late.
const ALL: i64 = 10_000;

/// Per key and window: the values.
fn windows(size: i64, slide: i64) -> BTreeMap<(u32, i64), Vec<u64>> {
    let mut windows = BTreeMap::<_, Vec<_>>::new();
    for (key, value, timestamp) in events() {
        for start in (-20..2000)
            .map(|n| n * slide)
            .filter(|start| (*start..start + size).contains(&timestamp))
        {
            windows.entry((key, start)).or_default().push(value);
        }
    }
    windows
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[derive(Clone)]
struct Average;

impl AggregateFunction<Event> for Average {
    type Accumulator = (u64, u64);
    type Out = u64;

    fn create_accumulator(&self) -> (u64, u64) {
        (0, 0)
    }

    fn add(&mut self, (count, sum): &mut (u64, u64), event: Event) {
        (*count, *sum) = (*count + 1, *sum + event.1);
    }

    fn result(&self, (count, sum): &(u64, u64)) -> u64 {
        sum / count
    }

    fn merge(&mut self, (count, sum): &mut (u64, u64), other: (u64, u64)) {
        (*count, *sum) = (*count + other.0, *sum + other.1);
    }
}

#[test]
fn tumbling_windows() {
    let expected = windows(1000, 1000);
    let tumbling = TumblingEventTimeWindows::of(seconds(1));
    assert_results(
        expected.iter().map(|((key, _), values)| (*key, values.len() as u64)),
        |env| stream(env, ALL).key_by(|event| event.0).window(tumbling).count(),
    );
    let averages = expected
        .iter()
        .map(|((key, start), values)| (*key, *start, values.iter().sum::<u64>() / values.len() as u64));
    assert_results(averages.clone(), |env| {
        let windows = stream(env, ALL).key_by(|event| event.0).window(tumbling);
        windows.aggregate_with(Average, |key, window, average, out| {
            out.collect((*key, window.start, average));
            Ok(())
        })
    });
    // The same with all records.
    assert_results(averages, |env| {
        let windows = stream(env, ALL).key_by(|event| event.0).window(tumbling);
        windows.process_with(|key, window, events, out| {
            let sum: u64 = events.iter().map(|event| event.1).sum();
            out.collect((*key, window.start, sum / events.len() as u64));
            Ok(())
        })
    });
    let earliest = expected.values().map(|values| values.iter().copied().min());
    assert_results(earliest, |env| {
        let windows = stream(env, ALL).key_by(|event| event.0).window(tumbling);
        windows.min_by(|event| event.1).map(|event| Some(event.1))
    });
}

#[test]
fn sliding_windows() {
    let sliding = SlidingEventTimeWindows::of(seconds(3), seconds(1));
    let expected = windows(3000, 1000);
    assert_results(
        expected
            .iter()
            .map(|((key, _), values)| (*key, values.iter().sum::<u64>())),
        |env| {
            stream(env, ALL)
                .key_by(|event| event.0)
                .window(sliding)
                .sum(|event| event.1)
        },
    );
    let latest = expected
        .iter()
        .map(|((key, start), values)| (*key, *start, values.iter().copied().max()));
    assert_results(latest, |env| {
        let windows = stream(env, ALL).key_by(|event| event.0).window(sliding);
        windows.reduce_with(
            |a, b| if a.1 < b.1 { b } else { a },
            |key, window, event, out| {
                out.collect((*key, window.start, Some(event.1)));
                Ok(())
            },
        )
    });
}

#[test]
fn sessions() {
    let mut expected = Vec::new();
    for key in 0..KEYS {
        let mut times: Vec<i64> = events()
            .iter()
            .filter(|event| event.0 == key)
            .map(|event| event.2)
            .collect();
        times.sort_unstable();
        let mut count = 0;
        for (index, time) in times.iter().enumerate() {
            count += 1;
            if times.get(index + 1).is_none_or(|next| *next > time + 150) {
                expected.push((key, std::mem::take(&mut count)));
            }
        }
    }
    assert!(expected.len() > 50, "sessions to speak of");
    assert_results(expected, |env| {
        let sessions = EventTimeSessionWindows::with_gap(Duration::from_millis(150));
        stream(env, ALL).key_by(|event| event.0).window(sessions).count()
    });
}

#[test]
fn windows_of_counts() {
    let mut by_key = BTreeMap::<u32, Vec<u64>>::new();
    events()
        .iter()
        .for_each(|event| by_key.entry(event.0).or_default().push(event.1));
    let tumbling = by_key
        .iter()
        .flat_map(|(key, values)| values.chunks_exact(10).map(|chunk| (*key, chunk.iter().sum::<u64>())));
    assert_results(tumbling, |env| {
        stream(env, ALL)
            .key_by(|event| event.0)
            .count_window(10)
            .sum(|event| event.1)
    });
    let sliding = by_key.iter().flat_map(|(key, values)| {
        let ends = (4..=values.len()).step_by(4);
        ends.map(|end| (*key, values[end.saturating_sub(10)..end].iter().sum::<u64>()))
    });
    assert_results(sliding.clone(), |env| {
        stream(env, ALL)
            .key_by(|event| event.0)
            .count_window_sliding(10, 4)
            .sum(|event| event.1)
    });
    assert_results(sliding, |env| {
        let windows = stream(env, ALL).key_by(|event| event.0).window(GlobalWindows::create());
        let windows = windows.trigger(CountTrigger::of(4)).evictor(CountEvictor::of(10));
        windows.process_with(|key, _, events, out| {
            out.collect((*key, events.iter().map(|event| event.1).sum::<u64>()));
            Ok(())
        })
    });
}

#[test]
fn windows_of_all_records() {
    let mut counts = BTreeMap::<i64, u64>::new();
    for ((_, start), values) in windows(1000, 1000) {
        *counts.entry(start).or_default() += values.len() as u64;
    }
    let tumbling = TumblingEventTimeWindows::of(seconds(1));
    assert_results(counts.values().copied(), |env| {
        stream(env, ALL).window_all(tumbling).count()
    });
    assert_results(counts, |env| {
        let windows = stream(env, ALL).window_all(tumbling);
        windows.process_with(|window, events, out| {
            out.collect((window.start, events.len() as u64));
            Ok(())
        })
    });
    assert_results(events().chunks_exact(50).map(|chunk| chunk[49].1), |env| {
        let windows = stream(env, ALL).count_window_all(50);
        windows.max_by(|event| event.1).map(|event| event.1)
    });
}

/// Numbers the windows of each key in which it has records.
struct Number {
    windows: ValueState<u64>,
}

impl ProcessWindowFunction<u64, u32, TimeWindow> for Number {
    type Out = (u32, u64, u64);

    fn process(
        &mut self,
        key: &u32,
        _: &WindowContext<'_, TimeWindow>,
        averages: &[u64],
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult {
        let number = self.windows.get().unwrap_or(0);
        self.windows.update(number + 1);
        out.extend(averages.iter().map(|average| (*key, number, *average)));
        Ok(())
    }
}

#[test]
fn functions_with_state() {
    let mut numbers = BTreeMap::<u32, u64>::new();
    let mut expected = Vec::new();
    for ((key, _), values) in windows(1000, 1000) {
        let number = numbers.entry(key).or_default();
        expected.push((key, *number, values.iter().sum::<u64>() / values.len() as u64));
        *number += 1;
    }
    let make = |context: &WindowRuntimeContext<'_, u32, TimeWindow>| {
        let windows = context.value_state(&ValueStateDescriptor::new("windows"))?;
        Ok(Number { windows })
    };
    for lateness in [0, 1] {
        assert_results(expected.clone(), |env| {
            let windows = stream(env, ALL).key_by(|event| event.0);
            let windows = windows.window(TumblingEventTimeWindows::of(seconds(1)));
            windows
                .allowed_lateness(seconds(lateness))
                .aggregate_process(Average, make)
        });
    }
}

#[test]
fn late_records_go_to_the_side_output() {
    let (mut expected, mut watermark) = (Vec::new(), i64::MIN);
    for (_, value, timestamp) in events() {
        let window_end = timestamp.div_euclid(1000) * 1000 + 1000;
        if window_end - 1 + 500 <= watermark {
            expected.push(value);
        }
        watermark = watermark.max(timestamp - 2000);
    }
    assert!(!expected.is_empty());
    let late = OutputTag::<Event>::new("late");
    assert_results(expected, |env| {
        let windows = stream(env, 2000).key_by(|event| event.0);
        let windows = windows.window(TumblingEventTimeWindows::of(seconds(1)));
        let windows = windows
            .allowed_lateness(Duration::from_millis(500))
            .side_output_late_data(&late);
        windows.count().get_side_output(&late).map(|event| event.1)
    });
}

#[test]
fn joins_and_co_groups() {
    let (first, second) = (windows(1000, 1000), {
        let mut second = windows(1000, 1000);
        second.retain(|(key, start), _| *key != 0 && start % 3000 == 0);
        second
    });
    let pairs = first.iter().flat_map(|(at, values)| {
        let others = second.get(at).map_or(&[][..], Vec::as_slice);
        values
            .iter()
            .flat_map(move |value| others.iter().map(move |other| (at.0, *value, *other)))
    });
    let second_stream = |env: &mut StreamExecutionEnvironment| {
        stream(env, ALL).filter(|event| event.0 != 0 && event.2.div_euclid(1000) % 3 == 0)
    };
    assert_results(pairs, |env| {
        let other = second_stream(env);
        stream(env, ALL)
            .join(other)
            .where_key(|event| event.0)
            .equal_to(|event| event.0)
            .window(TumblingEventTimeWindows::of(seconds(1)))
            .apply(|a, b| (a.0, a.1, b.1))
    });
    let groups = first.iter().map(|(at, values)| {
        (
            values.len() as u64,
            second.get(at).map_or(0, |values| values.len() as u64),
        )
    });
    assert_results(groups, |env| {
        let other = second_stream(env);
        stream(env, ALL)
            .co_group(other)
            .where_key(|event| event.0)
            .equal_to(|event| event.0)
            .window(TumblingEventTimeWindows::of(seconds(1)))
            .apply(|a, b, out| {
                out.collect((a.len() as u64, b.len() as u64));
                Ok(())
            })
    });
}

#[test]
fn what_is_declared_wrong_is_told() {
    type Declare = fn(DataStream<Event>);
    let declarations: [(&str, Declare); 5] = [
        ("the size of tumbling windows must be at least 1 ms", |stream| {
            let windows = TumblingEventTimeWindows::of(Duration::ZERO);
            stream.key_by(|event| event.0).window(windows).count().discard();
        }),
        (
            "an offset of 5000 ms is not shorter than the size of the windows, which is 5000 ms",
            |stream| {
                let windows = TumblingProcessingTimeWindows::of(seconds(5)).with_offset(seconds(5));
                stream.window_all(windows).count().discard();
            },
        ),
        (
            "windows that merge, as sessions do, need a trigger that can merge, which this one cannot",
            |stream| {
                let windows = EventTimeSessionWindows::with_gap(seconds(5));
                let trigger = PurgingTrigger::of(DeltaTrigger::of(1.0, |_: &Event, _: &Event| 0.0));
                stream
                    .key_by(|event| event.0)
                    .window(windows)
                    .trigger(trigger)
                    .count()
                    .discard();
            },
        ),
        (
            "an interval join from 6 to 5 ms, both included, joins nothing",
            |stream| {
                let (first, second) = (stream.clone().key_by(|event| event.0), stream.key_by(|event| event.0));
                let joined = first.interval_join(second).between(6, 5);
                joined.process(|_, event, _, out| out.collect(event.1)).discard();
            },
        ),
        ("the size of a count window must be at least 1", |stream| {
            stream.count_window_all(0).count().discard();
        }),
    ];
    for (expected, declare) in declarations {
        let message = error(|env| {
            declare(stream(env, ALL));
            Ok(())
        });
        assert_eq!(message, expected);
    }
    let message = error(|env| {
        let windows = stream(env, ALL).count_window_all(5).count();
        windows.set_parallelism(2).discard();
        Ok(())
    });
    assert_eq!(message, "the parallelism of `window-count` is always 1, not 2");
}

/// While records are added, and when slices of a sliding window are merged.
#[test]
fn a_sum_that_overflows_fails_the_job() {
    let overflows = |apart: i64, declare: fn(DataStream<i64>) -> DataStream<(u32, u8)>| {
        error(move |env| {
            let strategy =
                WatermarkStrategy::for_monotonous_timestamps().with_timestamp_assigner(|time: &i64, _| *time);
            let times = env
                .from_collection([0, apart])
                .assign_timestamps_and_watermarks(strategy);
            declare(times).name("total").discard();
            Ok(())
        })
    };
    let messages = [
        overflows(1, |times| {
            let windows = TumblingEventTimeWindows::of(seconds(10));
            times.key_by(|_| 0).window(windows).sum(|_| 200_u8)
        }),
        overflows(1_000, |times| {
            let windows = SlidingEventTimeWindows::of(seconds(10), seconds(1));
            times.key_by(|_| 0).window(windows).sum(|_| 200_u8)
        }),
    ];
    for message in messages {
        let expected = "operator total: the sum of a window does not fit into u8";
        assert!(message.ends_with(expected), "{message}");
    }
}

#[test]
fn records_need_timestamps_for_event_time() {
    let windows = TumblingEventTimeWindows::of(seconds(1));
    let message = error(|env| {
        env.from_sequence(1..=10)
            .key_by(|n| n % 2)
            .window(windows)
            .count()
            .discard();
        Ok(())
    });
    let expected = "operator window-count: a record without a timestamp came to event time windows: assign timestamps \
                    first, with `assign_timestamps_and_watermarks`, or use processing time windows";
    assert!(message.ends_with(expected), "{message}");
}

//! Time-to-live, by a clock that is moved by hand.
//!
//! Each case is a script of steps at points in time; what is read is written down as text.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use flink_record::{DecodeError, Record};
use flink_state::{
    AggregateFunction, AggregatingStateDescriptor, HeapKeyedStateBackend, KeyGroups, KeyedStateBackend, ListState,
    ListStateDescriptor, MapState, MapStateDescriptor, ReducingStateDescriptor, StateTtlConfig, StateVisibility,
    UpdateType, ValueStateDescriptor,
};

use StateVisibility::{NeverReturnExpired as Never, ReturnExpiredIfNotCleanedUp as Return};
use UpdateType::{OnCreateAndWrite as Write, OnReadAndWrite as Read};

const TTL_MS: u64 = 10;

struct Harness {
    time: Rc<Cell<i64>>,
    backend: HeapKeyedStateBackend<u32>,
}

impl Harness {
    fn new() -> Self {
        let time = Rc::new(Cell::new(0));
        let clock = Rc::clone(&time);
        let groups = KeyGroups::new(128, 1, 0);
        let backend = HeapKeyedStateBackend::new("Expiring", groups, Rc::new(move || clock.get()));
        backend.set_current_key(&1).unwrap();
        Self { time, backend }
    }
}

/// Without incremental cleanup, which would hide what accesses do by themselves.
fn config(update_type: UpdateType, visibility: StateVisibility) -> StateTtlConfig {
    StateTtlConfig::new(Duration::from_millis(TTL_MS))
        .update_type(update_type)
        .state_visibility(visibility)
        .cleanup_incrementally(0)
}

/// When, what, and what it returns.
type Script = &'static [(i64, &'static str, &'static str)];

/// A name, the settings, and what happens.
type Case = (&'static str, UpdateType, StateVisibility, Script);

/// Runs steps at their times, and compares what each returns.
fn script(name: &str, harness: &Harness, steps: Script, mut step: impl FnMut(&str) -> String) {
    for (at, action, expected) in steps {
        harness.time.set(*at);
        assert_eq!(step(action), *expected, "{name}: {action} at {at}");
    }
}

const VALUES: &[Case] = &[
    (
        "written",
        Write,
        Never,
        &[
            (0, "get", "None"),
            (0, "set", ""),
            (9, "get", "Some(1)"),
            (10, "get", "None"),
            (20, "set", ""),
            (29, "modify", "Some(2)"),
            (38, "get", "Some(2)"),
            (39, "modify", "None"),
            (40, "set", ""),
            (50, "or_insert", "101"),
            (51, "set", ""),
            (61, "take", "None"),
        ],
    ),
    (
        "read",
        Read,
        Never,
        &[
            (0, "set", ""),
            (9, "get", "Some(1)"),
            (18, "get", "Some(1)"),
            (28, "get", "None"),
        ],
    ),
    (
        "expired values are returned once",
        Write,
        Return,
        &[
            (0, "set", ""),
            (10, "get", "Some(1)"),
            (10, "get", "None"),
            (11, "set", ""),
            (21, "take", "Some(1)"),
            (22, "get", "None"),
        ],
    ),
    (
        "an expired value that is written lives",
        Write,
        Return,
        &[
            (0, "set", ""),
            (50, "modify", "Some(2)"),
            (59, "get", "Some(2)"),
            (60, "or_insert", "3"),
            (61, "get", "Some(3)"),
        ],
    ),
    (
        "reading an expired value does not renew it",
        Read,
        Return,
        &[(0, "set", ""), (10, "get", "Some(1)"), (11, "get", "None")],
    ),
];

#[test]
fn values_expire() {
    for (name, update_type, visibility, steps) in VALUES.iter().copied() {
        let harness = Harness::new();
        let descriptor = ValueStateDescriptor::<u32>::new("s").with_ttl(config(update_type, visibility));
        let state = harness.backend.value_state(&descriptor).unwrap();
        let increment = |value: &mut u32| {
            *value += 1;
            *value
        };
        script(name, &harness, steps, |action| match action {
            "set" => {
                state.update(1);
                String::new()
            }
            "get" => format!("{:?}", state.get()),
            "modify" => format!("{:?}", state.modify(increment)),
            "or_insert" => state.modify_or_insert_with(|| 100, increment).to_string(),
            "take" => format!("{:?}", state.take()),
            _ => unreachable!(),
        });
    }
}

#[derive(Clone)]
struct Sum;

impl AggregateFunction<u32> for Sum {
    type Accumulator = u32;
    type Out = u32;

    fn create_accumulator(&self) -> u32 {
        0
    }

    fn add(&mut self, accumulator: &mut u32, value: u32) {
        *accumulator += value;
    }

    fn result(&self, accumulator: &u32) -> u32 {
        *accumulator
    }

    fn merge(&mut self, accumulator: &mut u32, other: u32) {
        *accumulator += other;
    }
}

const AGGREGATES: &[Case] = &[
    (
        "written",
        Write,
        Never,
        &[
            (0, "add", ""),
            (9, "add", ""),
            (18, "get", "Some(2)"),
            (19, "get", "None"),
            (20, "add", ""),
            (30, "add", ""),
            (31, "get", "Some(1)"),
        ],
    ),
    (
        "read",
        Read,
        Never,
        &[
            (0, "add", ""),
            (9, "get", "Some(1)"),
            (18, "get", "Some(1)"),
            (28, "get", "None"),
        ],
    ),
    (
        "returned",
        Write,
        Return,
        &[
            (0, "add", ""),
            (10, "add", ""),
            (20, "get", "Some(2)"),
            (20, "get", "None"),
        ],
    ),
];

#[test]
fn reductions_and_aggregates_expire() {
    for (name, update_type, visibility, steps) in AGGREGATES.iter().copied() {
        let harness = Harness::new();
        let ttl = config(update_type, visibility);
        let descriptor = ReducingStateDescriptor::new("r", |a: u32, b: u32| a + b).with_ttl(ttl.clone());
        let reducing = harness.backend.reducing_state(&descriptor).unwrap();
        script(name, &harness, steps, |action| match action {
            "add" => {
                reducing.add(1);
                String::new()
            }
            _ => format!("{:?}", reducing.get()),
        });
        let descriptor = AggregatingStateDescriptor::new("a", Sum).with_ttl(ttl);
        let aggregating = harness.backend.aggregating_state(&descriptor).unwrap();
        script(name, &harness, steps, |action| match action {
            "add" => {
                aggregating.add(1);
                String::new()
            }
            _ => format!("{:?}", aggregating.get()),
        });
    }
}

fn list_step(state: &ListState<u32>, action: &str) -> String {
    match action.split_once(' ') {
        Some(("add", value)) => state.add(value.parse().unwrap()),
        None if action == "get" => return format!("{:?}", state.get()),
        None if action == "take" => return format!("{:?}", state.take()),
        None if action == "update" => state.update(vec![7, 8]),
        None if action == "extend" => state.add_all([5, 6]),
        _ => unreachable!(),
    }
    String::new()
}

const LISTS: &[Case] = &[
    (
        "written",
        Write,
        Never,
        &[
            (0, "add 1", ""),
            (5, "add 2", ""),
            (6, "extend", ""),
            (9, "get", "[1, 2, 5, 6]"),
            (10, "get", "[2, 5, 6]"),
            (15, "get", "[5, 6]"),
            (16, "get", "[]"),
            (20, "update", ""),
            (29, "get", "[7, 8]"),
            (29, "add 9", ""),
            (30, "take", "[9]"),
        ],
    ),
    (
        "read",
        Read,
        Never,
        &[
            (0, "add 1", ""),
            (9, "get", "[1]"),
            (12, "add 2", ""),
            (19, "get", "[2]"),
            (28, "get", "[2]"),
            (38, "get", "[]"),
        ],
    ),
    (
        "expired elements are returned until all are",
        Write,
        Return,
        &[
            (0, "add 1", ""),
            (5, "add 2", ""),
            (14, "get", "[1, 2]"),
            (14, "get", "[1, 2]"),
            (15, "get", "[1, 2]"),
            (15, "get", "[]"),
            (20, "add 3", ""),
            (30, "take", "[3]"),
        ],
    ),
    (
        "reading renews only what is not expired",
        Read,
        Return,
        &[
            (0, "add 1", ""),
            (5, "add 2", ""),
            (10, "get", "[1, 2]"),
            (19, "get", "[1, 2]"),
            (29, "get", "[1, 2]"),
            (29, "get", "[]"),
        ],
    ),
];

#[test]
fn list_elements_expire_one_by_one() {
    for (name, update_type, visibility, steps) in LISTS.iter().copied() {
        let harness = Harness::new();
        let descriptor = ListStateDescriptor::<u32>::new("s").with_ttl(config(update_type, visibility));
        let state = harness.backend.list_state(&descriptor).unwrap();
        script(name, &harness, steps, |action| list_step(&state, action));
    }
}

fn map_step(state: &MapState<u32, u32>, action: &str) -> String {
    let (verb, key) = action.split_once(' ').unwrap_or((action, "0"));
    let key = key.parse().unwrap();
    match verb {
        "put" => {
            state.put(key, key * 10);
            String::new()
        }
        "get" => format!("{:?}", state.get(&key)),
        "contains" => state.contains(&key).to_string(),
        "remove" => format!("{:?}", state.remove(&key)),
        "modify" => format!("{:?}", state.modify(&key, |value| *value)),
        "or_insert" => state.modify_or_insert_with(key, || 99, |value| *value).to_string(),
        "keys" => format!("{:?}", state.keys()),
        "is_empty" => state.is_empty().to_string(),
        _ => unreachable!(),
    }
}

const MAPS: &[Case] = &[
    (
        "written",
        Write,
        Never,
        &[
            (0, "put 1", ""),
            (5, "put 2", ""),
            (9, "keys", "[1, 2]"),
            (10, "get 1", "None"),
            (10, "contains 1", "false"),
            (10, "keys", "[2]"),
            (14, "modify 2", "Some(20)"),
            (23, "get 2", "Some(20)"),
            (24, "is_empty", "true"),
            (24, "keys", "[]"),
            (30, "put 3", ""),
            (40, "remove 3", "None"),
            (40, "put 3", ""),
            (50, "modify 3", "None"),
            (50, "put 3", ""),
            (60, "or_insert 3", "99"),
        ],
    ),
    (
        "read",
        Read,
        Never,
        &[
            (0, "put 1", ""),
            (0, "put 2", ""),
            (9, "contains 1", "true"),
            (10, "keys", "[1]"),
            (19, "get 1", "Some(10)"),
            (29, "get 1", "None"),
        ],
    ),
    (
        "expired entries are returned once",
        Write,
        Return,
        &[
            (0, "put 1", ""),
            (5, "put 2", ""),
            (10, "get 1", "Some(10)"),
            (10, "get 1", "None"),
            (15, "is_empty", "false"),
            (15, "keys", "[2]"),
            (15, "keys", "[]"),
            (20, "put 3", ""),
            (30, "remove 3", "Some(30)"),
            (30, "is_empty", "true"),
        ],
    ),
    (
        "an expired entry that is written lives",
        Write,
        Return,
        &[
            (0, "put 1", ""),
            (50, "modify 1", "Some(10)"),
            (59, "get 1", "Some(10)"),
            (70, "or_insert 1", "10"),
        ],
    ),
];

#[test]
fn map_entries_expire_one_by_one() {
    for (name, update_type, visibility, steps) in MAPS.iter().copied() {
        let harness = Harness::new();
        let descriptor = MapStateDescriptor::<u32, u32>::new("s").with_ttl(config(update_type, visibility));
        let state = harness.backend.map_state(&descriptor).unwrap();
        script(name, &harness, steps, |action| map_step(&state, action));
    }
}

#[test]
fn reads_within_reads_leave_expired_entries_to_later_ones() {
    for (visibility, inner) in [(Never, None), (Return, Some(20))] {
        let harness = Harness::new();
        let descriptor = MapStateDescriptor::<u32, u32>::new("s")
            .with_ttl(config(Write, visibility).cleanup_incrementally(usize::MAX));
        let state = harness.backend.map_state(&descriptor).unwrap();
        state.put(2, 20);
        harness.time.set(5);
        state.put(1, 10);
        state.with(&1, |value| {
            harness.time.set(10);
            assert_eq!((value, state.get(&2)), (Some(&10), inner));
            assert_eq!(state.keys(), if inner.is_some() { vec![1, 2] } else { vec![1] });
        });
        assert_eq!(state.keys(), [1]);
    }
}

/// A value of which one can tell from outside whether it is still kept.
#[expect(dead_code, reason = "it lives as long as the value")]
struct Tracked(Arc<()>);

impl Record for Tracked {
    fn encode(&self, out: &mut Vec<u8>) {
        ().encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        <()>::decode(input).map(|()| Self(Arc::default()))
    }
}

/// Fills a state under many keys, then touches it under one key that is never written, until nothing is kept.
fn cleans_up(kind: &str, write: impl Fn(&Harness, Tracked), access: impl Fn()) -> impl FnOnce(&Harness) {
    const KEYS: u32 = 1000;
    let kind = kind.to_owned();
    move |harness| {
        let kept = Arc::new(());
        for key in 2..2 + KEYS {
            harness.backend.set_current_key(&key).unwrap();
            write(harness, Tracked(Arc::clone(&kept)));
        }
        harness.backend.set_current_key(&1).unwrap();
        for _ in 0..KEYS {
            access();
        }
        assert_eq!(Arc::strong_count(&kept), 1 + KEYS as usize, "{kind}: too early");
        harness.time.set(TTL_MS as i64);
        for _ in 0..KEYS {
            access();
        }
        assert_eq!(Arc::strong_count(&kept), 1, "{kind}: some stay forever");
    }
}

#[test]
fn untouched_entries_go_away() {
    let ttl = || StateTtlConfig::new(Duration::from_millis(TTL_MS));
    let harness = Harness::new();
    let backend = &harness.backend;
    let value = backend
        .value_state(&ValueStateDescriptor::new("v").with_ttl(ttl()))
        .unwrap();
    cleans_up("value", |_, tracked| value.update(tracked), || value.with(|_| ()))(&harness);
    let harness = Harness::new();
    let backend = &harness.backend;
    let list = backend
        .list_state(&ListStateDescriptor::new("l").with_ttl(ttl()))
        .unwrap();
    cleans_up("list", |_, tracked| list.add(tracked), || list.with(|_| ()))(&harness);
    let harness = Harness::new();
    let backend = &harness.backend;
    let map = backend
        .map_state(&MapStateDescriptor::new("m").with_ttl(ttl()))
        .unwrap();
    cleans_up("map", |_, tracked| map.put(1_u8, tracked), || map.with(&1, |_| ()))(&harness);
    let harness = Harness::new();
    let backend = &harness.backend;
    let descriptor = ReducingStateDescriptor::new("r", |a: Tracked, _: Tracked| a).with_ttl(ttl());
    let reducing = backend.reducing_state(&descriptor).unwrap();
    cleans_up("reducing", |_, tracked| reducing.add(tracked), || reducing.clear())(&harness);
}

//! Keyed states: what each kind does, whose state is current, and what may not be.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Duration,
};

use flink_state::{
    AggregateFunction, AggregatingStateDescriptor, HeapKeyedStateBackend, KeyGroups, KeyedStateBackend,
    ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor, StateError, StateTtlConfig, ValueStateDescriptor,
};

type Backend = HeapKeyedStateBackend<String>;

fn backend() -> Backend {
    let clock = Rc::new(|| -> i64 { panic!("states without a time-to-live ask for no time") });
    HeapKeyedStateBackend::new("Counts", KeyGroups::new(128, 1, 0), clock)
}

fn set(backend: &Backend, key: &str) {
    backend.set_current_key(&key.into()).unwrap();
}

/// The mean of what is added.
#[derive(Clone)]
struct Mean;

impl AggregateFunction<u32> for Mean {
    type Accumulator = (u64, u64);
    type Out = f64;

    fn create_accumulator(&self) -> (u64, u64) {
        (0, 0)
    }

    fn add(&mut self, accumulator: &mut (u64, u64), value: u32) {
        accumulator.0 += u64::from(value);
        accumulator.1 += 1;
    }

    fn result(&self, accumulator: &(u64, u64)) -> f64 {
        accumulator.0 as f64 / accumulator.1 as f64
    }

    fn merge(&mut self, accumulator: &mut (u64, u64), other: (u64, u64)) {
        accumulator.0 += other.0;
        accumulator.1 += other.1;
    }
}

#[test]
fn values() {
    let backend = backend();
    let state = backend
        .value_state(&ValueStateDescriptor::<Vec<u8>>::new("value"))
        .unwrap();
    set(&backend, "a");
    assert_eq!(state.get(), None);
    assert!(state.with(|value| value.is_none()));
    assert_eq!(state.modify(|value| value.push(0)), None);
    assert_eq!(state.modify_or_insert_with(|| vec![1], |value| value.len()), 1);
    assert_eq!(
        state.modify_or_insert_with(
            || panic!("there is one"),
            |value| {
                value.push(2);
                value.len()
            }
        ),
        2
    );
    assert_eq!(state.modify(|value| value.push(3)), Some(()));
    assert_eq!(state.get(), Some(vec![1, 2, 3]));
    state.update(vec![4]);
    assert_eq!(state.with(|value| value.map(Vec::len)), Some(1));
    assert_eq!(state.take(), Some(vec![4]));
    assert_eq!(state.take(), None);
    state.update(vec![5]);
    state.clear();
    assert_eq!(state.get(), None);
}

#[test]
fn lists() {
    let backend = backend();
    let state = backend.list_state(&ListStateDescriptor::<u8>::new("list")).unwrap();
    set(&backend, "a");
    assert!(state.with(<[u8]>::is_empty));
    state.add(1);
    state.add_all([2, 3]);
    state.add_all([]);
    assert_eq!(state.get(), [1, 2, 3]);
    state.update(vec![4, 5]);
    assert_eq!(state.take(), [4, 5]);
    assert_eq!(state.get(), []);
    state.add(6);
    state.update(Vec::new());
    assert_eq!(state.get(), []);
    state.add(7);
    state.clear();
    assert_eq!(state.get(), []);
}

#[test]
fn maps() {
    let backend = backend();
    let state = backend
        .map_state(&MapStateDescriptor::<String, u8>::new("map"))
        .unwrap();
    set(&backend, "a");
    let key = |key: &str| key.to_owned();
    assert!(state.is_empty());
    for name in ["c", "a", "b"] {
        state.put(key(name), name.len() as u8);
    }
    assert!(!state.is_empty());
    assert!(state.contains(&key("a")) && !state.contains(&key("d")));
    assert_eq!(state.modify(&key("b"), |value| *value += 1), Some(()));
    assert_eq!(state.modify(&key("d"), |value| *value += 1), None);
    assert_eq!(state.modify_or_insert_with(key("d"), || 3, |value| *value), 3);
    assert_eq!(state.modify_or_insert_with(key("d"), || 9, |value| *value), 3);
    assert_eq!(state.get(&key("b")), Some(2));
    assert!(state.with(&key("e"), |value| value.is_none()));
    assert_eq!(state.keys(), ["a", "b", "c", "d"], "not in the order of insertion");
    assert_eq!(state.values(), [1, 2, 1, 3]);
    assert_eq!(state.remove(&key("a")), Some(1));
    assert_eq!(state.remove(&key("a")), None);
    assert_eq!(state.entries(), [(key("b"), 2), (key("c"), 1), (key("d"), 3)]);
    let mut read = Vec::new();
    state.for_each(|name, _| read.push(state.get(name).unwrap()));
    assert_eq!(read, [2, 1, 3], "reads within a read");
    state.clear();
    assert!(state.is_empty());
}

#[test]
fn reductions_and_aggregates() {
    let backend = backend();
    let longest = |a: String, b: String| if b.len() > a.len() { b } else { a };
    let reducing = backend
        .reducing_state(&ReducingStateDescriptor::new("longest", longest))
        .unwrap();
    let aggregating = backend
        .aggregating_state(&AggregatingStateDescriptor::new("mean", Mean))
        .unwrap();
    set(&backend, "a");
    assert_eq!((reducing.get(), aggregating.get()), (None, None));
    for word in ["to", "be", "not"] {
        reducing.add(word.to_owned());
        aggregating.add(word.len() as u32 * 3);
    }
    assert_eq!(reducing.get().as_deref(), Some("not"));
    assert_eq!(aggregating.get(), Some(7.0));
    reducing.clear();
    aggregating.clear();
    assert_eq!((reducing.get(), aggregating.get()), (None, None));
}

#[test]
fn keys_namespaces_and_names_do_not_mix() {
    let backend = backend();
    let windows = backend.with_namespaces::<i64>();
    let plain = backend.value_state(&ValueStateDescriptor::<u32>::new("plain")).unwrap();
    let first = windows.list_state(&ListStateDescriptor::<u32>::new("first")).unwrap();
    let second = windows.list_state(&ListStateDescriptor::<u32>::new("second")).unwrap();
    let keys = ["a", "b", "a longer key"];
    for (number, key) in keys.iter().enumerate() {
        // Either backend sets the key for both.
        if number % 2 == 0 {
            windows.set_current_key(&(*key).to_owned()).unwrap();
        } else {
            set(&backend, key);
        }
        plain.update(number as u32);
        for window in 0..3 {
            windows.set_current_namespace(&window);
            first.add(number as u32 * 10 + window as u32);
            second.add(100);
        }
    }
    for (number, key) in keys.iter().enumerate() {
        set(&backend, key);
        assert_eq!(backend.context().key().as_deref().map(String::as_str), Some(*key));
        assert_eq!(plain.get(), Some(number as u32));
        for window in 0..3 {
            windows.set_current_namespace(&window);
            assert_eq!(first.get(), [number as u32 * 10 + window as u32]);
            first.clear();
            assert_eq!(second.get(), [100], "another state of the same key and window");
        }
    }
}

#[test]
fn asking_twice_gives_the_same_state() {
    let backend = backend();
    let descriptor = ReducingStateDescriptor::new("sum", |a: u32, b: u32| a + b);
    let (one, other) = (
        backend.reducing_state(&descriptor).unwrap(),
        backend.reducing_state(&descriptor).unwrap(),
    );
    set(&backend, "a");
    one.add(1);
    other.add(2);
    assert_eq!((one.get(), one.clone().get(), other.get()), (Some(3), Some(3), Some(3)));
    let (one, other) = (
        backend.table::<u32>("table").unwrap(),
        backend.table::<u32>("table").unwrap(),
    );
    assert!(Rc::ptr_eq(&one, &other));
}

#[test]
fn a_name_is_one_states() {
    let backend = backend();
    backend.value_state(&ValueStateDescriptor::<u32>::new("s")).unwrap();
    let ttl = StateTtlConfig::new(Duration::from_secs(1));
    let message = |error: Option<StateError>| error.unwrap().to_string();
    let cases = [
        (
            message(backend.value_state(&ValueStateDescriptor::<u64>::new("s")).err()),
            "value state of `u64`",
        ),
        (
            message(
                backend
                    .value_state(&ValueStateDescriptor::<u32>::new("s").with_ttl(ttl))
                    .err(),
            ),
            "value state of `u32` with a time-to-live of 1000 ms (OnCreateAndWrite, NeverReturnExpired, cleanup of 5)",
        ),
        (
            message(backend.list_state(&ListStateDescriptor::<u32>::new("s")).err()),
            "list state of `u32`",
        ),
        (
            message(backend.map_state(&MapStateDescriptor::<u8, u32>::new("s")).err()),
            "map state of `(u8, u32)`",
        ),
        (
            message(
                backend
                    .reducing_state(&ReducingStateDescriptor::new("s", |a: u32, _| a))
                    .err(),
            ),
            "reducing state of `u32`",
        ),
        (
            message(
                backend
                    .aggregating_state(&AggregatingStateDescriptor::new("s", Mean))
                    .err(),
            ),
            "aggregating state of `(u64, u64)`",
        ),
        (message(backend.table::<u32>("s").err()), "state table of `u32`"),
        (
            message(
                backend
                    .with_namespaces::<i64>()
                    .value_state(&ValueStateDescriptor::<u32>::new("s"))
                    .err(),
            ),
            "value state of `u32` per `i64`",
        ),
    ];
    for (message, requested) in cases {
        assert_eq!(
            message,
            format!("state `s` is asked for as {requested}, but exists as value state of `u32`")
        );
    }
}

fn panic_message(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).unwrap_err();
    payload.downcast_ref::<String>().unwrap().clone()
}

#[test]
fn state_without_a_key_is_a_mistake_that_is_named() {
    let backend = backend();
    let windows = backend.with_namespaces::<i64>();
    let plain = backend.value_state(&ValueStateDescriptor::<u32>::new("plain")).unwrap();
    let windowed = windows
        .value_state(&ValueStateDescriptor::<u32>::new("windowed"))
        .unwrap();
    let expected = |state, missing| {
        format!(
            "state `{state}` of operator `Counts` is used while there is no current {missing}: keyed state can be used only \
             while a record or a timer of a key is processed"
        )
    };
    assert_eq!(panic_message(|| plain.update(1)), expected("plain", "key"));
    set(&backend, "a");
    plain.update(1);
    assert_eq!(panic_message(|| windowed.update(1)), expected("windowed", "namespace"));
    backend.clear_current_key();
    assert_eq!(panic_message(|| plain.clear()), expected("plain", "key"));
    set(&backend, "a");
    assert_eq!(plain.get(), Some(1));
}

#[test]
fn a_foreign_key_leaves_none_current() {
    let groups = KeyGroups::new(128, 2, 1);
    let backend = HeapKeyedStateBackend::<u64>::new("Counts", groups.clone(), Rc::new(|| 0));
    let own = (0..).find(|key| groups.position(key).is_ok()).unwrap();
    let foreign = (0..).find(|key| groups.position(key).is_err()).unwrap();
    backend.set_current_key(&own).unwrap();
    assert_eq!(backend.context().position(), groups.position(&own).ok());
    let error = backend.set_current_key(&foreign).unwrap_err();
    assert_eq!((error.key_group, error.range), (groups.key_group(&foreign), 64..128));
    assert_eq!(backend.context().position(), None);
}

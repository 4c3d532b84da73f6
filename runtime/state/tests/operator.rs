//! Operator state: lists and broadcast maps of a subtask.

use std::time::Duration;

use flink_state::{ListStateDescriptor, MapStateDescriptor, OperatorStateStore, StateTtlConfig};

#[test]
fn lists_are_shared_by_name() {
    let store = OperatorStateStore::new();
    let offsets = store.list_state(&ListStateDescriptor::<u64>::new("offsets")).unwrap();
    let union = store
        .union_list_state(&ListStateDescriptor::<u64>::new("union"))
        .unwrap();
    offsets.add(1);
    union.add(9);
    let again = store.list_state(&ListStateDescriptor::<u64>::new("offsets")).unwrap();
    again.add_all([2, 3]);
    assert_eq!(offsets.get(), [1, 2, 3]);
    again.update(vec![4]);
    assert_eq!(offsets.take(), [4]);
    assert!(again.with(<[u64]>::is_empty));
    assert_eq!(union.get(), [9]);
}

#[test]
fn broadcast_state_is_iterated_in_the_order_of_keys() {
    let store = OperatorStateStore::new();
    let rules = store
        .broadcast_state(&MapStateDescriptor::<String, u8>::new("rules"))
        .unwrap();
    let reader = rules.read_only().clone();
    assert!(reader.is_empty());
    rules.put_all([("b".to_owned(), 2), ("a".to_owned(), 1)]);
    assert_eq!(rules.put("b".to_owned(), 3), Some(2));
    rules.put("0".to_owned(), 0);
    let mut seen = Vec::new();
    reader.for_each(|key, value| seen.push(format!("{key}={value}")));
    assert_eq!(seen, ["0=0", "a=1", "b=3"]);
    assert_eq!(rules.remove(&"a".to_owned()), Some(1));
    assert_eq!(
        (reader.get(&"a".to_owned()), reader.get(&"b".to_owned())),
        (None, Some(3))
    );
    assert!(reader.contains(&"0".to_owned()) && rules.with(&"0".to_owned(), |value| value == Some(&0)));
    rules.clear();
    assert!(reader.is_empty());
}

#[test]
fn a_name_is_one_states() {
    let store = OperatorStateStore::new();
    let descriptor = ListStateDescriptor::<u64>::new("s");
    store.list_state(&descriptor).unwrap();
    let clash =
        |requested: &str| format!("state `s` is asked for as {requested}, but exists as operator list state of `u64`");
    assert_eq!(
        store.union_list_state(&descriptor).unwrap_err().to_string(),
        clash("union list state of `u64`")
    );
    assert_eq!(
        store
            .list_state(&ListStateDescriptor::<u32>::new("s"))
            .unwrap_err()
            .to_string(),
        clash("operator list state of `u32`")
    );
    assert_eq!(
        store
            .broadcast_state(&MapStateDescriptor::<u8, u64>::new("s"))
            .unwrap_err()
            .to_string(),
        clash("broadcast state of `(u8, u64)`")
    );
    let ttl = StateTtlConfig::new(Duration::from_secs(1));
    assert_eq!(
        store
            .union_list_state(&ListStateDescriptor::<u8>::new("t").with_ttl(ttl))
            .unwrap_err()
            .to_string(),
        "union list state `t` cannot have a time-to-live: only keyed state can"
    );
}

//! State tables behave as one `HashMap`, whatever the key groups.

use std::collections::HashMap;

use flink_state::{KeyGroups, StateTable};
use proptest::{collection::vec, prelude::*};

#[derive(Debug, Clone)]
enum Operation {
    Get,
    Change(u16),
    GetOrInsert(u16),
    Insert(u16),
    Remove,
    Drain,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => Just(Operation::Get),
        8 => any::<u16>().prop_map(Operation::Change),
        8 => any::<u16>().prop_map(Operation::GetOrInsert),
        8 => any::<u16>().prop_map(Operation::Insert),
        8 => Just(Operation::Remove),
        1 => Just(Operation::Drain),
    ]
}

type Model = HashMap<(String, u8), u16>;

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items
}

fn entries(table: &StateTable<String, u8, u16>) -> Vec<((String, u8), u16)> {
    sorted(
        table
            .iter()
            .map(|(key, namespace, value)| ((key.clone(), *namespace), *value)),
    )
}

proptest! {
    #[test]
    fn a_table_is_a_map(
        max_parallelism in prop_oneof![Just(1_u32), Just(7), Just(128)],
        operations in vec((0..20_u8, 0..3_u8, operation()), 0..200),
    ) {
        let groups = KeyGroups::new(max_parallelism, 1, 0);
        let mut table = StateTable::new(&groups);
        let mut model = Model::new();
        for (key, namespace, operation) in operations {
            let key = key.to_string();
            let position = groups.position(&key).unwrap();
            let id = (key.clone(), namespace);
            match operation {
                Operation::Get => prop_assert_eq!(table.get(position, &key, &namespace), model.get(&id)),
                Operation::Change(value) => {
                    let found = table.get_mut(position, &key, &namespace).map(|old| std::mem::replace(old, value));
                    prop_assert_eq!(found, model.get_mut(&id).map(|old| std::mem::replace(old, value)));
                }
                Operation::GetOrInsert(value) => {
                    let found = *table.get_or_insert_with(position, &key, &namespace, || value);
                    prop_assert_eq!(found, *model.entry(id).or_insert(value));
                }
                Operation::Insert(value) => {
                    prop_assert_eq!(table.insert(position, &key, &namespace, value), model.insert(id, value));
                }
                Operation::Remove => prop_assert_eq!(table.remove(position, &key, &namespace), model.remove(&id)),
                Operation::Drain => {
                    let drained = sorted(table.drain().map(|(key, namespace, value)| ((key, namespace), value)));
                    prop_assert_eq!(drained, sorted(model.drain()));
                }
            }
            prop_assert_eq!(table.len(), model.len());
            prop_assert_eq!(table.is_empty(), model.is_empty());
            let of_key = model.iter().filter(|(id, _)| id.0 == key).map(|(id, value)| (id.1, *value));
            let found = table.iter_key(position, &key).map(|(namespace, value)| (*namespace, *value));
            prop_assert_eq!(sorted(found), sorted(of_key));
        }
        prop_assert_eq!(entries(&table), sorted(model.into_iter()));
    }
}

#[test]
fn tables_grow_over_their_subtasks_key_groups() {
    let subtasks: Vec<_> = (0..3).map(|subtask| KeyGroups::new(128, 3, subtask)).collect();
    let mut tables: Vec<_> = subtasks.iter().map(StateTable::new).collect();
    for key in 0..100_000_u64 {
        let places: Vec<_> = subtasks.iter().map(|groups| groups.position(&key).ok()).collect();
        assert_eq!(places.iter().flatten().count(), 1, "a key has one subtask");
        for (table, place) in tables.iter_mut().zip(places) {
            if let Some(position) = place {
                assert_eq!(table.insert(position, &key, &(), key * 2), None);
            }
        }
    }
    assert_eq!(tables.iter().map(StateTable::len).sum::<usize>(), 100_000);
    for (table, groups) in tables.iter().zip(&subtasks) {
        for (key, (), value) in table.iter() {
            let position = groups.position(key).unwrap();
            assert_eq!(*value, key * 2);
            assert_eq!(
                table.iter_key(position, key).collect::<Vec<_>>(),
                [(&(), &(key * 2))],
                "found where it was inserted"
            );
        }
    }
}

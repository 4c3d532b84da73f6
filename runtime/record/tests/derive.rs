//! Derived records and keys: golden bytes, round trips, generics, recursion.

mod common;

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    hash::{BuildHasher, Hash, RandomState},
    marker::PhantomData,
};

use common::{check, decode, encode};
use flink_record::{DecodeError, Key, MAX_NESTING, Record};
use proptest::prelude::*;

#[derive(Record, Key, Clone, PartialEq, Eq, Hash, Debug)]
#[record(crate = "flink_record")]
struct Bid {
    auction: u64,
    bidder: u64,
    url: String,
}

#[derive(Record, Key, Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[record(crate = "flink_record")]
struct Unit;

#[derive(Record, Clone, PartialEq, Debug)]
#[record(crate = "flink_record")]
struct Empty {}

#[derive(Record, Clone, PartialEq, Debug)]
#[record(crate = "flink_record")]
struct Pair(i16, f32);

/// Each primitive type, blocks of them with other fields between.
#[derive(Record, Clone, PartialEq, Debug)]
#[record(crate = "flink_record")]
struct Wide {
    a: u8,
    b: i8,
    c: bool,
    d: u16,
    e: i16,
    text: String,
    f: u32,
    g: i32,
    h: f32,
    i: char,
    list: Vec<Pair>,
    single: u64,
    bytes: Vec<u8>,
    j: i64,
    k: f64,
    l: usize,
    m: isize,
    n: u128,
    r#type: i128,
}

#[derive(Record, Key, Clone, PartialEq, Eq, Hash, Debug)]
#[record(crate = "flink_record")]
enum Event {
    Tick,
    Bid(Bid),
    Move { x: i32, y: i32, label: Option<String> },
    Empty {},
    Nothing(),
    Point(i32, u8),
}

#[derive(Record, Clone, PartialEq, Debug)]
#[record(crate = "flink_record")]
enum Tree<T> {
    Leaf(T),
    Node(Box<Self>, Box<Self>),
    Many(Vec<Self>),
}

#[derive(Record, Clone, PartialEq, Debug)]
#[record(crate = "flink_record")]
struct List {
    value: u8,
    next: Option<Box<Self>>,
}

#[derive(Record, Clone, PartialEq, Debug)]
#[record(crate = "flink_record")]
struct Generic<K, V: Default, M, const N: usize = 2>
where
    K: Debug,
{
    entries: BTreeMap<String, Vec<V>>,
    keys: [K; N],
    marker: PhantomData<M>,
}

#[derive(Record, Clone, PartialEq, Debug)]
#[record(crate = "flink_record")]
struct Projected<I: IntoIterator> {
    item: I::Item,
    more: Vec<<I as IntoIterator>::Item>,
}

#[derive(Record, Debug)]
#[record(
    crate = "flink_record",
    bound = "K: Record + Eq + Hash, S: BuildHasher + Default + Send + 'static"
)]
struct Hashed<K: Eq + Hash, S: BuildHasher>(HashMap<K, u8, S>);

/// A type that no value has.
#[derive(Record, Debug, PartialEq)]
#[record(crate = "flink_record")]
enum Never {}

#[derive(Record, Clone, PartialEq, Debug)]
#[record(crate = "flink_record")]
struct Recursive<T>(Vec<Tree<T>>, Vec<Self>);

macro_rules! many {
    ($name:ident, $($variant:ident)*) => {
        #[derive(Record, Clone, Copy, PartialEq, Debug)]
        #[record(crate = "flink_record")]
        enum $name { $($variant),* }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),*];
        }
    };
}

/// Passes the types of its fields through a macro, which wraps them invisibly.
macro_rules! wrapped {
    ($name:ident, $($field:ident: $type:ty),*) => {
        #[derive(Record, Clone, PartialEq, Debug)]
        #[record(crate = "flink_record")]
        struct $name { $($field: $type),* }
    };
}

wrapped!(Wrapped, a: u32, b: u16, c: String);
many!(Few, A B C);
include!("common/many_variants.rs");

fn bid() -> Bid {
    Bid {
        auction: 1,
        bidder: 0x0203,
        url: "hi".to_owned(),
    }
}

/// The wire format must not change: states and savepoints are made of it.
#[test]
fn golden_bytes() {
    let bid_bytes = [1, 0, 0, 0, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, b'h', b'i'];
    assert_eq!(encode(&bid()), bid_bytes);
    assert_eq!(encode(&Unit), [0]);
    assert_eq!(encode(&Empty {}), [0]);
    assert_eq!(encode(&Pair(-2, 1.0)), [0xfe, 0xff, 0, 0, 0x80, 0x3f]);
    assert_eq!(encode(&Event::Tick), [0]);
    assert_eq!(encode(&Event::Bid(bid())), [&[1], &bid_bytes[..]].concat());
    let moved = Event::Move {
        x: -1,
        y: 2,
        label: Some("l".to_owned()),
    };
    assert_eq!(encode(&moved), [2, 255, 255, 255, 255, 2, 0, 0, 0, 1, 1, 0, 0, 0, b'l']);
    assert_eq!(encode(&Event::Empty {}), [3]);
    assert_eq!(encode(&Event::Nothing()), [4]);
    assert_eq!(encode(&Event::Point(1, 2)), [5, 1, 0, 0, 0, 2]);
    let tree = Tree::Node(Box::new(Tree::Leaf(7u8)), Box::new(Tree::Many(vec![Tree::Leaf(8)])));
    assert_eq!(encode(&tree), [1, 0, 7, 2, 1, 0, 0, 0, 0, 8]);
    let wrapped = Wrapped {
        a: 1,
        b: 2,
        c: String::new(),
    };
    assert_eq!(encode(&wrapped), [1, 0, 0, 0, 2, 0, 0, 0, 0, 0]);
    assert_eq!(encode(&Few::C), [2]);
    assert_eq!(encode(&Full::V255), [255]);
    assert_eq!(encode(&Overfull::V0), [0, 0]);
    assert_eq!(encode(&Overfull::V256), [0, 1]);
}

#[test]
fn blocks_of_fields_are_encoded_as_each_field_by_itself() {
    let wide = Wide {
        a: 1,
        b: -1,
        c: true,
        d: 2,
        e: -2,
        text: "text".to_owned(),
        f: 3,
        g: -3,
        h: 1.5,
        i: 'ß',
        list: vec![Pair(1, 2.0)],
        single: 9,
        bytes: vec![1, 2],
        j: -4,
        k: 2.5,
        l: 5,
        m: -5,
        n: 6,
        r#type: -6,
    };
    let first = (1u8, -1i8, true, 2u16, -2i16, "text".to_owned());
    let second = (3u32, -3i32, 1.5f32, 'ß', vec![(1i16, 2f32)], 9u64, vec![1u8, 2]);
    let third = (-4i64, 2.5f64, 5u64, -5i64, 6u128, -6i128);
    assert_eq!(encode(&wide), encode(&(first, second, third)));
    check(&wide);
}

#[test]
fn derived_records_survive() {
    check(&bid());
    check(&vec![Unit; 3]);
    check(&vec![Empty {}; 3]);
    check(&Event::Empty {});
    check(&List {
        value: 1,
        next: Some(Box::new(List { value: 2, next: None })),
    });
    check(&Generic {
        entries: BTreeMap::from([("a".to_owned(), vec![1u16])]),
        keys: [Some(1u8), None],
        marker: PhantomData::<fn(Unsent)>,
    });
    check(&Projected::<Vec<String>> {
        item: "a".to_owned(),
        more: vec![String::new()],
    });
    let hashed = Hashed::<_, RandomState>(HashMap::from([("k".to_owned(), 1)]));
    assert_eq!(
        decode::<Hashed<String, RandomState>>(&encode(&hashed)).unwrap().0,
        hashed.0
    );
    check(&Recursive(vec![Tree::Leaf(1u64)], vec![Recursive(vec![], vec![])]));
    check(&Few::ALL.to_vec());
    check(&Full::ALL.to_vec());
    check(&Overfull::ALL.to_vec());
}

/// Only its name is used.
#[derive(Debug, Clone, PartialEq)]
struct Unsent;

#[test]
fn byte_patterns_without_a_value_are_refused() {
    assert_eq!(decode::<Unit>(&[1]), Err(DecodeError::Invalid("Unit")));
    assert_eq!(decode::<Event>(&[6]), Err(DecodeError::Invalid("Event")));
    assert_eq!(decode::<Few>(&[3]), Err(DecodeError::Invalid("Few")));
    assert_eq!(decode::<Overfull>(&[1, 1]), Err(DecodeError::Invalid("Overfull")));
    assert_eq!(decode::<Never>(&[0]), Err(DecodeError::Invalid("Never")));
    assert_eq!(decode::<Never>(&[]), Err(DecodeError::UnexpectedEnd));
}

fn nested_list(levels: usize) -> Vec<u8> {
    let mut bytes = [0, 1].repeat(levels);
    bytes.extend([0, 0]);
    bytes
}

#[test]
fn deep_nesting_is_refused_before_the_stack_overflows() {
    assert!(decode::<List>(&nested_list(MAX_NESTING)).is_ok());
    assert_eq!(decode::<List>(&nested_list(MAX_NESTING + 1)), Err(DecodeError::Nesting));
    assert_eq!(decode::<Tree<u8>>(&[1; 1 << 20]), Err(DecodeError::Nesting));
    let vectors = [2, 1, 0, 0, 0].repeat(1 << 16);
    assert_eq!(decode::<Tree<u8>>(&vectors), Err(DecodeError::Nesting));
    assert!(
        decode::<List>(&nested_list(MAX_NESTING)).is_ok(),
        "a failure leaves its levels"
    );
}

#[test]
fn keys_hash_as_tuples() {
    let key = bid();
    assert_eq!(key.stable_hash(), (1u64, 0x0203u64, "hi".to_owned()).stable_hash());
    assert_eq!(Unit.stable_hash(), 1);
    assert_eq!(Event::Tick.stable_hash(), (0u8,).stable_hash());
    assert_eq!(Event::Bid(bid()).stable_hash(), (1u8, bid()).stable_hash());
    assert_eq!(Event::Point(-7, 2).stable_hash(), (5u8, -7i32, 2u8).stable_hash());
    assert_eq!(Event::Point(-7, 2).stable_hash(), 34_381, "never changes");
}

fn tree() -> impl Strategy<Value = Tree<String>> {
    let leaf = "\\PC{0,8}".prop_map(Tree::Leaf);
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| Tree::Node(Box::new(left), Box::new(right))),
            prop::collection::vec(inner, 0..4).prop_map(Tree::Many),
        ]
    })
}

fn event() -> impl Strategy<Value = Event> {
    let bid = (any::<u64>(), any::<u64>(), "\\PC{0,20}");
    prop_oneof![
        Just(Event::Tick),
        bid.prop_map(|(auction, bidder, url)| Event::Bid(Bid { auction, bidder, url })),
        any::<(i32, i32, Option<String>)>().prop_map(|(x, y, label)| Event::Move { x, y, label }),
        Just(Event::Empty {}),
        Just(Event::Nothing()),
        any::<(i32, u8)>().prop_map(|(x, y)| Event::Point(x, y)),
    ]
}

proptest! {
    #[test]
    fn enums_round_trip(events in prop::collection::vec(event(), 0..20)) {
        prop_assert_eq!(decode::<Vec<Event>>(&encode(&events)), Ok(events));
    }

    #[test]
    fn recursive_types_round_trip(tree in tree()) {
        prop_assert_eq!(decode::<Tree<String>>(&encode(&tree)), Ok(tree));
    }

    #[test]
    fn generic_types_round_trip(entries: BTreeMap<String, Vec<i64>>, keys: [Option<(u8, char)>; 2]) {
        let record = Generic::<_, _, ()> { entries, keys, marker: PhantomData };
        prop_assert_eq!(decode::<Generic<_, _, ()>>(&encode(&record)), Ok(record));
    }

    #[test]
    fn equal_keys_hash_equally(event in event()) {
        prop_assert_eq!(decode::<Event>(&encode(&event)).unwrap().stable_hash(), event.stable_hash());
    }
}

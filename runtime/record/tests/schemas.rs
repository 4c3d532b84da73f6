//! Schemas: their display, their serialised form, recursion and generics.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    marker::PhantomData,
    sync::Arc,
    time::Duration,
};

use flink_record::{DecodeError, Record, Schema, Serde, schema::Type};

#[derive(Record)]
#[record(crate = "flink_record")]
struct Bid {
    auction: u64,
    bidder: u64,
    url: String,
}

#[derive(Record)]
#[record(crate = "flink_record")]
enum Event {
    Tick,
    Bid(Arc<Bid>),
    Two(u8, Option<Bid>),
    Moved { x: i32, r#type: (char,) },
}

#[derive(Record)]
#[record(crate = "flink_record")]
struct Tree<T> {
    value: T,
    children: Vec<Self>,
}

#[derive(Record)]
#[record(crate = "flink_record")]
struct Marked<K, const N: usize>([u8; N], PhantomData<K>);

#[derive(Record)]
#[record(crate = "flink_record")]
struct Unit;

/// Another type of the same name.
mod other {
    #[derive(flink_record::Record)]
    #[record(crate = "flink_record")]
    pub(crate) struct Bid(i8);
}

struct ByHand;

impl Record for ByHand {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(1);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        u8::decode(input).map(|_| Self)
    }
}

fn shown<T: Record>() -> String {
    T::schema().to_string()
}

#[test]
fn schemas_read_as_rust() {
    assert_eq!(shown::<Bid>(), "Bid { auction: u64, bidder: u64, url: String }");
    assert_eq!(
        shown::<Event>(),
        "Event { Tick | Bid(Bid { auction: u64, bidder: u64, url: String }) | Two(u8, Option<Bid>) | \
         Moved { x: i32, type: (char,) } }"
    );
    assert_eq!(
        shown::<Tree<String>>(),
        "Tree<String> { value: String, children: Vec<Tree<String>> }"
    );
    assert_eq!(shown::<Marked<bool, 3>>(), "Marked<3>([u8; 3], ())");
    assert_eq!(shown::<Unit>(), "Unit");
    assert_eq!(
        shown::<(Bid, other::Bid)>(),
        "(Bid { auction: u64, bidder: u64, url: String }, Bid#2(i8))"
    );
    assert_eq!(
        shown::<(HashMap<usize, HashSet<Box<str>>>, Result<(), Duration>)>(),
        "(Map<u64, Set<String>>, Result<(), Duration>)"
    );
    assert_eq!(shown::<ByHand>(), "schemas::ByHand");
    assert_eq!(shown::<Serde<Vec<u8>>>(), "alloc::vec::Vec<u8>");
}

#[test]
fn what_is_the_same_on_the_wire_has_the_same_schema() {
    assert_eq!(BTreeMap::<u8, Box<u16>>::schema(), HashMap::<u8, Arc<u16>>::schema());
    assert_eq!(Vec::<Box<str>>::schema(), Box::<[String]>::schema());
    assert_ne!(Tree::<u8>::schema(), Tree::<i8>::schema());
}

#[test]
fn recursive_types_are_references() {
    let schema = Tree::<Event>::schema();
    assert_eq!(schema.root, Type::Named("Tree<Event>".to_owned()));
    assert_eq!(schema.types.keys().collect::<Vec<_>>(), ["Bid", "Event", "Tree<Event>"]);
}

/// Stored with state: old schemas must stay readable.
#[test]
fn the_serialised_form_never_changes() {
    let schema = Event::schema();
    let json = serde_json::to_string(&schema).unwrap();
    let bid = r#""Bid":{"struct":{"named":[{"name":"auction","type":{"primitive":"u64"}},{"name":"bidder","type":{"primitive":"u64"}},{"name":"url","type":{"primitive":"String"}}]}}"#;
    let event = r#""Event":{"enum":[{"name":"Tick","fields":"unit"},{"name":"Bid","fields":{"unnamed":[{"named":"Bid"}]}},{"name":"Two","fields":{"unnamed":[{"primitive":"u8"},{"option":{"named":"Bid"}}]}},{"name":"Moved","fields":{"named":[{"name":"x","type":{"primitive":"i32"}},{"name":"type","type":{"tuple":[{"primitive":"char"}]}}]}}]}"#;
    assert_eq!(
        json,
        format!(r#"{{"root":{{"named":"Event"}},"types":{{{bid},{event}}}}}"#)
    );
    assert_eq!(serde_json::from_str::<Schema>(&json).unwrap(), schema);
    let bytes = postcard::to_allocvec(&schema).unwrap();
    assert_eq!(postcard::from_bytes::<Schema>(&bytes).unwrap(), schema);
}

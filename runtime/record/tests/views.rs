//! Borrowed views: they read what was written, borrow where they can, and turn into the record again.

mod common;

use std::fmt::Debug;

use common::{decode, encode};
use flink_record::{DecodeError, Record, RecordView};
use proptest::prelude::*;

/// A bid of an auction.
#[derive(Record, Clone, PartialEq, Debug)]
#[record(view, derive(Copy, PartialEq), crate = "flink_record")]
struct Bid {
    auction: u64,
    /// What was bid, in cents.
    price: f64,
    url: String,
    payload: Vec<u8>,
    accepted: bool,
}

#[derive(Record, Clone, PartialEq, Debug)]
#[record(view, derive(PartialEq), crate = "flink_record")]
struct Envelope {
    id: usize,
    #[record(view)]
    bid: Bid,
    owned: Bid,
    #[record(view)]
    note: Option<String>,
    #[record(view)]
    pair: (Box<str>, u8),
    numbers: Vec<u32>,
}

#[derive(Record, Clone, PartialEq, Debug)]
#[record(view, crate = "flink_record")]
struct Tuple(String, Vec<u8>, pub(crate) i32);

#[derive(Record, Clone, PartialEq, Debug)]
#[record(view, crate = "flink_record")]
struct Generic<T: Debug, U, const N: usize>
where
    U: Clone,
{
    #[record(view)]
    viewed: Option<T>,
    owned: U,
    text: String,
    array: [u8; N],
}

fn bid() -> impl Strategy<Value = Bid> {
    (
        any::<u64>(),
        -1e9..1e9f64,
        "\\PC{0,20}",
        any::<Vec<u8>>(),
        any::<bool>(),
    )
        .prop_map(|(auction, price, url, payload, accepted)| Bid {
            auction,
            price,
            url,
            payload,
            accepted,
        })
}

/// Reads the view of an encoded record, compares it with that of the record and makes it a record again.
fn check<T: RecordView + PartialEq + Debug>(record: &T, equal: impl for<'a> Fn(&T::View<'a>, &T::View<'a>) -> bool) {
    common::check(record);
    let bytes = encode(record);
    let mut rest = bytes.as_slice();
    let Ok(view) = T::decode_view(&mut rest) else {
        panic!("the view of {record:?} cannot be read");
    };
    assert!(rest.is_empty(), "everything is used up");
    assert!(
        equal(&view, &record.view()),
        "{view:?} is read, {:?} was written",
        record.view()
    );
    assert_eq!(&T::from_view(view), record);
    assert_eq!(&T::from_view(record.view()), record);
    for cut in 0..bytes.len() {
        assert!(T::decode_view(&mut &bytes[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn text_and_bytes_are_borrowed() {
    let record = Bid {
        auction: 1,
        price: 2.5,
        url: "url".to_owned(),
        payload: vec![1, 2],
        accepted: true,
    };
    let bytes = encode(&record);
    let view: BidView<'_> = Bid::decode_view(&mut bytes.as_slice()).unwrap();
    let (url, payload): (&str, &[u8]) = (view.url, view.payload);
    assert!(bytes.as_ptr_range().contains(&url.as_ptr()));
    assert!(bytes.as_ptr_range().contains(&payload.as_ptr()));
    assert_eq!(
        (view.auction, view.price, url, payload, view.accepted),
        (1, 2.5, "url", &[1, 2][..], true)
    );
}

#[test]
fn a_view_refuses_what_the_record_refuses() {
    let mut bytes = encode(&Tuple("text".to_owned(), vec![], 1));
    bytes[4] = 0xff;
    assert_eq!(
        Tuple::decode_view(&mut bytes.as_slice()).err(),
        Some(DecodeError::Invalid("UTF-8 text"))
    );
    assert!(decode::<Tuple>(&bytes).is_err());
}

#[test]
fn generic_structs_have_views() {
    let record = Generic {
        viewed: Some("viewed".to_owned()),
        owned: vec![1u8],
        text: "text".to_owned(),
        array: [1, 2],
    };
    check(&record, |a, b| format!("{a:?}") == format!("{b:?}"));
    let view: GenericView<'_, String, Vec<u8>, 2> = record.view();
    assert_eq!(view.viewed, Some("viewed"));
}

proptest! {
    #[test]
    fn a_view_is_what_was_written(record in bid()) {
        check(&record, |a, b| a == b);
    }

    #[test]
    fn views_are_nested(bids in (bid(), bid()), note: Option<String>, text: String, id: usize, numbers: Vec<u32>) {
        let record = Envelope { id, bid: bids.0, owned: bids.1, note, pair: (text.into(), 1), numbers };
        check(&record, |a, b| a == b);
        let view = record.view();
        prop_assert_eq!(view.bid.url, record.bid.url.as_str());
        prop_assert_eq!(view.note, record.note.as_deref());
        prop_assert_eq!(&view.owned, &record.owned);
    }

    #[test]
    fn tuples_have_views(record: (String, Vec<u8>, u64, char, Option<(i8, bool)>, ())) {
        check(&record, |a, b| a == b);
    }

    #[test]
    fn hostile_bytes_do_not_panic(bytes: Vec<u8>) {
        // A view accepts exactly the bytes that the record accepts.
        let (mut a, mut b) = (bytes.as_slice(), bytes.as_slice());
        let (view, record) = (Envelope::decode_view(&mut a), Envelope::decode(&mut b));
        prop_assert_eq!(view.is_ok(), record.is_ok());
        let _ = Tuple::decode_view(&mut bytes.as_slice());
    }
}

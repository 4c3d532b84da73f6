//! Events in order and out of order, spread over half a minute and crowded into a few milliseconds.

use std::fmt::Display;

use flink::{DataStream, Record};

use crate::{
    jobs::{all, answer, assert_lines},
    model::{Bid, Event},
    queries, reference,
    source::Generation,
};

/// Half a minute: several windows, auctions of seconds.
const SPREAD: Generation = Generation {
    events: 16_000,
    rate: 500,
    out_of_order: 1,
};

/// Milliseconds of 10000 events each: many things happen at the same time.
const CROWDED: Generation = Generation {
    events: 25_000,
    rate: 10_000_000,
    out_of_order: 1,
};

/// Checks a query on all kinds of events, at parallelism 1, 2 and 3.
fn check<T: Record + Display>(
    query: impl Fn(DataStream<Event>) -> DataStream<T>,
    reference: impl Fn(&[Event]) -> Vec<String>,
) {
    check_changed(|event| event, query, reference);
}

/// Checks a query on events that are changed before it sees them.
fn check_changed<T: Record + Display>(
    change: fn(Event) -> Event,
    query: impl Fn(DataStream<Event>) -> DataStream<T>,
    reference: impl Fn(&[Event]) -> Vec<String>,
) {
    for generation in [SPREAD, CROWDED] {
        // The order of events must not matter: the expected answer is that of events in order.
        let mut events: Vec<Event> = all(generation).into_iter().map(change).collect();
        events.sort_by_key(Event::date_time);
        let mut expected = reference(&events);
        expected.sort_unstable();
        assert!(!expected.is_empty(), "a query that has no answer shows nothing");
        for out_of_order in [1, 100] {
            let generation = Generation {
                out_of_order,
                ..generation
            };
            for parallelism in [1, 2, 3] {
                let found = answer(generation, parallelism, |events| query(events.map(change)));
                assert_lines(
                    &found,
                    &expected,
                    &format!("{generation:?} at parallelism {parallelism}"),
                );
            }
        }
    }
}

#[test]
fn an_event_depends_on_its_number_alone() {
    for generation in [SPREAD, CROWDED] {
        let events = all(generation);
        assert!(events.is_sorted_by_key(Event::date_time));
        for (first, step) in [(0, 2), (1, 2), (2, 3), (6, 7)] {
            let mut make = generation.make();
            for number in (first..generation.events).step_by(step) {
                assert_eq!(make(number), events[number as usize]);
            }
        }
    }
}

#[test]
fn disorder_stays_within_its_bound() {
    let shuffled = Generation {
        out_of_order: 100,
        ..SPREAD
    };
    let bound = shuffled.out_of_orderness().as_millis() as i64;
    let (mut latest, mut worst) = (i64::MIN, 0);
    for event in all(shuffled) {
        latest = latest.max(event.date_time());
        worst = worst.max(latest - event.date_time());
    }
    assert!(worst > bound / 2, "{worst} ms is no disorder");
    assert!(worst <= bound, "{worst} ms exceed {bound} ms");
}

#[test]
fn q0_pass_through() {
    check(queries::q0::pass_through, reference::q0);
}

#[test]
fn q1_currency_conversion() {
    check(queries::q1::currency_conversion, reference::q1);
}

#[test]
fn q2_selection() {
    check(queries::q2::selection, reference::q2);
}

#[test]
fn q3_local_item_suggestion() {
    check(queries::q3::local_item_suggestion, reference::q3);
}

#[test]
fn q4_average_price_for_category() {
    check(
        |events| queries::q4::average_price_for_category(events).results,
        reference::q4,
    );
}

#[test]
fn q5_hot_items() {
    check(|events| queries::q5::hot_items(events).results, reference::q5);
}

#[test]
fn q5_several_items_as_hot_as_each_other() {
    let spread = |event| match event {
        Event::Bid(bid) => Event::Bid(Bid {
            auction: bid.price % 5_000,
            ..bid
        }),
        other => other,
    };
    check_changed(spread, |events| queries::q5::hot_items(events).results, reference::q5);
}

#[test]
fn q6_average_selling_price_by_seller() {
    check(
        |events| queries::q6::average_selling_price_by_seller(events).results,
        reference::q6,
    );
}

#[test]
fn q7_highest_bid() {
    check(|events| queries::q7::highest_bid(events).results, reference::q7);
}

#[test]
fn q7_highest_bids_of_one_price() {
    let cap = |event| match event {
        Event::Bid(bid) => Event::Bid(Bid {
            price: bid.price.min(90_000_000),
            ..bid
        }),
        other => other,
    };
    check_changed(cap, |events| queries::q7::highest_bid(events).results, reference::q7);
}

#[test]
fn q8_new_users() {
    check(queries::q8::new_users, reference::q8);
}

#[test]
fn q11_user_sessions() {
    check(|events| queries::q11::user_sessions(events).results, reference::q11);
}

#[test]
fn q13_side_input_join() {
    // Some auctions have numbers that the table has not.
    let renumber = |event| match event {
        Event::Bid(bid) => Event::Bid(Bid {
            auction: bid.auction + 8_500,
            ..bid
        }),
        other => other,
    };
    check_changed(renumber, queries::q13::side_input_join, reference::q13);
}

//! Events that come after the watermark has passed them: they do not count, and come out at the side output for late records.

use std::{collections::BTreeSet, fmt::Display};

use flink::{DataStream, Record, StreamExecutionEnvironment, Timestamp, run_for_test};

use crate::{
    delay::{DELAY, timed},
    jobs::{Lines, all, assert_lines},
    model::{Bid, Event},
    queries::{self, Answer},
    reference,
    source::Generation,
};

/// Two minutes in which people bid seldom enough for sessions to end.
const SPARSE: Generation = Generation {
    events: 12_000,
    rate: 100,
    out_of_order: 1,
};

/// Some events, of which some come late.
struct Delayed {
    in_time: Vec<Event>,
    late: Vec<Event>,
    /// All of them, as they come.
    arriving: Vec<Event>,
}

impl Delayed {
    /// Delays some people and auctions, and some bids after which their bidders pause: a late bid still counts in a session that
    /// goes on.
    fn new() -> Self {
        let events = all(SPARSE);
        let last = events.iter().map(Event::date_time).max().unwrap();
        let pausing = reference::bids_before_a_pause(&events, DELAY);
        let chosen = |place: &usize| match &events[*place] {
            Event::Bid(_) => pausing.contains(place) && place.is_multiple_of(2),
            Event::Person(_) | Event::Auction(_) => place.is_multiple_of(7),
        };
        let places: BTreeSet<usize> = (0..events.len())
            .filter(|place| events[*place].date_time() + DELAY < last)
            .filter(chosen)
            .collect();
        let (late, in_time): (Vec<_>, Vec<_>) = (0..events.len()).partition(|place| places.contains(place));
        let mut arriving: Vec<(Timestamp, Event)> = Vec::new();
        for (place, event) in events.iter().enumerate() {
            let delay = if places.contains(&place) { DELAY } else { 0 };
            arriving.push((event.date_time() + delay, event.clone()));
        }
        arriving.sort_by_key(|(arrival, _)| *arrival);
        let take = |places: Vec<usize>| places.into_iter().map(|place| events[place].clone()).collect();
        Self {
            in_time: take(in_time),
            late: take(late),
            arriving: arriving.into_iter().map(|(_, event)| event).collect(),
        }
    }

    /// As they come, from one subtask.
    fn stream(&self, env: &mut StreamExecutionEnvironment) -> DataStream<Event> {
        timed(env.from_collection(self.arriving.clone()), 0)
    }
}

/// Checks that a query answers as if late events did not exist, and that it says which those are.
fn check<R: Record + Display, L: Record>(
    query: impl Fn(DataStream<Event>) -> Answer<R, L>,
    reference: impl Fn(&[Event]) -> Vec<String>,
    late_line: impl Fn(L) -> String + Clone + Send + 'static,
    late_event: impl Fn(&Event) -> Option<String>,
) {
    let delayed = Delayed::new();
    let expected = sorted(reference(&delayed.in_time));
    let expected_late = sorted(delayed.late.iter().filter_map(late_event).collect());
    assert!(expected_late.len() > 20, "{} are too few to tell", expected_late.len());
    for parallelism in [1, 2, 3] {
        let (results, late) = (Lines::default(), Lines::default());
        let build = |env: &mut StreamExecutionEnvironment| {
            let answer = query(delayed.stream(env));
            results.take(answer.results);
            late.take(answer.late.map(late_line.clone()));
            Ok(())
        };
        run_for_test(build, parallelism).unwrap();
        let what = |output| format!("{output} at parallelism {parallelism}");
        assert_lines(&late.sorted(), &expected_late, &what("late records"));
        assert_lines(&results.sorted(), &expected, &what("results"));
    }
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_unstable();
    lines
}

fn bid(event: &Event) -> Option<&Bid> {
    match event {
        Event::Bid(bid) => Some(bid),
        Event::Person(_) | Event::Auction(_) => None,
    }
}

/// Auctions and bids as lines.
fn trade(event: &Event) -> Option<String> {
    match event {
        Event::Person(_) => None,
        Event::Auction(auction) => Some(format!("{},{}", auction.id, auction.date_time)),
        Event::Bid(bid) => Some(format!("{},{}", bid.auction, bid.date_time)),
    }
}

#[test]
fn q4_average_price_for_category() {
    check(
        queries::q4::average_price_for_category,
        reference::q4,
        |late| format!("{},{}", late.auction, late.date_time),
        trade,
    );
}

#[test]
fn q5_hot_items() {
    check(
        queries::q5::hot_items,
        reference::q5,
        |auction| auction.to_string(),
        |event| bid(event).map(|bid| bid.auction.to_string()),
    );
}

#[test]
fn q6_average_selling_price_by_seller() {
    check(
        queries::q6::average_selling_price_by_seller,
        reference::q6,
        |late| format!("{},{}", late.auction, late.date_time),
        trade,
    );
}

#[test]
fn q7_highest_bid() {
    check(
        queries::q7::highest_bid,
        reference::q7,
        |late| late.to_string(),
        |event| bid(event).map(|bid| format!("{},{},{},{}", bid.auction, bid.price, bid.bidder, bid.date_time)),
    );
}

/// As in Flink, a join has no side output for late records.
#[test]
fn q8_new_users() {
    let delayed = Delayed::new();
    let expected = sorted(reference::q8(&delayed.in_time));
    let all: Vec<Event> = delayed.in_time.iter().chain(&delayed.late).cloned().collect();
    assert_ne!(
        sorted(reference::q8(&all)),
        expected,
        "late events must make a difference"
    );
    for parallelism in [1, 2, 3] {
        let results = Lines::default();
        let build = |env: &mut StreamExecutionEnvironment| {
            results.take(queries::q8::new_users(delayed.stream(env)));
            Ok(())
        };
        run_for_test(build, parallelism).unwrap();
        assert_lines(&results.sorted(), &expected, &format!("at parallelism {parallelism}"));
    }
}

#[test]
fn q11_user_sessions() {
    check(
        queries::q11::user_sessions,
        reference::q11,
        |bidder| bidder.to_string(),
        |event| bid(event).map(|bid| bid.bidder.to_string()),
    );
}

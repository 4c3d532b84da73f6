//! The queries once more, as plain loops over all events: what the job must answer.
//!
//! Nothing here is clever, and nothing is shared with the job but the type of the events. Answers are lines, in no particular order.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Auction, Bid, Event, Person};

const SECOND: i64 = 1000;
const WINDOW: i64 = 10 * SECOND;
const SLIDE: i64 = 2 * SECOND;
const SESSION_GAP: i64 = 10 * SECOND;

pub(crate) fn people(events: &[Event]) -> impl Iterator<Item = &Person> {
    events.iter().filter_map(|event| match event {
        Event::Person(person) => Some(person),
        _ => None,
    })
}

pub(crate) fn auctions(events: &[Event]) -> impl Iterator<Item = &Auction> {
    events.iter().filter_map(|event| match event {
        Event::Auction(auction) => Some(auction),
        _ => None,
    })
}

pub(crate) fn bids(events: &[Event]) -> impl Iterator<Item = &Bid> {
    events.iter().filter_map(|event| match event {
        Event::Bid(bid) => Some(bid),
        _ => None,
    })
}

pub(crate) fn q0(events: &[Event]) -> Vec<String> {
    events.iter().map(ToString::to_string).collect()
}

pub(crate) fn q1(events: &[Event]) -> Vec<String> {
    let mut lines = Vec::new();
    for bid in bids(events) {
        // In thousandths of a cent; the last three digits are behind the point.
        let digits = format!("{:04}", bid.price * 908);
        let (cents, thousandths) = digits.split_at(digits.len() - 3);
        lines.push(format!(
            "{},{},{cents}.{thousandths},{},{}",
            bid.auction, bid.bidder, bid.date_time, bid.extra
        ));
    }
    lines
}

pub(crate) fn q2(events: &[Event]) -> Vec<String> {
    let selected = bids(events).filter(|bid| bid.auction % 123 == 0);
    selected.map(|bid| format!("{},{}", bid.auction, bid.price)).collect()
}

pub(crate) fn q3(events: &[Event]) -> Vec<String> {
    let mut lines = Vec::new();
    for auction in auctions(events) {
        for person in people(events) {
            let near = person.state == "or" || person.state == "id" || person.state == "ca";
            if auction.category == 10 && auction.seller == person.id && near {
                lines.push(format!(
                    "{},{},{},{}",
                    person.name, person.city, person.state, auction.id
                ));
            }
        }
    }
    lines
}

/// Auctions that have sold something, with the price, in the order in which they ended.
fn sales(events: &[Event]) -> Vec<(&Auction, u64)> {
    let mut bids_of: BTreeMap<u64, Vec<&Bid>> = BTreeMap::new();
    for bid in bids(events) {
        bids_of.entry(bid.auction).or_default().push(bid);
    }
    let mut sales = Vec::new();
    for auction in auctions(events) {
        let mut best = 0;
        for bid in bids_of.get(&auction.id).into_iter().flatten() {
            let open = auction.date_time <= bid.date_time && bid.date_time < auction.expires;
            if open && bid.price >= auction.reserve && bid.price > best {
                best = bid.price;
            }
        }
        if best > 0 {
            sales.push((auction, best));
        }
    }
    sales.sort_by_key(|(auction, _)| (auction.expires, auction.id));
    sales
}

pub(crate) fn q4(events: &[Event]) -> Vec<String> {
    let (mut prices, mut lines) = (BTreeMap::<u64, Vec<u64>>::new(), Vec::new());
    for (auction, price) in sales(events) {
        let prices = prices.entry(auction.category).or_default();
        prices.push(price);
        let average = prices.iter().sum::<u64>() / prices.len() as u64;
        lines.push(format!("{},{average}", auction.category));
    }
    lines
}

pub(crate) fn q5(events: &[Event]) -> Vec<String> {
    let mut counts: BTreeMap<i64, BTreeMap<u64, u64>> = BTreeMap::new();
    for bid in bids(events) {
        let mut start = bid.date_time.div_euclid(SLIDE) * SLIDE;
        while start + WINDOW > bid.date_time {
            *counts.entry(start).or_default().entry(bid.auction).or_default() += 1;
            start -= SLIDE;
        }
    }
    let mut lines = Vec::new();
    for (start, counts) in counts {
        let most = *counts.values().max().unwrap();
        for (auction, count) in counts {
            if count == most {
                lines.push(format!("{},{auction},{count}", start + WINDOW));
            }
        }
    }
    lines
}

pub(crate) fn q6(events: &[Event]) -> Vec<String> {
    let (mut prices, mut lines) = (BTreeMap::<u64, Vec<u64>>::new(), Vec::new());
    for (auction, price) in sales(events) {
        let prices = prices.entry(auction.seller).or_default();
        prices.push(price);
        let last = &prices[prices.len().saturating_sub(10)..];
        let average = last.iter().sum::<u64>() / last.len() as u64;
        lines.push(format!("{},{average}", auction.seller));
    }
    lines
}

pub(crate) fn q7(events: &[Event]) -> Vec<String> {
    let mut highest: BTreeMap<i64, u64> = BTreeMap::new();
    for bid in bids(events) {
        let price = highest.entry(bid.date_time.div_euclid(WINDOW)).or_default();
        *price = bid.price.max(*price);
    }
    let winners = bids(events).filter(|bid| highest[&bid.date_time.div_euclid(WINDOW)] == bid.price);
    winners
        .map(|bid| format!("{},{},{},{}", bid.auction, bid.price, bid.bidder, bid.date_time))
        .collect()
}

pub(crate) fn q8(events: &[Event]) -> Vec<String> {
    let mut lines = Vec::new();
    for person in people(events) {
        for auction in auctions(events) {
            let same_window = person.date_time.div_euclid(WINDOW) == auction.date_time.div_euclid(WINDOW);
            if same_window && person.id == auction.seller {
                lines.push(format!("{},{},{}", person.id, person.name, auction.reserve));
            }
        }
    }
    lines
}

pub(crate) fn q11(events: &[Event]) -> Vec<String> {
    let mut times: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for bid in bids(events) {
        times.entry(bid.bidder).or_default().push(bid.date_time);
    }
    let mut lines = Vec::new();
    for (bidder, mut times) in times {
        times.sort_unstable();
        // Windows that touch are one session: a pause of exactly the gap does not end it.
        for session in times.chunk_by(|before, after| after - before <= SESSION_GAP) {
            let (first, last) = (session[0], session[session.len() - 1]);
            lines.push(format!("{bidder},{},{first},{}", session.len(), last + SESSION_GAP));
        }
    }
    lines
}

/// How many bids each bidder has made: what the counts of query 12 must add up to.
pub(crate) fn q12_totals(events: &[Event]) -> BTreeMap<u64, u64> {
    let mut totals = BTreeMap::new();
    for bid in bids(events) {
        *totals.entry(bid.bidder).or_default() += 1;
    }
    totals
}

pub(crate) fn q13(events: &[Event]) -> Vec<String> {
    let mut lines = Vec::new();
    for bid in bids(events) {
        lines.push(format!(
            "{},{},{},{},value-{}",
            bid.auction,
            bid.bidder,
            bid.price,
            bid.date_time,
            bid.auction % 10_000
        ));
    }
    lines
}

/// The bids on which no other by the same bidder follows for so long, by their places among the events.
pub(crate) fn bids_before_a_pause(events: &[Event], pause: i64) -> BTreeSet<usize> {
    let (mut next, mut found) = (BTreeMap::new(), BTreeSet::new());
    for (place, event) in events.iter().enumerate().rev() {
        let Event::Bid(bid) = event else { continue };
        let following = next.insert(bid.bidder, bid.date_time);
        if following.is_none_or(|following| following - bid.date_time > pause) {
            found.insert(place);
        }
    }
    found
}

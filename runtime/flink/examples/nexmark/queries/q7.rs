//! Query 7, highest bid: the highest bid of each ten seconds; all of them if there are several.
//!
//! ```text
//! SELECT auction, price, bidder, date_time FROM (
//!     SELECT *, MAX(price) OVER (PARTITION BY window_end) AS highest FROM TUMBLE(bid, date_time, 10 seconds)
//! ) WHERE price = highest
//! ```

use std::fmt;

use flink::{DataStream, OutputTag, Record, Timestamp, TumblingEventTimeWindows};

use super::{Answer, WINDOW, highest::Highest};
use crate::model::Event;

/// In how many parts bids are compared before the parts are: enough for all subtasks to have some.
const PARTS: u64 = 64;

/// A bid.
#[derive(Debug, Clone, Record)]
pub(crate) struct Offer {
    pub(crate) auction: u64,
    pub(crate) price: u64,
    pub(crate) bidder: u64,
    pub(crate) date_time: Timestamp,
}

/// The highest bids of each window.
pub(crate) fn highest_bid(events: DataStream<Event>) -> Answer<Offer, Offer> {
    let late = OutputTag::new("late");
    let select = |event: Event| {
        event.bid().map(|bid| Offer {
            auction: bid.auction,
            price: bid.price,
            bidder: bid.bidder,
            date_time: bid.date_time,
        })
    };
    let highest_of_parts = events
        .flat_map(select)
        .name("offers")
        .key_by(|offer| offer.price % PARTS)
        .window(TumblingEventTimeWindows::of(WINDOW))
        .side_output_late_data(&late)
        .aggregate(Highest::of(|offer: &Offer| offer.price))
        .name("highest of each part");
    let late = highest_of_parts.get_side_output(&late);
    let results = highest_of_parts
        .flat_map(|offers| offers)
        .window_all(TumblingEventTimeWindows::of(WINDOW))
        .aggregate(Highest::of(|offer: &Offer| offer.price))
        .name("highest")
        .flat_map(|offers| offers)
        .name("highest bids");
    Answer { results, late }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            auction,
            price,
            bidder,
            date_time,
        } = self;
        write!(f, "{auction},{price},{bidder},{date_time}")
    }
}

//! Query 2, selection: the bids on some auctions.
//!
//! ```text
//! SELECT auction, price FROM bid WHERE auction % 123 = 0
//! ```

use std::fmt;

use flink::{DataStream, Record};

use crate::model::Event;

/// Auctions whose number this divides are selected.
const DIVISOR: u64 = 123;

/// A bid that was selected.
#[derive(Debug, Clone, Record)]
pub(crate) struct Selected {
    auction: u64,
    price: u64,
}

/// The bids that are selected.
pub(crate) fn selection(events: DataStream<Event>) -> DataStream<Selected> {
    let select = |event: Event| match event {
        Event::Bid(bid) if bid.auction.is_multiple_of(DIVISOR) => Some(Selected {
            auction: bid.auction,
            price: bid.price,
        }),
        _ => None,
    };
    events.flat_map(select).name("select")
}

impl fmt::Display for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.auction, self.price)
    }
}

//! Query 1, currency conversion: every bid, its price converted from dollars to euros.
//!
//! ```text
//! SELECT auction, bidder, 0.908 * price, date_time, extra FROM bid
//! ```

use std::fmt;

use flink::{DataStream, Record, Timestamp};

use crate::model::Event;

/// Euros per dollar, in thousandths: 0.908, exactly.
const THOUSANDTHS: u64 = 908;

/// A bid in euros.
#[derive(Debug, Clone, Record)]
pub(crate) struct Converted {
    auction: u64,
    bidder: u64,
    /// In thousandths of a cent.
    price: u64,
    date_time: Timestamp,
    extra: String,
}

/// The bids in euros.
pub(crate) fn currency_conversion(events: DataStream<Event>) -> DataStream<Converted> {
    let convert = |event: Event| {
        event.bid().map(|bid| Converted {
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price * THOUSANDTHS,
            date_time: bid.date_time,
            extra: bid.extra,
        })
    };
    events.flat_map(convert).name("convert")
}

impl fmt::Display for Converted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cents, thousandths) = (self.price / 1000, self.price % 1000);
        write!(
            f,
            "{},{},{cents}.{thousandths:03},{},{}",
            self.auction, self.bidder, self.date_time, self.extra
        )
    }
}

//! Query 13, bounded side input join: every bid, with a text from a small table that does not change.
//!
//! ```text
//! SELECT b.auction, b.bidder, b.price, b.date_time, s.value FROM bid b JOIN side_input s ON b.auction % 10000 = s.key
//! ```

use std::{collections::HashMap, fmt, sync::Arc};

use flink::{DataStream, Record, Timestamp};

use crate::model::Event;

/// How many rows the table has, and what the auction's number is divided by.
const ROWS: u64 = 10_000;

/// A bid with its row's text.
#[derive(Debug, Clone, Record)]
pub(crate) struct Enriched {
    auction: u64,
    bidder: u64,
    price: u64,
    date_time: Timestamp,
    value: String,
}

/// The bids with their texts.
pub(crate) fn side_input_join(events: DataStream<Event>) -> DataStream<Enriched> {
    // Made where the job is declared, which is in each worker: its subtasks share it.
    let table: Arc<HashMap<u64, String>> = Arc::new((0..ROWS).map(|key| (key, format!("value-{key}"))).collect());
    let join = move |event: Event| {
        let bid = event.bid()?;
        let value = table.get(&(bid.auction % ROWS))?.clone();
        Some(Enriched {
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price,
            date_time: bid.date_time,
            value,
        })
    };
    events.flat_map(join).name("join")
}

impl fmt::Display for Enriched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{},{},{},{},{}",
            self.auction, self.bidder, self.price, self.date_time, self.value
        )
    }
}

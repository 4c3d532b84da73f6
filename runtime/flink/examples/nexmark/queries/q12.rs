//! Query 12, processing time windows: how many bids of somebody come in a window of time, by the clock.
//!
//! ```text
//! SELECT bidder, COUNT(*), window_start, window_end FROM TUMBLE(bid, PROCTIME(), 10 seconds) GROUP BY bidder, window
//! ```

use std::time::Duration;

use flink::{DataStream, TumblingProcessingTimeWindows};

use super::{
    bidder_windows::{self, BidderWindow},
    count::Count,
};
use crate::model::Event;

/// The counts in windows of this length. As in Flink, the windows that are open when the input ends emit nothing.
pub(crate) fn processing_time_windows(events: DataStream<Event>, length: Duration) -> DataStream<BidderWindow> {
    events
        .flat_map(|event| event.bid().map(|bid| bid.bidder))
        .name("bidders")
        .key_by(|bidder| *bidder)
        .window(TumblingProcessingTimeWindows::of(length))
        .aggregate_with(Count, bidder_windows::emit)
        .name("count bids")
}

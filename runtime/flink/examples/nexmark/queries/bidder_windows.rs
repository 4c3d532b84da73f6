//! How often somebody bids in a window: the answer of queries 11 and 12.

use std::fmt;

use flink::{Collector, FunctionResult, Record, TimeWindow, Timestamp};

/// How many bids somebody makes in a window.
#[derive(Debug, Clone, Record)]
pub(crate) struct BidderWindow {
    pub(crate) bidder: u64,
    pub(crate) bids: u64,
    start: Timestamp,
    end: Timestamp,
}

/// Emits a window's count.
pub(super) fn emit(
    bidder: &u64,
    window: &TimeWindow,
    bids: u64,
    out: &mut Collector<'_, BidderWindow>,
) -> FunctionResult {
    out.collect(BidderWindow {
        bidder: *bidder,
        bids,
        start: window.start,
        end: window.end,
    });
    Ok(())
}

impl fmt::Display for BidderWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{},{}", self.bidder, self.bids, self.start, self.end)
    }
}

//! Query 11, user sessions: how many bids somebody makes until he pauses for more than ten seconds.
//!
//! ```text
//! SELECT bidder, COUNT(*), window_start, window_end FROM SESSION(bid, date_time, 10 seconds) GROUP BY bidder, window
//! ```

use flink::{DataStream, EventTimeSessionWindows, OutputTag};

use super::{
    Answer, WINDOW,
    bidder_windows::{self, BidderWindow},
    count::Count,
};
use crate::model::Event;

/// The sessions. Bids that are too late come out as their bidders.
pub(crate) fn user_sessions(events: DataStream<Event>) -> Answer<BidderWindow, u64> {
    let late = OutputTag::new("late");
    let parallelism = events.parallelism();
    let results = events
        .flat_map(|event| event.bid().map(|bid| bid.bidder))
        .name("bidders")
        .set_parallelism(parallelism)
        .key_by(|bidder| *bidder)
        .window(EventTimeSessionWindows::with_gap(WINDOW))
        .side_output_late_data(&late)
        .aggregate_with(Count, bidder_windows::emit)
        .name("count bids");
    let late = results.get_side_output(&late);
    Answer { results, late }
}

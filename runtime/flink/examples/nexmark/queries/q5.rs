//! Query 5, hot items: every two seconds, the auctions with the most bids of the last ten; all of them if there are several.
//!
//! ```text
//! SELECT window_end, auction, num FROM (
//!     SELECT window_end, auction, COUNT(*) AS num, MAX(COUNT(*)) OVER (PARTITION BY window_end) AS most
//!     FROM HOP(bid, date_time, 2 seconds, 10 seconds) GROUP BY window_end, auction
//! ) WHERE num = most
//! ```

use std::fmt;

use flink::{DataStream, OutputTag, Record, SlidingEventTimeWindows, TimeWindow, Timestamp, TumblingEventTimeWindows};

use super::{Answer, SLIDE, WINDOW, count::Count, highest::Highest};
use crate::model::Event;

/// How many bids an auction has in a window.
#[derive(Debug, Clone, Record)]
pub(crate) struct Bids {
    window_end: Timestamp,
    auction: u64,
    count: u64,
}

/// The hottest auctions of each window. Bids that are too late come out as the auctions that they are on.
pub(crate) fn hot_items(events: DataStream<Event>) -> Answer<Bids, u64> {
    let late = OutputTag::new("late");
    let parallelism = events.parallelism();
    let counts = events
        .flat_map(|event| event.bid().map(|bid| bid.auction))
        .name("auctions")
        .set_parallelism(parallelism)
        .key_by(|auction| *auction)
        .window(SlidingEventTimeWindows::of(WINDOW, SLIDE))
        .side_output_late_data(&late)
        .aggregate_with(Count, |auction: &u64, window: &TimeWindow, count, out| {
            let (window_end, auction) = (window.end, *auction);
            out.collect(Bids {
                window_end,
                auction,
                count,
            });
            Ok(())
        })
        .name("count bids");
    let late = counts.get_side_output(&late);
    // Counts have the time of their window's last millisecond: of each window they are alone in one of these.
    let results = counts
        .key_by(|bids| bids.window_end)
        .window(TumblingEventTimeWindows::of(SLIDE))
        .aggregate(Highest::of(|bids: &Bids| bids.count))
        .name("most bids")
        .flat_map(|hottest| hottest)
        .name("hot items");
    Answer { results, late }
}

impl fmt::Display for Bids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.window_end, self.auction, self.count)
    }
}

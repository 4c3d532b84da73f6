//! Query 7, highest bid: the highest bid of each ten seconds; all of them if there are several.
//!
//! ```text
//! SELECT auction, price, bidder, date_time FROM (
//!     SELECT *, MAX(price) OVER (PARTITION BY window_end) AS highest FROM TUMBLE(bid, date_time, 10 seconds)
//! ) WHERE price = highest
//! ```

use std::fmt;

use flink::{DataStream, OutputTag, Record, TimeWindow, Timestamp, TumblingEventTimeWindows};

use super::{Answer, WINDOW, highest::Highest};
use crate::model::Event;

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
    let mut partial = PartialHighest::default();
    let parallelism = events.parallelism();
    let highest = events
        .flat_map(select)
        .name("offers")
        .set_parallelism(parallelism)
        .process_with(move |offer: Offer, context, out| {
            let time = context.timestamp().ok_or("a bid without a timestamp")?;
            if partial.may_win(offer.price, time, context.current_watermark()) {
                out.collect(offer);
            }
            Ok(())
        })
        .name("highest so far")
        .set_parallelism(parallelism)
        .window_all(TumblingEventTimeWindows::of(WINDOW))
        .side_output_late_data(&late)
        .aggregate(Highest::of(|offer: &Offer| offer.price))
        .name("highest");
    let late = highest.get_side_output(&late);
    let results = highest.flat_map(|offers| offers).name("highest bids");
    Answer { results, late }
}

/// The highest price that a subtask has sent for each window that is open: a lower one cannot win. Not state: a task that is
/// restored only sends more.
#[derive(Debug, Clone, Default)]
struct PartialHighest {
    /// Last timestamp of the window, and the price.
    windows: Vec<(Timestamp, u64)>,
}

impl PartialHighest {
    /// Whether no bid of the window was higher. A bid that may be late is for the window to judge, whose watermark is never ahead
    /// of this subtask's.
    fn may_win(&mut self, price: u64, time: Timestamp, watermark: Timestamp) -> bool {
        let size = WINDOW.as_millis() as Timestamp;
        let last = TimeWindow::start_with_offset(time, 0, size) + size - 1;
        if last <= watermark {
            return true;
        }
        let Some((_, highest)) = self.windows.iter_mut().find(|(other, _)| *other == last) else {
            self.windows.retain(|(other, _)| *other > watermark);
            self.windows.push((last, price));
            return true;
        };
        let may_win = price >= *highest;
        *highest = price.max(*highest);
        may_win
    }
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

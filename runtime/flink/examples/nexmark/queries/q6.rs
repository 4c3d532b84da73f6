//! Query 6, average selling price by seller: the average of the winning bids of each seller's last ten sales, one more with each
//! sale.
//!
//! ```text
//! SELECT seller, AVG(final) OVER (PARTITION BY seller ORDER BY expires, id ROWS 9 PRECEDING) FROM (
//!     SELECT MAX(b.price) AS final, a.seller, a.expires, a.id FROM auction a JOIN bid b ON b.auction = a.id
//!     WHERE b.price >= a.reserve AND a.date_time <= b.date_time AND b.date_time < a.expires
//!     GROUP BY a.id, a.seller, a.expires
//! )
//! ```

use flink::DataStream;

use super::{
    Answer,
    rolling_average::{Average, RollingAverage},
    winning_bids::{Trade, winning_bids},
};
use crate::model::Event;

/// How many sales count.
const LAST: usize = 10;

/// The averages.
pub(crate) fn average_selling_price_by_seller(events: DataStream<Event>) -> Answer<Average, Trade> {
    let Answer { results: sales, late } = winning_bids(events);
    let results = sales
        .key_by(|sale| sale.seller)
        .process(|context| RollingAverage::new(context, Some(LAST)))
        .name("average");
    Answer { results, late }
}

//! Query 4, average price for a category: the average of the winning bids of each category, one more with each sale.
//!
//! ```text
//! SELECT category, AVG(final) FROM (
//!     SELECT MAX(b.price) AS final, a.category FROM auction a JOIN bid b ON b.auction = a.id
//!     WHERE b.price >= a.reserve AND a.date_time <= b.date_time AND b.date_time < a.expires
//!     GROUP BY a.id, a.category
//! ) GROUP BY category
//! ```

use flink::DataStream;

use super::{
    Answer,
    rolling_average::{Average, RollingAverage},
    winning_bids::{Trade, winning_bids},
};
use crate::model::Event;

/// The averages.
pub(crate) fn average_price_for_category(events: DataStream<Event>) -> Answer<Average, Trade> {
    let Answer { results: sales, late } = winning_bids(events);
    let results = sales
        .key_by(|sale| sale.category)
        .process(|context| RollingAverage::new(context, None))
        .name("average");
    Answer { results, late }
}

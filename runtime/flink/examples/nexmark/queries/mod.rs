//! The queries: each a function from the events to its answer.
//!
//! What is done before the first exchange is done where the events come from: so each key has its events in their order, and which
//! of them are late depends on nothing else.

pub(crate) mod bidder_windows;
mod count;
mod highest;
pub(crate) mod q0;
pub(crate) mod q1;
pub(crate) mod q11;
pub(crate) mod q12;
pub(crate) mod q13;
pub(crate) mod q2;
pub(crate) mod q3;
pub(crate) mod q4;
pub(crate) mod q5;
pub(crate) mod q6;
pub(crate) mod q7;
pub(crate) mod q8;
mod rolling_average;
mod winning_bids;

use std::time::Duration;

use flink::DataStream;

/// The length of windows, and of the pause that ends a session.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// Between the beginnings of sliding windows.
const SLIDE: Duration = Duration::from_secs(2);

/// The answer of a query that goes by event time.
pub(crate) struct Answer<R, L> {
    /// The answer itself.
    pub(crate) results: DataStream<R>,
    /// Records that came too late to count in it.
    pub(crate) late: DataStream<L>,
}

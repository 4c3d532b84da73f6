//! What auctions end with: their highest bids. Queries 4 and 6 begin with it.
//!
//! A bid counts if it is at least the auction's reserve and was made while the auction was open, from its `date_time` up to, and
//! not including, its `expires`. An auction without such a bid sells nothing.
//!
//! Bids may come before their auction, as other subtasks generate it. They wait until the watermark says that no auction can come any
//! more that was open when they were made. An event that comes when the watermark has reached its time is late: whether it would
//! still count must not depend on what has come in the meantime, so it never does.

use flink::{
    Collector, DataStream, FunctionError, FunctionResult, KeyedContext, KeyedProcessFunction, KeyedRuntimeContext,
    OnTimerContext, OutputTag, Record, Timestamp, ValueState, ValueStateDescriptor,
};

use super::Answer;
use crate::model::Event;

/// An auction that has ended in a sale. Its timestamp is the last millisecond of the auction.
#[derive(Debug, Clone, Record)]
pub(super) struct Sale {
    pub(super) auction: u64,
    pub(super) category: u64,
    pub(super) seller: u64,
    pub(super) price: u64,
}

/// What of an event matters here.
#[derive(Debug, Clone, Record)]
pub(crate) struct Trade {
    /// The auction.
    pub(crate) auction: u64,
    /// When it begins, or when the bid was made.
    pub(crate) date_time: Timestamp,
    kind: Kind,
}

#[derive(Debug, Clone, Record)]
enum Kind {
    /// Boxed, since most events are bids, and all are as large as the largest.
    Auction(Box<Terms>),
    Bid {
        price: u64,
    },
}

#[derive(Debug, Clone, Record)]
struct Terms {
    category: u64,
    seller: u64,
    reserve: u64,
    begins: Timestamp,
    expires: Timestamp,
}

impl Terms {
    fn allow(&self, price: u64, date_time: Timestamp) -> bool {
        price >= self.reserve && (self.begins..self.expires).contains(&date_time)
    }
}

/// The sales.
pub(super) fn winning_bids(events: DataStream<Event>) -> Answer<Sale, Trade> {
    let late = OutputTag::new("late");
    let tag = late.clone();
    let parallelism = events.parallelism();
    let results = events
        .flat_map(Trade::of)
        .name("trades")
        .set_parallelism(parallelism)
        .key_by(|trade| trade.auction)
        .process(move |context| WinningBids::new(context, tag.clone()))
        .name("winning bids");
    let late = results.get_side_output(&late);
    Answer { results, late }
}

impl Trade {
    fn of(event: Event) -> Option<Self> {
        match event {
            Event::Person(_) => None,
            Event::Auction(auction) => Some(Self {
                auction: auction.id,
                date_time: auction.date_time,
                kind: Kind::Auction(Box::new(Terms {
                    category: auction.category,
                    seller: auction.seller,
                    reserve: auction.reserve,
                    begins: auction.date_time,
                    expires: auction.expires,
                })),
            }),
            Event::Bid(bid) => Some(Self {
                auction: bid.auction,
                date_time: bid.date_time,
                kind: Kind::Bid { price: bid.price },
            }),
        }
    }
}

/// An auction that is open, or the bids on one that is not known.
#[derive(Debug, Clone, Record)]
enum State {
    /// The highest bid so far.
    Open { terms: Terms, highest: Option<u64> },
    /// The highest bid of each millisecond.
    Unknown(Vec<(Timestamp, u64)>),
}

struct WinningBids {
    state: ValueState<State>,
    late: OutputTag<Trade>,
}

impl WinningBids {
    fn new(context: &KeyedRuntimeContext<'_, u64>, late: OutputTag<Trade>) -> Result<Self, FunctionError> {
        let state = context.value_state(&ValueStateDescriptor::new("auction"))?;
        Ok(Self { state, late })
    }

    /// The auction is open from now on. Returns when its last millisecond is.
    fn open(&self, terms: Terms) -> Timestamp {
        let highest = match self.state.take() {
            Some(State::Unknown(bids)) => {
                let allowed = bids
                    .into_iter()
                    .filter(|(date_time, price)| terms.allow(*price, *date_time));
                allowed.map(|(_, price)| price).max()
            }
            Some(State::Open { highest, .. }) => highest,
            None => None,
        };
        let last = terms.expires - 1;
        self.state.update(State::Open { terms, highest });
        last
    }

    /// Somebody has bid. Returns whether the auction is not known.
    fn bid(&self, bid_price: u64, bid_time: Timestamp) -> bool {
        let start = || State::Unknown(Vec::new());
        self.state.modify_or_insert_with(start, |state| match state {
            State::Open { terms, highest } => {
                if terms.allow(bid_price, bid_time) {
                    *highest = (*highest).max(Some(bid_price));
                }
                false
            }
            State::Unknown(bids) => {
                match bids.iter_mut().find(|(date_time, _)| *date_time == bid_time) {
                    Some((_, price)) => *price = (*price).max(bid_price),
                    None => bids.push((bid_time, bid_price)),
                }
                true
            }
        })
    }
}

impl KeyedProcessFunction<u64, Trade> for WinningBids {
    type Out = Sale;

    fn process_element(
        &mut self,
        trade: Trade,
        context: &mut KeyedContext<'_, u64>,
        out: &mut Collector<'_, Sale>,
    ) -> FunctionResult {
        if trade.date_time <= context.timer_service().current_watermark() {
            out.output(&self.late, trade);
            return Ok(());
        }
        match trade.kind {
            Kind::Auction(terms) => {
                let last = self.open(*terms);
                context.timer_service().register_event_time_timer(last);
            }
            Kind::Bid { price } => {
                if self.bid(price, trade.date_time) {
                    context.timer_service().register_event_time_timer(trade.date_time);
                }
            }
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        timestamp: Timestamp,
        context: &mut OnTimerContext<'_, u64>,
        out: &mut Collector<'_, Sale>,
    ) -> FunctionResult {
        let over = self.state.modify(|state| match state {
            State::Open { terms, .. } => terms.expires - 1 <= timestamp,
            State::Unknown(bids) => {
                bids.retain(|(date_time, _)| *date_time > timestamp);
                bids.is_empty()
            }
        });
        if over == Some(true)
            && let Some(State::Open { terms, highest }) = self.state.take()
            && let Some(price) = highest
        {
            let (auction, category, seller) = (*context.current_key(), terms.category, terms.seller);
            out.collect(Sale {
                auction,
                category,
                seller,
                price,
            });
        }
        Ok(())
    }
}

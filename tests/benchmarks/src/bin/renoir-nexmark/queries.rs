//! The queries, on Renoir's operators. docs/nexmark.md says what they compute, and where Renoir's answers are fewer.

use std::collections::{HashMap, VecDeque};

use flink_benchmarks::{Tally, events};
use nexmark::event::{Bid, Event};
use renoir::{
    Stream,
    operator::{Operator, window::TransactionOp},
    prelude::*,
};
use serde::{Deserialize, Serialize};

/// Records per message between two threads, as Renoir's own example has it.
const BATCH: usize = 16 << 10;

/// Events of one thread between two watermarks, as Renoir's own example has it.
const WATERMARK_INTERVAL: u32 = 1 << 20;

/// Tumbling windows, ms.
const WINDOW: i64 = 10_000;

/// Between the beginnings of sliding windows, ms.
const SLIDE: i64 = 2_000;

/// Sales of a seller that count in query 6.
const LAST_SALES: usize = 10;

/// Declares a query; false if there is no such.
pub(crate) fn declare(context: &StreamContext, query: &str, total: u64, tally: Tally) -> bool {
    let events = source(context, total);
    match query {
        "0" => count(events, tally),
        "1" => currency_conversion(events, tally),
        "2" => count(events.filter_map(bid).filter(|bid| bid.auction % 123 == 0), tally),
        "3" => local_item_suggestion(events, tally),
        "4" => average_price_for_category(events, tally),
        "5" => hot_items(events, tally),
        "6" => average_selling_price_by_seller(events, tally),
        "7" => highest_bid(events, tally),
        "8" => new_users(events, tally),
        "13" => side_input_join(events, tally),
        _ => return false,
    }
    true
}

fn source(context: &StreamContext, total: u64) -> Stream<impl Operator<Out = Event> + 'static> {
    context
        .stream_par_iter(move |index, count| events(total, index, count))
        .batch_mode(BatchMode::fixed(BATCH))
}

fn count<T: Send + 'static>(answers: Stream<impl Operator<Out = T> + 'static>, mut tally: Tally) {
    answers.for_each(move |_| tally.add_one());
}

fn bid(event: Event) -> Option<Bid> {
    match event {
        Event::Bid(bid) => Some(bid),
        Event::Person(_) | Event::Auction(_) => None,
    }
}

/// Events with timestamps, and a watermark now and then.
fn timed(events: Stream<impl Operator<Out = Event> + 'static>) -> Stream<impl Operator<Out = Event> + 'static> {
    let mut since_watermark = 0;
    events.add_timestamps(
        |event| event.timestamp() as i64,
        move |_, timestamp| {
            since_watermark = (since_watermark + 1) % WATERMARK_INTERVAL;
            (since_watermark == 0).then_some(*timestamp)
        },
    )
}

fn currency_conversion(events: Stream<impl Operator<Out = Event> + 'static>, tally: Tally) {
    let converted = events.filter_map(bid).map(|bid| {
        let price = bid.price * 908;
        (bid.auction, bid.bidder, price, bid.date_time, bid.extra)
    });
    count(converted, tally);
}

fn local_item_suggestion(events: Stream<impl Operator<Out = Event> + 'static>, tally: Tally) {
    let near = |event: &Event| matches!(event, Event::Person(it) if ["or", "id", "ca"].contains(&it.state.as_str()));
    let of_category = |event: &Event| matches!(event, Event::Auction(auction) if auction.category == 10);
    let mut routes = events
        .route()
        .add_route(near)
        .add_route(of_category)
        .build()
        .into_iter();
    let (Some(sellers), Some(items)) = (routes.next(), routes.next()) else {
        return;
    };
    let sellers = sellers.filter_map(|event| match event {
        Event::Person(person) => Some((person.id, person.name, person.city, person.state)),
        _ => None,
    });
    let items = items.filter_map(|event| match event {
        Event::Auction(auction) => Some((auction.seller, auction.id)),
        _ => None,
    });
    let suggestions = sellers.join(items, |seller| seller.0, |item| item.0).drop_key();
    count(
        suggestions.map(|((_, name, city, state), (_, auction))| (name, city, state, auction)),
        tally,
    );
}

/// An auction that has begun, or a bid: what of them matters to what auctions end with.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Trade {
    Begin(Terms),
    Offer { auction: usize, price: usize, time: u64 },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Terms {
    auction: usize,
    category: usize,
    seller: usize,
    reserve: usize,
    begins: u64,
    expires: u64,
}

/// What is known of an auction so far.
#[derive(Debug, Clone, Default)]
struct Lot {
    terms: Option<Terms>,
    highest: Option<usize>,
    /// Offers that came before the auction.
    early: Vec<(usize, u64)>,
}

impl Lot {
    fn add(&mut self, trade: &Trade) {
        match trade {
            Trade::Begin(terms) => {
                self.terms = Some(*terms);
                for (price, time) in std::mem::take(&mut self.early) {
                    self.offer(price, time);
                }
            }
            Trade::Offer { price, time, .. } => self.offer(*price, *time),
        }
    }

    fn offer(&mut self, price: usize, time: u64) {
        match &self.terms {
            None => self.early.push((price, time)),
            Some(terms) if price >= terms.reserve && (terms.begins..terms.expires).contains(&time) => {
                self.highest = self.highest.max(Some(price));
            }
            Some(_) => {}
        }
    }
}

/// Auctions that ended in a sale, with the price.
fn sales(
    events: Stream<impl Operator<Out = Event> + 'static>,
) -> Stream<impl Operator<Out = (Terms, usize)> + 'static> {
    let trades = timed(events).filter_map(|event| match event {
        Event::Person(_) => None,
        Event::Auction(it) => Some(Trade::Begin(Terms {
            auction: it.id,
            category: it.category,
            seller: it.seller,
            reserve: it.reserve,
            begins: it.date_time,
            expires: it.expires,
        })),
        Event::Bid(it) => Some(Trade::Offer {
            auction: it.auction,
            price: it.price,
            time: it.date_time,
        }),
    });
    trades
        .group_by(|trade| match trade {
            Trade::Begin(terms) => terms.auction,
            Trade::Offer { auction, .. } => *auction,
        })
        .window(TransactionWindow::new(|trade: &Trade| match trade {
            Trade::Begin(terms) => TransactionOp::CommitAfter(terms.expires as i64 - 1),
            Trade::Offer { .. } => TransactionOp::Continue,
        }))
        .fold(Lot::default(), |lot, trade| lot.add(trade))
        .drop_key()
        .filter_map(|lot| lot.terms.zip(lot.highest))
}

fn average_price_for_category(events: Stream<impl Operator<Out = Event> + 'static>, tally: Tally) {
    let averages = sales(events)
        .map(|(terms, price)| (terms.category, price))
        .group_by(|sale| sale.0)
        .rich_map({
            let (mut sum, mut sales) = (0, 0);
            move |(_, (_, price))| {
                sum += price;
                sales += 1;
                sum / sales
            }
        });
    count(averages.unkey(), tally);
}

fn average_selling_price_by_seller(events: Stream<impl Operator<Out = Event> + 'static>, tally: Tally) {
    let averages = sales(events)
        .map(|(terms, price)| (terms.seller, price))
        .group_by(|sale| sale.0)
        .rich_map({
            let mut last = VecDeque::new();
            move |(_, (_, price))| {
                last.push_back(price);
                if last.len() > LAST_SALES {
                    last.pop_front();
                }
                last.iter().sum::<usize>() / last.len()
            }
        });
    count(averages.unkey(), tally);
}

fn hot_items(events: Stream<impl Operator<Out = Event> + 'static>, tally: Tally) {
    let counts = timed(events)
        .filter_map(|event| bid(event).map(|bid| bid.auction))
        .group_by(|auction| *auction)
        .window(EventTimeWindow::sliding(WINDOW, SLIDE))
        .count()
        .unkey();
    let hottest = counts
        .window_all(EventTimeWindow::tumbling(SLIDE))
        .max_by_key(|(_, bids)| *bids);
    count(hottest.drop_key(), tally);
}

fn highest_bid(events: Stream<impl Operator<Out = Event> + 'static>, tally: Tally) {
    let bids = timed(events).filter_map(|event| {
        let bid = bid(event)?;
        Some((bid.auction, bid.price, bid.bidder, bid.date_time))
    });
    let highest = bids
        // Nothing is sent: each thread finds its own highest first.
        .key_by(|_| ())
        .window(EventTimeWindow::tumbling(WINDOW))
        .max_by_key(|bid| bid.1)
        .drop_key()
        .window_all(EventTimeWindow::tumbling(WINDOW))
        .max_by_key(|bid| bid.1);
    count(highest.drop_key(), tally);
}

fn new_users(events: Stream<impl Operator<Out = Event> + 'static>, tally: Tally) {
    let person = |event: &Event| matches!(event, Event::Person(_));
    let auction = |event: &Event| matches!(event, Event::Auction(_));
    let routes = timed(events).route().add_route(person).add_route(auction).build();
    let mut routes = routes.into_iter();
    let (Some(people), Some(auctions)) = (routes.next(), routes.next()) else {
        return;
    };
    let people = people.filter_map(|event| match event {
        Event::Person(person) => Some((person.id, person.name)),
        _ => None,
    });
    let auctions = auctions.filter_map(|event| match event {
        Event::Auction(auction) => Some((auction.seller, auction.reserve)),
        _ => None,
    });
    let (people, auctions) = (people.group_by(|it| it.0), auctions.group_by(|it| it.0));
    let joined = people
        .window_join(EventTimeWindow::tumbling(WINDOW), auctions)
        .drop_key();
    count(joined.map(|((id, name), (_, reserve))| (id, name, reserve)), tally);
}

fn side_input_join(events: Stream<impl Operator<Out = Event> + 'static>, tally: Tally) {
    let table: HashMap<usize, String> = (0..10_000).map(|key| (key, format!("value-{key}"))).collect();
    let table = std::sync::Arc::new(table);
    let joined = events.filter_map(move |event| {
        let bid = bid(event)?;
        let value = table.get(&(bid.auction % 10_000))?.clone();
        Some((bid.auction, bid.bidder, bid.price, bid.date_time, value))
    });
    count(joined, tally);
}

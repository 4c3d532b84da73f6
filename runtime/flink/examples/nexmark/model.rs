//! The events of an online auction house, as this program's own records.

use std::fmt;

use flink::{Record, Timestamp};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Record)]
pub(crate) enum Event {
    /// Somebody has registered.
    Person(Person),
    /// Something is for sale.
    Auction(Auction),
    /// Somebody has bid on it.
    Bid(Bid),
}

/// Somebody who offers and bids.
#[derive(Debug, Clone, PartialEq, Eq, Record)]
pub(crate) struct Person {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) email_address: String,
    pub(crate) credit_card: String,
    pub(crate) city: String,
    pub(crate) state: String,
    pub(crate) date_time: Timestamp,
    pub(crate) extra: String,
}

/// Something that is for sale for a while.
#[derive(Debug, Clone, PartialEq, Eq, Record)]
pub(crate) struct Auction {
    pub(crate) id: u64,
    pub(crate) item_name: String,
    pub(crate) description: String,
    /// In cents.
    pub(crate) initial_bid: u64,
    /// The least price that it is sold for, in cents.
    pub(crate) reserve: u64,
    pub(crate) date_time: Timestamp,
    /// From when on no bid counts.
    pub(crate) expires: Timestamp,
    pub(crate) seller: u64,
    pub(crate) category: u64,
    pub(crate) extra: String,
}

/// An offer to buy.
#[derive(Debug, Clone, PartialEq, Eq, Record)]
pub(crate) struct Bid {
    pub(crate) auction: u64,
    pub(crate) bidder: u64,
    /// In cents.
    pub(crate) price: u64,
    pub(crate) channel: String,
    pub(crate) url: String,
    pub(crate) date_time: Timestamp,
    pub(crate) extra: String,
}

impl Event {
    /// When it happened.
    pub(crate) fn date_time(&self) -> Timestamp {
        match self {
            Self::Person(person) => person.date_time,
            Self::Auction(auction) => auction.date_time,
            Self::Bid(bid) => bid.date_time,
        }
    }

    /// The bid that it is, if it is one.
    pub(crate) fn bid(self) -> Option<Bid> {
        match self {
            Self::Bid(bid) => Some(bid),
            Self::Person(_) | Self::Auction(_) => None,
        }
    }
}

impl From<nexmark::event::Event> for Event {
    /// Takes the generator's strings as they are.
    #[inline]
    fn from(event: nexmark::event::Event) -> Self {
        match event {
            nexmark::event::Event::Person(person) => Self::Person(Person {
                id: person.id as u64,
                name: person.name,
                email_address: person.email_address,
                credit_card: person.credit_card,
                city: person.city,
                state: person.state,
                date_time: person.date_time as Timestamp,
                extra: person.extra,
            }),
            nexmark::event::Event::Auction(auction) => Self::Auction(Auction {
                id: auction.id as u64,
                item_name: auction.item_name,
                description: auction.description,
                initial_bid: auction.initial_bid as u64,
                reserve: auction.reserve as u64,
                date_time: auction.date_time as Timestamp,
                expires: auction.expires as Timestamp,
                seller: auction.seller as u64,
                category: auction.category as u64,
                extra: auction.extra,
            }),
            nexmark::event::Event::Bid(bid) => Self::Bid(Bid {
                auction: bid.auction as u64,
                bidder: bid.bidder as u64,
                price: bid.price as u64,
                channel: bid.channel,
                url: bid.url,
                date_time: bid.date_time as Timestamp,
                extra: bid.extra,
            }),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(it) => write!(
                f,
                "person,{},{},{},{},{},{},{},{}",
                it.id, it.name, it.email_address, it.credit_card, it.city, it.state, it.date_time, it.extra
            ),
            Self::Auction(it) => write!(
                f,
                "auction,{},{},{},{},{},{},{},{},{},{}",
                it.id,
                it.item_name,
                it.description,
                it.initial_bid,
                it.reserve,
                it.date_time,
                it.expires,
                it.seller,
                it.category,
                it.extra
            ),
            Self::Bid(it) => write!(
                f,
                "bid,{},{},{},{},{},{},{}",
                it.auction, it.bidder, it.price, it.channel, it.url, it.date_time, it.extra
            ),
        }
    }
}

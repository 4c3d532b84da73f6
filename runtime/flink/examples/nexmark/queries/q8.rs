//! Query 8, new users: who begins auctions in the ten seconds in which he registers.
//!
//! ```text
//! SELECT p.id, p.name, a.reserve FROM TUMBLE(person, date_time, 10 seconds) p JOIN TUMBLE(auction, date_time, 10 seconds) a
//! ON p.id = a.seller AND p.window_end = a.window_end
//! ```

use std::fmt;

use flink::{DataStream, OutputTag, Record, TumblingEventTimeWindows};

use super::WINDOW;
use crate::model::Event;

/// A new user who sells something.
#[derive(Debug, Clone, Record)]
pub(crate) struct NewUser {
    id: u64,
    name: String,
    reserve: u64,
}

/// Somebody who has registered.
#[derive(Debug, Clone, Record)]
struct Registered {
    id: u64,
    name: String,
}

/// An auction that has begun.
#[derive(Debug, Clone, Record)]
struct Begun {
    seller: u64,
    reserve: u64,
}

/// The new users, once per auction.
pub(crate) fn new_users(events: DataStream<Event>) -> DataStream<NewUser> {
    let registered_tag = OutputTag::<Registered>::new("registered");
    let tag = registered_tag.clone();
    let parallelism = events.parallelism();
    let begun = events
        .process_with(move |event, _, out| {
            match event {
                Event::Auction(auction) => out.collect(Begun {
                    seller: auction.seller,
                    reserve: auction.reserve,
                }),
                Event::Person(person) => {
                    let (id, name) = (person.id, person.name);
                    out.output(&tag, Registered { id, name });
                }
                Event::Bid(_) => {}
            }
            Ok(())
        })
        .name("select")
        .set_parallelism(parallelism);
    let registered = begun.get_side_output(&registered_tag);
    registered
        .join(begun)
        .where_key(|person| person.id)
        .equal_to(|auction| auction.seller)
        .window(TumblingEventTimeWindows::of(WINDOW))
        .apply(|person, auction| NewUser {
            id: person.id,
            name: person.name.clone(),
            reserve: auction.reserve,
        })
        .name("join")
}

impl fmt::Display for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.id, self.name, self.reserve)
    }
}

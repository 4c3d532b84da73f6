//! Query 3, local item suggestion: who sells something of one category in some states. An incremental join that knows no time:
//! both sides are kept forever.
//!
//! ```text
//! SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id
//! WHERE a.category = 10 AND p.state IN ('or', 'id', 'ca')
//! ```

use std::fmt;

use flink::{
    Collector, DataStream, FunctionError, FunctionResult, KeyedCoProcessFunction, KeyedContext, KeyedRuntimeContext,
    ListState, ListStateDescriptor, OutputTag, Record, ValueState, ValueStateDescriptor,
};

use crate::model::Event;

const CATEGORY: u64 = 10;
const STATES: [&str; 3] = ["or", "id", "ca"];

/// What is suggested.
#[derive(Debug, Clone, Record)]
pub(crate) struct Suggestion {
    seller: Seller,
    auction: u64,
}

/// A person from one of the states.
#[derive(Debug, Clone, Record)]
struct Seller {
    id: u64,
    name: String,
    city: String,
    state: String,
}

/// An auction of the category.
#[derive(Debug, Clone, Record)]
struct Item {
    seller: u64,
    auction: u64,
}

/// The suggestions.
pub(crate) fn local_item_suggestion(events: DataStream<Event>) -> DataStream<Suggestion> {
    let sellers_tag = OutputTag::<Seller>::new("sellers");
    let tag = sellers_tag.clone();
    let items = events
        .process_with(move |event, _, out| {
            match event {
                Event::Auction(auction) if auction.category == CATEGORY => out.collect(Item {
                    seller: auction.seller,
                    auction: auction.id,
                }),
                Event::Person(person) if STATES.contains(&person.state.as_str()) => {
                    let (id, name, city, state) = (person.id, person.name, person.city, person.state);
                    out.output(&tag, Seller { id, name, city, state });
                }
                _ => {}
            }
            Ok(())
        })
        .name("select");
    let sellers = items.get_side_output(&sellers_tag);
    sellers
        .key_by(|seller| seller.id)
        .connect(items.key_by(|item| item.seller))
        .process(Join::new)
        .name("join")
}

/// What is known of one seller.
struct Join {
    seller: ValueState<Seller>,
    /// Auctions that came before their seller.
    waiting: ListState<u64>,
}

impl Join {
    fn new(context: &KeyedRuntimeContext<'_, u64>) -> Result<Self, FunctionError> {
        Ok(Self {
            seller: context.value_state(&ValueStateDescriptor::new("seller"))?,
            waiting: context.keyed_list_state(&ListStateDescriptor::new("waiting"))?,
        })
    }
}

impl KeyedCoProcessFunction<u64, Seller, Item> for Join {
    type Out = Suggestion;

    fn process_element1(
        &mut self,
        seller: Seller,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<'_, Suggestion>,
    ) -> FunctionResult {
        for auction in self.waiting.take() {
            let seller = seller.clone();
            out.collect(Suggestion { seller, auction });
        }
        self.seller.update(seller);
        Ok(())
    }

    fn process_element2(
        &mut self,
        item: Item,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<'_, Suggestion>,
    ) -> FunctionResult {
        let auction = item.auction;
        match self.seller.get() {
            Some(seller) => out.collect(Suggestion { seller, auction }),
            None => self.waiting.add(auction),
        }
        Ok(())
    }
}

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seller { name, city, state, .. } = &self.seller;
        write!(f, "{name},{city},{state},{}", self.auction)
    }
}

//! Average prices of sales, one more with each sale, in the order in which the auctions ended.
//!
//! Sales of several subtasks come in any order. They wait until the watermark has reached their time, and auctions that ended in the
//! same millisecond are taken by their numbers: the averages then are the same however the job is cut up.

use std::{collections::VecDeque, fmt};

use flink::{
    Collector, FunctionError, FunctionResult, KeyedContext, KeyedProcessFunction, KeyedRuntimeContext, MapState,
    MapStateDescriptor, OnTimerContext, Record, Timestamp, ValueState, ValueStateDescriptor,
};

use super::winning_bids::Sale;

/// The average after one more sale.
#[derive(Debug, Clone, Record)]
pub(crate) struct Average {
    key: u64,
    /// In cents, rounded down.
    price: u64,
}

/// Averages over all sales of a key, or over its last so many.
pub(super) struct RollingAverage {
    /// By the time at which they ended: auctions and prices.
    waiting: MapState<Timestamp, Vec<(u64, u64)>>,
    sales: ValueState<Sales>,
    last: Option<usize>,
}

/// Sum and number of prices; the prices themselves only if some of them will have to be taken out again.
#[derive(Debug, Clone, Default, Record)]
struct Sales {
    sum: u64,
    count: u64,
    prices: VecDeque<u64>,
}

impl Sales {
    /// The average with one more sale.
    fn add(&mut self, price: u64, last: Option<usize>) -> u64 {
        self.sum += price;
        self.count += 1;
        if let Some(last) = last {
            self.prices.push_back(price);
            if self.prices.len() > last {
                self.sum -= self.prices.pop_front().unwrap_or_default();
                self.count -= 1;
            }
        }
        self.sum / self.count
    }
}

impl RollingAverage {
    pub(super) fn new(context: &KeyedRuntimeContext<'_, u64>, last: Option<usize>) -> Result<Self, FunctionError> {
        Ok(Self {
            waiting: context.map_state(&MapStateDescriptor::new("waiting"))?,
            sales: context.value_state(&ValueStateDescriptor::new("sales"))?,
            last,
        })
    }
}

impl KeyedProcessFunction<u64, Sale> for RollingAverage {
    type Out = Average;

    fn process_element(
        &mut self,
        sale: Sale,
        context: &mut KeyedContext<'_, u64>,
        _: &mut Collector<'_, Average>,
    ) -> FunctionResult {
        let time = context.timestamp().ok_or("a sale without a timestamp")?;
        let add = |sales: &mut Vec<_>| sales.push((sale.auction, sale.price));
        self.waiting.modify_or_insert_with(time, Vec::new, add);
        context.timer_service().register_event_time_timer(time);
        Ok(())
    }

    fn on_timer(
        &mut self,
        timestamp: Timestamp,
        context: &mut OnTimerContext<'_, u64>,
        out: &mut Collector<'_, Average>,
    ) -> FunctionResult {
        let (key, last) = (*context.current_key(), self.last);
        let mut ended = self.waiting.remove(&timestamp).unwrap_or_default();
        ended.sort_unstable();
        self.sales.modify_or_insert_with(Sales::default, |sales| {
            for (_, price) in ended {
                let price = sales.add(price, last);
                out.collect(Average { key, price });
            }
        });
        Ok(())
    }
}

impl fmt::Display for Average {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.key, self.price)
    }
}

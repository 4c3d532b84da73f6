//! Accumulators: what functions add to while a job runs, and what the job's result then tells.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use flink_graph::{AccumulatorConflict, AccumulatorKind, AccumulatorValue};

/// Most accumulators that the functions of one task can have.
pub const MAX_ACCUMULATORS: usize = 64;

/// Longest name of an accumulator or a metric, bytes.
pub const MAX_NAME: usize = 128;

/// A function's share of an accumulator: it is added to by one subtask, and merged with the others' of its name.
///
/// See [`RuntimeContext::add_accumulator`](super::RuntimeContext::add_accumulator). Clones add to the same one. Adding
/// takes no lock.
pub trait Accumulator: fmt::Debug + Send + Sync + 'static {
    /// What was added by this subtask so far.
    fn local_value(&self) -> AccumulatorValue;
}

/// An accumulator cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccumulatorError {
    /// The task has one of this name, of another kind.
    #[error("accumulator `{name}`: {conflict}")]
    Conflict {
        /// Its name.
        name: String,
        /// The kinds.
        conflict: AccumulatorConflict,
    },
    /// There are [`MAX_ACCUMULATORS`].
    #[error("accumulator `{name}`: the functions of a task can have {MAX_ACCUMULATORS} accumulators, not more")]
    TooMany {
        /// The name of the one that is too many.
        name: String,
    },
    /// The name is empty, or longer than [`MAX_NAME`].
    #[error("an accumulator's name has 1 to {MAX_NAME} bytes, not {length}")]
    Name {
        /// The name's length, bytes.
        length: usize,
    },
}

/// The accumulators of a task's functions.
#[derive(Debug, Default)]
pub(crate) struct TaskAccumulators(Vec<(String, Arc<dyn Accumulator>)>);

impl TaskAccumulators {
    pub(crate) fn add(&mut self, name: &str, accumulator: Arc<dyn Accumulator>) -> Result<(), AccumulatorError> {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(AccumulatorError::Name { length: name.len() });
        }
        let same_name = self.0.iter().find(|(other, _)| other == name);
        let kinds: Option<(AccumulatorKind, AccumulatorKind)> =
            same_name.map(|(_, other)| (other.local_value().kind(), accumulator.local_value().kind()));
        if let Some((first, second)) = kinds.filter(|(first, second)| first != second) {
            return Err(AccumulatorError::Conflict {
                name: name.to_owned(),
                conflict: AccumulatorConflict { first, second },
            });
        }
        if self.0.len() == MAX_ACCUMULATORS {
            return Err(AccumulatorError::TooMany { name: name.to_owned() });
        }
        self.0.push((name.to_owned(), accumulator));
        Ok(())
    }

    /// What was added so far, by name.
    pub(crate) fn values(&self) -> flink_graph::Accumulators {
        let mut values = flink_graph::Accumulators::default();
        for (name, accumulator) in &self.0 {
            values.add(name, accumulator.local_value());
        }
        values
    }
}

/// Counts, up and down.
#[derive(Debug, Clone, Default)]
pub struct LongCounter(Arc<AtomicI64>);

impl LongCounter {
    /// Adds to it. Beyond an `i64` it wraps.
    #[inline]
    pub fn add(&self, value: i64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }
}

impl Accumulator for LongCounter {
    fn local_value(&self) -> AccumulatorValue {
        AccumulatorValue::LongCounter(self.0.load(Ordering::Relaxed))
    }
}

/// The largest of the numbers that are added; `i64::MIN` without any.
#[derive(Debug, Clone)]
pub struct LongMaximum(Arc<AtomicI64>);

impl Default for LongMaximum {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MIN)))
    }
}

impl LongMaximum {
    /// Adds a number.
    #[inline]
    pub fn add(&self, value: i64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }
}

impl Accumulator for LongMaximum {
    fn local_value(&self) -> AccumulatorValue {
        AccumulatorValue::LongMaximum(self.0.load(Ordering::Relaxed))
    }
}

/// The smallest of the numbers that are added; `i64::MAX` without any.
#[derive(Debug, Clone)]
pub struct LongMinimum(Arc<AtomicI64>);

impl Default for LongMinimum {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MAX)))
    }
}

impl LongMinimum {
    /// Adds a number.
    #[inline]
    pub fn add(&self, value: i64) {
        self.0.fetch_min(value, Ordering::Relaxed);
    }
}

impl Accumulator for LongMinimum {
    fn local_value(&self) -> AccumulatorValue {
        AccumulatorValue::LongMinimum(self.0.load(Ordering::Relaxed))
    }
}

/// A floating point number that several threads may change.
#[derive(Debug, Clone)]
struct SharedDouble(Arc<AtomicU64>);

impl SharedDouble {
    fn new(value: f64) -> Self {
        Self(Arc::new(AtomicU64::new(value.to_bits())))
    }

    #[inline]
    fn change(&self, change: impl Fn(f64) -> f64) {
        let mut old = self.0.load(Ordering::Relaxed);
        loop {
            let new = change(f64::from_bits(old)).to_bits();
            match self
                .0
                .compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(other) => old = other,
            }
        }
    }

    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// The sum of the numbers that are added.
#[derive(Debug, Clone)]
pub struct DoubleCounter(SharedDouble);

impl Default for DoubleCounter {
    fn default() -> Self {
        Self(SharedDouble::new(0.0))
    }
}

impl DoubleCounter {
    /// Adds a number.
    #[inline]
    pub fn add(&self, value: f64) {
        self.0.change(|sum| sum + value);
    }
}

impl Accumulator for DoubleCounter {
    fn local_value(&self) -> AccumulatorValue {
        AccumulatorValue::DoubleCounter(self.0.get().into())
    }
}

/// The largest of the numbers that are added; minus infinity without any. What is not a number is passed over.
#[derive(Debug, Clone)]
pub struct DoubleMaximum(SharedDouble);

impl Default for DoubleMaximum {
    fn default() -> Self {
        Self(SharedDouble::new(f64::NEG_INFINITY))
    }
}

impl DoubleMaximum {
    /// Adds a number.
    #[inline]
    pub fn add(&self, value: f64) {
        self.0.change(|maximum| maximum.max(value));
    }
}

impl Accumulator for DoubleMaximum {
    fn local_value(&self) -> AccumulatorValue {
        AccumulatorValue::DoubleMaximum(self.0.get().into())
    }
}

/// The smallest of the numbers that are added; infinity without any. What is not a number is passed over.
#[derive(Debug, Clone)]
pub struct DoubleMinimum(SharedDouble);

impl Default for DoubleMinimum {
    fn default() -> Self {
        Self(SharedDouble::new(f64::INFINITY))
    }
}

impl DoubleMinimum {
    /// Adds a number.
    #[inline]
    pub fn add(&self, value: f64) {
        self.0.change(|minimum| minimum.min(value));
    }
}

impl Accumulator for DoubleMinimum {
    fn local_value(&self) -> AccumulatorValue {
        AccumulatorValue::DoubleMinimum(self.0.get().into())
    }
}

/// The mean of the numbers that are added; 0 without any.
#[derive(Debug, Clone, Default)]
pub struct AverageAccumulator {
    sum: DoubleCounter,
    count: Arc<AtomicU64>,
}

impl AverageAccumulator {
    /// Adds a number.
    #[inline]
    pub fn add(&self, value: f64) {
        self.sum.add(value);
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Accumulator for AverageAccumulator {
    fn local_value(&self) -> AccumulatorValue {
        AccumulatorValue::Average {
            sum: self.sum.0.get().into(),
            count: self.count.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{functions::RuntimeContext, testing::with_context};

    #[test]
    fn what_is_added_under_one_name_is_one_value() {
        with_context(|context| {
            let runtime = RuntimeContext::new(context);
            let lines: LongCounter = runtime.add_accumulator("lines").unwrap();
            let more: LongCounter = runtime.add_accumulator("lines").unwrap();
            let longest: LongMaximum = runtime.add_accumulator("longest").unwrap();
            let shortest: LongMinimum = runtime.add_accumulator("shortest").unwrap();
            let price: AverageAccumulator = runtime.add_accumulator("price").unwrap();
            let dearest: DoubleMaximum = runtime.add_accumulator("dearest").unwrap();
            let cheapest: DoubleMinimum = runtime.add_accumulator("cheapest").unwrap();
            let sales: DoubleCounter = runtime.add_accumulator("sales").unwrap();
            more.add(-1);
            for (number, amount) in [(7, 0.5), (3, 2.0), (5, f64::NAN)] {
                lines.add(1);
                longest.add(number);
                shortest.add(number);
                dearest.add(amount);
                cheapest.add(amount);
            }
            for amount in [0.5, 2.0] {
                price.add(amount);
                sales.add(amount);
            }
            let (metrics, _) = context.counters.snapshot(context.attempt);
            let told: Vec<String> = metrics
                .accumulators
                .iter()
                .map(|(name, value)| format!("{name}={}", value.unwrap().number()))
                .collect();
            let expected = [
                "cheapest=0.5",
                "dearest=2",
                "lines=2",
                "longest=7",
                "price=1.25",
                "sales=2.5",
                "shortest=3",
            ];
            assert_eq!(told, expected);
        });
    }

    #[test]
    fn kinds_names_and_numbers_are_checked() {
        with_context(|context| {
            let runtime = RuntimeContext::new(context);
            runtime.add_accumulator::<LongCounter>("0").unwrap();
            let error = runtime.add_accumulator::<DoubleCounter>("0").unwrap_err();
            assert_eq!(
                error.to_string(),
                "accumulator `0`: it is a LongCounter in one place and a DoubleCounter in another: give one of them \
                 another name"
            );
            for name in [String::new(), "x".repeat(MAX_NAME + 1)] {
                let length = name.len();
                let error = runtime.add_accumulator::<LongCounter>(&name).unwrap_err();
                assert_eq!(error, AccumulatorError::Name { length });
            }
            for number in 1..MAX_ACCUMULATORS {
                runtime.add_accumulator::<LongCounter>(&number.to_string()).unwrap();
            }
            let name = "x".repeat(MAX_NAME);
            let error = runtime.add_accumulator::<LongCounter>(&name).unwrap_err();
            assert_eq!(error, AccumulatorError::TooMany { name });
        });
    }
}

//! Accumulators: what the subtasks of a job add up, merged by name over the whole job.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// What an accumulator does with what is added to it. The names are Flink's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccumulatorKind {
    /// The sum of whole numbers.
    LongCounter,
    /// The largest whole number.
    LongMaximum,
    /// The smallest whole number.
    LongMinimum,
    /// The sum of numbers.
    DoubleCounter,
    /// The largest number.
    DoubleMaximum,
    /// The smallest number.
    DoubleMinimum,
    /// The mean of numbers.
    AverageAccumulator,
}

impl fmt::Display for AccumulatorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A floating point number as its bits, so that it is equal to itself and survives each format, also when it is none
/// or infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Double(u64);

impl From<f64> for Double {
    fn from(value: f64) -> Self {
        Self(value.to_bits())
    }
}

impl Double {
    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// What has been added to an accumulator: of one subtask, or merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccumulatorValue {
    /// Of a [`LongCounter`](AccumulatorKind::LongCounter). Beyond an `i64` it wraps, as Flink's does.
    LongCounter(i64),
    /// `i64::MIN` when nothing was added.
    LongMaximum(i64),
    /// `i64::MAX` when nothing was added.
    LongMinimum(i64),
    /// Of a [`DoubleCounter`](AccumulatorKind::DoubleCounter).
    DoubleCounter(Double),
    /// Minus infinity when nothing was added.
    DoubleMaximum(Double),
    /// Infinity when nothing was added.
    DoubleMinimum(Double),
    /// Of an [`AverageAccumulator`](AccumulatorKind::AverageAccumulator).
    Average {
        /// The sum of what was added.
        sum: Double,
        /// How many numbers that were.
        count: u64,
    },
}

/// An accumulator's value as one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AccumulatorNumber {
    /// Of the kinds that begin with `Long`.
    Long(i64),
    /// Of the others.
    Double(f64),
}

impl fmt::Display for AccumulatorNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Long(number) => number.fmt(f),
            Self::Double(number) => number.fmt(f),
        }
    }
}

impl AccumulatorValue {
    /// The accumulator's kind.
    pub fn kind(self) -> AccumulatorKind {
        match self {
            Self::LongCounter(_) => AccumulatorKind::LongCounter,
            Self::LongMaximum(_) => AccumulatorKind::LongMaximum,
            Self::LongMinimum(_) => AccumulatorKind::LongMinimum,
            Self::DoubleCounter(_) => AccumulatorKind::DoubleCounter,
            Self::DoubleMaximum(_) => AccumulatorKind::DoubleMaximum,
            Self::DoubleMinimum(_) => AccumulatorKind::DoubleMinimum,
            Self::Average { .. } => AccumulatorKind::AverageAccumulator,
        }
    }

    /// The value as one number: of an average without numbers, 0.
    pub fn number(self) -> AccumulatorNumber {
        match self {
            Self::LongCounter(value) | Self::LongMaximum(value) | Self::LongMinimum(value) => {
                AccumulatorNumber::Long(value)
            }
            Self::DoubleCounter(value) | Self::DoubleMaximum(value) | Self::DoubleMinimum(value) => {
                AccumulatorNumber::Double(value.get())
            }
            Self::Average { count: 0, .. } => AccumulatorNumber::Double(0.0),
            Self::Average { sum, count } => AccumulatorNumber::Double(sum.get() / count as f64),
        }
    }

    /// This value and another of the same kind in one.
    ///
    /// # Errors
    /// When the kinds differ.
    pub fn merge(self, other: Self) -> Result<Self, AccumulatorConflict> {
        Ok(match (self, other) {
            (Self::LongCounter(a), Self::LongCounter(b)) => Self::LongCounter(a.wrapping_add(b)),
            (Self::LongMaximum(a), Self::LongMaximum(b)) => Self::LongMaximum(a.max(b)),
            (Self::LongMinimum(a), Self::LongMinimum(b)) => Self::LongMinimum(a.min(b)),
            (Self::DoubleCounter(a), Self::DoubleCounter(b)) => Self::DoubleCounter((a.get() + b.get()).into()),
            (Self::DoubleMaximum(a), Self::DoubleMaximum(b)) => Self::DoubleMaximum(a.get().max(b.get()).into()),
            (Self::DoubleMinimum(a), Self::DoubleMinimum(b)) => Self::DoubleMinimum(a.get().min(b.get()).into()),
            (
                Self::Average { sum, count },
                Self::Average {
                    sum: more,
                    count: others,
                },
            ) => Self::Average {
                sum: (sum.get() + more.get()).into(),
                count: count.wrapping_add(others),
            },
            _ => {
                return Err(AccumulatorConflict {
                    first: self.kind(),
                    second: other.kind(),
                });
            }
        })
    }
}

/// Two accumulators of one job have the same name and are of different kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("it is a {first} in one place and a {second} in another: give one of them another name")]
pub struct AccumulatorConflict {
    /// The one kind.
    pub first: AccumulatorKind,
    /// The other.
    pub second: AccumulatorKind,
}

/// The accumulators of a task or of a job, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Accumulators(BTreeMap<String, Result<AccumulatorValue, AccumulatorConflict>>);

impl Accumulators {
    /// Merges a value into the accumulator of this name. One that is of another kind makes a conflict of it, which
    /// stays.
    pub fn add(&mut self, name: &str, value: AccumulatorValue) {
        match self.0.get_mut(name) {
            Some(merged) => *merged = merged.and_then(|merged| merged.merge(value)),
            None => {
                self.0.insert(name.to_owned(), Ok(value));
            }
        }
    }

    /// Merges others into these, by name.
    pub fn merge(&mut self, others: &Self) {
        for (name, other) in &others.0 {
            match (other, self.0.get_mut(name)) {
                (Ok(value), _) => self.add(name, *value),
                (Err(_), Some(merged)) => *merged = merged.and(*other),
                (Err(_), None) => {
                    self.0.insert(name.clone(), *other);
                }
            }
        }
    }

    /// The accumulator of this name: its merged value, or why there is none.
    pub fn get(&self, name: &str) -> Option<Result<AccumulatorValue, AccumulatorConflict>> {
        self.0.get(name).copied()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Result<AccumulatorValue, AccumulatorConflict>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(value: f64) -> Double {
        value.into()
    }

    #[test]
    fn values_of_one_kind_merge() {
        let average = |sum, count| AccumulatorValue::Average {
            sum: double(sum),
            count,
        };
        let cases = [
            (
                AccumulatorValue::LongCounter(3),
                AccumulatorValue::LongCounter(4),
                AccumulatorValue::LongCounter(7),
            ),
            (
                AccumulatorValue::LongMaximum(3),
                AccumulatorValue::LongMaximum(4),
                AccumulatorValue::LongMaximum(4),
            ),
            (
                AccumulatorValue::LongMinimum(3),
                AccumulatorValue::LongMinimum(4),
                AccumulatorValue::LongMinimum(3),
            ),
            (
                AccumulatorValue::DoubleCounter(double(0.5)),
                AccumulatorValue::DoubleCounter(double(1.0)),
                AccumulatorValue::DoubleCounter(double(1.5)),
            ),
            (
                AccumulatorValue::DoubleMaximum(double(f64::NEG_INFINITY)),
                AccumulatorValue::DoubleMaximum(double(-1.0)),
                AccumulatorValue::DoubleMaximum(double(-1.0)),
            ),
            (
                AccumulatorValue::DoubleMinimum(double(0.5)),
                AccumulatorValue::DoubleMinimum(double(1.0)),
                AccumulatorValue::DoubleMinimum(double(0.5)),
            ),
            (average(1.0, 1), average(5.0, 2), average(6.0, 3)),
        ];
        for (one, other, merged) in cases {
            assert_eq!(one.merge(other), Ok(merged));
            assert_eq!(other.merge(one), Ok(merged));
        }
        assert_eq!(average(6.0, 3).number(), AccumulatorNumber::Double(2.0));
        assert_eq!(average(0.0, 0).number(), AccumulatorNumber::Double(0.0));
        let wrapped = AccumulatorValue::LongCounter(i64::MAX).merge(AccumulatorValue::LongCounter(1));
        assert_eq!(wrapped, Ok(AccumulatorValue::LongCounter(i64::MIN)));
    }

    #[test]
    fn two_kinds_under_one_name_are_a_conflict_that_stays() {
        let (mut one, mut other) = (Accumulators::default(), Accumulators::default());
        one.add("lines", AccumulatorValue::LongCounter(1));
        one.add("size", AccumulatorValue::LongMaximum(1));
        other.add("lines", AccumulatorValue::LongCounter(2));
        other.add("size", AccumulatorValue::LongMinimum(2));
        let mut merged = Accumulators::default();
        for task in [&one, &other, &one] {
            merged.merge(task);
        }
        assert_eq!(merged.get("lines"), Some(Ok(AccumulatorValue::LongCounter(4))));
        let conflict = merged.get("size").unwrap().unwrap_err();
        assert_eq!(
            conflict.to_string(),
            "it is a LongMaximum in one place and a LongMinimum in another: give one of them another name"
        );
        // Also when it comes with what is merged.
        one.merge(&merged);
        assert_eq!(one.get("size"), Some(Err(conflict)));
        assert_eq!(one.get("pages"), None);
    }

    #[test]
    fn numbers_that_json_does_not_know_survive_it() {
        for value in [f64::NAN, f64::INFINITY, -0.0] {
            let value = AccumulatorValue::DoubleCounter(double(value));
            let json = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<AccumulatorValue>(&json).unwrap(), value);
        }
    }
}

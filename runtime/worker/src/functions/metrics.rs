//! Metrics: what functions count and measure while a job runs.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use flink_rpc::messages::{MetricValue, OperatorMetric};

use super::MAX_NAME;
use crate::{boundary::Counter, counters::TaskCounters};

/// Most metrics that the functions of one task can have.
pub const MAX_METRICS: usize = 64;

/// A metric cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// There are [`MAX_METRICS`].
    #[error("metric `{name}`: the functions of a task can have {MAX_METRICS} metrics, not more")]
    TooMany {
        /// The name of the one that is too many.
        name: String,
    },
    /// The name is empty, or longer than [`MAX_NAME`].
    #[error("a metric's name has 1 to {MAX_NAME} bytes, not {length}")]
    Name {
        /// The name's length, bytes.
        length: usize,
    },
}

/// The metrics of a function: registers what it counts and measures.
///
/// Their values are told with the task's counters, every 250 ms while they change. Those of all subtasks are shown in
/// one: the sum of counters, the smallest and the largest value of gauges.
#[derive(Debug)]
pub struct MetricGroup<'a> {
    pub(super) operator: &'a Arc<str>,
    pub(super) counters: &'a TaskCounters,
}

impl MetricGroup<'_> {
    /// A counter, for the thread that the function is called in.
    ///
    /// # Errors
    /// When there are [`MAX_METRICS`], or the name is empty or longer than [`MAX_NAME`].
    pub fn counter(&self, name: &str) -> Result<Arc<Counter>, MetricError> {
        let counter = Arc::default();
        self.register(name, Metric::Counter(Arc::clone(&counter)))?;
        Ok(counter)
    }

    /// A gauge, at 0 until it is set.
    ///
    /// # Errors
    /// As [`counter`](Self::counter).
    pub fn gauge(&self, name: &str) -> Result<Arc<Gauge>, MetricError> {
        let gauge = Arc::default();
        self.register(name, Metric::Gauge(Arc::clone(&gauge)))?;
        Ok(gauge)
    }

    fn register(&self, name: &str, metric: Metric) -> Result<(), MetricError> {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(MetricError::Name { length: name.len() });
        }
        self.counters.add_metric(Arc::clone(self.operator), name, metric)
    }
}

/// The value of something as it last was.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it.
    #[inline]
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// What it was set to.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
pub(crate) enum Metric {
    Counter(Arc<Counter>),
    Gauge(Arc<Gauge>),
}

/// The metrics of a task's functions.
#[derive(Debug, Default)]
pub(crate) struct FunctionMetrics(Vec<(Arc<str>, String, Metric)>);

impl FunctionMetrics {
    pub(crate) fn add(&mut self, operator: Arc<str>, name: &str, metric: Metric) -> Result<(), MetricError> {
        let name = name.to_owned();
        if self.0.len() == MAX_METRICS {
            return Err(MetricError::TooMany { name });
        }
        self.0.push((operator, name, metric));
        Ok(())
    }

    pub(crate) fn values(&self) -> Vec<OperatorMetric> {
        let value = |metric: &Metric| match metric {
            Metric::Counter(counter) => MetricValue::Counter(counter.get()),
            Metric::Gauge(gauge) => MetricValue::Gauge {
                min: gauge.get().into(),
                max: gauge.get().into(),
            },
        };
        let metrics = self.0.iter().map(|(operator, name, metric)| OperatorMetric {
            operator: operator.to_string(),
            name: name.clone(),
            value: value(metric),
        });
        metrics.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{functions::RuntimeContext, testing::with_context};

    #[test]
    fn metrics_are_told_with_their_operator() {
        with_context(|context| {
            let runtime = RuntimeContext::new(context);
            let counter = runtime.metric_group().counter("requests").unwrap();
            let gauge = runtime.metric_group().gauge("open").unwrap();
            counter.add(2);
            counter.add(1);
            gauge.set(7.0);
            gauge.set(-0.5);
            let metric = |name: &str, value| OperatorMetric {
                operator: "tested".to_owned(),
                name: name.to_owned(),
                value,
            };
            let (min, max) = ((-0.5).into(), (-0.5).into());
            let (metrics, _) = context.counters.snapshot(context.attempt);
            assert_eq!(
                metrics.metrics,
                [
                    metric("requests", MetricValue::Counter(3)),
                    metric("open", MetricValue::Gauge { min, max })
                ]
            );
        });
    }

    #[test]
    fn names_and_numbers_are_checked() {
        with_context(|context| {
            let runtime = RuntimeContext::new(context);
            let group = runtime.metric_group();
            for name in [String::new(), "x".repeat(MAX_NAME + 1)] {
                let length = name.len();
                assert_eq!(group.gauge(&name).unwrap_err(), MetricError::Name { length });
            }
            for number in 0..MAX_METRICS {
                group.counter(&number.to_string()).unwrap();
            }
            let error = group.counter("more").unwrap_err();
            assert_eq!(
                error.to_string(),
                "metric `more`: the functions of a task can have 64 metrics, not more"
            );
        });
    }
}

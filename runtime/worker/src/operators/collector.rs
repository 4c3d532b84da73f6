//! What closures and functions emit to.

use flink_record::Timestamp;

use crate::{error::TaskError, functions::OutputTag, operator::Outputs};

/// Takes what a closure emits; it gets the timestamp of the record that it is made from, or of the timer that fired.
pub struct Collector<'a, T> {
    timestamp: Timestamp,
    output: &'a mut Outputs<T>,
    result: Result<(), TaskError>,
}

impl<'a, T> Collector<'a, T> {
    pub(crate) fn new(timestamp: Timestamp, output: &'a mut Outputs<T>) -> Self {
        let result = Ok(());
        Self {
            timestamp,
            output,
            result,
        }
    }

    /// Emits one record. Blocks under back-pressure.
    ///
    /// Once the task is ending (it was cancelled, or what follows has failed) records are dropped: a closure that emits
    /// without end should look at [`is_open`](Self::is_open) now and then.
    #[inline]
    pub fn collect(&mut self, record: T) {
        if self.result.is_ok() {
            self.result = self.output.collect(record, self.timestamp);
        }
    }

    /// Emits one record to a side output. It is dropped when nobody consumes that
    /// (`SingleOutputStreamOperator.getSideOutput` in Flink, `DataStream::side_output` here).
    #[inline]
    pub fn output<S: 'static>(&mut self, tag: &OutputTag<S>, record: S) {
        if self.result.is_ok() {
            self.result = self.output.collect_side(tag.name(), record, self.timestamp);
        }
    }

    /// False once records are dropped.
    pub fn is_open(&self) -> bool {
        self.result.is_ok()
    }

    /// What the operator has to return.
    pub(crate) fn finish(self) -> Result<(), TaskError> {
        self.result
    }
}

impl<T> Extend<T> for Collector<'_, T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, records: I) {
        for record in records {
            if !self.is_open() {
                return;
            }
            self.collect(record);
        }
    }
}

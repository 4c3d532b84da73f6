//! What window operators have in common: what is late, and what becomes of it.

use std::{sync::Arc, time::Duration};

use flink_record::Timestamp;

use crate::{boundary::Counter, error::TaskError, operator::Outputs, time::millis};

/// How late records may be, and where those go that are later.
#[derive(Debug, Clone, Default)]
pub struct WindowSettings {
    allowed_lateness: Timestamp,
    late_output: Option<Arc<str>>,
}

impl WindowSettings {
    /// Keeps windows for so long, in event time, after the watermark has passed their end; each record that comes meanwhile
    /// makes its windows fire again.
    pub fn set_allowed_lateness(&mut self, lateness: Duration) {
        self.allowed_lateness = millis(lateness);
    }

    /// Sends records that are too late to the side output of this tag.
    pub fn set_late_output(&mut self, tag: impl Into<Arc<str>>) {
        self.late_output = Some(tag.into());
    }

    /// Whether windows are kept after they have fired.
    pub fn allows_lateness(&self) -> bool {
        self.allowed_lateness > 0
    }

    /// When windows go away. `dropped` counts the late records that go nowhere.
    pub(super) fn deadlines(&self, event_time: bool, dropped: Arc<Counter>) -> Lateness {
        Lateness {
            event_time,
            // The clock knows no late records.
            allowed: if event_time { self.allowed_lateness } else { 0 },
            output: self.late_output.clone(),
            dropped,
        }
    }
}

/// Knows what is late, and what becomes of it.
#[derive(Debug)]
pub(super) struct Lateness {
    event_time: bool,
    allowed: Timestamp,
    output: Option<Arc<str>>,
    dropped: Arc<Counter>,
}

impl Lateness {
    pub(super) fn is_event_time(&self) -> bool {
        self.event_time
    }

    /// Milliseconds.
    pub(super) fn allowed(&self) -> Timestamp {
        self.allowed
    }

    /// When a window with this last timestamp goes away; at the end of time it does not.
    #[inline]
    pub(super) fn cleanup_time(&self, max_timestamp: Timestamp) -> Timestamp {
        max_timestamp.saturating_add(self.allowed)
    }

    /// Whether a window with this last timestamp is gone.
    #[inline]
    pub(super) fn is_gone(&self, max_timestamp: Timestamp, watermark: Timestamp) -> bool {
        self.event_time && self.cleanup_time(max_timestamp) <= watermark
    }

    /// Takes a record that no window took: to the side output, or nowhere.
    #[cold]
    pub(super) fn skipped<T: 'static, O>(
        &self,
        record: T,
        timestamp: Timestamp,
        watermark: Timestamp,
        output: &mut Outputs<O>,
    ) -> Result<(), TaskError> {
        // Sliding windows with gaps between them skip records that are not late, too.
        if !self.is_gone(timestamp, watermark) {
            return Ok(());
        }
        match &self.output {
            Some(tag) => output.collect_side(tag, record, timestamp),
            None => {
                self.dropped.add(1);
                Ok(())
            }
        }
    }

    #[cfg(test)]
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

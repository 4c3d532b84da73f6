//! The time, read once per event and passed on: what decides has no clock of its own.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One moment, as timers and as people count it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// For timers.
    pub(crate) instant: Instant,
    /// Milliseconds since the epoch: for what is shown.
    pub(crate) epoch_ms: u64,
}

impl Now {
    /// The present moment.
    pub(crate) fn read() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let instant = tokio::time::Instant::now().into_std();
        Self {
            instant,
            epoch_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

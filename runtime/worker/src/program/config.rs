//! Settings of a whole job.

use std::time::Duration;

use flink_exchange::DEFAULT_BUFFER_TIMEOUT;

use crate::operators::Emission;

/// Settings of a job that its operators obey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionConfig {
    /// How long a record may wait in a buffer that does not fill up. Default: 100 ms.
    pub buffer_timeout: Duration,
    /// Time between two periodic watermarks of an operator. Default: 200 ms, as in Flink.
    pub auto_watermark_interval: Duration,
    /// When keyed aggregations emit.
    pub emission: Emission,
}

impl Default for ExecutionConfig {
    fn default() -> Self {
        Self {
            buffer_timeout: DEFAULT_BUFFER_TIMEOUT,
            auto_watermark_interval: Duration::from_millis(200),
            emission: Emission::Rolling,
        }
    }
}

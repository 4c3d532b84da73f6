//! Where a job prints: the standard output of its own process, or the client's, far away.

use flink_exchange::TaskSignal;
use flink_graph::ExecutionAttemptId;

use crate::error::TaskError;

/// Where a job prints.
pub trait JobOutput: Send + Sync {
    /// A stream for one task's records.
    ///
    /// # Errors
    /// When there is no way to the output.
    fn open(&self, attempt: ExecutionAttemptId, signal: &TaskSignal) -> Result<Box<dyn OutputStream>, TaskError>;
}

/// Carries what one task prints.
pub trait OutputStream {
    /// Passes on whole lines, each ended by a line feed; at most a few 10 KiB at once. Blocks under back-pressure.
    ///
    /// # Errors
    /// When nobody takes them, or the task is cancelled.
    fn write(&mut self, lines: Vec<u8>) -> Result<(), TaskError>;

    /// Waits until all has arrived.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn finish(&mut self) -> Result<(), TaskError>;
}

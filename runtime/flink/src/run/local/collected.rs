//! What a job prints when an example in the documentation runs it: kept, to be compared.

use std::sync::{Arc, Mutex, PoisonError};

use flink_exchange::TaskSignal;
use flink_graph::ExecutionAttemptId;
use flink_worker::{JobOutput, OutputStream, TaskError};

/// What all tasks have printed.
#[derive(Debug, Default)]
pub(super) struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Collected {
    /// Its lines, sorted.
    pub(super) fn sorted_lines(&self) -> Vec<String> {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines: Vec<_> = String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }
}

impl JobOutput for Collected {
    fn open(&self, _: ExecutionAttemptId, _: &TaskSignal) -> Result<Box<dyn OutputStream>, TaskError> {
        Ok(Box::new(Self {
            bytes: Arc::clone(&self.bytes),
        }))
    }
}

impl OutputStream for Collected {
    fn write(&mut self, lines: Vec<u8>) -> Result<(), TaskError> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend_from_slice(&lines);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
}

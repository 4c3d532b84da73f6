//! What a job prints when it runs in this process: on its standard output.

use std::{
    io::{ErrorKind, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use flink_exchange::TaskSignal;
use flink_graph::ExecutionAttemptId;
use flink_worker::{JobOutput, OutputStream, TaskError};

/// The standard output, shared by all tasks that print. Lines of different tasks mix, whole.
#[derive(Debug, Default)]
pub(super) struct Stdout {
    closed: Arc<AtomicBool>,
}

impl Stdout {
    /// True once nobody reads it any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

impl JobOutput for Stdout {
    fn open(&self, _: ExecutionAttemptId, _: &TaskSignal) -> Result<Box<dyn OutputStream>, TaskError> {
        Ok(Box::new(StdoutStream {
            closed: Arc::clone(&self.closed),
        }))
    }
}

struct StdoutStream {
    closed: Arc<AtomicBool>,
}

impl OutputStream for StdoutStream {
    fn write(&mut self, lines: Vec<u8>) -> Result<(), TaskError> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(&lines).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed.store(true, Ordering::Relaxed);
                Err(TaskError::output_closed())
            }
            Err(error) => Err(TaskError::operator(format!(
                "could not write to the standard output: {error}"
            ))),
        }
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
}

//! A sink for measuring what comes before it.

use flink_worker::TaskError;

use crate::sink::{NoCommitter, Sink, SinkWriter, SinkWriterContext, WriteContext};

/// Takes records and forgets them.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiscardingSink;

impl<T: 'static> Sink<T> for DiscardingSink {
    type Writer = Self;
    type Committer = NoCommitter;

    fn name(&self) -> String {
        "discard".to_owned()
    }

    fn create_writer(&self, _: &SinkWriterContext<'_>) -> Result<Self, TaskError> {
        Ok(*self)
    }
}

impl<T> SinkWriter<T> for DiscardingSink {
    type Committable = ();

    #[inline]
    fn write(&mut self, record: T, _: WriteContext) -> Result<(), TaskError> {
        drop(record);
        Ok(())
    }

    fn flush(&mut self, _: bool) -> Result<(), TaskError> {
        Ok(())
    }
}

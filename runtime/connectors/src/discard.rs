//! A sink for measuring what comes before it.

use flink_worker::{NodeFactory, SinkWriter, TaskError};

use crate::Sink;

/// Takes records and forgets them.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiscardingSink;

impl<T: 'static> Sink<T> for DiscardingSink {
    fn name(&self) -> String {
        "discard".to_owned()
    }

    fn into_factory(self) -> NodeFactory {
        NodeFactory::sink::<T, Self>(move |_| Ok(self))
    }
}

impl<T> SinkWriter<T> for DiscardingSink {
    #[inline]
    fn write(&mut self, record: T) -> Result<(), TaskError> {
        drop(record);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
}

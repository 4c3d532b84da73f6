//! What hosts a writer and its committer in their task.

use std::sync::{Arc, Mutex, PoisonError};

use flink_record::Timestamp;
use flink_worker::{NodeFactory, SinkOperator, TaskError};

use super::{Committer, Sink, SinkWriter, SinkWriterContext, WriteContext};

/// A writer and its committer in their task.
pub(crate) struct WriterOperator<W, C> {
    writer: W,
    committer: Option<C>,
    watermark: Timestamp,
}

impl<W, C> WriterOperator<W, C> {
    pub(crate) fn new(writer: W, committer: Option<C>) -> Self {
        Self {
            writer,
            committer,
            watermark: Timestamp::MIN,
        }
    }

    /// Commits what is complete by itself: there are no checkpoints to wait for.
    fn commit_complete<T>(&mut self) -> Result<(), TaskError>
    where
        W: SinkWriter<T>,
        C: Committer<W::Committable>,
    {
        if self.writer.has_committables() {
            self.commit()
        } else {
            Ok(())
        }
    }

    fn commit<T>(&mut self) -> Result<(), TaskError>
    where
        W: SinkWriter<T>,
        C: Committer<W::Committable>,
    {
        let committables = self.writer.prepare_commit()?;
        match &mut self.committer {
            Some(committer) if !committables.is_empty() => committer.commit(committables),
            _ => Ok(()),
        }
    }
}

impl<T, W: SinkWriter<T>, C: Committer<W::Committable>> SinkOperator<T> for WriterOperator<W, C> {
    #[inline]
    fn write(&mut self, record: T, timestamp: Timestamp) -> Result<(), TaskError> {
        let watermark = self.watermark;
        self.writer.write(record, WriteContext { timestamp, watermark })
    }

    fn watermark(&mut self, watermark: Timestamp) -> Result<(), TaskError> {
        self.watermark = watermark;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), TaskError> {
        self.writer.flush(false)?;
        self.commit_complete()
    }

    fn processing_time(&mut self, now: Timestamp) -> Result<(), TaskError> {
        self.writer.processing_time(now)?;
        self.commit_complete()
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        self.writer.flush(true)?;
        self.commit()
    }
}

/// What runs a sink in each task.
pub(super) fn factory<T: 'static, S: Sink<T>>(sink: S) -> NodeFactory {
    let coordinator = sink.coordinator();
    // The check and the making of writers are called one at a time, but each may be from another thread.
    let sink = Arc::new(Mutex::new(sink));
    let checked = Arc::clone(&sink);
    let factory = NodeFactory::sink::<T, _>(move |context| {
        let sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
        let context = SinkWriterContext::of_task(context);
        let writer = sink.create_writer(&context)?;
        Ok(WriterOperator::new(writer, sink.create_committer(&context)?))
    })
    .with_preflight(move || checked.lock().unwrap_or_else(PoisonError::into_inner).preflight());
    match coordinator {
        Some(make) => factory.with_coordinator(make),
        None => factory,
    }
}

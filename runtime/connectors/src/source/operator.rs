//! What hosts a reader in its task: gives it splits, counts its records, keeps its event time.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use flink_record::Timestamp;
use flink_worker::{Availability, NodeFactory, Outputs, Polled, SourceOperator, TaskError, WatermarkStrategy};

use super::{
    Enumeration, Source, SourceReader, SourceReaderContext, Split,
    alignment::{Alignment, AlignmentGroups},
    coordinator::{AlignedSource, SourceCoordinator},
    event_time::SplitWatermarks,
    output::ReaderOutput,
    protocol::{EnumeratorMessage, ReaderMessage, SplitRequests, WhenDry, decode, encode},
};

/// A reader's way to its enumerator.
pub(crate) trait CoordinatorLink {
    /// Sends a message. Blocks under back-pressure.
    fn send(&self, message: Vec<u8>) -> Result<(), TaskError>;

    /// The next message, if there is one; the task is woken when one comes.
    fn try_receive(&self) -> Option<Vec<u8>>;
}

/// A reader in its task.
pub(crate) struct ReaderOperator<R: SourceReader> {
    reader: R,
    requests: SplitRequests,
    /// `None` when it has nothing to ask or to tell.
    link: Option<Box<dyn CoordinatorLink>>,
    /// `None` without a strategy.
    watermarks: Option<SplitWatermarks<R::Record>>,
    alignment: Alignment,
    /// Splits that the reader has and has not finished. Kept only for the enumerator and for watermarks.
    splits: BTreeSet<String>,
    /// Splits that the reader has finished and that were not dealt with yet.
    finished: Vec<String>,
}

impl<R: SourceReader<Record: 'static>> ReaderOperator<R> {
    /// A reader that was not given anything yet.
    pub(crate) fn new(
        reader: R,
        requests: SplitRequests,
        link: Option<Box<dyn CoordinatorLink>>,
        watermarks: Option<SplitWatermarks<R::Record>>,
    ) -> Self {
        Self {
            reader,
            requests,
            link,
            watermarks,
            alignment: Alignment::default(),
            splits: BTreeSet::new(),
            finished: Vec::new(),
        }
    }

    /// Gives the reader splits.
    pub(crate) fn add_splits(&mut self, splits: Vec<R::Split>) -> Result<(), TaskError> {
        if self.link.is_some() || self.watermarks.is_some() {
            for id in splits.iter().map(Split::split_id) {
                if !self.splits.insert(id.clone()) {
                    return Err(TaskError::operator(format!("there are two splits `{id}`")));
                }
                if let Some(watermarks) = &mut self.watermarks {
                    watermarks.add(id);
                }
            }
        }
        self.reader.add_splits(splits)
    }

    fn receive(&mut self) -> Result<(), TaskError> {
        while let Some(message) = self.link.as_ref().and_then(|link| link.try_receive()) {
            match decode(&message)? {
                EnumeratorMessage::AddSplit(split) => {
                    self.requests.split_added();
                    self.add_splits(vec![decode(&split)?])?;
                }
                EnumeratorMessage::NoMoreSplits => self.requests.no_more_splits(),
                EnumeratorMessage::MaxWatermark(watermark) => {
                    self.alignment.allow(watermark);
                    let (watermark, idle) = self.event_time();
                    let answer = self.alignment.answer(watermark, idle);
                    self.send(&ReaderMessage::Watermark(answer))?;
                }
            }
        }
        Ok(())
    }

    fn send(&self, message: &ReaderMessage) -> Result<(), TaskError> {
        self.link.as_ref().map_or(Ok(()), |link| link.send(encode(message)))
    }

    /// What the reader has finished holds back no watermark, and needs not be read again.
    fn settle_finished(&mut self) -> Result<(), TaskError> {
        for id in std::mem::take(&mut self.finished) {
            if self.splits.remove(&id) {
                self.send(&ReaderMessage::SplitFinished(id))?;
            }
        }
        Ok(())
    }

    /// The reader has read all that it has.
    fn dry(&mut self, output: &mut Outputs<R::Record>) -> Result<Availability, TaskError> {
        if self.watermarks.is_some() || self.link.is_some() {
            let mut rest = ReaderOutput::new(output, self.watermarks.as_mut(), &mut self.finished, 0);
            for id in &self.splits {
                rest.finish_split(id)?;
            }
            self.settle_finished()?;
        }
        match self.requests.dry() {
            WhenDry::End => return Ok(Availability::End),
            WhenDry::Wait => {}
            WhenDry::Request => self.send(&ReaderMessage::RequestSplit)?,
        }
        Ok(Availability::Later(None))
    }

    /// True while the reader has to wait for those of other sources.
    fn must_wait(&self) -> bool {
        self.alignment.must_wait(self.event_time().0)
    }

    /// The watermark, and whether the reader is idle.
    fn event_time(&self) -> (Timestamp, bool) {
        let watermarks = self.watermarks.as_ref();
        watermarks.map_or((Timestamp::MIN, false), |watermarks| {
            (watermarks.emitted(), watermarks.is_idle())
        })
    }
}

impl<R: SourceReader<Record: 'static>> SourceOperator<R::Record> for ReaderOperator<R> {
    fn poll_next(&mut self, budget: u32, output: &mut Outputs<R::Record>) -> Result<Polled, TaskError> {
        self.receive()?;
        if self.must_wait() {
            let next = Availability::Later(None);
            return Ok(Polled { records: 0, next });
        }
        let mut reader_output = ReaderOutput::new(output, self.watermarks.as_mut(), &mut self.finished, budget);
        let next = self.reader.poll_next(&mut reader_output)?;
        let records = reader_output.emitted();
        if !self.finished.is_empty() {
            self.settle_finished()?;
        }
        let next = match next {
            Availability::End => self.dry(output)?,
            next => next,
        };
        Ok(Polled { records, next })
    }

    fn processing_time(&mut self, now: Timestamp, output: &mut Outputs<R::Record>) -> Result<(), TaskError> {
        let Some(watermarks) = &mut self.watermarks else {
            return Ok(());
        };
        let (main, sides) = output.parts();
        watermarks.processing_time(now, main, sides)?;
        if self.link.is_none() {
            return Ok(());
        }
        let (watermark, idle) = self.event_time();
        match self.alignment.report(watermark, idle) {
            Some(watermark) => self.send(&ReaderMessage::Watermark(watermark)),
            None => Ok(()),
        }
    }
}

/// What runs a source in each task, and beside them all.
pub(super) fn factory<S: Source>(
    source: S,
    strategy: WatermarkStrategy<S::Record>,
    groups: &mut AlignmentGroups,
) -> NodeFactory {
    let enumeration = source.enumeration();
    let alignment = strategy.alignment().map(|alignment| {
        let (group, source) = groups.join(&alignment.group);
        let max_drift = Timestamp::try_from(alignment.max_drift.as_millis()).unwrap_or(Timestamp::MAX);
        AlignedSource {
            group,
            source,
            max_drift,
        }
    });
    let has_coordinator = alignment.is_some() || matches!(enumeration, Enumeration::Coordinated(_));
    // Readers and the coordinator are made one at a time, but each may be from another thread.
    let source = Arc::new(Mutex::new(source));
    let coordinated = Arc::clone(&source);
    let factory = NodeFactory::source::<S::Record, _>(move |context| {
        let source = source.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = source.create_reader(&SourceReaderContext::of_task(context))?;
        let watermarks = (!strategy.does_nothing()).then(|| {
            let interval = Timestamp::try_from(context.config.auto_watermark_interval.as_millis());
            SplitWatermarks::new(strategy.clone(), context.clock, interval.unwrap_or(Timestamp::MAX))
        });
        let link: Option<Box<dyn CoordinatorLink>> = match has_coordinator {
            true => Some(Box::new(context.coordinator()?)),
            false => None,
        };
        match enumeration {
            Enumeration::PerSubtask(splits_of) => {
                let mut operator = ReaderOperator::new(reader, SplitRequests::none(), link, watermarks);
                operator.add_splits(splits_of(&source, context.subtask(), context.parallelism)?)?;
                Ok(operator)
            }
            Enumeration::Coordinated(_) => Ok(ReaderOperator::new(reader, SplitRequests::default(), link, watermarks)),
        }
    });
    if !has_coordinator {
        return factory;
    }
    factory.with_coordinator(move || {
        let source = coordinated.lock().unwrap_or_else(PoisonError::into_inner);
        let enumerator = match enumeration {
            Enumeration::PerSubtask(_) => None,
            Enumeration::Coordinated(make) => Some(make(&source)?),
        };
        Ok(Box::new(SourceCoordinator::new(enumerator, alignment.clone())))
    })
}

#[cfg(test)]
#[path = "operator/tests.rs"]
mod tests;

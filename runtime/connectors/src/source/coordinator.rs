//! A source's coordinator: hands out splits, if they are handed out, and says how far readers may go, if they are aligned.

use std::time::{Duration, Instant};

use flink_record::Timestamp;
use flink_worker::{CoordinatorContext, OperatorCoordinator, SubtaskGateway, TaskError};

use super::{
    Split, SplitEnumerator,
    alignment::{AlignmentGroup, Announcements, SharedGroup},
    operator::CoordinatorLink,
    protocol::{EnumeratorMessage, ReaderMessage, SplitAssignment, decode, encode},
};

impl CoordinatorLink for SubtaskGateway {
    fn send(&self, message: Vec<u8>) -> Result<(), TaskError> {
        Self::send(self, message)
    }

    fn try_receive(&self) -> Option<Vec<u8>> {
        Self::try_receive(self)
    }
}

/// How often readers are told how far they may go.
const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(200);

/// A source's part in an alignment group.
#[derive(Clone)]
pub(super) struct AlignedSource {
    pub(super) group: SharedGroup,
    /// Which of the group's sources it is.
    pub(super) source: u64,
    /// Milliseconds.
    pub(super) max_drift: Timestamp,
}

/// The coordinator of a source.
pub(super) struct SourceCoordinator<S: Split> {
    /// Until the job begins.
    enumerator: Option<Box<dyn SplitEnumerator<S>>>,
    assignment: Option<SplitAssignment<S>>,
    /// When the enumerator wants to be woken.
    enumerator_wake: Option<Instant>,
    alignment: Option<(AlignedSource, Announcements)>,
}

impl<S: Split> SourceCoordinator<S> {
    pub(super) fn new(enumerator: Option<Box<dyn SplitEnumerator<S>>>, alignment: Option<AlignedSource>) -> Self {
        Self {
            enumerator,
            assignment: None,
            enumerator_wake: None,
            alignment: alignment.map(|source| (source, Announcements::default())),
        }
    }

    /// Sends what the enumerator has decided, and has itself woken for it.
    fn carry_out(&mut self, context: &mut CoordinatorContext) -> Result<(), TaskError> {
        let Some(assignment) = &mut self.assignment else {
            return Ok(());
        };
        for (subtask, message) in assignment.take_messages() {
            context.send_event(subtask, encode(&message))?;
        }
        if let Some(wake) = assignment.take_wake() {
            self.enumerator_wake = Some(self.enumerator_wake.map_or(wake, |set| set.min(wake)));
        }
        self.enumerator_wake.into_iter().for_each(|wake| context.wake_at(wake));
        Ok(())
    }

    fn announce(&mut self, context: &mut CoordinatorContext) -> Result<(), TaskError> {
        let Some((aligned, announcements)) = &mut self.alignment else {
            return Ok(());
        };
        let max_allowed = aligned.group.lock().max_allowed(aligned.max_drift);
        for subtask in announcements.due(max_allowed) {
            context.send_event(subtask, encode(&EnumeratorMessage::MaxWatermark(max_allowed)))?;
        }
        context.wake_at(context.now() + ANNOUNCE_INTERVAL);
        Ok(())
    }

    fn group(&mut self, call: impl FnOnce(&mut AlignmentGroup, u64)) {
        if let Some((aligned, _)) = &self.alignment {
            call(&mut aligned.group.lock(), aligned.source);
        }
    }
}

impl<S: Split> OperatorCoordinator for SourceCoordinator<S> {
    fn start(&mut self, context: &mut CoordinatorContext) -> Result<(), TaskError> {
        let (now, parallelism) = (context.now(), context.parallelism());
        if let Some((_, announcements)) = &mut self.alignment {
            announcements.start(parallelism);
        }
        self.group(|group, source| group.join(source, parallelism));
        if let Some(enumerator) = self.enumerator.take() {
            let assignment = SplitAssignment::new(enumerator, parallelism, now);
            self.assignment.insert(assignment).start(now)?;
        }
        self.carry_out(context)?;
        self.announce(context)
    }

    fn handle_event(
        &mut self,
        subtask: u32,
        event: Vec<u8>,
        context: &mut CoordinatorContext,
    ) -> Result<(), TaskError> {
        match (decode(&event)?, &mut self.assignment) {
            (ReaderMessage::RequestSplit, Some(assignment)) => assignment.split_requested(context.now(), subtask)?,
            (ReaderMessage::SplitFinished(id), Some(assignment)) => assignment.split_finished(subtask, &id)?,
            // Who works out its splits by itself needs no one to know.
            (ReaderMessage::RequestSplit | ReaderMessage::SplitFinished(_), None) => {}
            (ReaderMessage::Watermark(watermark), _) => {
                self.group(|group, source| group.report(source, subtask, watermark));
                if let Some((_, announcements)) = &mut self.alignment {
                    announcements.heard(subtask);
                }
            }
        }
        self.carry_out(context)
    }

    fn subtask_ended(&mut self, subtask: u32, _: &mut CoordinatorContext) -> Result<(), TaskError> {
        self.group(|group, source| group.leave(source, subtask));
        Ok(())
    }

    fn subtask_failed(&mut self, subtask: u32, context: &mut CoordinatorContext) -> Result<(), TaskError> {
        self.group(|group, source| group.report(source, subtask, Timestamp::MIN));
        if let Some((_, announcements)) = &mut self.alignment {
            announcements.forget(subtask);
        }
        if let Some(assignment) = &mut self.assignment {
            assignment.reader_failed(context.now(), subtask)?;
        }
        self.carry_out(context)
    }

    fn wake(&mut self, now: Instant, context: &mut CoordinatorContext) -> Result<(), TaskError> {
        if self.enumerator_wake.is_some_and(|wake| wake <= now) {
            self.enumerator_wake = None;
            if let Some(assignment) = &mut self.assignment {
                assignment.wake(now)?;
            }
        }
        self.carry_out(context)?;
        self.announce(context)
    }
}

#[cfg(test)]
#[path = "coordinator/tests.rs"]
mod tests;

//! The trait that coordinators implement, and what they are given.

use std::{collections::VecDeque, time::Instant};

use flink_rpc::messages::{EventPayload, MAX_WAITING_BYTES, MAX_WAITING_EVENTS};

use crate::error::TaskError;

/// Coordinates the subtasks of one operator. One instance per job, used by one thread.
///
/// It decides, and leaves the doing to its context as far as it can: then it can be tested without a job. An error of any
/// method, or a panic in it, fails the job with the operator's name. A method that takes long holds up the coordinators
/// of the job's other operators.
pub trait OperatorCoordinator: Send {
    /// The job begins; no task of it runs yet. What is sent now reaches the subtasks when they are there.
    ///
    /// # Errors
    /// What keeps the job from starting.
    fn start(&mut self, context: &mut CoordinatorContext) -> Result<(), TaskError> {
        let _ = context;
        Ok(())
    }

    /// A subtask says something.
    ///
    /// # Errors
    /// What the job cannot go on after.
    fn handle_event(&mut self, subtask: u32, event: Vec<u8>, context: &mut CoordinatorContext)
    -> Result<(), TaskError>;

    /// A subtask has finished; all that it had said was handled before. With the last one the job has finished, once this
    /// method has returned.
    ///
    /// # Errors
    /// What makes a failure of a job whose tasks have finished.
    fn subtask_ended(&mut self, subtask: u32, context: &mut CoordinatorContext) -> Result<(), TaskError> {
        let _ = (subtask, context);
        Ok(())
    }

    /// A subtask has failed. What it had said and what was not handled yet is dropped; what is sent to it from now on is for its
    /// next attempt.
    ///
    /// # Errors
    /// What the job cannot go on after.
    fn subtask_failed(&mut self, subtask: u32, context: &mut CoordinatorContext) -> Result<(), TaskError> {
        let _ = (subtask, context);
        Ok(())
    }

    /// The time that was asked for with [`CoordinatorContext::wake_at`] has come.
    ///
    /// # Errors
    /// What the job cannot go on after.
    fn wake(&mut self, now: Instant, context: &mut CoordinatorContext) -> Result<(), TaskError> {
        let _ = (now, context);
        Ok(())
    }
}

/// What a coordinator knows, and what it wants done.
#[derive(Debug)]
pub struct CoordinatorContext {
    now: Instant,
    wake_at: Option<Instant>,
    subtasks: Vec<Subtask>,
    /// Subtask and payload.
    events: VecDeque<(u32, EventPayload)>,
}

/// One subtask as its coordinator sees it.
#[derive(Debug, Clone, Default)]
struct Subtask {
    /// Number of the present attempt.
    attempt: u32,
    /// It has finished: nothing reaches it any more.
    is_over: bool,
    waiting_events: usize,
    waiting_bytes: usize,
    /// Events of it that were handled, and it was not told so yet.
    handled: u32,
}

impl CoordinatorContext {
    /// For an operator with so many subtasks. The runtime makes it; a test of a coordinator may.
    pub fn new(parallelism: u32, now: Instant) -> Self {
        Self {
            now,
            wake_at: None,
            subtasks: vec![Subtask::default(); parallelism as usize],
            events: VecDeque::new(),
        }
    }

    /// Number of subtasks.
    pub fn parallelism(&self) -> u32 {
        self.subtasks.len() as u32
    }

    /// The time of what is being handled.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Sends something to a subtask: 1 MiB at most. Never waits. What is sent to a subtask that has finished is dropped.
    ///
    /// # Errors
    /// When there is no such subtask, the event is too long, or the coordinator is too far ahead of the subtask: 1024
    /// events or 8 MiB.
    pub fn send_event(&mut self, subtask: u32, event: Vec<u8>) -> Result<(), TaskError> {
        let parallelism = self.parallelism();
        let Some(entry) = self.subtasks.get_mut(subtask as usize) else {
            return Err(TaskError::operator(format!(
                "an event was sent to subtask {subtask}, and there are {parallelism}"
            )));
        };
        let payload = EventPayload::try_from(event).map_err(TaskError::operator)?;
        if entry.is_over {
            return Ok(());
        }
        let bytes = entry.waiting_bytes + payload.len();
        if entry.waiting_events == MAX_WAITING_EVENTS || bytes > MAX_WAITING_BYTES {
            return Err(TaskError::operator(format!(
                "the coordinator is too far ahead: {} events of {} bytes wait for subtask {subtask}",
                entry.waiting_events, entry.waiting_bytes
            )));
        }
        entry.waiting_events += 1;
        entry.waiting_bytes = bytes;
        self.events.push_back((subtask, payload));
        Ok(())
    }

    /// Asks for a call of [`OperatorCoordinator::wake`] at this time, or as soon afterwards as can be. One time is kept, the
    /// earliest that was asked for since the last call; a time that has passed is at once.
    pub fn wake_at(&mut self, time: Instant) {
        self.wake_at = Some(self.wake_at.map_or(time, |set| set.min(time)));
    }

    /// When it is to be woken.
    pub fn next_wake(&self) -> Option<Instant> {
        self.wake_at
    }

    /// The next event that was sent: the subtask, and what it is told. For the runtime, and for tests of a coordinator.
    pub fn next_event(&mut self) -> Option<(u32, Vec<u8>)> {
        self.pop_event().map(|(subtask, payload)| (subtask, payload.into()))
    }

    pub(super) fn pop_event(&mut self) -> Option<(u32, EventPayload)> {
        let (subtask, payload) = self.events.pop_front()?;
        if let Some(entry) = self.subtasks.get_mut(subtask as usize) {
            entry.waiting_events -= 1;
            entry.waiting_bytes -= payload.len();
        }
        Some((subtask, payload))
    }

    pub(super) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Whether the coordinator is to be woken now; then it will not be again.
    pub(super) fn take_due(&mut self) -> bool {
        let is_due = self.wake_at.is_some_and(|at| at <= self.now);
        if is_due {
            self.wake_at = None;
        }
        is_due
    }

    /// The number of a subtask's present attempt; `None` when it has finished, or is none.
    pub(super) fn attempt(&self, subtask: u32) -> Option<u32> {
        let entry = self.subtasks.get(subtask as usize)?;
        (!entry.is_over).then_some(entry.attempt)
    }

    /// An event of an attempt is here. False when the attempt is over.
    pub(super) fn is_heard(&mut self, subtask: u32, attempt: u32) -> bool {
        let Some(entry) = self.subtasks.get_mut(subtask as usize) else {
            return false;
        };
        if entry.is_over || attempt < entry.attempt {
            return false;
        }
        entry.attempt = attempt;
        true
    }

    pub(super) fn handled(&mut self, subtask: u32) {
        if let Some(entry) = self.subtasks.get_mut(subtask as usize) {
            entry.handled += 1;
        }
    }

    /// A subtask that can be told how many of its events were handled.
    pub(super) fn take_handled(&mut self) -> Option<(u32, u32)> {
        let (subtask, entry) = (0..)
            .zip(&mut self.subtasks)
            .find(|(_, entry)| entry.handled > 0 && !entry.is_over)?;
        Some((subtask, std::mem::take(&mut entry.handled)))
    }

    /// An attempt is over: it has finished, or the next one has the next number. What waits for it is dropped. False when it was
    /// over before.
    pub(super) fn attempt_is_over(&mut self, subtask: u32, attempt: u32, finished: bool) -> bool {
        if !self.is_heard(subtask, attempt) {
            return false;
        }
        self.subtasks[subtask as usize] = Subtask {
            attempt: attempt + u32::from(!finished),
            is_over: finished,
            ..Subtask::default()
        };
        self.events.retain(|(other, _)| *other != subtask);
        true
    }
}

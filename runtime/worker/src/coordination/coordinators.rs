//! The coordinators of one job, as a state machine: messages in, messages out, the time as an argument.

use std::{sync::Arc, time::Instant};

use flink_graph::{ExecutionAttemptId, JobId};
use flink_rpc::messages::{EventsHandled, FromCoordinator, OperatorEvent, ToCoordinator};

use super::{CoordinatorContext, OperatorCoordinator};
use crate::{error::TaskError, panics::OperatorScope, program::JobProgram};

/// All coordinators of a job.
pub(crate) struct Coordinators {
    job: JobId,
    operators: Vec<Coordinated>,
    /// How many messages may be sent to tasks.
    credit: u32,
    /// The operator whose turn it is to send.
    turn: usize,
}

/// One operator's coordinator.
struct Coordinated {
    node: u32,
    vertex: u32,
    name: Arc<str>,
    coordinator: Box<dyn OperatorCoordinator>,
    context: CoordinatorContext,
}

/// What came of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// There may be more.
    Continue,
    /// Everything is done.
    Finished,
}

impl Coordinated {
    /// Calls the coordinator: what goes wrong has gone wrong in its operator.
    fn call(
        &mut self,
        now: Instant,
        call: impl FnOnce(&mut dyn OperatorCoordinator, &mut CoordinatorContext) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        self.context.set_now(now);
        let scope = OperatorScope::enter(&self.name);
        let result = call(&mut *self.coordinator, &mut self.context);
        scope.leave();
        result.map_err(|error| error.at(&self.name))
    }

    /// What it has for a task, if anything.
    fn next_message(&mut self, job: JobId) -> Option<FromCoordinator> {
        let (operator, vertex) = (self.node, self.vertex);
        let id = |subtask, attempt| ExecutionAttemptId {
            job,
            vertex,
            subtask,
            attempt,
        };
        // A task may be waiting for these.
        if let Some((subtask, events)) = self.context.take_handled() {
            let attempt = id(subtask, self.context.attempt(subtask)?);
            return Some(FromCoordinator::EventsHandled(EventsHandled {
                attempt,
                operator,
                events,
            }));
        }
        let (subtask, payload) = self.context.pop_event()?;
        let attempt = id(subtask, self.context.attempt(subtask)?);
        Some(FromCoordinator::OperatorEvent(OperatorEvent {
            attempt,
            operator,
            payload,
        }))
    }
}

impl Coordinators {
    /// Makes them all.
    ///
    /// # Errors
    /// The first that cannot be made.
    pub(crate) fn make(program: &JobProgram, job: JobId, now: Instant) -> Result<Self, TaskError> {
        let mut operators = Vec::new();
        for operator in program.graph().coordinated_operators() {
            let name: Arc<str> = operator.name.into();
            let scope = OperatorScope::enter(&name);
            let made = program.node(operator.node).make_coordinator();
            scope.leave();
            operators.push(Coordinated {
                node: operator.node,
                vertex: operator.vertex,
                coordinator: made.map_err(|error| error.at(&name))?,
                name,
                context: CoordinatorContext::new(operator.parallelism, now),
            });
        }
        Ok(Self {
            job,
            operators,
            credit: 0,
            turn: 0,
        })
    }

    /// Starts them all.
    ///
    /// # Errors
    /// The first that fails.
    pub(crate) fn start(&mut self, now: Instant) -> Result<(), TaskError> {
        self.operators
            .iter_mut()
            .try_for_each(|operator| operator.call(now, |coordinator, context| coordinator.start(context)))
    }

    /// Takes a message.
    ///
    /// # Errors
    /// That of a coordinator.
    pub(crate) fn handle(&mut self, now: Instant, message: ToCoordinator) -> Result<Flow, TaskError> {
        match message {
            ToCoordinator::Grant(messages) => self.credit = self.credit.saturating_add(messages),
            ToCoordinator::OperatorEvent(event) => self.event(now, event)?,
            ToCoordinator::SubtaskEnded(attempt) => self.over(now, attempt, true)?,
            ToCoordinator::SubtaskFailed(attempt) => self.over(now, attempt, false)?,
            ToCoordinator::Finish => return Ok(Flow::Finished),
            // Not for the coordinators themselves.
            ToCoordinator::Start(_) | ToCoordinator::Shutdown => {}
        }
        Ok(Flow::Continue)
    }

    fn event(&mut self, now: Instant, event: OperatorEvent) -> Result<(), TaskError> {
        let OperatorEvent {
            attempt,
            operator,
            payload,
        } = event;
        let mut operators = self.operators.iter_mut();
        let Some(operator) = operators.find(|other| other.node == operator && other.vertex == attempt.vertex) else {
            return Ok(());
        };
        let subtask = attempt.subtask;
        if !operator.context.is_heard(subtask, attempt.attempt) {
            return Ok(());
        }
        operator.call(now, |coordinator, context| {
            coordinator.handle_event(subtask, payload.into(), context)
        })?;
        operator.context.handled(subtask);
        Ok(())
    }

    fn over(&mut self, now: Instant, attempt: ExecutionAttemptId, finished: bool) -> Result<(), TaskError> {
        let subtask = attempt.subtask;
        for operator in self.operators.iter_mut().filter(|other| other.vertex == attempt.vertex) {
            if !operator.context.attempt_is_over(subtask, attempt.attempt, finished) {
                continue;
            }
            operator.call(now, |coordinator, context| {
                if finished {
                    coordinator.subtask_ended(subtask, context)
                } else {
                    coordinator.subtask_failed(subtask, context)
                }
            })?;
        }
        Ok(())
    }

    /// Wakes those that want to be woken by now.
    ///
    /// # Errors
    /// That of a coordinator.
    pub(crate) fn wake(&mut self, now: Instant) -> Result<(), TaskError> {
        for operator in &mut self.operators {
            operator.context.set_now(now);
            if operator.context.take_due() {
                operator.call(now, |coordinator, context| coordinator.wake(now, context))?;
            }
        }
        Ok(())
    }

    /// When [`Self::wake`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.operators
            .iter()
            .filter_map(|operator| operator.context.next_wake())
            .min()
    }

    /// The next message to a task, as long as there is credit. Operators take turns.
    pub(crate) fn next_message(&mut self) -> Option<FromCoordinator> {
        if self.credit == 0 {
            return None;
        }
        let number = self.operators.len();
        for offset in 0..number {
            let index = (self.turn + offset) % number;
            if let Some(message) = self.operators[index].next_message(self.job) {
                self.credit -= 1;
                self.turn = index + 1;
                return Some(message);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;

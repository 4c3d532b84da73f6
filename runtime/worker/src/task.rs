//! One task: a thread that runs one attempt of one subtask of a vertex.
//!
//! The thread is a mailbox loop. Its default action is a step of its input; between two steps it looks for mail, which is
//! so far cancellation alone (checkpoint triggers and timers will come the same way: a queue, and a wake-up of the
//! [`TaskSignal`]). Its states go to the executor's owner in order: INITIALIZING while the chain is made, RUNNING, and
//! one terminal state, after everything the chain held is closed or removed.

use std::sync::Arc;

use flink_exchange::{ExchangeError, NetworkEnvironment, TaskSignal};
use flink_graph::{ExecutionAttemptId, ExecutionState, Placement, TaskFailure, TaskFailureKind, TaskManagerId};
use tokio::sync::mpsc;

use crate::{
    SubtaskGateway,
    boundary::{Step, TaskInput},
    chain::ChainBuilder,
    counters::TaskCounters,
    error::{Cause, TaskError},
    executor::ExecutorEvent,
    job_output::JobOutput,
    panics::{self, CaughtPanic},
    program::JobProgram,
    time::ProcessingTimeService,
};

/// A task has changed its state.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskEvent {
    /// The task.
    pub attempt: ExecutionAttemptId,
    /// Its new state.
    pub state: ExecutionState,
    /// Why, when it failed.
    pub failure: Option<TaskFailure>,
}

/// All that a task's thread needs.
pub(crate) struct Task {
    pub(crate) program: Arc<JobProgram>,
    pub(crate) attempt: ExecutionAttemptId,
    pub(crate) placement: Arc<Placement>,
    pub(crate) here: TaskManagerId,
    pub(crate) environment: NetworkEnvironment,
    pub(crate) signal: TaskSignal,
    pub(crate) counters: Arc<TaskCounters>,
    pub(crate) job_output: Arc<dyn JobOutput>,
    pub(crate) gateways: Vec<SubtaskGateway>,
    pub(crate) events: mpsc::Sender<ExecutorEvent>,
}

impl Task {
    /// The thread's whole life.
    pub(crate) fn run(self) {
        self.report(ExecutionState::Initializing, None);
        let mut input = None;
        let result = panics::catch(|| self.execute(&mut input));
        // Asked before the chain is dropped: neighbours notice that, and what they report gets this task cancelled, too.
        let cancelled = self.signal.is_cancelled();
        let dropped = panics::catch(|| drop(input));
        let (state, failure) = match result.and_then(|result| dropped.map(|()| result)) {
            // Whatever breaks while a task is being cancelled is of no interest any more.
            _ if cancelled => (ExecutionState::Canceled, None),
            Ok(Ok(())) => (ExecutionState::Finished, None),
            Ok(Err(error)) => (ExecutionState::Failed, Some(failure_of(&error))),
            Err(panic) => (ExecutionState::Failed, Some(failure_of_panic(panic))),
        };
        self.report(state, failure);
    }

    fn execute(&self, chain: &mut Option<Box<dyn TaskInput>>) -> Result<(), TaskError> {
        let clock = ProcessingTimeService::system();
        let builder = ChainBuilder {
            program: &self.program,
            attempt: self.attempt,
            placement: &self.placement,
            here: self.here,
            environment: &self.environment,
            signal: &self.signal,
            counters: &self.counters,
            job_output: &*self.job_output,
            clock: &clock,
            gateways: &self.gateways,
        };
        let input = chain.insert(builder.build()?);
        self.report(ExecutionState::Running, None);
        while input.step(clock.deadline())? == Step::More {
            if self.signal.is_cancelled() {
                return Err(TaskError::cancelled());
            }
            if let Some(now) = clock.take_due() {
                input.processing_time(now)?;
            }
        }
        Ok(())
    }

    fn report(&self, state: ExecutionState, failure: Option<TaskFailure>) {
        // Without its owner there is nobody to tell.
        let _gone = self.events.blocking_send(ExecutorEvent::Task(TaskEvent {
            attempt: self.attempt,
            state,
            failure,
        }));
    }
}

pub(crate) fn failure_of(error: &TaskError) -> TaskFailure {
    let kind = match error.cause() {
        Cause::Operator(_) => TaskFailureKind::UserCode,
        Cause::Exchange(
            ExchangeError::ProducerFailed { .. }
            | ExchangeError::ConsumerGone { .. }
            | ExchangeError::PeerLost { .. }
            | ExchangeError::Connect { .. }
            | ExchangeError::ShutDown,
        ) => TaskFailureKind::Exchange,
        Cause::Exchange(_) | Cause::Runtime(_) | Cause::Cancelled | Cause::OutputClosed => TaskFailureKind::Runtime,
    };
    let failure = TaskFailure::new(kind, error.to_string());
    match error.operator_name() {
        Some(operator) => failure.in_operator(operator),
        None => failure,
    }
}

pub(crate) fn failure_of_panic(panic: CaughtPanic) -> TaskFailure {
    let failure = TaskFailure::new(TaskFailureKind::UserCode, panic.to_string());
    match panic.operator {
        Some(operator) => failure.in_operator(operator),
        None => failure,
    }
}

//! The coordinators of a job that runs in this process: on a thread, with queues in place of a JobManager.
//!
//! There is one attempt of each task and one place for all of them, so that hardly anything is left of what a JobMaster
//! has to see to: messages are passed on, and what has arrived at the executor is credited at once.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use flink_graph::{
    ExecutionAttemptId, ExecutionGraphEvent as Event, ExecutionState, JobId, TaskFailure, TaskFailureKind,
};
use flink_rpc::messages::{COORDINATOR_WINDOW, FromCoordinator, OperatorEvent, ToCoordinator};
use flink_worker::{CoordinatorThread, JobProgram, TaskExecutor};
use tokio::sync::mpsc;

use super::cluster::HOST;

/// The coordinators of one job.
pub(super) struct Coordination {
    job: JobId,
    program: Arc<JobProgram>,
    /// The thread and what it says, while it is there.
    thread: Option<(CoordinatorThread, mpsc::Receiver<FromCoordinator>)>,
    /// When it was asked to end.
    stopped_at: Option<Instant>,
}

impl Coordination {
    pub(super) fn new(job: JobId, program: Arc<JobProgram>) -> Self {
        Self {
            job,
            program,
            thread: None,
            stopped_at: None,
        }
    }

    /// Starts them; what comes of it if they cannot be.
    pub(super) fn start(&mut self) -> Vec<Event> {
        let (output, said) = mpsc::channel(CoordinatorThread::output_capacity());
        match CoordinatorThread::start(Arc::clone(&self.program), self.job, output) {
            Ok(thread) => {
                self.thread = Some((thread, said));
                Vec::new()
            }
            Err(error) => {
                let message = format!("could not start the coordinators' thread: {error}");
                vec![
                    failed(TaskFailure::new(TaskFailureKind::Runtime, message)),
                    Event::CoordinatorEnded,
                ]
            }
        }
    }

    /// What they say next; `None` when they have ended. Never, when there are none. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<FromCoordinator> {
        match &mut self.thread {
            Some((_, said)) => said.recv().await,
            None => pending().await,
        }
    }

    /// They have said this: what comes of it.
    pub(super) fn said(&mut self, said: Option<FromCoordinator>, executor: &mut TaskExecutor) -> Option<Event> {
        match said {
            Some(FromCoordinator::Ready) => Some(Event::CoordinatorReady),
            Some(FromCoordinator::Failed(failure)) => Some(failed(failure)),
            // The end of the thread follows.
            Some(FromCoordinator::Done) => None,
            Some(FromCoordinator::OperatorEvent(event)) => {
                executor.operator_event(event);
                self.send(ToCoordinator::Grant(1))
            }
            Some(FromCoordinator::EventsHandled(handled)) => {
                executor.events_handled(handled);
                self.send(ToCoordinator::Grant(1))
            }
            None => {
                if let Some((thread, _)) = self.thread.take() {
                    thread.join();
                }
                Some(Event::CoordinatorEnded)
            }
        }
    }

    /// A task says something to its coordinator.
    pub(super) fn event(&self, event: OperatorEvent) -> Option<Event> {
        self.send(ToCoordinator::OperatorEvent(event))
    }

    /// What is said to tasks from now on finds them.
    pub(super) fn tasks_are_there(&self) -> Option<Event> {
        self.send(ToCoordinator::Grant(COORDINATOR_WINDOW))
    }

    /// A task has changed its state.
    pub(super) fn task_changed(&self, attempt: ExecutionAttemptId, to: ExecutionState) -> Option<Event> {
        match to {
            ExecutionState::Finished => self.send(ToCoordinator::SubtaskEnded(attempt)),
            ExecutionState::Failed => self.send(ToCoordinator::SubtaskFailed(attempt)),
            _ => None,
        }
    }

    /// All tasks have finished.
    pub(super) fn finish(&self) -> Option<Event> {
        self.send(ToCoordinator::Finish)
    }

    /// They are to end.
    pub(super) fn stop(&mut self, now: Instant) {
        if let Some((thread, _)) = &self.thread {
            thread.stop();
            self.stopped_at.get_or_insert(now);
        }
    }

    /// Whether they have not ended although they were asked to, so long ago.
    pub(super) fn is_stuck(&self, now: Instant, patience: Duration) -> bool {
        let is_late = |at: Instant| now.saturating_duration_since(at) > patience;
        self.thread.is_some() && self.stopped_at.is_some_and(is_late)
    }

    fn send(&self, message: ToCoordinator) -> Option<Event> {
        let (thread, _) = self.thread.as_ref()?;
        let full = thread.send(message).err()?;
        Some(failed(TaskFailure::new(TaskFailureKind::Runtime, full.to_string())))
    }
}

fn failed(failure: TaskFailure) -> Event {
    Event::CoordinatorFailed {
        host: HOST.to_owned(),
        failure,
    }
}

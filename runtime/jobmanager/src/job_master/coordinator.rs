//! The job's coordinator, as its JobMaster sees it: a process beside the JobManager, and a partner of tasks.
//!
//! What is decided here is pure: [`Coordinator`] takes what is heard of the process and says what is to be done. The
//! messages between coordinator and tasks go through the JobMaster, which knows which attempt of a task is where: what
//! is from or for an attempt that is over is dropped. It keeps the account of the coordinator's credit (see
//! [`flink_rpc::messages::ToCoordinator::Grant`]): a message is on its way until the worker says that it has arrived, or is lost
//! with its worker.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use flink_graph::{
    ExecutionAttemptId, ExecutionGraphEvent, ExecutionState, JobGraph, TaskFailure, TaskFailureKind, TaskManagerId,
};
use flink_process::{
    Death,
    life::{EXIT_LAG, Ending, LifeLimits, Manner, ProcessLife, Request},
};
use flink_rpc::messages::{COORDINATOR_WINDOW, FromCoordinator, OperatorEvent, ToCoordinator, ToTaskManager};
use tracing::{debug, info, warn};

use super::{JobAction, JobMaster};
use crate::clock::Now;

/// What is heard of a coordinator.
#[derive(Debug)]
pub(crate) enum CoordinatorNews {
    /// Its program's verified file, or why there is none.
    Located(Result<PathBuf, String>),
    /// It could not be started.
    SpawnFailed(String),
    /// It says something.
    Told(FromCoordinator),
    /// It cannot be talked to any more.
    Broken { reason: String },
    /// Its process has ended.
    Exited(Death),
}

/// Where the coordinator is.
#[derive(Debug)]
enum Phase {
    /// Not asked for yet.
    Idle,
    /// Its program's file is being verified.
    Locating,
    /// It has a process.
    Process(ProcessLife),
    /// There is none any more.
    Gone,
}

/// The coordinator of one job.
#[derive(Debug)]
pub(super) struct Coordinator {
    host: String,
    /// The names of its operators, for messages.
    operators: String,
    limits: LifeLimits,
    phase: Phase,
    /// It was told to end when everything is done.
    finishing: bool,
    /// Messages for tasks that have not arrived, by TaskManager.
    in_flight: BTreeMap<TaskManagerId, u32>,
}

/// What is to be done.
#[derive(Debug)]
enum Step {
    Tell(ExecutionGraphEvent),
    Do(JobAction),
}

impl Coordinator {
    /// That of a job on this JobManager's host, if the job needs one.
    pub(super) fn of(graph: &JobGraph, host: String, limits: LifeLimits) -> Option<Self> {
        let names: Vec<String> = graph
            .coordinated_operators()
            .map(|operator| format!("`{}`", operator.name))
            .collect();
        (!names.is_empty()).then(|| Self {
            host,
            operators: names.join(", "),
            limits,
            phase: Phase::Idle,
            finishing: false,
            in_flight: BTreeMap::new(),
        })
    }

    fn life_mut(&mut self) -> Option<&mut ProcessLife> {
        match &mut self.phase {
            Phase::Process(life) => Some(life),
            Phase::Idle | Phase::Locating | Phase::Gone => None,
        }
    }

    fn is_ready(&self) -> bool {
        matches!(&self.phase, Phase::Process(life) if life.is_ready())
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Process(life) => life.deadline(),
            Phase::Idle | Phase::Locating | Phase::Gone => None,
        }
    }

    fn stop(&mut self, now: Instant) -> Vec<Step> {
        match &mut self.phase {
            Phase::Idle | Phase::Locating => self.gone(None),
            Phase::Process(life) => {
                let request = life.end(now, Manner::Orderly);
                self.request(request)
            }
            Phase::Gone => Vec::new(),
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Step> {
        let request = self.life_mut().and_then(|life| life.tick(now));
        self.request(request)
    }

    fn request(&mut self, request: Option<Request>) -> Vec<Step> {
        match request {
            None => Vec::new(),
            Some(Request::Shutdown) => vec![Step::Do(JobAction::TellCoordinator(ToCoordinator::Shutdown))],
            Some(Request::Signal(signal)) => vec![Step::Do(JobAction::SignalCoordinator(signal))],
            Some(Request::Abandon) => {
                warn!("a coordinator does not end after SIGKILL; not waiting any longer");
                self.exited(&Death::unseen())
            }
        }
    }

    /// Takes news, other than messages for tasks.
    fn heard(&mut self, now: Instant, news: CoordinatorNews) -> Vec<Step> {
        match news {
            CoordinatorNews::Located(Ok(program)) if matches!(self.phase, Phase::Locating) => {
                self.phase = Phase::Process(ProcessLife::start(now, self.limits));
                vec![Step::Do(JobAction::SpawnCoordinator { program })]
            }
            CoordinatorNews::Located(Err(reason)) if matches!(self.phase, Phase::Locating) => {
                self.gone(Some(not_started(reason)))
            }
            // It was stopped in the meantime.
            CoordinatorNews::Located(_) => Vec::new(),
            CoordinatorNews::SpawnFailed(reason) => self.gone(Some(not_started(reason))),
            CoordinatorNews::Told(message) => self.told(now, message),
            CoordinatorNews::Broken { reason } => {
                self.fail(now, reason, EXIT_LAG);
                Vec::new()
            }
            CoordinatorNews::Exited(death) => self.exited(&death),
        }
    }

    fn told(&mut self, now: Instant, message: FromCoordinator) -> Vec<Step> {
        let finishing = self.finishing;
        let Some(life) = self.life_mut() else { return Vec::new() };
        match message {
            FromCoordinator::Ready => {
                if life.ready() {
                    return vec![Step::Tell(ExecutionGraphEvent::CoordinatorReady)];
                }
            }
            FromCoordinator::Failed(failure) => return vec![self.failed(failure)],
            FromCoordinator::Done if finishing => {
                // Nothing is left for it to do but to end, which is seen to.
                let request = life.end(now, Manner::Orderly);
                return self.request(request);
            }
            FromCoordinator::Done => self.fail(now, "it ended before the job".to_owned(), Duration::ZERO),
            // These are for tasks: see `JobMaster::relay`.
            FromCoordinator::OperatorEvent(_) | FromCoordinator::EventsHandled(_) => {}
        }
        Vec::new()
    }

    /// It is of no use any more; how its process ends is reported then.
    fn fail(&mut self, now: Instant, why: String, lag: Duration) {
        if let Some(life) = self.life_mut() {
            life.fail(now, why, lag);
        }
    }

    fn exited(&mut self, death: &Death) -> Vec<Step> {
        let Phase::Process(life) = &self.phase else {
            return Vec::new();
        };
        let failure = match life.exited() {
            Ending::Asked => None,
            Ending::Unasked { was_ready: true, why } => {
                let kind = death.exit.map_or(TaskFailureKind::Runtime, TaskFailureKind::WorkerDied);
                let (of, how) = (&self.operators, death.describe(why));
                let message = format!("the coordinator process of {of} ended: {how}");
                Some(TaskFailure::new(kind, message))
            }
            Ending::Unasked { was_ready: false, why } => {
                let (of, how) = (&self.operators, death.describe(why));
                let message = format!("the coordinator process of {of} did not get ready: {how}");
                Some(TaskFailure::new(TaskFailureKind::WorkerStart, message))
            }
        };
        self.gone(failure)
    }

    fn gone(&mut self, failure: Option<TaskFailure>) -> Vec<Step> {
        self.phase = Phase::Gone;
        let failed = failure.map(|failure| self.failed(failure));
        failed
            .into_iter()
            .chain([Step::Tell(ExecutionGraphEvent::CoordinatorEnded)])
            .collect()
    }

    fn failed(&self, failure: TaskFailure) -> Step {
        Step::Tell(ExecutionGraphEvent::CoordinatorFailed {
            host: self.host.clone(),
            failure,
        })
    }

    /// A message for a task spends credit. False when it has none: then it is ended.
    fn spend(&mut self, now: Instant) -> bool {
        let spent: u32 = self.in_flight.values().sum();
        let has_credit = spent < COORDINATOR_WINDOW;
        if !has_credit {
            self.fail(now, "it sent more than it may at a time".to_owned(), Duration::ZERO);
        }
        has_credit
    }

    /// Messages have arrived, or are lost.
    fn repay(&mut self, messages: u32) -> Option<JobAction> {
        (messages > 0 && self.is_ready()).then_some(JobAction::TellCoordinator(ToCoordinator::Grant(messages)))
    }
}

fn not_started(reason: String) -> TaskFailure {
    TaskFailure::new(
        TaskFailureKind::WorkerStart,
        format!("the coordinator could not be started: {reason}"),
    )
}

/// What the JobMaster has to do with its coordinator.
impl JobMaster {
    /// Something is heard of the coordinator.
    pub(crate) fn coordinator_news(&mut self, now: Now, news: CoordinatorNews) -> Vec<JobAction> {
        match news {
            CoordinatorNews::Told(FromCoordinator::OperatorEvent(event)) => {
                self.relay(now, event.attempt, ToTaskManager::OperatorEvent(event))
            }
            CoordinatorNews::Told(FromCoordinator::EventsHandled(handled)) => {
                self.relay(now, handled.attempt, ToTaskManager::EventsHandled(handled))
            }
            news => {
                let heard = self.coordinator.as_mut().map(|it| it.heard(now.instant, news));
                self.take_steps(now, heard)
            }
        }
    }

    pub(super) fn start_coordinator(&mut self) -> Option<JobAction> {
        let coordinator = self.coordinator.as_mut()?;
        coordinator.phase = Phase::Locating;
        Some(JobAction::LocateProgram(self.spec.artifact))
    }

    pub(super) fn finish_coordinator(&mut self) -> Option<JobAction> {
        let coordinator = self.coordinator.as_mut()?;
        coordinator.finishing = true;
        Some(JobAction::TellCoordinator(ToCoordinator::Finish))
    }

    pub(super) fn stop_coordinator(&mut self, now: Now) -> Vec<JobAction> {
        let stopped = self.coordinator.as_mut().map(|it| it.stop(now.instant));
        self.take_steps(now, stopped)
    }

    pub(super) fn coordinator_deadline(&self) -> Option<Instant> {
        self.coordinator.as_ref().and_then(Coordinator::deadline)
    }

    pub(super) fn tick_coordinator(&mut self, now: Now) -> Vec<JobAction> {
        let ticked = self.coordinator.as_mut().map(|it| it.tick(now.instant));
        self.take_steps(now, ticked)
    }

    fn take_steps(&mut self, now: Now, steps: Option<Vec<Step>>) -> Vec<JobAction> {
        let mut actions = Vec::new();
        for step in steps.into_iter().flatten() {
            match step {
                Step::Tell(event) => {
                    if let ExecutionGraphEvent::CoordinatorFailed { host, failure } = &event {
                        warn!(job = %self.id(), host, message = %failure.message, "coordinator failed");
                    }
                    actions.extend(self.event(now, event));
                }
                Step::Do(action) => actions.push(action),
            }
        }
        actions
    }

    /// The first credit, when tasks are on their way to their workers: what is sent now comes after them.
    pub(super) fn grant(&self) -> Option<JobAction> {
        let is_ready = self.coordinator.as_ref().is_some_and(Coordinator::is_ready);
        is_ready.then_some(JobAction::TellCoordinator(ToCoordinator::Grant(COORDINATOR_WINDOW)))
    }

    /// Passes on a message of the coordinator for a task.
    fn relay(&mut self, now: Now, attempt: ExecutionAttemptId, message: ToTaskManager) -> Vec<JobAction> {
        let is_ours = attempt.job == self.id();
        let task_manager = self.place_of(attempt);
        let Some(coordinator) = &mut self.coordinator else {
            return Vec::new();
        };
        if !is_ours {
            coordinator.fail(
                now.instant,
                "it sent something to a task of another job".to_owned(),
                Duration::ZERO,
            );
            return Vec::new();
        }
        if !coordinator.spend(now.instant) {
            return Vec::new();
        }
        match task_manager {
            Some(id) => {
                *coordinator.in_flight.entry(id).or_default() += 1;
                vec![JobAction::Send { id, message }]
            }
            None => {
                debug!(%attempt, "dropped what the coordinator says to a task that is over");
                coordinator.repay(1).into_iter().collect()
            }
        }
    }

    /// Where an attempt runs, if it is one that does.
    fn place_of(&self, attempt: ExecutionAttemptId) -> Option<TaskManagerId> {
        let executions = self.execution_graph.executions().get(attempt.vertex as usize)?;
        let execution = executions.get(attempt.subtask as usize)?;
        let is_current = execution.attempt == attempt.attempt && execution.state.is_deployed();
        execution.task_manager.filter(|_| is_current)
    }

    /// A task on a TaskManager says something to its coordinator.
    pub(super) fn event_for_coordinator(&self, id: TaskManagerId, event: OperatorEvent) -> Option<JobAction> {
        if self.place_of(event.attempt) != Some(id) {
            debug!(attempt = %event.attempt, "dropped what a task that is over says to its coordinator");
            return None;
        }
        let mut operators = self.graph().coordinated_operators();
        if !operators.any(|it| (it.node, it.vertex) == (event.operator, event.attempt.vertex)) {
            warn!(attempt = %event.attempt, operator = event.operator, "a task speaks to a coordinator that there is not");
            return None;
        }
        Some(JobAction::TellCoordinator(ToCoordinator::OperatorEvent(event)))
    }

    /// A worker has the coordinator's messages.
    pub(super) fn events_arrived(&mut self, id: TaskManagerId, messages: u32) -> Option<JobAction> {
        let coordinator = self.coordinator.as_mut()?;
        let in_flight = coordinator.in_flight.get_mut(&id)?;
        let arrived = messages.min(*in_flight);
        *in_flight -= arrived;
        coordinator.repay(arrived)
    }

    /// A worker is gone, and with it what was on its way there.
    pub(super) fn events_lost(&mut self, id: TaskManagerId) -> Option<JobAction> {
        let coordinator = self.coordinator.as_mut()?;
        let lost = coordinator.in_flight.remove(&id)?;
        coordinator.repay(lost)
    }

    /// A task has changed its state: whether that is for the coordinator to know.
    pub(super) fn tell_of_task(&self, attempt: ExecutionAttemptId, to: ExecutionState) -> Option<JobAction> {
        let coordinator = self.coordinator.as_ref().filter(|it| it.is_ready())?;
        let message = match to {
            ExecutionState::Finished => ToCoordinator::SubtaskEnded(attempt),
            ExecutionState::Failed => ToCoordinator::SubtaskFailed(attempt),
            _ => return None,
        };
        let mut operators = self.graph().coordinated_operators();
        if !operators.any(|operator| operator.vertex == attempt.vertex) {
            return None;
        }
        debug!(%attempt, %to, of = coordinator.operators, "telling the coordinator");
        Some(JobAction::TellCoordinator(message))
    }

    /// For the log: the coordinator's process was started.
    pub(crate) fn coordinator_started(&self, pid: Option<i32>) {
        let of = self.coordinator.as_ref().map(|it| it.operators.as_str());
        info!(job = %self.id(), pid, of, "coordinator started");
    }
}

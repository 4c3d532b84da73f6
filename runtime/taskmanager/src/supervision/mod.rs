//! What a TaskManager decides: slots, workers and the tie to the JobManager, as one state machine.
//!
//! [`TaskManagerState::handle`] takes an event and the time and returns what is to be done. There is no clock, socket
//! or process in here, so that every race can be a unit test. The shell (`task_manager.rs`) feeds it.
//!
//! # Workers
//! A job has at most one worker process here. It is started with the job's first slot and ended with its last one: by
//! message, then SIGTERM, then SIGKILL. A job that comes back while its old worker is still ending gets a new one,
//! which is fetched at once and spawned when the old one is gone: two processes of one job never run side by side on
//! a host. A slot belongs to a worker, not only to a job, and is free again the moment its worker is lost or its job
//! gives it back.
//!
//! A worker that ends unasked is reported with its exit and output, once, with exactly the slots that went with it;
//! one that was asked to end never is. How a process gets ready and is ended is decided by [`flink_process::life`].
//!
//! # The JobManager goes away
//! Workers go on while the TaskManager looks for a JobManager again: ending them cannot be taken back, and what became
//! of their tasks is for a JobManager to say. Today's JobManager always says the same: it treats a lost connection as
//! the loss of the TaskManager, and runs the tasks elsewhere. Therefore a connection that is found again starts from
//! nothing: all workers are killed (what they still do is of no value, and must not run beside its own replacement),
//! and only when the last one is gone does the TaskManager register. What workers say in between is dropped. When no
//! JobManager takes the registration within the death timeout, the workers are killed and the TaskManager ends. A
//! JobManager that takes over the tasks of a predecessor (high availability) has its place in `link.rs`, at `reached`.
//!
//! # Bounds
//! Slots bound the workers; a worker has at most [`flink_process::life::ABANDON_AFTER`] after SIGKILL, then it counts as
//! gone.

mod event;
mod link;
mod orders;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use flink_graph::{AllocationId, ExecutionAttemptId, JobId, TaskFailure};
use flink_process::{
    Death,
    life::{EXIT_LAG, Ending, Manner, ProcessLife, Request},
};
use flink_rpc::messages::{BlobDigest, FromTaskManager, FromWorker, ToWorker};
use tracing::{debug, info, warn};

pub use event::{Action, Event, Limits, Outcome, WorkerId};

use crate::{failure, slots::SlotTable};
use link::Link;
use worker::{Phase, Worker};

/// The state of one TaskManager. See the module.
#[derive(Debug)]
pub struct TaskManagerState {
    limits: Limits,
    slots: SlotTable,
    workers: BTreeMap<WorkerId, Worker>,
    next_worker: u64,
    link: Link,
    /// Leader epoch of the last JobManager; 0 before the first.
    epoch: u64,
    /// Set once the end is decided; carried out when no worker is left.
    closing: Option<Outcome>,
    ended: bool,
    actions: Vec<Action>,
}

impl TaskManagerState {
    /// A TaskManager that was started at `now` and looks for its JobManager.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            slots: SlotTable::new(limits.slots),
            workers: BTreeMap::new(),
            next_worker: 0,
            link: Link::new(now + limits.registration_timeout),
            epoch: 0,
            closing: None,
            ended: false,
            actions: Vec::new(),
            limits,
        }
    }

    /// Takes an event. The returned actions are to be carried out in order, before the next event.
    pub fn handle(&mut self, now: Instant, event: Event) -> Vec<Action> {
        match event {
            Event::Reached => self.reached(now),
            Event::Unreachable { reason } => self.link.trouble = reason,
            Event::Registered { epoch } => self.registered(epoch),
            Event::Refused(fault) => self.close(now, Outcome::Refused(fault), Manner::Kill),
            Event::Disconnected { reason, silent_for } => self.disconnected(now, reason, silent_for),
            Event::Ordered(order) => self.ordered(now, order),
            Event::Fetched { artifact, result } => self.fetched(artifact, result),
            Event::SpawnFailed { worker, reason } => self.spawn_failed(worker, &reason),
            Event::Told { worker, message } => self.told(now, worker, message),
            Event::Broken { worker, reason } => self.broken(now, worker, reason),
            Event::Exited { worker, death } => self.exited(worker, &death),
            Event::Terminate { reason } => self.terminate(now, reason),
            Event::Tick => {}
        }
        self.run_timers(now);
        self.start_fetched(now);
        self.settle();
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Tick`] is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let link = if self.closing.is_some() {
            None
        } else {
            self.link.deadline()
        };
        self.workers.values().filter_map(Worker::deadline).chain(link).min()
    }

    /// True once its end is decided: what the JobManager says is of no interest any more.
    pub fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Number of free slots.
    pub fn free_slots(&self) -> usize {
        self.slots.free()
    }

    fn do_(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Tells the JobManager, if there is one that wants to know.
    fn report(&mut self, message: FromTaskManager) {
        if self.link.is_joined() && self.closing.is_none() {
            self.do_(Action::Report(message));
        }
    }

    /// The worker that new slots and tasks of the job go to.
    fn current_worker(&self, job: JobId) -> Option<WorkerId> {
        let mut workers = self.workers.iter();
        workers
            .find(|(_, worker)| worker.job == job && worker.is_current())
            .map(|(id, _)| *id)
    }

    /// The job's worker, if tasks can run in it.
    fn ready_worker(&self, job: JobId) -> Option<WorkerId> {
        let id = self.current_worker(job)?;
        let is_ready = self.workers.get(&id)?.life().is_some_and(ProcessLife::is_ready);
        is_ready.then_some(id)
    }

    fn fetched(&mut self, artifact: BlobDigest, result: Result<PathBuf, String>) {
        let waiting: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.fetches(artifact))
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            match &result {
                Ok(program) => {
                    let Some(worker) = self.workers.get_mut(&id) else {
                        continue;
                    };
                    if let Phase::Fetching { spec } = &worker.phase {
                        worker.phase = Phase::Fetched {
                            spec: spec.clone(),
                            program: program.clone(),
                        };
                    }
                }
                Err(reason) => self.refuse_worker(id, failure::not_started(&self.limits.host, reason)),
            }
        }
    }

    /// Spawns the workers that have their program and whose predecessor, if any, is gone.
    fn start_fetched(&mut self, now: Instant) {
        let busy = |job| {
            self.workers
                .values()
                .any(|other| other.job == job && other.has_process())
        };
        let due: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| matches!(worker.phase, Phase::Fetched { .. }) && !busy(worker.job))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(worker) = self.workers.get_mut(&id) else {
                continue;
            };
            let starting = Phase::Process {
                life: ProcessLife::start(now, self.limits.workers),
                data_address: None,
            };
            let job = worker.job;
            if let Phase::Fetched { spec, program } = std::mem::replace(&mut worker.phase, starting) {
                self.do_(Action::Spawn {
                    worker: id,
                    job,
                    program,
                    spec,
                });
            }
        }
    }

    fn spawn_failed(&mut self, id: WorkerId, reason: &str) {
        let asked_for = self
            .workers
            .get(&id)
            .is_none_or(|worker| worker.life().is_some_and(ProcessLife::is_ending));
        if asked_for {
            self.workers.remove(&id);
        } else {
            self.refuse_worker(id, failure::not_started(&self.limits.host, reason));
        }
    }

    /// Drops a worker that has no process, and its slots with it.
    fn refuse_worker(&mut self, id: WorkerId, failure: TaskFailure) {
        if let Some(worker) = self.workers.remove(&id) {
            self.refuse_slots(id, worker.job, failure);
        }
    }

    fn refuse_slots(&mut self, id: WorkerId, job: JobId, failure: TaskFailure) {
        warn!(%job, worker = %id, message = %failure.message, "no worker for the job");
        let allocations = self.slots.release_worker(id);
        if !allocations.is_empty() {
            self.report(FromTaskManager::SlotsRefused {
                job,
                allocations,
                failure,
            });
        }
    }

    fn told(&mut self, now: Instant, id: WorkerId, message: FromWorker) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let job = worker.job;
        if speaks_for_others(job, &message) {
            return self.fail(
                now,
                id,
                "it reported on tasks of another job".to_owned(),
                Duration::ZERO,
            );
        }
        match message {
            FromWorker::Ready { data_address } => {
                if let Phase::Process {
                    life,
                    data_address: address,
                } = &mut worker.phase
                    && life.ready()
                {
                    info!(%job, worker = %id, %data_address, "worker is ready");
                    *address = Some(data_address);
                    self.offer(id);
                }
            }
            FromWorker::StartFailed(failure) => {
                if worker.life().is_some_and(ProcessLife::is_starting) {
                    self.refuse_slots(id, job, failure);
                    self.end_worker(now, id, Manner::Orderly);
                }
            }
            FromWorker::TaskStateChanged {
                attempt,
                state,
                failure,
            } => {
                self.report(FromTaskManager::TaskStateChanged {
                    attempt,
                    state,
                    failure,
                });
            }
            FromWorker::Metrics(metrics) => self.report(FromTaskManager::Metrics { job, metrics }),
            FromWorker::OperatorEvent(event) => self.report(FromTaskManager::OperatorEvent(event)),
            FromWorker::EventsArrived(messages) => self.report(FromTaskManager::EventsArrived { job, messages }),
        }
    }

    /// Offers the slots of a ready worker that were not offered yet.
    fn offer(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        let job = worker.job;
        let Phase::Process {
            life,
            data_address: Some(data_address),
        } = &worker.phase
        else {
            return;
        };
        if !life.is_ready() {
            return;
        }
        let data_address = *data_address;
        let allocations = self.slots.activate(id);
        if !allocations.is_empty() {
            self.report(FromTaskManager::SlotsOffered {
                job,
                allocations,
                data_address,
            });
        }
    }

    fn broken(&mut self, now: Instant, id: WorkerId, reason: String) {
        self.fail(now, id, reason, EXIT_LAG);
    }

    /// A worker with a process is of no use any more: it is killed after `lag`, and reported when it has ended.
    fn fail(&mut self, now: Instant, id: WorkerId, why: String, lag: Duration) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let job = worker.job;
        if let Some(life) = worker.life_mut()
            && life.is_current()
        {
            debug!(%job, worker = %id, %why, "worker is given up");
            life.fail(now, why, lag);
        }
    }

    fn exited(&mut self, id: WorkerId, death: &Death) {
        let Some(worker) = self.workers.remove(&id) else { return };
        let (job, host) = (worker.job, self.limits.host.as_str());
        // One without a process has nothing that could end.
        let Some(life) = worker.life() else { return };
        match life.exited() {
            Ending::Unasked { was_ready: true, why } => self.lost(id, job, failure::died(host, why, death)),
            Ending::Unasked { was_ready: false, why } => {
                self.refuse_slots(id, job, failure::died_before_ready(host, why, death));
            }
            Ending::Asked => {
                info!(%job, worker = %id, exit = ?death.exit, "worker has ended");
                self.slots.release_worker(id);
            }
        }
    }

    fn lost(&mut self, id: WorkerId, job: JobId, failure: TaskFailure) {
        warn!(%job, worker = %id, message = %failure.message, "worker is lost");
        let allocations = self.slots.release_worker(id);
        self.report(FromTaskManager::WorkerLost {
            job,
            failure,
            allocations,
        });
    }

    /// Ends a worker, whatever it is doing. Asking again only ever makes it harder.
    fn end_worker(&mut self, now: Instant, id: WorkerId, manner: Manner) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        match &mut worker.phase {
            Phase::Fetching { spec } => {
                let artifact = spec.artifact;
                self.forget_fetch(id, artifact);
            }
            Phase::Fetched { .. } => {
                self.workers.remove(&id);
                self.slots.release_worker(id);
            }
            Phase::Process { life, .. } => {
                if let Some(request) = life.end(now, manner) {
                    self.request(id, request);
                }
            }
        }
    }

    /// Does to a worker's process what its life asks for.
    fn request(&mut self, worker: WorkerId, request: Request) {
        match request {
            Request::Shutdown => self.do_(Action::Send {
                worker,
                message: ToWorker::Shutdown,
            }),
            Request::Signal(signal) => self.do_(Action::Signal { worker, signal }),
            Request::Abandon => {
                warn!(%worker, "worker does not end after SIGKILL; not waiting any longer");
                self.exited(worker, &Death::unseen());
            }
        }
    }

    fn forget_fetch(&mut self, id: WorkerId, artifact: BlobDigest) {
        self.workers.remove(&id);
        self.slots.release_worker(id);
        if !self.workers.values().any(|worker| worker.fetches(artifact)) {
            self.do_(Action::CancelFetch(artifact));
        }
    }

    fn end_all(&mut self, now: Instant, manner: Manner) {
        let workers: Vec<_> = self.workers.keys().copied().collect();
        for id in workers {
            self.end_worker(now, id, manner);
        }
    }

    fn close(&mut self, now: Instant, outcome: Outcome, manner: Manner) {
        if self.closing.is_none() {
            info!(?outcome, workers = self.workers.len(), "TaskManager is ending");
            self.closing = Some(outcome);
        }
        self.end_all(now, manner);
    }

    fn terminate(&mut self, now: Instant, reason: String) {
        self.report(FromTaskManager::Leaving { reason });
        self.close(now, Outcome::Terminated, Manner::Orderly);
    }

    fn run_timers(&mut self, now: Instant) {
        let is_due = |worker: &Worker| worker.deadline().is_some_and(|deadline| deadline <= now);
        let due: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| is_due(worker))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let life = self.workers.get_mut(&id).and_then(Worker::life_mut);
            if let Some(request) = life.and_then(|life| life.tick(now)) {
                self.request(id, request);
            }
        }
        if self.closing.is_none() && self.link.deadline().is_some_and(|deadline| deadline <= now) {
            self.link_is_overdue(now);
        }
    }

    /// What had to wait for the last worker's end.
    fn settle(&mut self) {
        if !self.workers.is_empty() || self.ended {
            return;
        }
        if let Some(outcome) = &self.closing {
            self.ended = true;
            self.actions.push(Action::End(outcome.clone()));
        } else {
            self.register_if_cleared();
        }
    }
}

/// A worker runs user code: it may say nothing about the tasks of other jobs.
fn speaks_for_others(job: JobId, message: &FromWorker) -> bool {
    let foreign = |attempt: &ExecutionAttemptId| attempt.job != job;
    match message {
        FromWorker::TaskStateChanged { attempt, .. } => foreign(attempt),
        FromWorker::Metrics(metrics) => metrics.tasks.iter().any(|task| foreign(&task.attempt)),
        FromWorker::OperatorEvent(event) => foreign(&event.attempt),
        FromWorker::Ready { .. } | FromWorker::StartFailed(_) | FromWorker::EventsArrived(_) => false,
    }
}

/// The ids that the job does not have here yet, and whether one of them is another job's.
fn sort_allocations(slots: &SlotTable, job: JobId, ids: Vec<AllocationId>) -> (Vec<AllocationId>, bool) {
    let mut fresh: Vec<AllocationId> = Vec::with_capacity(ids.len());
    let mut foreign = false;
    for id in ids {
        let owner = slots.get(id).map(|slot| slot.job);
        if owner != Some(job) && !fresh.contains(&id) {
            fresh.push(id);
        }
        foreign |= owner.is_some_and(|owner| owner != job);
    }
    (fresh, foreign)
}

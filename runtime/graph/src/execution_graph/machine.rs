//! The state machine: see [the module above](super).

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use super::{
    Execution, ExecutionGraphAction as Action, ExecutionGraphEvent as Event, ExecutionState, FailedTask, JobFailure,
    JobOutcome, JobStatus, Placement, SlotOffer, TaskFailure, TaskFailureKind, WorkerAddress, coordinator::Coordinator,
    slots::Slots,
};
use crate::{ExecutionAttemptId, JobGraph, JobId, TaskManagerId};

/// The run of one job.
#[derive(Debug)]
pub struct ExecutionGraph {
    job: JobId,
    graph: Arc<JobGraph>,
    /// Each state the job was in and since when; never empty.
    statuses: Vec<(JobStatus, u64)>,
    status: JobStatus,
    /// By vertex and subtask.
    executions: Vec<Vec<Execution>>,
    /// How many executions are in which state: what is asked at each event must not take a walk over all of them.
    counts: BTreeMap<ExecutionState, u32>,
    slots: Slots,
    coordinator: Coordinator,
    /// What the ResourceManager was told last.
    declared: u32,
    failure: Option<JobFailure>,
    /// The loss of a worker none of whose tasks was still running: no failure, unless some of its output was lost
    /// with it. Then it is the cause of the consequence that follows.
    silent_loss: Option<JobFailure>,
    /// Time of the event that is being handled.
    now_ms: u64,
    /// What it has led to so far.
    actions: Vec<Action>,
}

impl ExecutionGraph {
    /// A job in state CREATED. The graph is one that [`JobGraph::validate`] accepts; `now_ms` and all later times are
    /// milliseconds since the epoch.
    pub fn new(job: JobId, graph: Arc<JobGraph>, now_ms: u64) -> Self {
        let executions = graph
            .vertices
            .iter()
            .map(|vertex| vec![Execution::new(); vertex.parallelism as usize]);
        let executions: Vec<Vec<Execution>> = executions.collect();
        let total = executions.iter().map(|vertex| vertex.len() as u32).sum();
        Self {
            job,
            statuses: vec![(JobStatus::Created, now_ms)],
            status: JobStatus::Created,
            executions,
            counts: BTreeMap::from([(ExecutionState::Created, total)]),
            slots: Slots::of(&graph),
            coordinator: if graph.coordinated_operators().next().is_some() {
                Coordinator::Idle
            } else {
                Coordinator::Absent
            },
            graph,
            declared: 0,
            failure: None,
            silent_loss: None,
            now_ms,
            actions: Vec::new(),
        }
    }

    /// Takes in what happened at `now_ms`; returns what is to be done about it.
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
        self.now_ms = now_ms;
        match event {
            Event::Start => self.start(),
            Event::SlotsOffered(offers) => self.slots_offered(offers),
            Event::TaskStateChanged {
                attempt,
                state,
                failure,
            } => self.task_state_changed(attempt, state, failure),
            Event::TaskManagerLost {
                task_manager,
                host,
                reason,
            } => {
                self.task_manager_lost(
                    task_manager,
                    JobFailure {
                        task: None,
                        host: Some(host),
                        failure: reason,
                    },
                );
            }
            Event::WorkerLost {
                task_manager,
                host,
                failure,
            } => {
                self.worker_lost(
                    task_manager,
                    JobFailure {
                        task: None,
                        host: Some(host),
                        failure,
                    },
                );
            }
            Event::SlotsUnavailable { message } => self.slots_unavailable(message),
            Event::CoordinatorReady => self.coordinator_ready(),
            Event::CoordinatorFailed { host, failure } => self.coordinator_failed(host, failure),
            Event::CoordinatorEnded => self.coordinator_ended(),
            Event::Cancel => self.cancel(),
        }
        self.terminate_if_done();
        std::mem::take(&mut self.actions)
    }

    /// The job.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// What it runs.
    pub fn graph(&self) -> &Arc<JobGraph> {
        &self.graph
    }

    /// Its state.
    pub fn status(&self) -> JobStatus {
        self.status
    }

    /// The states it was in, in order, each with the time at which it got there; the last is [`Self::status`].
    pub fn status_timestamps(&self) -> &[(JobStatus, u64)] {
        &self.statuses
    }

    /// Why it failed or is failing, as far as it is known.
    pub fn failure(&self) -> Option<&JobFailure> {
        self.failure.as_ref()
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<JobOutcome> {
        let outcome = JobOutcome {
            status: self.status,
            failure: self.failure.clone(),
        };
        self.status.is_globally_terminal().then_some(outcome)
    }

    /// Its executions, by vertex and subtask.
    pub fn executions(&self) -> &[Vec<Execution>] {
        &self.executions
    }

    /// How many executions are in which state, in the order of states; states without any are left out.
    pub fn state_counts(&self) -> Vec<(ExecutionState, u32)> {
        self.counts.iter().map(|(state, count)| (*state, *count)).collect()
    }

    fn start(&mut self) {
        if self.status != JobStatus::Created {
            return;
        }
        self.set_status(JobStatus::Running);
        self.each_execution(|this, vertex, subtask| this.set_state(vertex, subtask, ExecutionState::Scheduled));
        // Both take their time; neither waits for the other.
        if self.coordinator == Coordinator::Idle {
            self.coordinator = Coordinator::Starting;
            self.actions.push(Action::StartCoordinator);
        }
        self.declare_requirements(self.slots.required());
    }

    /// Started, and not everything that its tasks need is there yet.
    fn waits_for_deployment(&self) -> bool {
        self.counts.contains_key(&ExecutionState::Scheduled)
    }

    fn coordinator_ready(&mut self) {
        if self.coordinator == Coordinator::Starting {
            self.coordinator = Coordinator::Ready;
            self.deploy_if_possible();
        }
    }

    fn coordinator_failed(&mut self, host: String, failure: TaskFailure) {
        // One that is being ended, or has ended, has nothing to say any more.
        if self.coordinator.is_in_use() {
            self.on_failure(JobFailure {
                task: None,
                host: Some(host),
                failure,
            });
        }
    }

    fn coordinator_ended(&mut self) {
        match self.coordinator {
            Coordinator::Absent | Coordinator::Idle | Coordinator::Gone => return,
            Coordinator::Finishing | Coordinator::Stopping => {}
            Coordinator::Starting | Coordinator::Ready => {
                let failure = TaskFailure::new(TaskFailureKind::Runtime, "the coordinator ended unasked");
                self.coordinator = Coordinator::Gone;
                self.on_failure(JobFailure {
                    task: None,
                    host: None,
                    failure,
                });
            }
        }
        self.coordinator = Coordinator::Gone;
    }

    fn stop_coordinator(&mut self) {
        if self.coordinator.is_in_use() {
            self.coordinator = Coordinator::Stopping;
            self.actions.push(Action::StopCoordinator);
        }
    }

    fn slots_offered(&mut self, offers: Vec<SlotOffer>) {
        let surplus = if self.waits_for_deployment() {
            self.slots.take(offers)
        } else {
            offers
                .into_iter()
                .filter(|offer| !self.slots.holds(offer.allocation))
                .collect()
        };
        if !surplus.is_empty() {
            self.actions.push(Action::FreeSlots(
                surplus.into_iter().map(|offer| offer.allocation).collect(),
            ));
        }
        self.deploy_if_possible();
    }

    fn deploy_if_possible(&mut self) {
        if self.waits_for_deployment() && self.slots.are_complete() && self.coordinator.allows_tasks() {
            self.deploy();
        }
    }

    fn deploy(&mut self) {
        let placement = Arc::new(self.placement());
        let mut tasks = vec![Vec::new(); placement.workers.len()];
        self.each_execution(|this, vertex, subtask| {
            let worker = placement.assignment[vertex][subtask] as usize;
            let WorkerAddress { task_manager, host, .. } = &placement.workers[worker];
            let execution = &mut this.executions[vertex][subtask];
            execution.task_manager = Some(*task_manager);
            execution.host = Some(host.clone());
            tasks[worker].push(this.attempt_id(vertex, subtask));
            this.set_state(vertex, subtask, ExecutionState::Deploying);
        });
        for (worker, tasks) in placement.workers.iter().zip(tasks) {
            let placement = Arc::clone(&placement);
            self.actions.push(Action::Deploy {
                task_manager: worker.task_manager,
                placement,
                tasks,
            });
        }
    }

    /// Where each execution belongs, once all slots are held.
    fn placement(&self) -> Placement {
        let (workers, worker_of_slot) = self.slots.workers();
        let assignment = self.executions.iter().enumerate().map(|(vertex, executions)| {
            let slots = (0..executions.len()).map(|subtask| self.slots.index(vertex, subtask));
            slots.map(|slot| worker_of_slot[slot]).collect()
        });
        let attempts = self
            .executions
            .iter()
            .map(|vertex| vertex.iter().map(|execution| execution.attempt).collect());
        Placement {
            workers,
            assignment: assignment.collect(),
            attempts: attempts.collect(),
        }
    }

    fn task_state_changed(&mut self, attempt: ExecutionAttemptId, to: ExecutionState, failure: Option<TaskFailure>) {
        let (vertex, subtask) = (attempt.vertex as usize, attempt.subtask as usize);
        let Some(execution) = self
            .executions
            .get(vertex)
            .and_then(|executions| executions.get(subtask))
        else {
            return;
        };
        let from = execution.state;
        if self.attempt_id(vertex, subtask) != attempt || !from.is_deployed() {
            return;
        }
        match to {
            // It ended before it was told to. As in Flink: the job has no use for its result any more.
            ExecutionState::Finished if from == ExecutionState::Canceling => {
                self.set_state(vertex, subtask, ExecutionState::Canceled);
            }
            ExecutionState::Initializing | ExecutionState::Running | ExecutionState::Finished => {
                self.set_state(vertex, subtask, to);
            }
            ExecutionState::Canceled if from == ExecutionState::Canceling => self.set_state(vertex, subtask, to),
            ExecutionState::Canceled => {
                let failure = TaskFailure::new(TaskFailureKind::Runtime, "the task ended as cancelled, unasked");
                self.task_failed(vertex, subtask, failure);
            }
            ExecutionState::Failed => {
                let unknown = || TaskFailure::new(TaskFailureKind::Runtime, "the task failed and did not say why");
                self.task_failed(vertex, subtask, failure.unwrap_or_else(unknown));
            }
            // Entered here, never reported.
            ExecutionState::Created
            | ExecutionState::Scheduled
            | ExecutionState::Deploying
            | ExecutionState::Canceling => {}
        }
    }

    fn task_failed(&mut self, vertex: usize, subtask: usize, failure: TaskFailure) {
        let execution = &self.executions[vertex][subtask];
        let job_vertex = &self.graph.vertices[vertex];
        let task = FailedTask {
            vertex: job_vertex.name.clone(),
            subtask: subtask as u32,
            parallelism: job_vertex.parallelism,
            attempt: execution.attempt,
        };
        let failure = JobFailure {
            task: Some(task),
            host: execution.host.clone(),
            failure,
        };
        self.set_failed(vertex, subtask, failure.failure.kind);
        self.on_failure(failure);
    }

    fn task_manager_lost(&mut self, task_manager: TaskManagerId, failure: JobFailure) {
        // Before the tasks are deployed, the ResourceManager makes up for what is lost.
        let is_awaited = self.waits_for_deployment();
        let slots = self.slots.remove(task_manager);
        if !slots.is_empty() && !is_awaited {
            self.tasks_lost(task_manager, failure);
        }
    }

    fn worker_lost(&mut self, task_manager: TaskManagerId, failure: JobFailure) {
        let slots = self.slots.remove(task_manager);
        let had_slots = !slots.is_empty();
        if had_slots {
            self.actions.push(Action::FreeSlots(slots));
        }
        // While the job waits, any worker's end counts, even of one that has offered no slot: the next would end alike.
        if had_slots || self.waits_for_deployment() {
            self.tasks_lost(task_manager, failure);
        }
    }

    /// A TaskManager's tasks of this job are gone.
    fn tasks_lost(&mut self, task_manager: TaskManagerId, failure: JobFailure) {
        let mut tasks = 0;
        self.each_execution(|this, vertex, subtask| {
            let execution = &this.executions[vertex][subtask];
            if execution.task_manager == Some(task_manager) && !execution.state.is_terminal() {
                tasks += 1;
                this.set_failed(vertex, subtask, failure.failure.kind);
            }
        });
        if tasks == 0 && self.status == JobStatus::Running && !self.waits_for_deployment() {
            self.silent_loss.get_or_insert(failure);
        } else {
            self.on_failure(failure);
        }
    }

    fn slots_unavailable(&mut self, message: String) {
        if self.waits_for_deployment() && !self.slots.are_complete() {
            let failure = TaskFailure::new(TaskFailureKind::SlotsUnavailable, message);
            self.on_failure(JobFailure {
                task: None,
                host: None,
                failure,
            });
        }
    }

    fn cancel(&mut self) {
        if self.status.can_transition_to(JobStatus::Cancelling) {
            self.set_status(JobStatus::Cancelling);
            self.cancel_tasks();
            self.stop_coordinator();
        }
    }

    /// What becomes of the job when something in it failed. The one place for this decision: the job fails for good.
    fn on_failure(&mut self, failure: JobFailure) {
        let is_consequence = |failure: &JobFailure| failure.failure.kind.is_consequence();
        if self.status.can_transition_to(JobStatus::Failing) {
            let cause = self.silent_loss.take().filter(|_| is_consequence(&failure));
            self.failure = Some(cause.unwrap_or(failure));
            self.set_status(JobStatus::Failing);
            self.cancel_tasks();
            self.stop_coordinator();
        } else if self.status == JobStatus::Failing
            && self.failure.as_ref().is_some_and(is_consequence)
            && !is_consequence(&failure)
        {
            self.failure = Some(failure);
        }
        // Else a user is ending the job, and what ends badly with it is no news.
    }

    fn cancel_tasks(&mut self) {
        let mut deployed: BTreeMap<TaskManagerId, Vec<ExecutionAttemptId>> = BTreeMap::new();
        self.each_execution(|this, vertex, subtask| {
            let Execution {
                state, task_manager, ..
            } = this.executions[vertex][subtask];
            match (state, task_manager) {
                (ExecutionState::Created | ExecutionState::Scheduled, _) => {
                    this.set_state(vertex, subtask, ExecutionState::Canceled);
                }
                (_, Some(task_manager)) if state.can_transition_to(ExecutionState::Canceling) => {
                    deployed
                        .entry(task_manager)
                        .or_default()
                        .push(this.attempt_id(vertex, subtask));
                    this.set_state(vertex, subtask, ExecutionState::Canceling);
                }
                _ => {}
            }
        });
        let cancel = |(task_manager, tasks)| Action::CancelTasks { task_manager, tasks };
        self.actions.extend(deployed.into_iter().map(cancel));
    }

    fn terminate_if_done(&mut self) {
        let to = match self.status {
            // A task that ends otherwise makes the job fail.
            JobStatus::Running => JobStatus::Finished,
            JobStatus::Failing => JobStatus::Failed,
            JobStatus::Cancelling => JobStatus::Canceled,
            _ => return,
        };
        if !self.counts.keys().all(|state| state.is_terminal()) {
            return;
        }
        if self.status == JobStatus::Running && self.coordinator == Coordinator::Ready {
            // What it does at the end, such as a commit, belongs to the job: it can still fail.
            self.coordinator = Coordinator::Finishing;
            self.actions.push(Action::FinishCoordinator);
        }
        if !self.coordinator.is_over() {
            return;
        }
        self.set_status(to);
        let slots = self.slots.remove_all();
        if !slots.is_empty() {
            self.actions.push(Action::FreeSlots(slots));
        }
        if self.declared > 0 {
            self.declare_requirements(0);
        }
        self.actions.extend(self.outcome().map(Action::JobTerminated));
    }

    fn declare_requirements(&mut self, slots: u32) {
        self.declared = slots;
        self.actions.push(Action::DeclareRequirements { slots });
    }

    fn set_status(&mut self, to: JobStatus) {
        let from = self.status;
        debug_assert!(from.can_transition_to(to), "{from} -> {to}");
        self.status = to;
        self.statuses.push((to, self.now_ms));
        self.actions.push(Action::JobStatusChanged { from, to });
    }

    /// Enters a state, unless the table forbids it: then the report that asks for it came too late.
    fn set_state(&mut self, vertex: usize, subtask: usize, to: ExecutionState) {
        let attempt = self.attempt_id(vertex, subtask);
        let execution = &mut self.executions[vertex][subtask];
        let Some(from) = execution.transition(self.now_ms, to) else {
            return;
        };
        let host = execution.host.clone();
        self.actions.push(Action::ExecutionChanged {
            attempt,
            from,
            to,
            host,
        });
        *self.counts.entry(to).or_default() += 1;
        if let Entry::Occupied(mut count) = self.counts.entry(from) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Ends an execution that failed. One that was being cancelled counts as cancelled if it only felt that others
    /// ended too, or if it was a user who cancelled it.
    fn set_failed(&mut self, vertex: usize, subtask: usize, kind: TaskFailureKind) {
        let is_canceling = self.executions[vertex][subtask].state == ExecutionState::Canceling;
        let is_expected = kind.is_consequence() || self.status == JobStatus::Cancelling;
        let to = if is_canceling && is_expected {
            ExecutionState::Canceled
        } else {
            ExecutionState::Failed
        };
        self.set_state(vertex, subtask, to);
    }

    fn attempt_id(&self, vertex: usize, subtask: usize) -> ExecutionAttemptId {
        let attempt = self.executions[vertex][subtask].attempt;
        ExecutionAttemptId {
            job: self.job,
            vertex: vertex as u32,
            subtask: subtask as u32,
            attempt,
        }
    }

    fn each_execution(&mut self, mut f: impl FnMut(&mut Self, usize, usize)) {
        for vertex in 0..self.executions.len() {
            for subtask in 0..self.executions[vertex].len() {
                f(self, vertex, subtask);
            }
        }
    }
}

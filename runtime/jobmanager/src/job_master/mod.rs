//! The JobMaster: what one job needs of the cluster around it.
//!
//! A thin shell over the job's [`ExecutionGraph`], without IO and tasks of its own: the Dispatcher feeds it and
//! carries out its [`JobAction`]s. It keeps what the graph does not care for: which allocation is on which
//! TaskManager, the counters that workers report, the watchers, and the patience with tasks that do not react to
//! cancelling.

mod attachments;
mod coordinator;
mod details;
pub(crate) mod output;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use flink_graph::{
    AllocationId, ExecutionAttemptId, ExecutionGraph, ExecutionGraphAction, ExecutionGraphEvent, JobGraph, JobId,
    JobStatus, SlotOffer, TaskFailure, TaskFailureKind, TaskManagerId,
};
use flink_process::{StopSignal, life::LifeLimits};
use flink_rpc::messages::{
    AttachMode, BlobDigest, Fault, FromTaskManager, JobDetails, JobReport, JobSpec, JobSummary, SlotRequest,
    ToCoordinator, ToTaskManager,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::clock::Now;
pub(crate) use attachments::{Attachment, Attachments, JobView};
use coordinator::Coordinator;
pub(crate) use coordinator::CoordinatorNews;
use details::JobMetrics;
use output::{OutputSender, OutputSource, OutputWriter};

/// Something to do for a job.
#[derive(Debug)]
pub(crate) enum JobAction {
    /// Tell the ResourceManager how many slots the job needs in all.
    Declare { slots: u32, timeout: Duration },
    /// Tell the ResourceManager that the job wants no more slots.
    Hold,
    /// Tell the ResourceManager that slots are free again.
    SlotsFreed {
        id: TaskManagerId,
        allocations: Vec<AllocationId>,
    },
    /// Tell a TaskManager.
    Send { id: TaskManagerId, message: ToTaskManager },
    /// Find the program that the job's coordinator is to be started from.
    LocateProgram(BlobDigest),
    /// Start the job's coordinator.
    SpawnCoordinator { program: PathBuf },
    /// Tell the job's coordinator.
    TellCoordinator(ToCoordinator),
    /// Send a signal to the process of the job's coordinator.
    SignalCoordinator(StopSignal),
    /// The job has ended.
    Ended,
}

/// What makes a job.
#[derive(Debug)]
pub(crate) struct JobSetup {
    pub(crate) id: JobId,
    /// A valid graph.
    pub(crate) graph: JobGraph,
    pub(crate) spec: Arc<JobSpec>,
    pub(crate) attached: bool,
    pub(crate) slot_timeout: Duration,
    /// How long tasks may take to react to cancelling.
    pub(crate) cancellation_timeout: Duration,
    /// The JobManager's host.
    pub(crate) host: String,
    /// The times of the job's coordinator.
    pub(crate) coordinator_limits: LifeLimits,
    /// Provisioning events up to this number are of no interest to the job.
    pub(crate) provisioning_since: u64,
    /// Places of the output file of a detached job: while it runs, and afterwards.
    pub(crate) output_paths: [PathBuf; 2],
}

/// One job while it runs. See the module.
#[derive(Debug)]
pub(crate) struct JobMaster {
    execution_graph: ExecutionGraph,
    spec: Arc<JobSpec>,
    attached: bool,
    slot_timeout: Duration,
    cancellation_timeout: Duration,
    start_ms: u64,
    /// The slots that the ResourceManager gave to the job, with their TaskManager.
    allocations: BTreeMap<AllocationId, TaskManagerId>,
    /// TaskManagers with slots of the job, and the names of their hosts.
    hosts: BTreeMap<TaskManagerId, String>,
    /// Of a job that needs one.
    coordinator: Option<Coordinator>,
    metrics: JobMetrics,
    attachments: Attachments,
    provisioned_at: Option<u64>,
    cancelled_by: Option<Instant>,
    fault: Option<Fault>,
    output: OutputSender,
    /// Of a detached job: where its output can be read, and what ends its writing.
    output_file: Option<(OutputSource, CancellationToken)>,
}

/// A job that has ended, as long as it is remembered.
#[derive(Debug)]
pub(crate) struct FinishedJob {
    pub(crate) report: JobReport,
    pub(crate) attached: bool,
    pub(crate) attachments: Attachments,
    pub(crate) output: Option<OutputSource>,
}

impl JobMaster {
    /// A job that is to be [started](Self::start). With a detached one comes what its output is to be written by.
    pub(crate) fn new(now: Now, setup: JobSetup) -> (Self, Option<OutputWriter>) {
        let coordinator = Coordinator::of(&setup.graph, setup.host, setup.coordinator_limits);
        let execution_graph = ExecutionGraph::new(setup.id, Arc::new(setup.graph), now.epoch_ms);
        let details = details::details(&execution_graph, &JobMetrics::default(), now.epoch_ms, false);
        let (output, queue) = output::channel();
        let (for_client, file, writer) = if setup.attached {
            (Some(queue), None, None)
        } else {
            let (source, end, writer) = output::to_file(setup.output_paths, queue);
            (None, Some((source, end)), Some(writer))
        };
        let attachments = Attachments::new(setup.id, now.instant, details, for_client, setup.provisioning_since);
        let job = Self {
            execution_graph,
            spec: setup.spec,
            attached: setup.attached,
            slot_timeout: setup.slot_timeout,
            cancellation_timeout: setup.cancellation_timeout,
            start_ms: now.epoch_ms,
            allocations: BTreeMap::new(),
            hosts: BTreeMap::new(),
            coordinator,
            metrics: JobMetrics::default(),
            attachments,
            provisioned_at: None,
            cancelled_by: None,
            fault: None,
            output,
            output_file: file,
        };
        (job, writer)
    }

    /// Begins.
    pub(crate) fn start(&mut self, now: Now) -> Vec<JobAction> {
        self.event(now, ExecutionGraphEvent::Start)
    }

    /// The ResourceManager gives slots to the job.
    pub(crate) fn allocated(&mut self, id: TaskManagerId, host: &str, allocations: Vec<AllocationId>) -> JobAction {
        self.hosts.insert(id, host.to_owned());
        self.allocations
            .extend(allocations.iter().map(|allocation| (*allocation, id)));
        let request = SlotRequest {
            job: self.id(),
            allocations,
            spec: Arc::clone(&self.spec),
        };
        JobAction::Send {
            id,
            message: ToTaskManager::RequestSlots(request),
        }
    }

    /// The ResourceManager has taken slots back.
    pub(crate) fn taken_back(&mut self, allocations: &[AllocationId]) {
        for allocation in allocations {
            self.allocations.remove(allocation);
        }
    }

    /// The ResourceManager has no slots for the job.
    pub(crate) fn slots_unavailable(&mut self, now: Now, fault: Fault) -> Vec<JobAction> {
        let message = fault.message.clone();
        self.fault = Some(fault);
        self.event(now, ExecutionGraphEvent::SlotsUnavailable { message })
    }

    /// A TaskManager says something about this job. `provisioning` is the number of the latest provisioning event.
    pub(crate) fn told(
        &mut self,
        now: Now,
        id: TaskManagerId,
        message: FromTaskManager,
        provisioning: u64,
    ) -> Vec<JobAction> {
        match message {
            FromTaskManager::SlotsOffered {
                allocations,
                data_address,
                ..
            } => {
                let actions = self.offered(now, id, &allocations, data_address);
                if self.provisioned_at.is_none() && !self.waits_for_slots() {
                    self.provisioned_at = Some(provisioning);
                }
                actions
            }
            FromTaskManager::SlotsRefused {
                allocations, failure, ..
            }
            | FromTaskManager::WorkerLost {
                allocations, failure, ..
            } => self.worker_lost(now, id, allocations, failure),
            FromTaskManager::TaskStateChanged {
                attempt,
                state,
                failure,
            } => {
                if !self.runs_on(attempt, id) {
                    warn!(%attempt, task_manager = %id, "a TaskManager reports on a task that is not its own");
                    return Vec::new();
                }
                self.event(
                    now,
                    ExecutionGraphEvent::TaskStateChanged {
                        attempt,
                        state,
                        failure,
                    },
                )
            }
            FromTaskManager::Metrics { metrics, .. } => {
                if self.metrics.merge(self.execution_graph.graph(), metrics) {
                    self.attachments.metrics_changed(now.instant);
                }
                Vec::new()
            }
            FromTaskManager::OperatorEvent(event) => self.event_for_coordinator(id, event).into_iter().collect(),
            FromTaskManager::EventsArrived { messages, .. } => self.events_arrived(id, messages).into_iter().collect(),
            FromTaskManager::Leaving { .. } => Vec::new(),
        }
    }

    /// A TaskManager is gone.
    pub(crate) fn task_manager_lost(&mut self, now: Now, id: TaskManagerId, reason: TaskFailure) -> Vec<JobAction> {
        let Some(host) = self.hosts.remove(&id) else {
            return Vec::new();
        };
        self.allocations.retain(|_, task_manager| *task_manager != id);
        let mut actions: Vec<_> = self.events_lost(id).into_iter().collect();
        actions.extend(self.event(
            now,
            ExecutionGraphEvent::TaskManagerLost {
                task_manager: id,
                host,
                reason,
            },
        ));
        actions
    }

    /// Somebody wants the job to end.
    pub(crate) fn cancel(&mut self, now: Now) -> Vec<JobAction> {
        self.event(now, ExecutionGraphEvent::Cancel)
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Now) -> Vec<JobAction> {
        let mut actions = Vec::new();
        if self.attachments.lease_timed_out(now.instant) {
            info!(job = %self.id(), "no client came for the attached job; cancelling it");
            actions.extend(self.cancel(now));
        }
        if self.cancelled_by.is_some_and(|at| at <= now.instant) {
            self.cancelled_by = None;
            actions.extend(self.end_workers(now));
        }
        actions.extend(self.tick_coordinator(now));
        if self.attachments.is_due(now.instant) {
            self.publish(now);
        }
        actions
    }

    /// When [`Self::tick`] is due, if nothing happens before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [
            self.cancelled_by,
            self.attachments.deadline(),
            self.coordinator_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// A client comes to watch.
    pub(crate) fn attach(&mut self, now: Now, mode: AttachMode) -> Result<Attachment, Fault> {
        if self.attachments.is_stale() {
            self.publish(now);
        }
        self.attachments.attach(mode)
    }

    /// The client with the lease is gone.
    pub(crate) fn lease_ended(&mut self, now: Now) -> Vec<JobAction> {
        info!(job = %self.id(), "the attached client is gone; cancelling the job");
        self.attachments.lease_ended();
        self.cancel(now)
    }

    /// One line about the job.
    pub(crate) fn summary(&self) -> JobSummary {
        details::summary(&self.execution_graph, self.start_ms)
    }

    /// Everything about the job.
    pub(crate) fn details(&self) -> JobDetails {
        details::details(&self.execution_graph, &self.metrics, self.start_ms, true)
    }

    /// The job's graph.
    pub(crate) fn graph(&self) -> &JobGraph {
        self.execution_graph.graph()
    }

    /// What it takes to start processes of the job.
    pub(crate) fn spec(&self) -> &JobSpec {
        &self.spec
    }

    /// Where the job's sinks put their records, if `attempt` is one of its present tasks.
    pub(crate) fn output(&self, attempt: ExecutionAttemptId) -> Option<OutputSender> {
        let executions = self.execution_graph.executions().get(attempt.vertex as usize)?;
        let execution = executions.get(attempt.subtask as usize)?;
        (execution.attempt == attempt.attempt && execution.state.is_deployed()).then(|| self.output.clone())
    }

    /// Where the output of a detached job can be read.
    pub(crate) fn output_source(&self) -> Option<&OutputSource> {
        self.output_file.as_ref().map(|(source, _)| source)
    }

    /// What stays of the job when it has ended; `None` as long as it has not.
    pub(crate) fn finish(mut self, now: Now) -> Option<FinishedJob> {
        let outcome = self.execution_graph.outcome()?;
        let report = JobReport {
            details: Arc::new(self.details()),
            outcome,
            fault: self.fault.take(),
        };
        let view = self.view(Some(report.clone()));
        self.attachments.publish(now.instant, view);
        let output = self.output_file.map(|(source, end)| {
            end.cancel();
            source
        });
        Some(FinishedJob {
            report,
            attached: self.attached,
            attachments: self.attachments,
            output,
        })
    }

    fn id(&self) -> JobId {
        self.execution_graph.job()
    }

    fn waits_for_slots(&self) -> bool {
        self.execution_graph
            .executions()
            .iter()
            .flatten()
            .any(|execution| execution.task_manager.is_none())
    }

    fn runs_on(&self, attempt: ExecutionAttemptId, id: TaskManagerId) -> bool {
        let executions = self.execution_graph.executions().get(attempt.vertex as usize);
        let execution = executions.and_then(|executions| executions.get(attempt.subtask as usize));
        execution.is_some_and(|execution| execution.task_manager == Some(id))
    }

    fn offered(
        &mut self,
        now: Now,
        id: TaskManagerId,
        allocations: &[AllocationId],
        data_address: SocketAddr,
    ) -> Vec<JobAction> {
        let Some(host) = self.hosts.get(&id) else {
            return Vec::new();
        };
        // What was freed while the offer travelled is not ours to take.
        let ours = allocations
            .iter()
            .filter(|allocation| self.allocations.get(allocation) == Some(&id));
        let offer = |allocation: &AllocationId| SlotOffer {
            allocation: *allocation,
            task_manager: id,
            host: host.clone(),
            data_address,
        };
        let offers = ours.map(offer).collect();
        self.event(now, ExecutionGraphEvent::SlotsOffered(offers))
    }

    fn worker_lost(
        &mut self,
        now: Now,
        id: TaskManagerId,
        allocations: Vec<AllocationId>,
        failure: TaskFailure,
    ) -> Vec<JobAction> {
        let allocations: Vec<_> = allocations
            .into_iter()
            .filter(|allocation| self.allocations.get(allocation) == Some(&id))
            .collect();
        self.taken_back(&allocations);
        let Some(host) = self.hosts.get(&id).cloned() else {
            return Vec::new();
        };
        warn!(job = %self.id(), host, message = %failure.message, "worker lost");
        let mut actions = vec![JobAction::SlotsFreed { id, allocations }];
        actions.extend(self.events_lost(id));
        actions.extend(self.event(
            now,
            ExecutionGraphEvent::WorkerLost {
                task_manager: id,
                host,
                failure,
            },
        ));
        actions
    }

    /// Tasks did not react to cancelling: their workers are ended, by taking all of the job's slots there.
    fn end_workers(&mut self, now: Now) -> Vec<JobAction> {
        let stubborn: BTreeSet<_> = self
            .execution_graph
            .executions()
            .iter()
            .flatten()
            .filter(|execution| !execution.state.is_terminal())
            .filter_map(|execution| execution.task_manager)
            .collect();
        let mut actions = Vec::new();
        for id in stubborn {
            let on_it = self.allocations.iter().filter(|(_, task_manager)| **task_manager == id);
            let allocations: Vec<_> = on_it.map(|(allocation, _)| *allocation).collect();
            let host = self.hosts.get(&id).cloned().unwrap_or_default();
            warn!(job = %self.id(), host, "tasks do not react to cancelling; ending their worker");
            actions.extend(self.free(&allocations));
            let message = format!(
                "did not react to cancelling for {:?}; its worker was ended",
                self.cancellation_timeout
            );
            let failure = TaskFailure::new(TaskFailureKind::Runtime, message);
            actions.extend(self.event(
                now,
                ExecutionGraphEvent::WorkerLost {
                    task_manager: id,
                    host,
                    failure,
                },
            ));
        }
        actions
    }

    /// Gives slots back that the job still has.
    fn free(&mut self, allocations: &[AllocationId]) -> Vec<JobAction> {
        let mut by_task_manager: BTreeMap<TaskManagerId, Vec<AllocationId>> = BTreeMap::new();
        for allocation in allocations {
            if let Some(id) = self.allocations.remove(allocation) {
                by_task_manager.entry(id).or_default().push(*allocation);
            }
        }
        let free = |(id, allocations): (_, Vec<_>)| {
            let message = ToTaskManager::FreeSlots(allocations.clone());
            [
                JobAction::Send { id, message },
                JobAction::SlotsFreed { id, allocations },
            ]
        };
        by_task_manager.into_iter().flat_map(free).collect()
    }

    /// Feeds the graph and translates what it wants.
    fn event(&mut self, now: Now, event: ExecutionGraphEvent) -> Vec<JobAction> {
        let mut actions = Vec::new();
        let mut is_deployed = false;
        for action in self.execution_graph.handle(now.epoch_ms, event) {
            match action {
                ExecutionGraphAction::StartCoordinator => actions.extend(self.start_coordinator()),
                ExecutionGraphAction::FinishCoordinator => actions.extend(self.finish_coordinator()),
                ExecutionGraphAction::StopCoordinator => actions.extend(self.stop_coordinator(now)),
                ExecutionGraphAction::DeclareRequirements { slots } => {
                    actions.push(JobAction::Declare {
                        slots,
                        timeout: self.slot_timeout,
                    });
                }
                ExecutionGraphAction::Deploy {
                    task_manager: id,
                    placement,
                    tasks,
                } => {
                    let message = ToTaskManager::Deploy {
                        job: self.id(),
                        placement,
                        tasks,
                    };
                    actions.push(JobAction::Send { id, message });
                    is_deployed = true;
                }
                ExecutionGraphAction::CancelTasks {
                    task_manager: id,
                    tasks,
                } => {
                    actions.push(JobAction::Send {
                        id,
                        message: ToTaskManager::CancelTasks(tasks),
                    });
                }
                ExecutionGraphAction::FreeSlots(allocations) => actions.extend(self.free(&allocations)),
                ExecutionGraphAction::JobStatusChanged { from, to } => {
                    info!(job = %self.id(), %from, %to, "job");
                    self.attachments.state_changed(now.instant);
                    actions.extend(self.status_changed(now, to));
                }
                ExecutionGraphAction::ExecutionChanged {
                    attempt,
                    from,
                    to,
                    host,
                } => {
                    debug!(%attempt, %from, %to, host, "task");
                    self.attachments.state_changed(now.instant);
                    actions.extend(self.tell_of_task(attempt, to));
                }
                ExecutionGraphAction::JobTerminated(_) => actions.push(JobAction::Ended),
            }
        }
        if is_deployed {
            actions.extend(self.grant());
        }
        actions
    }

    fn status_changed(&mut self, now: Now, to: JobStatus) -> Option<JobAction> {
        match to {
            JobStatus::Failing | JobStatus::Cancelling => {
                self.cancelled_by.get_or_insert(now.instant + self.cancellation_timeout);
                Some(JobAction::Hold)
            }
            _ => None,
        }
    }

    fn view(&self, report: Option<JobReport>) -> JobView {
        let details = match &report {
            Some(report) => Arc::clone(&report.details),
            None => Arc::new(details::details(
                &self.execution_graph,
                &self.metrics,
                self.start_ms,
                false,
            )),
        };
        JobView {
            details,
            report,
            provisioned_at: self.provisioned_at,
        }
    }

    fn publish(&mut self, now: Now) {
        let view = self.view(None);
        self.attachments.publish(now.instant, view);
    }
}

#[cfg(test)]
mod tests;

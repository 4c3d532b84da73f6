//! The Dispatcher: the one owner of everything the JobManager knows.
//!
//! # One loop
//! The Dispatcher is an actor: one task that takes events from bounded queues, one at a time and each to its end. The
//! ResourceManager and the JobMasters are parts of its state, pure machines that it feeds and whose actions it
//! carries out. An actor for each of them was refused: they talk to one another in circles (a job declares, slots are
//! allocated, freed, lost), and bounded queues in a circle can wait for each other, while unbounded ones are not
//! allowed. In one loop an exchange between them is a function call, and no state is ever seen half changed.
//!
//! # What it never does
//! It never waits for anything but its next event. What leaves it goes into a queue that has room (or whose reader is
//! given up), into a `watch` cell that keeps the latest value only, or to a provider that returns at once; files are
//! written by tasks of its own. So whoever sends to it is always served in the end, and may wait for that.

mod coordinators;
mod event;
mod faults;
mod jobs;
mod lifecycle;
mod provisioning;
mod task_managers;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use flink_graph::{JobId, TaskManagerId};
use flink_rpc::{
    ClusterCa,
    messages::{ClusterStatus, HostFault, JobSummary, ProvisioningStage, ToTaskManager},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    clock::Now,
    config::JobManagerConfig,
    job_manager::ClusterExit,
    job_master::{FinishedJob, JobAction, JobMaster},
    resource_manager::{
        ResourceAction, ResourceEvent, ResourceManager,
        provider::{ProviderEvent, ResourceProvider},
    },
};
use coordinators::Coordinators;
pub(crate) use event::{
    ClientCall, ClusterEnd, ConnectionEnd, EVENT_QUEUE, Event, Reply, TASK_MANAGER_QUEUE, TaskManagerLink, Watch,
};
use lifecycle::Lifecycle;
pub(crate) use provisioning::ProvisioningBoard;
use task_managers::RegisteredTaskManager;

/// Ended jobs that are remembered; of more, the oldest are forgotten.
const FINISHED_JOBS: usize = 64;

/// Leader epoch of the only JobManager there is.
const EPOCH: u64 = 1;

/// The actor's state. See the module.
pub(crate) struct Dispatcher {
    config: JobManagerConfig,
    ca: ClusterCa,
    /// Where TaskManagers and workers reach this JobManager.
    address: SocketAddr,
    start_ms: u64,
    resource_manager: ResourceManager,
    /// `None` once it was shut down.
    provider: Option<Box<dyn ResourceProvider>>,
    task_managers: BTreeMap<TaskManagerId, RegisteredTaskManager>,
    jobs: BTreeMap<JobId, JobMaster>,
    finished: BTreeMap<JobId, FinishedJob>,
    /// The keys of `finished`, in the order in which they ended.
    finished_order: VecDeque<JobId>,
    coordinators: Coordinators,
    provisioning: watch::Sender<ProvisioningBoard>,
    lifecycle: Lifecycle,
    /// Writers of output files, archivings of jobs that have ended, removals of directories.
    background: JoinSet<()>,
    /// What is still to be carried out.
    work: VecDeque<Work>,
}

/// Something that one of the machines wants done.
enum Work {
    Resource(ResourceAction),
    Job(JobId, JobAction),
}

impl Dispatcher {
    pub(crate) fn new(
        config: JobManagerConfig,
        ca: ClusterCa,
        address: SocketAddr,
        provider: Box<dyn ResourceProvider>,
        closing: CancellationToken,
    ) -> Self {
        let now = Now::read();
        let mut seed = [0; 8];
        // The last bytes of a cluster's id are its random ones.
        seed.copy_from_slice(&config.cluster.as_bytes()[8..]);
        let resource_manager = ResourceManager::new(&config, provider.capacity(), provider.accepts_unknown(), seed);
        Self {
            lifecycle: Lifecycle::new(config.mode, now.instant, closing),
            resource_manager,
            provider: Some(provider),
            task_managers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            finished: BTreeMap::new(),
            finished_order: VecDeque::new(),
            coordinators: Coordinators::new(),
            provisioning: watch::Sender::new(ProvisioningBoard::default()),
            background: JoinSet::new(),
            work: VecDeque::new(),
            start_ms: now.epoch_ms,
            config,
            ca,
            address,
        }
    }

    /// Runs until the cluster has ended; `stop` asks for that.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut provider_events: mpsc::Receiver<ProviderEvent>,
        stop: CancellationToken,
    ) -> ClusterExit {
        loop {
            let deadline = self.deadline();
            tokio::select! {
                Some(event) = events.recv() => self.event(Now::read(), event),
                Some(event) = provider_events.recv() => self.provider_event(Now::read(), event),
                Some(news) = self.coordinators.news.1.recv() => {
                    let now = Now::read();
                    self.coordinator_news(now, news);
                    self.carry_out(now);
                }
                Some(result) = self.coordinators.tasks.join_next(), if !self.coordinators.tasks.is_empty() => {
                    if let Err(error) = result {
                        warn!(%error, "the task of a coordinator failed");
                    }
                }
                Some(result) = self.background.join_next(), if !self.background.is_empty() => {
                    if let Err(error) = result {
                        warn!(%error, "a background task failed");
                    }
                }
                () = stop.cancelled(), if !self.is_stopping() => self.stop_asked(Now::read()),
                () = sleep_until(deadline.into()) => {}
            }
            self.tick(Now::read());
            if self.is_over() {
                return self.finish(provider_events).await;
            }
        }
    }

    fn event(&mut self, now: Now, event: Event) {
        match event {
            Event::Register {
                registration,
                link,
                reply,
            } => self.register(now, registration, link, reply),
            // What comes from a connection that was replaced, or given up, is of the past.
            Event::Told {
                id,
                connection,
                message,
            } => {
                if self.is_current(id, connection) {
                    self.told(now, id, message);
                }
            }
            Event::Disconnected { id, connection, end } => {
                if self.is_current(id, connection) {
                    self.disconnected(now, id, &end);
                }
            }
            Event::Collect { attempt, reply } => self.collect(attempt, reply),
            Event::Client(call) => self.client_call(now, call),
        }
        self.carry_out(now);
    }

    fn provider_event(&mut self, now: Now, event: ProviderEvent) {
        match event {
            ProviderEvent::Progress { id, stage } => {
                if let Some(host) = self.resource_manager.host(id) {
                    self.provisioning.send_modify(|board| board.note(host, stage));
                }
            }
            ProviderEvent::Failed { id, fault } => self.resource(now, ResourceEvent::StartFailed { id, fault }),
            ProviderEvent::Stopped { id, left_behind } => {
                self.resource(now, ResourceEvent::Stopped { id, left_behind });
            }
        }
        self.carry_out(now);
    }

    /// What has to be done because of the time.
    fn tick(&mut self, now: Now) {
        if self.resource_manager.deadline().is_some_and(|at| at <= now.instant) {
            self.resource(now, ResourceEvent::Tick);
        }
        for (id, job) in &mut self.jobs {
            if job.deadline().is_some_and(|at| at <= now.instant) {
                self.work
                    .extend(job.tick(now).into_iter().map(|action| Work::Job(*id, action)));
            }
        }
        for job in self.finished.values_mut() {
            job.attachments.lease_timed_out(now.instant);
        }
        self.carry_out(now);
        // A phase may have nothing to wait for.
        while self.advance(now) {
            self.carry_out(now);
        }
    }

    fn deadline(&self) -> Instant {
        /// Longest sleep without any timer.
        const IDLE: std::time::Duration = std::time::Duration::from_secs(3600);
        let jobs = self.jobs.values().filter_map(JobMaster::deadline);
        let finished = self.finished.values().filter_map(|job| job.attachments.deadline());
        let others = [self.resource_manager.deadline(), self.lifecycle.deadline()]
            .into_iter()
            .flatten();
        jobs.chain(finished)
            .chain(others)
            .min()
            .unwrap_or_else(|| Now::read().instant + IDLE)
    }

    /// Feeds the ResourceManager; what it wants is done by [`Self::carry_out`].
    fn resource(&mut self, now: Now, event: ResourceEvent) {
        let actions = self.resource_manager.handle(now.instant, event);
        self.work.extend(actions.into_iter().map(Work::Resource));
    }

    fn carry_out(&mut self, now: Now) {
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Resource(action) => self.resource_action(now, action),
                Work::Job(job, action) => self.job_action(now, job, action),
            }
        }
    }

    fn resource_action(&mut self, now: Now, action: ResourceAction) {
        match action {
            ResourceAction::Start { id, host } => self.start_task_manager(now, id, host),
            ResourceAction::Stop { id } => {
                if let Some(provider) = &mut self.provider {
                    provider.stop(id);
                }
            }
            ResourceAction::Shutdown { id } => self.send(id, ToTaskManager::Shutdown),
            ResourceAction::Allocate { job, id, allocations } => self.allocated(now, job, id, allocations),
            ResourceAction::Free { job, id, allocations } => self.free(job, id, allocations),
            ResourceAction::NotEnough { job, shortage } => self.not_enough(now, job, &shortage),
            ResourceAction::StartFailed { fault } => self.start_failed(fault),
            ResourceAction::Gone { id, left_behind } => self.gone(id, left_behind),
        }
    }

    fn job_action(&mut self, now: Now, job: JobId, action: JobAction) {
        match action {
            JobAction::Declare { slots, timeout } => {
                self.resource(now, ResourceEvent::Declare { job, slots, timeout });
            }
            JobAction::Hold => self.resource(now, ResourceEvent::Hold { job }),
            JobAction::SlotsFreed { id, allocations } => {
                self.resource(now, ResourceEvent::SlotsFreed { id, allocations });
            }
            JobAction::Send { id, message } => self.send(id, message),
            JobAction::LocateProgram(artifact) => self.locate_program(job, artifact),
            JobAction::SpawnCoordinator { program } => self.spawn_coordinator(now, job, program),
            JobAction::TellCoordinator(message) => self.tell_coordinator(now, job, message),
            JobAction::SignalCoordinator(signal) => self.signal_coordinator(job, signal),
            JobAction::Ended => self.job_ended(now, job),
        }
    }

    fn summaries(&self) -> Vec<JobSummary> {
        let running = self.jobs.values().map(JobMaster::summary);
        let finished = self.finished.values().map(|job| job.report.details.summary.clone());
        let mut summaries: Vec<_> = running.chain(finished).collect();
        // Ids sort by the time of submission.
        summaries.sort_by_key(|summary| std::cmp::Reverse(summary.id));
        summaries
    }

    fn status(&self) -> ClusterStatus {
        ClusterStatus {
            cluster: self.config.cluster,
            start_ms: self.start_ms,
            task_managers: self.task_manager_details(),
            pending_task_managers: self.resource_manager.starting(),
            startable_slots: self.resource_manager.startable_slots(),
            jobs: self.summaries(),
        }
    }

    fn host_name(&self, id: TaskManagerId) -> String {
        let registered = self.task_managers.get(&id).map(|entry| entry.registration.host.clone());
        let started = || self.resource_manager.host(id).map(str::to_owned);
        registered.or_else(started).unwrap_or_else(|| id.to_string())
    }

    fn note_failure(&self, fault: &HostFault) {
        let stage = ProvisioningStage::Failed(fault.clone());
        self.provisioning.send_modify(|board| board.note(&fault.host, stage));
    }
}

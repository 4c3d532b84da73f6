//! The Dispatcher's dealings with TaskManagers: registrations, messages, ends.

use flink_graph::{AllocationId, JobId, TaskManagerId};
use flink_rpc::{
    Role, close,
    messages::{
        Fault, FromTaskManager, HostFault, PROTOCOL_VERSION, ProvisioningStage, Registered, Registration,
        TaskManagerDetails, ToTaskManager,
    },
};
use tokio::sync::mpsc::error::TrySendError;
use tracing::{info, warn};

use super::{ConnectionEnd, Dispatcher, EPOCH, Reply, TaskManagerLink, Work, faults};
use crate::{
    clock::Now,
    resource_manager::{ResourceEvent, Shortage, provider::StartTaskManager},
};

/// Most slots of one TaskManager: the sums over all of them must stay in range.
const MAX_SLOTS: u32 = 65_536;

/// A TaskManager with a connection.
pub(super) struct RegisteredTaskManager {
    pub(super) registration: Registration,
    link: TaskManagerLink,
    since_ms: u64,
    /// Why it said that it ends.
    leaving: Option<String>,
    /// It was told to end.
    dismissed: bool,
    /// Why it was given up here.
    given_up: Option<&'static str>,
}

impl Dispatcher {
    pub(super) fn start_task_manager(&mut self, now: Now, id: TaskManagerId, host: String) {
        let identity = match self.ca.issue(Role::TaskManager) {
            Ok(identity) => identity,
            Err(error) => {
                let fault = host_fault(
                    &host,
                    "internal",
                    format!("no certificate for its TaskManager: {error}"),
                );
                return self.resource(now, ResourceEvent::StartFailed { id, fault });
            }
        };
        info!(task_manager = %id, host, "starting a TaskManager");
        self.provisioning
            .send_modify(|board| board.note(&host, ProvisioningStage::Connecting));
        let (job_manager, cluster) = (self.address, self.config.cluster);
        if let Some(provider) = &mut self.provider {
            provider.start(StartTaskManager {
                id,
                host,
                identity,
                job_manager,
                cluster,
            });
        }
    }

    pub(super) fn start_failed(&mut self, fault: HostFault) {
        warn!(
            host = fault.host,
            code = fault.code,
            message = fault.message,
            "a TaskManager could not be started"
        );
        self.note_failure(&fault);
    }

    pub(super) fn gone(&mut self, id: TaskManagerId, left_behind: Option<HostFault>) {
        match left_behind {
            None => info!(task_manager = %id, "TaskManager is gone"),
            Some(fault) => {
                warn!(
                    host = fault.host,
                    message = fault.message,
                    "a TaskManager may have been left behind"
                );
                self.lifecycle.left_behind(id, fault);
            }
        }
    }

    pub(super) fn register(
        &mut self,
        now: Now,
        registration: Registration,
        link: TaskManagerLink,
        reply: Reply<Registered>,
    ) {
        let id = registration.id;
        if let Some(old) = self.task_managers.get(&id) {
            // It has given up a connection whose end has not been noticed here.
            close(&old.link.connection, "replaced");
            self.disconnected(
                now,
                id,
                &ConnectionEnd::Broken {
                    reason: "its connection to the JobManager broke; it has come back on a new one".to_owned(),
                },
            );
            self.carry_out(now);
        }
        if let Err(fault) = self.admit(now, &registration) {
            warn!(task_manager = %id, host = registration.host, message = fault.message, "registration refused");
            // The connection is closed when the fault was told, or the peer is gone.
            let _gone = reply.send(Err(fault));
            return;
        }
        let Registration { host, pid, slots, .. } = &registration;
        info!(task_manager = %id, host, pid, slots, "TaskManager registered");
        self.lifecycle.host_is_back(host);
        let stage = ProvisioningStage::Registered { slots: *slots };
        self.provisioning.send_modify(|board| board.note(host, stage));
        let since_ms = now.epoch_ms;
        let entry = RegisteredTaskManager {
            registration,
            link,
            since_ms,
            leaving: None,
            dismissed: false,
            given_up: None,
        };
        self.task_managers.insert(id, entry);
        // When the peer is gone already, the end of its connection is on its way here.
        let _gone = reply.send(Ok(Registered {
            cluster: self.config.cluster,
            epoch: EPOCH,
        }));
    }

    fn admit(&mut self, now: Now, registration: &Registration) -> Result<(), Fault> {
        let Registration {
            protocol, id, slots, ..
        } = registration;
        if *protocol != PROTOCOL_VERSION {
            let message = format!("the TaskManager speaks protocol {protocol}, the JobManager {PROTOCOL_VERSION}");
            return Err(Fault::new("protocol.version", message));
        }
        if !(1..=MAX_SLOTS).contains(slots) {
            let message = format!("a TaskManager offers between 1 and {MAX_SLOTS} slots, not {slots}");
            return Err(Fault::new("taskmanager.slots", message));
        }
        let actions = self.resource_manager.register(now.instant, *id, *slots)?;
        self.work.extend(actions.into_iter().map(Work::Resource));
        Ok(())
    }

    /// Whether this is the connection that a TaskManager is registered on.
    pub(super) fn is_current(&self, id: TaskManagerId, connection: usize) -> bool {
        self.task_managers
            .get(&id)
            .is_some_and(|entry| entry.link.connection.stable_id() == connection)
    }

    pub(super) fn told(&mut self, now: Now, id: TaskManagerId, message: FromTaskManager) {
        let Some(task_manager) = self.task_managers.get_mut(&id) else {
            return;
        };
        let job = match &message {
            FromTaskManager::Leaving { reason } => {
                info!(task_manager = %id, host = task_manager.registration.host, reason, "TaskManager is leaving");
                task_manager.leaving = Some(reason.clone());
                return self.resource(now, ResourceEvent::Leaving { id });
            }
            FromTaskManager::SlotsOffered { job, .. }
            | FromTaskManager::SlotsRefused { job, .. }
            | FromTaskManager::WorkerLost { job, .. }
            | FromTaskManager::Metrics { job, .. }
            | FromTaskManager::EventsArrived { job, .. } => *job,
            FromTaskManager::OperatorEvent(event) => event.attempt.job,
            FromTaskManager::TaskStateChanged { attempt, .. } => attempt.job,
        };
        let provisioning = self.provisioning.borrow().latest();
        // What is said about a job that has ended comes too late.
        let Some(master) = self.jobs.get_mut(&job) else { return };
        let actions = master.told(now, id, message, provisioning);
        self.work
            .extend(actions.into_iter().map(|action| Work::Job(job, action)));
    }

    /// The one place where the loss of a TaskManager is noticed: its jobs, the ResourceManager and whoever watches the
    /// provisioning learn of it from here.
    pub(super) fn disconnected(&mut self, now: Now, id: TaskManagerId, end: &ConnectionEnd) {
        let Some(task_manager) = self.task_managers.remove(&id) else {
            return;
        };
        let RegisteredTaskManager {
            registration,
            leaving,
            dismissed,
            given_up,
            ..
        } = task_manager;
        let given_up = given_up.map(|reason| ConnectionEnd::Broken {
            reason: reason.to_owned(),
        });
        let end = given_up.as_ref().unwrap_or(end);
        let timeout = self.config.heartbeat.timeout;
        let (fault, failure) = faults::task_manager_lost(&registration.host, end, leaving.as_deref(), timeout);
        if dismissed {
            info!(task_manager = %id, host = registration.host, "TaskManager has ended");
        } else {
            warn!(task_manager = %id, host = registration.host, message = fault.message, "TaskManager lost");
            self.note_failure(&fault);
        }
        for (job, master) in &mut self.jobs {
            let actions = master.task_manager_lost(now, id, failure.clone());
            self.work
                .extend(actions.into_iter().map(|action| Work::Job(*job, action)));
        }
        let ended = matches!(end, ConnectionEnd::Closed { .. });
        self.resource(now, ResourceEvent::Disconnected { id, ended, fault });
    }

    pub(super) fn allocated(&mut self, now: Now, job: JobId, id: TaskManagerId, allocations: Vec<AllocationId>) {
        let host = self.host_name(id);
        match self.jobs.get_mut(&job) {
            Some(master) => {
                let action = master.allocated(id, &host, allocations);
                self.work.push_back(Work::Job(job, action));
            }
            // It has ended in the meantime, and its withdrawal is on the way.
            None => self.resource(now, ResourceEvent::SlotsFreed { id, allocations }),
        }
    }

    pub(super) fn free(&mut self, job: JobId, id: TaskManagerId, allocations: Vec<AllocationId>) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.taken_back(&allocations);
        }
        self.send(id, ToTaskManager::FreeSlots(allocations));
    }

    pub(super) fn not_enough(&mut self, now: Now, job: JobId, shortage: &Shortage) {
        let name = |(id, _): &(JobId, u32)| Some((*id, self.jobs.get(id)?.graph().name.clone()));
        let names = shortage.used_by_others.iter().filter_map(name).collect();
        let excluded = self.resource_manager.excluded_hosts(now.instant);
        let Some(master) = self.jobs.get_mut(&job) else { return };
        let fault = faults::slots_insufficient(master.graph(), shortage, &names, excluded);
        let actions = master.slots_unavailable(now, fault);
        self.work
            .extend(actions.into_iter().map(|action| Work::Job(job, action)));
    }

    /// Hands a message to a TaskManager's connection. One that has let its queue fill up is given up: its connection
    /// is closed, and its loss is noticed as any other.
    pub(super) fn send(&mut self, id: TaskManagerId, message: ToTaskManager) {
        const NOT_TAKING: &str = "it does not take its messages";
        let Some(task_manager) = self.task_managers.get_mut(&id) else {
            return;
        };
        if matches!(message, ToTaskManager::Shutdown) {
            task_manager.dismissed = true;
        }
        match task_manager.link.outgoing.try_send(message) {
            // Word of the connection's end is on its way.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => {
                task_manager.given_up = Some(NOT_TAKING);
                close(&task_manager.link.connection, NOT_TAKING);
            }
        }
    }

    pub(super) fn task_manager_details(&self) -> Vec<TaskManagerDetails> {
        let details = |task_manager: &RegisteredTaskManager| {
            let Registration {
                id, host, pid, slots, ..
            } = &task_manager.registration;
            TaskManagerDetails {
                id: *id,
                host: host.clone(),
                pid: *pid,
                slots: *slots,
                free_slots: self.resource_manager.free_slots(*id),
                since_ms: task_manager.since_ms,
            }
        };
        self.task_managers.values().map(details).collect()
    }
}

pub(super) fn host_fault(host: &str, code: &str, message: String) -> HostFault {
    HostFault {
        host: host.to_owned(),
        code: code.to_owned(),
        message,
        help: None,
    }
}

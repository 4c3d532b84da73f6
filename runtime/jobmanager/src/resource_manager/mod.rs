//! The ResourceManager: slots for jobs, TaskManagers for slots.
//!
//! Two state machines do the thinking: the [slot manager](slot_manager) knows jobs and slots, the [active resource
//! manager](active) knows hosts and processes. [`ResourceManager`] ties them together into one: still pure, it takes
//! events with the time at which they happened and returns what is to be done. The Dispatcher carries that out.

mod active;
mod ids;
pub(crate) mod provider;
mod shortage;
#[cfg(test)]
mod simulation;
mod slot_manager;
mod standalone;

use std::time::{Duration, Instant};

use flink_graph::{AllocationId, JobId, TaskManagerId};
use flink_rpc::messages::{Fault, HostFault};

use crate::config::JobManagerConfig;
use active::{ActiveAction, ActiveConfig, ActiveEvent, ActiveResourceManager};
use ids::IdSource;
use provider::HostCapacity;
use slot_manager::{SlotAction, SlotEvent, SlotManager};

pub(crate) use shortage::Shortage;
pub use standalone::StandaloneProvider;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ResourceEvent {
    /// A job needs this many slots in all; 0: none any more, and what it has is taken back.
    Declare { job: JobId, slots: u32, timeout: Duration },
    /// A job is ending: it keeps what it has and gets nothing else.
    Hold { job: JobId },
    /// Slots of a job are free again, and their TaskManager knows.
    SlotsFreed {
        id: TaskManagerId,
        allocations: Vec<AllocationId>,
    },
    /// A TaskManager announced that it ends.
    Leaving { id: TaskManagerId },
    /// A TaskManager's connection is gone; `ended` when it closed it itself.
    Disconnected {
        id: TaskManagerId,
        ended: bool,
        fault: HostFault,
    },
    /// The provider could not start a TaskManager.
    StartFailed { id: TaskManagerId, fault: HostFault },
    /// The provider has stopped a TaskManager.
    Stopped {
        id: TaskManagerId,
        left_behind: Option<HostFault>,
    },
    /// The cluster ends: all TaskManagers are to end.
    ReleaseAll,
    /// Time has passed.
    Tick,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ResourceAction {
    /// Have the provider start a TaskManager.
    Start { id: TaskManagerId, host: String },
    /// Have the provider make sure that a TaskManager is gone.
    Stop { id: TaskManagerId },
    /// Tell a TaskManager to end.
    Shutdown { id: TaskManagerId },
    /// Ask a TaskManager for slots, in the name of a job.
    Allocate {
        job: JobId,
        id: TaskManagerId,
        allocations: Vec<AllocationId>,
    },
    /// Tell a TaskManager that these slots are free.
    Free {
        job: JobId,
        id: TaskManagerId,
        allocations: Vec<AllocationId>,
    },
    /// A job does not get its slots.
    NotEnough { job: JobId, shortage: Shortage },
    /// A TaskManager will not come.
    StartFailed { fault: HostFault },
    /// A TaskManager is gone; set when something of it may be left on its host.
    Gone {
        id: TaskManagerId,
        left_behind: Option<HostFault>,
    },
}

/// Both state machines as one. See the module.
#[derive(Debug)]
pub(crate) struct ResourceManager {
    slots: SlotManager,
    active: ActiveResourceManager,
    actions: Vec<ResourceAction>,
    /// The cluster ends: no TaskManager is let in any more.
    closing: bool,
}

impl ResourceManager {
    /// For the hosts that a provider can start TaskManagers on. `seed` makes the ids that are given out here the
    /// cluster's own.
    pub(crate) fn new(
        config: &JobManagerConfig,
        hosts: Vec<HostCapacity>,
        accepts_unknown: bool,
        seed: [u8; 8],
    ) -> Self {
        let idle_timeout = (!accepts_unknown).then_some(config.idle_timeout);
        let active = ActiveConfig {
            hosts,
            accepts_unknown,
            placement: config.placement,
            max_task_managers: config.max_task_managers,
            start_timeout: config.start_timeout,
            stop_grace: config.stop_grace,
        };
        Self {
            slots: SlotManager::new(config.placement, idle_timeout, IdSource::new(seed)),
            active: ActiveResourceManager::new(active, IdSource::new(seed)),
            actions: Vec::new(),
            closing: false,
        }
    }

    /// Takes in what happened; returns what is to be done about it, in order.
    pub(crate) fn handle(&mut self, now: Instant, event: ResourceEvent) -> Vec<ResourceAction> {
        match event {
            ResourceEvent::Declare { job, slots, timeout } => {
                self.slot_event(now, SlotEvent::Declare { job, slots, timeout });
            }
            ResourceEvent::Hold { job } => self.slot_event(now, SlotEvent::Hold { job }),
            ResourceEvent::SlotsFreed { id, allocations } => {
                self.slot_event(now, SlotEvent::Freed { id, allocations });
            }
            ResourceEvent::Leaving { id } => {
                self.slot_event(now, SlotEvent::Leaving { id });
                self.active_event(now, ActiveEvent::Leaving { id });
            }
            ResourceEvent::Disconnected { id, ended, fault } => {
                self.slot_event(now, SlotEvent::Lost { id });
                self.active_event(now, ActiveEvent::Disconnected { id, ended, fault });
            }
            ResourceEvent::StartFailed { id, fault } => self.active_event(now, ActiveEvent::Failed { id, fault }),
            ResourceEvent::Stopped { id, left_behind } => {
                self.active_event(now, ActiveEvent::Stopped { id, left_behind });
            }
            ResourceEvent::ReleaseAll => self.release_all(now),
            ResourceEvent::Tick => {}
        }
        self.tick(now);
        std::mem::take(&mut self.actions)
    }

    /// Lets a TaskManager in that registers at `now` with this many slots.
    ///
    /// # Errors
    /// Why it may not join, in the form it prints.
    pub(crate) fn register(
        &mut self,
        now: Instant,
        id: TaskManagerId,
        slots: u32,
    ) -> Result<Vec<ResourceAction>, Fault> {
        if self.closing {
            return Err(Fault::new("cluster.stopping", "the cluster is being stopped"));
        }
        if !self.active.admit(id) {
            return Err(Fault::new(
                "taskmanager.unknown",
                "this TaskManager is not one of the cluster's, or not any more",
            ));
        }
        self.slot_event(now, SlotEvent::Registered { id, slots });
        self.tick(now);
        Ok(std::mem::take(&mut self.actions))
    }

    /// When a [`ResourceEvent::Tick`] is due, if nothing happens before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.slots.deadline(), self.active.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Number of TaskManagers that are being started.
    pub(crate) fn starting(&self) -> u32 {
        self.active.starting()
    }

    /// Slots that hosts without a TaskManager could add.
    pub(crate) fn startable_slots(&self) -> u32 {
        self.active.capacity().startable_slots
    }

    /// Free slots of a registered TaskManager.
    pub(crate) fn free_slots(&self, id: TaskManagerId) -> u32 {
        self.slots.free_slots(id)
    }

    /// The hosts that could have a TaskManager and are not given one at present: their slots, and why.
    pub(crate) fn excluded_hosts(&self, now: Instant) -> Vec<(u32, HostFault)> {
        self.active.excluded_hosts(now)
    }

    /// The name of the host of a TaskManager that was started by us.
    pub(crate) fn host(&self, id: TaskManagerId) -> Option<&str> {
        self.active.host(id)
    }

    /// The TaskManagers that are there, on their way, or not yet known to be gone.
    pub(crate) fn task_managers(&self) -> Vec<TaskManagerId> {
        self.active.task_managers()
    }

    fn release_all(&mut self, now: Instant) {
        self.closing = true;
        for id in self.active.task_managers() {
            self.slot_event(now, SlotEvent::Lost { id });
            self.active_event(now, ActiveEvent::Release { id });
        }
    }

    fn tick(&mut self, now: Instant) {
        self.active_event(now, ActiveEvent::Tick);
        // A request of the slot manager changes what it may request next: it comes back until it has what it wants.
        while self.slots.deadline().is_some_and(|at| at <= now) {
            self.slots.set_capacity(self.active.capacity());
            self.slot_event(now, SlotEvent::Tick);
        }
    }

    /// Feeds the slot manager, and carries what it wants to the other side.
    fn slot_event(&mut self, now: Instant, event: SlotEvent) {
        for action in self.slots.handle(now, event) {
            match action {
                SlotAction::Allocate { job, id, allocations } => {
                    self.actions.push(ResourceAction::Allocate { job, id, allocations });
                }
                SlotAction::Free { job, id, allocations } => {
                    self.actions.push(ResourceAction::Free { job, id, allocations });
                }
                SlotAction::Request { slots } => {
                    if !self.closing {
                        self.active_event(now, ActiveEvent::Request { slots });
                    }
                }
                SlotAction::Cancel { id } | SlotAction::Release { id } => {
                    self.active_event(now, ActiveEvent::Release { id });
                }
                SlotAction::NotEnough { job, shortage } => {
                    self.actions.push(ResourceAction::NotEnough { job, shortage });
                }
            }
        }
    }

    /// Feeds the active resource manager, and carries what it wants to the other side.
    fn active_event(&mut self, now: Instant, event: ActiveEvent) {
        for action in self.active.handle(now, event) {
            match action {
                ActiveAction::Start { id, host, slots } => {
                    self.actions.push(ResourceAction::Start { id, host });
                    self.slot_event(now, SlotEvent::Starting { id, slots });
                }
                ActiveAction::Stop { id } => self.actions.push(ResourceAction::Stop { id }),
                ActiveAction::Shutdown { id } => self.actions.push(ResourceAction::Shutdown { id }),
                ActiveAction::StartFailed { id, fault } => {
                    self.slot_event(now, SlotEvent::Lost { id });
                    self.actions.push(ResourceAction::StartFailed { fault });
                }
                ActiveAction::Gone { id, left_behind } => {
                    self.actions.push(ResourceAction::Gone { id, left_behind });
                }
                ActiveAction::HostAvailable => self.slots.capacity_changed(now),
            }
        }
    }
}

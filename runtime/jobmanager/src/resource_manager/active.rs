//! Which hosts get a TaskManager, and what becomes of it until it is gone: a state machine over the hosts that the
//! provider can start TaskManagers on (Flink's `ActiveResourceManager`).
//!
//! A host has at most one TaskManager. Its life, with what leads from one state to the next:
//!
//! ```text
//! request -> STARTING -- registers -> REGISTERED -- released, or leaves -> LEAVING -- its connection closes -> gone
//!               |                         |                                   |
//!     failed or start timeout    connection lost                    stop grace is over
//!               |                         v                                   v
//!               '-------------------> STOPPING -- the provider says so --> gone
//! ```
//!
//! A host on which a TaskManager failed or was lost is *excluded* for [`FIRST_EXCLUSION`], twice as long after each
//! further failure in a row, up to [`LONGEST_EXCLUSION`]; other hosts are tried meanwhile. A registration
//! sets this back. It is occupied until its old TaskManager is known to be gone, so that two never run side by side.
//!
//! TaskManagers of a standalone cluster have no host here: they are let in, watched, and told to end, never started
//! or stopped.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use flink_graph::TaskManagerId;
use flink_rpc::messages::HostFault;

use super::{ids::IdSource, provider::HostCapacity, shortage::Capacity};
use crate::config::PlacementStrategy;

/// How long a host is left alone after its first failure.
pub(super) const FIRST_EXCLUSION: Duration = Duration::from_secs(30);

/// How long a host that fails again and again is left alone.
pub(super) const LONGEST_EXCLUSION: Duration = Duration::from_secs(600);

/// What this state machine is set up with.
#[derive(Debug, Clone)]
pub(super) struct ActiveConfig {
    pub(super) hosts: Vec<HostCapacity>,
    pub(super) accepts_unknown: bool,
    pub(super) placement: PlacementStrategy,
    pub(super) max_task_managers: Option<u32>,
    pub(super) start_timeout: Duration,
    pub(super) stop_grace: Duration,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ActiveEvent {
    /// TaskManagers with this many slots are wanted, in addition to those that are there or starting.
    Request { slots: u32 },
    /// The provider could not start it, and nothing of it is left.
    Failed { id: TaskManagerId, fault: HostFault },
    /// Its connection is gone. `ended` when it closed it itself.
    Disconnected {
        id: TaskManagerId,
        ended: bool,
        fault: HostFault,
    },
    /// It is not wanted any more.
    Release { id: TaskManagerId },
    /// It ends by itself.
    Leaving { id: TaskManagerId },
    /// The provider has made sure of its end, as far as it could.
    Stopped {
        id: TaskManagerId,
        left_behind: Option<HostFault>,
    },
    /// Time has passed.
    Tick,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ActiveAction {
    /// Have the provider start it.
    Start {
        id: TaskManagerId,
        host: String,
        slots: u32,
    },
    /// Have the provider make sure that it is gone.
    Stop { id: TaskManagerId },
    /// Tell it to end.
    Shutdown { id: TaskManagerId },
    /// It will not come.
    StartFailed { id: TaskManagerId, fault: HostFault },
    /// It is gone as far as anybody can tell; set when something of it may be left.
    Gone {
        id: TaskManagerId,
        left_behind: Option<HostFault>,
    },
    /// A host can be used again.
    HostAvailable,
}

/// The state. See the module.
#[derive(Debug)]
pub(super) struct ActiveResourceManager {
    config: ActiveConfig,
    ids: IdSource,
    hosts: Vec<Host>,
    /// Hosts that a TaskManager can be started on, in the inventory's order.
    available: BTreeSet<usize>,
    /// Unoccupied hosts that are excluded, by the end of it.
    excluded: BTreeSet<(Instant, usize)>,
    task_managers: BTreeMap<TaskManagerId, TaskManager>,
    timers: BTreeSet<(Instant, TaskManagerId)>,
    actions: Vec<ActiveAction>,
}

#[derive(Debug, Default)]
struct Host {
    /// In a row.
    failures: u32,
    excluded_until: Option<Instant>,
    last_fault: Option<HostFault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting { until: Instant },
    Registered,
    Leaving { until: Instant },
    Stopping,
}

impl Phase {
    fn timer(self) -> Option<Instant> {
        match self {
            Self::Starting { until } | Self::Leaving { until } => Some(until),
            Self::Registered | Self::Stopping => None,
        }
    }
}

#[derive(Debug)]
struct TaskManager {
    /// `None`: a standalone one.
    host: Option<usize>,
    phase: Phase,
}

impl ActiveResourceManager {
    pub(super) fn new(config: ActiveConfig, ids: IdSource) -> Self {
        Self {
            hosts: config.hosts.iter().map(|_| Host::default()).collect(),
            available: (0..config.hosts.len()).collect(),
            excluded: BTreeSet::new(),
            task_managers: BTreeMap::new(),
            timers: BTreeSet::new(),
            actions: Vec::new(),
            ids,
            config,
        }
    }

    pub(super) fn handle(&mut self, now: Instant, event: ActiveEvent) -> Vec<ActiveAction> {
        match event {
            ActiveEvent::Request { slots } => self.request(now, slots),
            ActiveEvent::Failed { id, fault } => self.failed(now, id, fault),
            ActiveEvent::Disconnected { id, ended, fault } => self.disconnected(now, id, ended, fault),
            ActiveEvent::Release { id } => self.release(now, id),
            ActiveEvent::Leaving { id } => {
                if self.phase(id) == Some(Phase::Registered) {
                    self.enter(
                        id,
                        Phase::Leaving {
                            until: now + self.config.stop_grace,
                        },
                    );
                }
            }
            ActiveEvent::Stopped { id, left_behind } => {
                if self.phase(id) == Some(Phase::Stopping) {
                    self.gone(now, id, left_behind);
                }
            }
            ActiveEvent::Tick => {}
        }
        self.run_timers(now);
        std::mem::take(&mut self.actions)
    }

    /// Lets a TaskManager that registers in, or not: it was not started here, or given up, or is in already.
    pub(super) fn admit(&mut self, id: TaskManagerId) -> bool {
        match self.phase(id) {
            Some(Phase::Starting { .. }) => {
                self.enter(id, Phase::Registered);
                if let Some(host) = self.task_managers.get(&id).and_then(|entry| entry.host) {
                    self.hosts[host] = Host::default();
                }
                true
            }
            Some(Phase::Registered | Phase::Leaving { .. } | Phase::Stopping) => false,
            None if self.config.accepts_unknown => {
                self.task_managers.insert(
                    id,
                    TaskManager {
                        host: None,
                        phase: Phase::Registered,
                    },
                );
                true
            }
            None => false,
        }
    }

    /// When a [`ActiveEvent::Tick`] is due, if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let exclusion = self.excluded.first().map(|(at, _)| *at);
        [timer, exclusion].into_iter().flatten().min()
    }

    /// What could be started now.
    pub(super) fn capacity(&self) -> Capacity {
        let chosen = self.choose(u32::MAX);
        let returning = |entry: &TaskManager| {
            let is_ending = matches!(entry.phase, Phase::Leaving { .. } | Phase::Stopping);
            entry
                .host
                .filter(|host| is_ending && self.hosts[*host].excluded_until.is_none())
        };
        let returning: Vec<_> = self.task_managers.values().filter_map(returning).collect();
        Capacity {
            startable_hosts: chosen.len() as u32,
            startable_slots: self.slots_of(&chosen),
            returning_slots: self.slots_of(&returning),
            unbounded: self.config.accepts_unknown,
        }
    }

    /// Number of TaskManagers that are being started.
    pub(super) fn starting(&self) -> u32 {
        let starting = |entry: &&TaskManager| matches!(entry.phase, Phase::Starting { .. });
        self.task_managers.values().filter(starting).count() as u32
    }

    /// The hosts that are excluded at `now`: their slots, and why.
    pub(super) fn excluded_hosts(&self, now: Instant) -> Vec<(u32, HostFault)> {
        let hosts = self.hosts.iter().zip(&self.config.hosts);
        let excluded = hosts.filter(|(host, _)| host.excluded_until.is_some_and(|until| until > now));
        excluded
            .filter_map(|(host, capacity)| Some((capacity.slots, host.last_fault.clone()?)))
            .collect()
    }

    /// The TaskManagers that are there, on their way, or not yet known to be gone.
    pub(super) fn task_managers(&self) -> Vec<TaskManagerId> {
        self.task_managers.keys().copied().collect()
    }

    /// The name of a TaskManager's host, if it has one here.
    pub(super) fn host(&self, id: TaskManagerId) -> Option<&str> {
        let host = self.task_managers.get(&id)?.host?;
        Some(&self.config.hosts[host].host)
    }

    fn phase(&self, id: TaskManagerId) -> Option<Phase> {
        self.task_managers.get(&id).map(|entry| entry.phase)
    }

    fn enter(&mut self, id: TaskManagerId, phase: Phase) {
        let Some(entry) = self.task_managers.get_mut(&id) else {
            return;
        };
        if let Some(at) = entry.phase.timer() {
            self.timers.remove(&(at, id));
        }
        entry.phase = phase;
        if let Some(at) = phase.timer() {
            self.timers.insert((at, id));
        }
    }

    fn request(&mut self, now: Instant, slots: u32) {
        let until = now + self.config.start_timeout;
        for host in self.choose(slots) {
            let id = TaskManagerId::from_bytes(self.ids.next());
            self.available.remove(&host);
            self.task_managers.insert(
                id,
                TaskManager {
                    host: Some(host),
                    phase: Phase::Starting { until },
                },
            );
            self.timers.insert((until, id));
            let HostCapacity { host, slots } = self.config.hosts[host].clone();
            self.actions.push(ActiveAction::Start { id, host, slots });
        }
    }

    /// The hosts to start TaskManagers on for this many slots. To spread: one each, as far as there are hosts, in
    /// the inventory's order. To pack: the largest, as many as it takes.
    fn choose(&self, slots: u32) -> Vec<usize> {
        let occupied = self.task_managers.values().filter(|entry| entry.host.is_some()).count();
        let room = self
            .config
            .max_task_managers
            .map_or(usize::MAX, |max| (max as usize).saturating_sub(occupied));
        let by_size = || {
            let mut hosts: Vec<_> = self.available.iter().copied().collect();
            hosts.sort_by_key(|host| std::cmp::Reverse(self.config.hosts[*host].slots));
            hosts.truncate(room);
            hosts
        };
        match self.config.placement {
            PlacementStrategy::Spread => {
                let number = room.min(slots as usize);
                let in_order: Vec<_> = self.available.iter().copied().take(number).collect();
                // With fewer hosts than slots their sizes count.
                if self.slots_of(&in_order) >= slots {
                    in_order
                } else {
                    by_size()
                }
            }
            PlacementStrategy::Pack => {
                let mut left = slots;
                let mut hosts = by_size();
                hosts.retain(|host| {
                    let needed = left > 0;
                    left = left.saturating_sub(self.config.hosts[*host].slots);
                    needed
                });
                hosts
            }
        }
    }

    fn slots_of(&self, hosts: &[usize]) -> u32 {
        hosts.iter().map(|host| self.config.hosts[*host].slots).sum()
    }

    fn failed(&mut self, now: Instant, id: TaskManagerId, fault: HostFault) {
        match self.phase(id) {
            Some(Phase::Starting { .. }) => {
                self.exclude(now, id, fault.clone());
                self.actions.push(ActiveAction::StartFailed { id, fault });
                self.gone(now, id, None);
            }
            Some(Phase::Stopping) => self.gone(now, id, None),
            // Its connection tells.
            Some(Phase::Registered | Phase::Leaving { .. }) | None => {}
        }
    }

    fn disconnected(&mut self, now: Instant, id: TaskManagerId, ended: bool, fault: HostFault) {
        match self.phase(id) {
            Some(Phase::Leaving { .. }) if ended => self.gone(now, id, None),
            Some(Phase::Registered) => {
                self.exclude(now, id, fault);
                self.stop(now, id, None);
            }
            Some(Phase::Leaving { .. }) => self.stop(now, id, Some(fault)),
            Some(Phase::Starting { .. } | Phase::Stopping) | None => {}
        }
    }

    fn release(&mut self, now: Instant, id: TaskManagerId) {
        match self.phase(id) {
            Some(Phase::Starting { .. }) => self.stop(now, id, None),
            Some(Phase::Registered) => {
                self.enter(
                    id,
                    Phase::Leaving {
                        until: now + self.config.stop_grace,
                    },
                );
                self.actions.push(ActiveAction::Shutdown { id });
            }
            Some(Phase::Leaving { .. } | Phase::Stopping) | None => {}
        }
    }

    /// Has the provider end it. One that the provider did not start is gone as far as we can tell.
    fn stop(&mut self, now: Instant, id: TaskManagerId, left_behind: Option<HostFault>) {
        if self.task_managers.get(&id).is_some_and(|entry| entry.host.is_none()) {
            return self.gone(now, id, left_behind);
        }
        self.enter(id, Phase::Stopping);
        self.actions.push(ActiveAction::Stop { id });
    }

    fn gone(&mut self, now: Instant, id: TaskManagerId, left_behind: Option<HostFault>) {
        self.enter(id, Phase::Stopping);
        let Some(entry) = self.task_managers.remove(&id) else {
            return;
        };
        if let (Some(host), Some(fault)) = (entry.host, &left_behind) {
            self.exclude_host(now, host, fault.clone());
        }
        if let Some(host) = entry.host {
            match self.hosts[host].excluded_until {
                Some(until) if until > now => {
                    self.excluded.insert((until, host));
                }
                _ => self.make_available(host),
            }
        }
        self.actions.push(ActiveAction::Gone { id, left_behind });
    }

    fn make_available(&mut self, host: usize) {
        self.hosts[host].excluded_until = None;
        self.available.insert(host);
        self.actions.push(ActiveAction::HostAvailable);
    }

    fn exclude(&mut self, now: Instant, id: TaskManagerId, fault: HostFault) {
        if let Some(host) = self.task_managers.get(&id).and_then(|entry| entry.host) {
            self.exclude_host(now, host, fault);
        }
    }

    fn exclude_host(&mut self, now: Instant, host: usize, fault: HostFault) {
        let host = &mut self.hosts[host];
        let length = FIRST_EXCLUSION
            .saturating_mul(1 << host.failures.min(16))
            .min(LONGEST_EXCLUSION);
        host.failures += 1;
        host.excluded_until = Some(now + length);
        host.last_fault = Some(fault);
    }

    fn run_timers(&mut self, now: Instant) {
        while let Some((_, host)) = self.excluded.first().copied().filter(|(at, _)| *at <= now) {
            self.excluded.pop_first();
            self.make_available(host);
        }
        while let Some((_, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.pop_first();
            match self.phase(id) {
                Some(Phase::Starting { .. }) => self.start_timed_out(now, id),
                Some(Phase::Leaving { .. }) => {
                    let fault = self.fault(id, "taskmanager.stop-timeout", "has not ended", self.config.stop_grace);
                    self.stop(now, id, Some(fault));
                }
                Some(Phase::Registered | Phase::Stopping) | None => {}
            }
        }
    }

    fn start_timed_out(&mut self, now: Instant, id: TaskManagerId) {
        let fault = self.fault(
            id,
            "taskmanager.start-timeout",
            "has not registered",
            self.config.start_timeout,
        );
        let fault = HostFault {
            help: Some("raise [taskmanager] start_timeout".to_owned()),
            ..fault
        };
        self.exclude(now, id, fault.clone());
        self.actions.push(ActiveAction::StartFailed { id, fault });
        self.stop(now, id, None);
    }

    fn fault(&self, id: TaskManagerId, code: &str, what: &str, after: Duration) -> HostFault {
        HostFault {
            host: self.host(id).map_or_else(|| id.to_string(), str::to_owned),
            code: code.to_owned(),
            message: format!("the TaskManager {what} after {after:?}"),
            help: None,
        }
    }
}

#[cfg(test)]
mod tests;

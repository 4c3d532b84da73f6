//! Who gets which slots: a state machine over declared requirements and the slots that are there or on their way
//! (Flink's `FineGrainedSlotManager` and its `DefaultResourceAllocationStrategy`).
//!
//! A job declares how many slots it needs in all, not what it wants changed; the difference to what it has is made up
//! for [`CHECK_DELAY`] later, so that changes that come together are dealt with together. Slots of registered
//! TaskManagers are taken first, then of those that are starting, and only for the rest new ones are asked for. A slot
//! of a TaskManager that is starting is *planned* for a job and becomes its own at the registration.
//!
//! # A job gets all or nothing
//! What a job still misses is assigned when all of it can be: with registered slots, planned ones, and those of
//! hosts where a TaskManager can be started. Otherwise nothing is assigned and the next job, in the order
//! of submission, is looked at. Two jobs that each hold half of what they need, and wait for the other's half, cannot
//! happen (in Flink they do, until one times out). The price: small jobs may overtake a large one while it waits.
//!
//! # Invariants, for any sequence of events
//! - A slot has at most one assignment, and an allocation id is used once.
//! - A job never has more slots than it declared when they were assigned.
//! - A TaskManager is released only when none of its slots is assigned; a starting one on which nothing is planned is
//!   cancelled.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    time::{Duration, Instant},
};

use flink_graph::{AllocationId, JobId, TaskManagerId};

use super::{
    ids::IdSource,
    shortage::{Capacity, Shortage},
};
use crate::config::PlacementStrategy;

/// How long changes are collected before they are acted on. Flink's `slotmanager.requirement-check.delay` is 50 ms,
/// which is a tenth of what a small job takes here; what comes together comes within a few.
pub(super) const CHECK_DELAY: Duration = Duration::from_millis(10);

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SlotEvent {
    /// A job needs this many slots in all; with 0 it needs none any more, and all it has are freed.
    Declare { job: JobId, slots: u32, timeout: Duration },
    /// A job is ending: it keeps the slots that it has and gets no others.
    Hold { job: JobId },
    /// A TaskManager is being started, as asked for.
    Starting { id: TaskManagerId, slots: u32 },
    /// A TaskManager is there.
    Registered { id: TaskManagerId, slots: u32 },
    /// A TaskManager takes no more slots, but still has those that are assigned.
    Leaving { id: TaskManagerId },
    /// A TaskManager is gone, or will not come.
    Lost { id: TaskManagerId },
    /// Assigned slots are free again.
    Freed {
        id: TaskManagerId,
        allocations: Vec<AllocationId>,
    },
    /// Time has passed.
    Tick,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SlotAction {
    /// These slots of a registered TaskManager are the job's.
    Allocate {
        job: JobId,
        id: TaskManagerId,
        allocations: Vec<AllocationId>,
    },
    /// These slots are not the job's any more; their TaskManager has to be told.
    Free {
        job: JobId,
        id: TaskManagerId,
        allocations: Vec<AllocationId>,
    },
    /// Start TaskManagers with this many slots in all. [`SlotEvent::Starting`] answers, before the next tick.
    Request { slots: u32 },
    /// Nobody waits for this starting TaskManager any more. It is forgotten here.
    Cancel { id: TaskManagerId },
    /// This TaskManager has been idle for long enough. It is forgotten here.
    Release { id: TaskManagerId },
    /// A job does not get its slots. Told once per declaration.
    NotEnough { job: JobId, shortage: Shortage },
}

/// The state. See the module.
#[derive(Debug)]
pub(super) struct SlotManager {
    placement: PlacementStrategy,
    /// `None`: TaskManagers are never released.
    idle_timeout: Option<Duration>,
    ids: IdSource,
    capacity: Capacity,
    jobs: BTreeMap<JobId, Job>,
    task_managers: BTreeMap<TaskManagerId, TaskManager>,
    /// Registered TaskManagers without assignment, by the time since which they are so.
    idle: BTreeSet<(Instant, TaskManagerId)>,
    check_at: Option<Instant>,
    actions: Vec<SlotAction>,
}

#[derive(Debug)]
struct Job {
    required: u32,
    /// Assigned on registered TaskManagers.
    allocated: u32,
    /// Assigned on starting ones.
    planned: u32,
    holds: bool,
    timeout: Duration,
    /// Since when it is without all its slots.
    waiting_since: Instant,
    gave_up: bool,
}

impl Job {
    /// Slots that are still to be assigned.
    fn missing(&self) -> u32 {
        if self.holds || self.gave_up {
            0
        } else {
            self.required.saturating_sub(self.allocated + self.planned)
        }
    }

    fn is_waiting(&self) -> bool {
        !self.holds && !self.gave_up && self.allocated < self.required
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Registered { idle_since: Option<Instant> },
    Leaving,
}

#[derive(Debug)]
struct TaskManager {
    slots: u32,
    phase: Phase,
    assigned: BTreeMap<JobId, Vec<AllocationId>>,
    used: u32,
}

impl TaskManager {
    const fn starting(slots: u32) -> Self {
        Self {
            slots,
            phase: Phase::Starting,
            assigned: BTreeMap::new(),
            used: 0,
        }
    }

    fn free(&self) -> u32 {
        if self.phase == Phase::Leaving {
            0
        } else {
            self.slots - self.used
        }
    }

    /// The lower, the earlier its slots are taken. For `Spread` the share of used slots; for `Pack` first those in
    /// use, then those with the most room.
    fn rank(&self, placement: PlacementStrategy) -> u64 {
        match placement {
            PlacementStrategy::Spread => (u64::from(self.used) << 32) / u64::from(self.slots.max(1)),
            PlacementStrategy::Pack => {
                let unused = u64::from(self.used == 0) << 32;
                unused | u64::from(u32::MAX - self.free())
            }
        }
    }
}

impl SlotManager {
    pub(super) fn new(placement: PlacementStrategy, idle_timeout: Option<Duration>, ids: IdSource) -> Self {
        Self {
            placement,
            idle_timeout,
            ids,
            capacity: Capacity::default(),
            jobs: BTreeMap::new(),
            task_managers: BTreeMap::new(),
            idle: BTreeSet::new(),
            check_at: None,
            actions: Vec::new(),
        }
    }

    /// What can be had beside the TaskManagers that are known here. To be up to date before each tick.
    pub(super) fn set_capacity(&mut self, capacity: Capacity) {
        self.capacity = capacity;
    }

    /// The capacity has changed in a way that may help a waiting job.
    pub(super) fn capacity_changed(&mut self, now: Instant) {
        if self.jobs.values().any(|job| job.missing() > 0) {
            self.check_soon(now);
        }
    }

    pub(super) fn handle(&mut self, now: Instant, event: SlotEvent) -> Vec<SlotAction> {
        match event {
            SlotEvent::Declare { job, slots: 0, .. } => self.withdraw(now, job),
            SlotEvent::Declare { job, slots, timeout } => self.declare(now, job, slots, timeout),
            SlotEvent::Hold { job } => self.hold(now, job),
            SlotEvent::Starting { id, slots } => self.starting(now, id, slots),
            SlotEvent::Registered { id, slots } => self.registered(now, id, slots),
            SlotEvent::Leaving { id } => self.leaving(now, id),
            SlotEvent::Lost { id } => self.lost(now, id),
            SlotEvent::Freed { id, allocations } => self.freed(now, id, &allocations),
            // Only here is anything decided: the events before may be parts of one change.
            SlotEvent::Tick => self.run_timers(now),
        }
        std::mem::take(&mut self.actions)
    }

    /// When a [`SlotEvent::Tick`] is due, if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waiting = self.jobs.values().filter(|job| job.is_waiting());
        let timeout = waiting.map(|job| job.waiting_since + job.timeout).min();
        [self.check_at, timeout, self.idle_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Free slots of a TaskManager.
    pub(super) fn free_slots(&self, id: TaskManagerId) -> u32 {
        self.task_managers.get(&id).map_or(0, TaskManager::free)
    }

    fn declare(&mut self, now: Instant, job: JobId, slots: u32, timeout: Duration) {
        let fresh = || Job {
            required: 0,
            allocated: 0,
            planned: 0,
            holds: false,
            timeout,
            waiting_since: now,
            gave_up: false,
        };
        let entry = self.jobs.entry(job).or_insert_with(fresh);
        entry.required = slots;
        entry.timeout = timeout;
        entry.waiting_since = now;
        (entry.holds, entry.gave_up) = (false, false);
        self.check_soon(now);
    }

    fn withdraw(&mut self, now: Instant, job: JobId) {
        self.unplan(job);
        if self.jobs.remove(&job).is_none() {
            return;
        }
        for (id, task_manager) in &mut self.task_managers {
            if let Some(allocations) = task_manager.assigned.remove(&job) {
                task_manager.used -= allocations.len() as u32;
                self.actions.push(SlotAction::Free {
                    job,
                    id: *id,
                    allocations,
                });
            }
        }
        self.note_idle(now);
        self.check_soon(now);
    }

    fn hold(&mut self, now: Instant, job: JobId) {
        self.unplan(job);
        if let Some(job) = self.jobs.get_mut(&job) {
            job.holds = true;
            self.check_soon(now);
        }
    }

    /// Takes back what is planned for a job on starting TaskManagers.
    fn unplan(&mut self, job: JobId) {
        for task_manager in self
            .task_managers
            .values_mut()
            .filter(|entry| entry.phase == Phase::Starting)
        {
            let planned = task_manager.assigned.remove(&job);
            task_manager.used -= planned.map_or(0, |planned| planned.len() as u32);
        }
        if let Some(job) = self.jobs.get_mut(&job) {
            job.planned = 0;
        }
    }

    fn starting(&mut self, now: Instant, id: TaskManagerId, slots: u32) {
        self.task_managers.insert(id, TaskManager::starting(slots));
        // What it was asked for is planned on it now, not after another delay.
        self.check_at = Some(now);
    }

    fn registered(&mut self, now: Instant, id: TaskManagerId, slots: u32) {
        let fresh = || TaskManager::starting(slots);
        let task_manager = self.task_managers.entry(id).or_insert_with(fresh);
        if task_manager.phase != Phase::Starting {
            return;
        }
        task_manager.slots = slots;
        task_manager.phase = Phase::Registered { idle_since: None };
        let mut room = slots;
        for (job_id, planned) in std::mem::take(&mut task_manager.assigned) {
            let Some(job) = self.jobs.get_mut(&job_id) else {
                continue;
            };
            job.planned -= planned.len() as u32;
            // A TaskManager may come with fewer slots than its host was said to have.
            let allocations: Vec<_> = planned.into_iter().take(room as usize).collect();
            room -= allocations.len() as u32;
            job.allocated += allocations.len() as u32;
            if !allocations.is_empty() {
                task_manager.assigned.insert(job_id, allocations.clone());
                self.actions.push(SlotAction::Allocate {
                    job: job_id,
                    id,
                    allocations,
                });
            }
        }
        task_manager.used = slots - room;
        self.note_idle_one(now, id);
        if self.jobs.values().any(|job| job.missing() > 0) {
            self.check_soon(now);
        }
    }

    fn leaving(&mut self, now: Instant, id: TaskManagerId) {
        if let Some(task_manager) = self.task_managers.get_mut(&id) {
            if let Phase::Registered {
                idle_since: Some(since),
            } = task_manager.phase
            {
                self.idle.remove(&(since, id));
            }
            task_manager.phase = Phase::Leaving;
            self.check_soon(now);
        }
    }

    fn lost(&mut self, now: Instant, id: TaskManagerId) {
        let Some(task_manager) = self.task_managers.remove(&id) else {
            return;
        };
        if let Phase::Registered {
            idle_since: Some(since),
        } = task_manager.phase
        {
            self.idle.remove(&(since, id));
        }
        for (job, allocations) in &task_manager.assigned {
            self.take_back(
                now,
                *job,
                allocations.len() as u32,
                task_manager.phase == Phase::Starting,
            );
        }
        self.check_soon(now);
    }

    fn freed(&mut self, now: Instant, id: TaskManagerId, allocations: &[AllocationId]) {
        let Some(task_manager) = self.task_managers.get_mut(&id) else {
            return;
        };
        if task_manager.phase == Phase::Starting {
            return;
        }
        let mut back = Vec::new();
        task_manager.assigned.retain(|job, assigned| {
            let before = assigned.len();
            assigned.retain(|allocation| !allocations.contains(allocation));
            back.push((*job, (before - assigned.len()) as u32));
            !assigned.is_empty()
        });
        task_manager.used -= back.iter().map(|(_, slots)| slots).sum::<u32>();
        for (job, slots) in back.into_iter().filter(|(_, slots)| *slots > 0) {
            self.take_back(now, job, slots, false);
        }
        self.note_idle_one(now, id);
        self.check_soon(now);
    }

    /// A job has this many slots less; it waits again, from now on.
    fn take_back(&mut self, now: Instant, job: JobId, slots: u32, was_planned: bool) {
        let Some(job) = self.jobs.get_mut(&job) else { return };
        if was_planned {
            job.planned -= slots;
        } else {
            if job.allocated == job.required {
                job.waiting_since = now;
            }
            job.allocated -= slots;
        }
    }

    fn check_soon(&mut self, now: Instant) {
        let at = now + CHECK_DELAY;
        self.check_at = Some(self.check_at.map_or(at, |set| set.min(at)));
    }

    fn run_timers(&mut self, now: Instant) {
        if self.check_at.is_some_and(|at| at <= now) {
            self.check_at = None;
            self.check(now);
        }
        let overdue = |job: &Job| job.is_waiting() && job.waiting_since + job.timeout <= now;
        let timed_out: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, job)| overdue(job))
            .map(|(id, _)| *id)
            .collect();
        for job in timed_out {
            self.give_up(now, job);
        }
        while self.idle_deadline().is_some_and(|at| at <= now) {
            if let Some((_, id)) = self.idle.pop_first() {
                self.task_managers.remove(&id);
                self.actions.push(SlotAction::Release { id });
            }
        }
    }

    /// While a job waits, no TaskManager is released: its slots may be what the job is short of.
    fn idle_deadline(&self) -> Option<Instant> {
        let (since, _) = self.idle.first()?;
        let is_anybody_waiting = self.jobs.values().any(Job::is_waiting);
        if is_anybody_waiting {
            None
        } else {
            Some(*since + self.idle_timeout?)
        }
    }

    /// Assigns what can be assigned. Ends early when new TaskManagers are asked for: their `Starting` events bring it
    /// back.
    fn check(&mut self, now: Instant) {
        let missing = |(id, job): (&JobId, &Job)| (job.missing() > 0).then_some((*id, job.missing()));
        let waiting: Vec<_> = self.jobs.iter().filter_map(missing).collect();
        for (job, missing) in waiting {
            let free: u32 = self.task_managers.values().map(TaskManager::free).sum();
            if missing > free + self.capacity.startable_slots {
                if !self.capacity.unbounded && self.required(job) > self.slots_ever() {
                    self.give_up(now, job);
                }
                continue;
            }
            let missing = missing - self.assign(now, job, missing, false);
            let missing = missing - self.assign(now, job, missing, true);
            if missing > 0 {
                return self.actions.push(SlotAction::Request { slots: missing });
            }
        }
        self.cancel_unwanted();
    }

    fn required(&self, job: JobId) -> u32 {
        self.jobs.get(&job).map_or(0, |job| job.required)
    }

    /// Assigns up to `wanted` slots of registered, or of starting, TaskManagers; returns how many.
    fn assign(&mut self, now: Instant, job: JobId, wanted: u32, starting: bool) -> u32 {
        let placement = self.placement;
        let rank = |id: &TaskManagerId, entry: &TaskManager| Reverse((entry.rank(placement), *id));
        let open = |entry: &TaskManager| (entry.phase == Phase::Starting) == starting && entry.free() > 0;
        let mut heap: BinaryHeap<_> = self
            .task_managers
            .iter()
            .filter(|(_, entry)| open(entry))
            .map(|(id, entry)| rank(id, entry))
            .collect();
        let mut taken: BTreeMap<TaskManagerId, Vec<AllocationId>> = BTreeMap::new();
        let mut left = wanted;
        while left > 0 {
            let Some(Reverse((_, id))) = heap.pop() else { break };
            let Some(task_manager) = self.task_managers.get_mut(&id) else {
                break;
            };
            let allocation = AllocationId::from_bytes(self.ids.next());
            taken.entry(id).or_default().push(allocation);
            task_manager.assigned.entry(job).or_default().push(allocation);
            task_manager.used += 1;
            left -= 1;
            if task_manager.free() > 0 {
                heap.push(rank(&id, task_manager));
            }
        }
        if let Some(job) = self.jobs.get_mut(&job) {
            let counter = if starting { &mut job.planned } else { &mut job.allocated };
            *counter += wanted - left;
        }
        for (id, allocations) in taken.into_iter().filter(|_| !starting) {
            self.note_idle_one(now, id);
            self.actions.push(SlotAction::Allocate { job, id, allocations });
        }
        wanted - left
    }

    fn cancel_unwanted(&mut self) {
        let unwanted = |(id, entry): (&TaskManagerId, &TaskManager)| {
            (entry.phase == Phase::Starting && entry.used == 0).then_some(*id)
        };
        let unwanted: Vec<_> = self.task_managers.iter().filter_map(unwanted).collect();
        for id in unwanted {
            self.task_managers.remove(&id);
            self.actions.push(SlotAction::Cancel { id });
        }
    }

    fn note_idle(&mut self, now: Instant) {
        let ids: Vec<_> = self.task_managers.keys().copied().collect();
        ids.into_iter().for_each(|id| self.note_idle_one(now, id));
    }

    /// Brings `idle` up to date about one TaskManager.
    fn note_idle_one(&mut self, now: Instant, id: TaskManagerId) {
        let Some(TaskManager {
            phase: Phase::Registered { idle_since },
            used,
            ..
        }) = self.task_managers.get_mut(&id)
        else {
            return;
        };
        match (*used, *idle_since) {
            (0, None) => {
                *idle_since = Some(now);
                self.idle.insert((now, id));
            }
            (1.., Some(since)) => {
                *idle_since = None;
                self.idle.remove(&(since, id));
            }
            _ => {}
        }
    }

    /// All slots that the cluster could have, whoever has them now.
    fn slots_ever(&self) -> u32 {
        let present = self
            .task_managers
            .values()
            .filter(|entry| entry.phase != Phase::Leaving);
        present.map(|entry| entry.slots).sum::<u32>() + self.capacity.startable_slots + self.capacity.returning_slots
    }

    fn give_up(&mut self, now: Instant, job: JobId) {
        let used_by_others = self.used_by_others(job);
        let present = || {
            self.task_managers
                .values()
                .filter(|entry| entry.phase != Phase::Leaving)
        };
        let (task_managers, slots) = (present().count() as u32, present().map(|entry| entry.slots).sum());
        let offer = self
            .slots_ever()
            .saturating_sub(used_by_others.iter().map(|(_, slots)| slots).sum());
        let Some(entry) = self.jobs.get_mut(&job) else { return };
        entry.gave_up = true;
        let shortage = Shortage {
            required: entry.required,
            offer,
            task_managers,
            slots,
            used_by_others,
            startable: self.capacity.startable_hosts,
            standalone: self.capacity.unbounded,
            waited: now.saturating_duration_since(entry.waiting_since),
        };
        self.unplan(job);
        self.check_soon(now);
        self.actions.push(SlotAction::NotEnough { job, shortage });
    }

    fn used_by_others(&self, job: JobId) -> Vec<(JobId, u32)> {
        let used = |(id, other): (&JobId, &Job)| (*id, other.allocated + other.planned);
        self.jobs
            .iter()
            .map(used)
            .filter(|(id, slots)| *id != job && *slots > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests;

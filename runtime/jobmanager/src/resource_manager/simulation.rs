//! Slot manager and active resource manager together, against a simulated world of hosts: what must hold for any
//! sequence of events, and ten thousand TaskManagers in one process.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use flink_graph::ClusterId;
use flink_rpc::Heartbeat;
use proptest::prelude::*;

use super::*;
use crate::config::{ClusterMode, PlacementStrategy};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const SLOT_TIMEOUT: Duration = Duration::from_secs(300);

fn config(placement: PlacementStrategy, max_task_managers: Option<u32>) -> JobManagerConfig {
    JobManagerConfig {
        cluster: ClusterId::from_bytes([1; 16]),
        cluster_name: "simulated".to_owned(),
        session_name: None,
        mode: ClusterMode::Session { attached: false },
        host: "h1".to_owned(),
        bind: ([127, 0, 0, 1], 0).into(),
        advertise: [127, 0, 0, 1].into(),
        blob_dir: PathBuf::new(),
        session_dir: PathBuf::new(),
        tmp_dir: PathBuf::new(),
        coordinator_env: Vec::new(),
        tag_prefix: String::new(),
        archive_dir: PathBuf::new(),
        placement,
        max_task_managers,
        idle_timeout: Duration::from_secs(30),
        start_timeout: START_TIMEOUT,
        heartbeat: Heartbeat::default(),
        stop_grace: Duration::from_secs(10),
        tls_validity: Duration::from_secs(60),
    }
}

#[derive(Debug, PartialEq)]
enum Process {
    /// The provider was asked to start it.
    Starting,
    Running,
    /// Was told to end.
    Ending,
    /// The provider was asked to stop it.
    Stopping,
}

/// The ResourceManager and everything around it.
struct World {
    manager: ResourceManager,
    now: Instant,
    slots_of_host: BTreeMap<String, u32>,
    max_task_managers: Option<u32>,
    processes: BTreeMap<TaskManagerId, (String, Process)>,
    /// Every slot that is assigned: its TaskManager and its job.
    assigned: BTreeMap<AllocationId, (TaskManagerId, JobId)>,
    ever_assigned: BTreeSet<AllocationId>,
    declared: BTreeMap<JobId, u32>,
    refused: BTreeSet<JobId>,
    holding: BTreeSet<JobId>,
    submitted: u8,
}

impl World {
    fn new(placement: PlacementStrategy, slots: &[u32], max_task_managers: Option<u32>) -> Self {
        let hosts = slots.iter().enumerate().map(|(number, slots)| HostCapacity {
            host: format!("h{number}"),
            slots: *slots,
        });
        let hosts: Vec<_> = hosts.collect();
        let slots_of_host = hosts
            .iter()
            .map(|capacity| (capacity.host.clone(), capacity.slots))
            .collect();
        let manager = ResourceManager::new(&config(placement, max_task_managers), hosts, false, [5; 8]);
        Self {
            manager,
            now: Instant::now(),
            slots_of_host,
            max_task_managers,
            processes: BTreeMap::new(),
            assigned: BTreeMap::new(),
            ever_assigned: BTreeSet::new(),
            declared: BTreeMap::new(),
            refused: BTreeSet::new(),
            holding: BTreeSet::new(),
            submitted: 0,
        }
    }

    fn event(&mut self, event: ResourceEvent) {
        let actions = self.manager.handle(self.now, event);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<ResourceAction>) {
        for action in actions {
            match action {
                ResourceAction::Start { id, host } => self.start(id, host),
                ResourceAction::Stop { id } => self.set(id, Process::Stopping),
                ResourceAction::Shutdown { id } => {
                    assert!(
                        self.assigned.values().all(|(on, _)| *on != id),
                        "a TaskManager in use is told to end"
                    );
                    self.set(id, Process::Ending);
                }
                ResourceAction::Allocate { job, id, allocations } => self.allocate(job, id, allocations),
                ResourceAction::Free { job, id, allocations } => {
                    for allocation in allocations {
                        assert_eq!(self.assigned.remove(&allocation), Some((id, job)));
                    }
                }
                ResourceAction::NotEnough { job, shortage } => {
                    assert!(self.refused.insert(job), "a job is refused once");
                    assert_eq!(shortage.required, self.declared[&job]);
                    self.withdraw(job);
                }
                ResourceAction::StartFailed { .. } => {}
                ResourceAction::Gone { id, .. } => drop(self.processes.remove(&id)),
            }
        }
    }

    fn start(&mut self, id: TaskManagerId, host: String) {
        assert!(
            self.processes.values().all(|(busy, _)| *busy != host),
            "two TaskManagers on {host}"
        );
        self.processes.insert(id, (host, Process::Starting));
        assert!(
            self.max_task_managers
                .is_none_or(|max| self.processes.len() <= max as usize),
            "over the maximum"
        );
    }

    fn set(&mut self, id: TaskManagerId, process: Process) {
        self.processes.get_mut(&id).expect("it is there").1 = process;
    }

    fn allocate(&mut self, job: JobId, id: TaskManagerId, allocations: Vec<AllocationId>) {
        let (host, process) = &self.processes[&id];
        assert_eq!(*process, Process::Running, "only registered TaskManagers have slots");
        assert!(!self.holding.contains(&job), "a job that is ending gets slots");
        let capacity = self.slots_of_host[host];
        for allocation in allocations {
            assert!(self.ever_assigned.insert(allocation), "an allocation id is used twice");
            self.assigned.insert(allocation, (id, job));
        }
        let used = self.assigned.values().filter(|(on, _)| *on == id).count();
        assert!(used <= capacity as usize, "{used} slots of {capacity} are assigned");
        assert!(
            self.slots_of(job) <= self.declared.get(&job).copied().unwrap_or(0),
            "more than was declared"
        );
    }

    fn slots_of(&self, job: JobId) -> u32 {
        self.assigned.values().filter(|(_, of)| *of == job).count() as u32
    }

    fn declare(&mut self, slots: u32) -> JobId {
        self.submitted += 1;
        let job = JobId::from_bytes([self.submitted; 16]);
        self.declared.insert(job, slots);
        self.event(ResourceEvent::Declare {
            job,
            slots,
            timeout: SLOT_TIMEOUT,
        });
        job
    }

    fn withdraw(&mut self, job: JobId) {
        if self.declared.remove(&job).is_some() {
            self.holding.remove(&job);
            self.event(ResourceEvent::Declare {
                job,
                slots: 0,
                timeout: SLOT_TIMEOUT,
            });
            assert_eq!(self.slots_of(job), 0, "a withdrawn job has slots");
        }
    }

    fn hold(&mut self, job: JobId) {
        self.holding.insert(job);
        self.event(ResourceEvent::Hold { job });
    }

    fn pick(&self, process: &Process, at: usize) -> Option<TaskManagerId> {
        let matching = self
            .processes
            .iter()
            .filter(|(_, (_, state))| state == process)
            .map(|(id, _)| *id);
        let matching: Vec<_> = matching.collect();
        (!matching.is_empty()).then(|| matching[at % matching.len()])
    }

    fn job(&self, at: usize) -> Option<JobId> {
        self.declared.keys().copied().nth(at.checked_rem(self.declared.len())?)
    }

    fn register(&mut self, id: TaskManagerId) {
        self.set(id, Process::Running);
        let slots = self.slots_of_host[&self.processes[&id].0];
        let actions = self.manager.register(self.now, id, slots).expect("it was asked for");
        self.carry_out(actions);
    }

    fn fault(&self, id: TaskManagerId) -> HostFault {
        let host = self.processes[&id].0.clone();
        HostFault {
            host,
            code: "x".to_owned(),
            message: "x".to_owned(),
            help: None,
        }
    }

    fn disconnect(&mut self, id: TaskManagerId, ended: bool) {
        self.assigned.retain(|_, (on, _)| *on != id);
        let fault = self.fault(id);
        self.event(ResourceEvent::Disconnected { id, ended, fault });
    }

    fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.manager.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.event(ResourceEvent::Tick);
        }
        self.now = until;
    }

    /// The world does what it is asked to, without failures, until nothing moves any more.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if let Some(id) = self.pick(&Process::Starting, 0) {
                self.register(id);
            } else if let Some(id) = self.pick(&Process::Stopping, 0) {
                self.event(ResourceEvent::Stopped { id, left_behind: None });
            } else if let Some(id) = self.pick(&Process::Ending, 0) {
                self.disconnect(id, true);
            } else if let Some(at) = self.manager.deadline() {
                self.now = self.now.max(at);
                self.event(ResourceEvent::Tick);
            } else {
                return;
            }
        }
        panic!("it never settles");
    }

    /// Like [`Self::settle`], but only for some time: jobs that have slots keep them and nothing is released for
    /// idleness.
    fn work(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..1_000_000 {
            if let Some(id) = self.pick(&Process::Starting, 0) {
                self.register(id);
            } else if let Some(at) = self.manager.deadline().filter(|at| *at <= until) {
                self.now = self.now.max(at);
                self.event(ResourceEvent::Tick);
            } else {
                return;
            }
        }
        panic!("it works for ever");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Declare(u32),
    Withdraw(usize),
    Hold(usize),
    Register(usize),
    StartFails(usize),
    Lose(usize, bool),
    End(usize),
    Stopped(usize, bool),
    FreeOne(usize),
    Leave(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..64_usize;
    prop_oneof![
        4 => (1..20_u32).prop_map(Step::Declare),
        2 => at.clone().prop_map(Step::Withdraw),
        1 => at.clone().prop_map(Step::Hold),
        6 => at.clone().prop_map(Step::Register),
        1 => at.clone().prop_map(Step::StartFails),
        1 => (at.clone(), any::<bool>()).prop_map(|(at, ended)| Step::Lose(at, ended)),
        2 => at.clone().prop_map(Step::End),
        2 => (at.clone(), any::<bool>()).prop_map(|(at, clean)| Step::Stopped(at, clean)),
        1 => at.clone().prop_map(Step::FreeOne),
        1 => at.prop_map(Step::Leave),
        6 => prop_oneof![Just(10), Just(50), Just(1_000), Just(20_000), Just(70_000)].prop_map(Step::Wait),
    ]
}

impl World {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Declare(slots) => drop(self.declare(slots)),
            Step::Withdraw(at) => {
                if let Some(job) = self.job(at) {
                    self.withdraw(job);
                }
            }
            Step::Hold(at) => {
                if let Some(job) = self.job(at) {
                    self.hold(job);
                }
            }
            Step::Register(at) => {
                if let Some(id) = self.pick(&Process::Starting, at) {
                    self.register(id);
                }
            }
            Step::StartFails(at) => {
                if let Some(id) = self.pick(&Process::Starting, at) {
                    let fault = self.fault(id);
                    self.event(ResourceEvent::StartFailed { id, fault });
                }
            }
            Step::Lose(at, ended) => {
                if let Some(id) = self.pick(&Process::Running, at) {
                    self.disconnect(id, ended);
                }
            }
            Step::End(at) => {
                if let Some(id) = self.pick(&Process::Ending, at) {
                    self.disconnect(id, true);
                }
            }
            Step::Stopped(at, clean) => {
                if let Some(id) = self.pick(&Process::Stopping, at) {
                    let left_behind = (!clean).then(|| self.fault(id));
                    self.event(ResourceEvent::Stopped { id, left_behind });
                }
            }
            Step::FreeOne(at) => self.free_one(at),
            Step::Leave(at) => {
                if let Some(id) = self.pick(&Process::Running, at) {
                    self.event(ResourceEvent::Leaving { id });
                }
            }
            Step::Wait(ms) => self.advance(Duration::from_millis(ms)),
        }
    }

    fn free_one(&mut self, at: usize) {
        let Some(index) = at.checked_rem(self.assigned.len()) else {
            return;
        };
        let Some((allocation, (id, _))) = self.assigned.iter().nth(index).map(|(key, value)| (*key, *value)) else {
            return;
        };
        self.assigned.remove(&allocation);
        self.event(ResourceEvent::SlotsFreed {
            id,
            allocations: vec![allocation],
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The assertions of [`World`] hold whatever happens, and afterwards nothing is left over.
    #[test]
    fn whatever_happens_no_slot_has_two_jobs_and_everything_is_given_back(
        slots in prop::collection::vec(1..5_u32, 0..8),
        spread in any::<bool>(),
        max in prop::option::of(0..6_u32),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let placement = if spread { PlacementStrategy::Spread } else { PlacementStrategy::Pack };
        let mut world = World::new(placement, &slots, max);
        for step in &steps {
            world.take(step);
        }
        for job in world.declared.keys().copied().collect::<Vec<_>>() {
            world.withdraw(job);
        }
        world.settle();
        prop_assert!(world.assigned.is_empty(), "{:?}", world.assigned);
        prop_assert!(world.processes.is_empty(), "{:?}", world.processes);
        prop_assert!(world.manager.task_managers().is_empty());
    }

    /// In a world without failures a job gets its slots if they exist, and is refused at once if they never can.
    #[test]
    fn requirements_are_met_when_there_is_capacity(
        slots in prop::collection::vec(1..5_u32, 1..8),
        spread in any::<bool>(),
        wanted in 1..40_u32,
    ) {
        let placement = if spread { PlacementStrategy::Spread } else { PlacementStrategy::Pack };
        let mut world = World::new(placement, &slots, None);
        let job = world.declare(wanted);
        world.work(Duration::from_secs(1));
        let total: u32 = slots.iter().sum();
        prop_assert_eq!(world.slots_of(job), if wanted <= total { wanted } else { 0 });
        prop_assert_eq!(world.refused.contains(&job), wanted > total);
        if spread && wanted <= total {
            prop_assert_eq!(world.processes.len(), slots.len().min(wanted as usize));
        }
        if !spread && wanted <= total {
            let mut sizes = slots.clone();
            sizes.sort_unstable_by_key(|slots| std::cmp::Reverse(*slots));
            let fewest = (1..=sizes.len()).find(|number| sizes[..*number].iter().sum::<u32>() >= wanted);
            prop_assert_eq!(Some(world.processes.len()), fewest);
        }
    }
}

#[test]
fn spread_uses_as_many_hosts_as_possible_and_the_second_job_starts_none() {
    let mut world = World::new(PlacementStrategy::Spread, &[4; 5], None);
    let first = world.declare(3);
    world.work(Duration::from_secs(1));
    assert_eq!((world.slots_of(first), world.processes.len()), (3, 3));
    world.withdraw(first);
    world.work(Duration::from_secs(1));
    let second = world.declare(3);
    world.work(Duration::from_secs(1));
    assert_eq!((world.slots_of(second), world.processes.len()), (3, 3));
    let used: BTreeSet<_> = world.assigned.values().map(|(id, _)| *id).collect();
    assert_eq!(used.len(), 3);
}

#[test]
fn a_host_that_fails_is_replaced_by_another() {
    let mut world = World::new(PlacementStrategy::Pack, &[4, 4], None);
    let job = world.declare(4);
    world.advance(Duration::from_secs(1));
    let id = world.pick(&Process::Starting, 0).expect("one is started");
    let fault = world.fault(id);
    world.event(ResourceEvent::StartFailed { id, fault });
    world.work(Duration::from_secs(1));
    assert_eq!(world.slots_of(job), 4);
    assert_eq!(
        world.processes.values().next().map(|(host, _)| host.as_str()),
        Some("h1")
    );
    // Now one that needs the failed host too has no chance, and is told so at once.
    let large = world.declare(8);
    world.advance(Duration::from_secs(1));
    assert!(world.refused.contains(&large));
}

#[test]
fn a_task_manager_lost_on_its_way_to_a_job_is_made_up_for() {
    let mut world = World::new(PlacementStrategy::Spread, &[2, 2, 2], None);
    let job = world.declare(4);
    world.advance(Duration::from_secs(1));
    // Three start; the first registers, gets its share, and is lost before the others are there.
    let id = world.pick(&Process::Starting, 0).expect("three are started");
    world.register(id);
    assert!(world.slots_of(job) > 0);
    world.disconnect(id, false);
    world.work(Duration::from_secs(1));
    assert_eq!(world.slots_of(job), 4);
}

#[test]
fn ten_thousand_task_managers() {
    const HOSTS: usize = 10_000;
    let mut world = World::new(PlacementStrategy::Spread, &[4; HOSTS], None);
    // The bookkeeping of this test is too slow for so many; the invariants are proven above.
    let job = JobId::from_bytes([1; 16]);
    let (start, slots) = (Instant::now(), 4 * HOSTS as u32);
    let mut allocated = 0;
    let mut stack = world.manager.handle(
        world.now,
        ResourceEvent::Declare {
            job,
            slots,
            timeout: SLOT_TIMEOUT,
        },
    );
    world.now += Duration::from_millis(50);
    stack.extend(world.manager.handle(world.now, ResourceEvent::Tick));
    let mut running = Vec::new();
    while let Some(action) = stack.pop() {
        match action {
            ResourceAction::Start { id, .. } => {
                stack.extend(world.manager.register(world.now, id, 4).expect("it was asked for"));
                running.push(id);
            }
            ResourceAction::Allocate { allocations, .. } => allocated += allocations.len() as u32,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((running.len(), allocated), (HOSTS, slots));
    let freed = world.manager.handle(
        world.now,
        ResourceEvent::Declare {
            job,
            slots: 0,
            timeout: SLOT_TIMEOUT,
        },
    );
    assert_eq!(freed.len(), HOSTS);
    world.now += Duration::from_secs(31);
    let released = world.manager.handle(world.now, ResourceEvent::Tick);
    assert_eq!(
        released
            .iter()
            .filter(|action| matches!(action, ResourceAction::Shutdown { .. }))
            .count(),
        HOSTS
    );
    // Generous: a debug build on a busy machine. Quadratic behaviour would take minutes.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

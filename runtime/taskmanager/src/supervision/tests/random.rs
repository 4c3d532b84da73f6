//! Supervision under random events, in a world that carries out its actions.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use flink_graph::{AllocationId, JobId, WorkerExit};
use flink_process::StopSignal;
use flink_rpc::messages::{FromTaskManager, FromWorker, ToTaskManager, ToWorker};
use proptest::prelude::*;

use super::{
    super::{Action, Event, TaskManagerState, WorkerId},
    harness::{allocation, artifact, death, limits, slot_request},
};

const SLOTS: u32 = 3;

/// Something that the outside may do at any time. Numbers choose among what is there.
#[derive(Debug, Clone)]
enum Step {
    Request { job: u8, allocations: Vec<u8> },
    Free(Vec<u8>),
    Fetched { program: u8, works: bool },
    Ready(usize),
    Dies(usize),
    Breaks(usize),
    Heeds(usize),
    Connection(bool),
    Wait(u64),
    Shutdown,
}

fn step() -> impl Strategy<Value = Step> {
    let numbers = || prop::collection::vec(0..6_u8, 0..4);
    prop_oneof![
        6 => (0..3_u8, numbers()).prop_map(|(job, allocations)| Step::Request { job, allocations }),
        3 => numbers().prop_map(Step::Free),
        4 => (0..3_u8, prop::bool::weighted(0.8)).prop_map(|(program, works)| Step::Fetched { program, works }),
        4 => any::<usize>().prop_map(Step::Ready),
        2 => any::<usize>().prop_map(Step::Dies),
        1 => any::<usize>().prop_map(Step::Breaks),
        3 => any::<usize>().prop_map(Step::Heeds),
        2 => any::<bool>().prop_map(Step::Connection),
        3 => (0..12_000_u64).prop_map(Step::Wait),
        1 => Just(Step::Shutdown),
    ]
}

/// Processes, fetches and the JobManager.
struct World {
    state: TaskManagerState,
    now: Instant,
    /// Living processes: job, whether asked to end, whether killed.
    processes: BTreeMap<WorkerId, (JobId, bool, bool)>,
    fetching: BTreeSet<u8>,
    /// What the JobManager thinks of the slots: true once offered.
    slots: BTreeMap<AllocationId, bool>,
    connected: bool,
    registered: bool,
    over: bool,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            state: TaskManagerState::new(limits(SLOTS), now),
            now,
            processes: BTreeMap::new(),
            fetching: BTreeSet::new(),
            slots: BTreeMap::new(),
            connected: false,
            registered: false,
            over: false,
        }
    }

    fn feed(&mut self, event: Event) {
        for action in self.state.handle(self.now, event) {
            assert!(!self.over, "{action:?} after the end");
            self.act(action);
        }
        if self.registered && !self.state.is_closing() {
            assert_eq!(
                self.state.free_slots() + self.slots.len(),
                SLOTS as usize,
                "both sides know the same slots"
            );
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Register { .. } => {
                assert!(
                    self.connected && self.processes.is_empty(),
                    "registered beside old workers"
                );
                self.slots.clear();
                self.registered = true;
                self.feed(Event::Registered { epoch: 1 });
            }
            Action::Report(report) => {
                assert!(self.registered, "{report:?} to nobody");
                self.hear(report);
            }
            Action::Fetch(program) => assert!(self.fetching.insert(program.0[0]), "fetched twice at a time"),
            Action::CancelFetch(program) => assert!(self.fetching.remove(&program.0[0])),
            Action::Spawn { worker, job, .. } => {
                assert!(
                    self.processes.values().all(|(other, ..)| *other != job),
                    "two processes of one job"
                );
                assert!(self.processes.insert(worker, (job, false, false)).is_none());
            }
            Action::Send {
                worker,
                message: ToWorker::Shutdown,
            }
            | Action::Signal {
                worker,
                signal: StopSignal::Terminate,
            } => {
                if let Some((_, asked, _)) = self.processes.get_mut(&worker) {
                    *asked = true;
                }
            }
            Action::Signal {
                worker,
                signal: StopSignal::Kill,
            } => {
                if let Some((_, asked, killed)) = self.processes.get_mut(&worker) {
                    (*asked, *killed) = (true, true);
                }
            }
            Action::Send { worker, .. } => assert!(self.processes.contains_key(&worker)),
            Action::End(_) => {
                assert!(self.processes.is_empty(), "left workers behind");
                self.over = true;
            }
            Action::Reconnect => panic!("the epoch never changes here"),
        }
    }

    fn hear(&mut self, report: FromTaskManager) {
        match report {
            FromTaskManager::SlotsOffered { allocations, .. } => {
                for id in allocations {
                    assert_eq!(self.slots.insert(id, true), Some(false), "{id} was not waited for");
                }
            }
            FromTaskManager::SlotsRefused { allocations, .. } => {
                for id in allocations {
                    assert_eq!(self.slots.remove(&id), Some(false), "{id} was not waited for");
                }
            }
            FromTaskManager::WorkerLost { allocations, .. } => {
                for id in allocations {
                    assert_eq!(self.slots.remove(&id), Some(true), "{id} was not offered");
                }
            }
            _ => {}
        }
    }

    fn choose(&self, number: usize) -> Option<WorkerId> {
        self.processes.keys().nth(number % self.processes.len().max(1)).copied()
    }

    fn exit(&mut self, worker: WorkerId) {
        self.processes.remove(&worker);
        self.feed(Event::Exited {
            worker,
            death: death(WorkerExit::Code(1)),
        });
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Request { job, allocations } => self.request(job, &allocations),
            Step::Free(numbers) if self.registered => {
                let ids: Vec<_> = numbers.into_iter().map(allocation).collect();
                self.slots.retain(|id, _| !ids.contains(id));
                self.feed(Event::Ordered(ToTaskManager::FreeSlots(ids)));
            }
            Step::Fetched { program, works } if self.fetching.remove(&program) => {
                let result = if works {
                    Ok("/b/x".into())
                } else {
                    Err("damaged".to_owned())
                };
                self.feed(Event::Fetched {
                    artifact: artifact(program),
                    result,
                });
            }
            Step::Ready(number) => {
                if let Some(worker) = self.choose(number) {
                    let message = FromWorker::Ready {
                        data_address: ([10, 0, 0, 1], 4000).into(),
                    };
                    self.feed(Event::Told { worker, message });
                }
            }
            Step::Dies(number) => {
                if let Some(worker) = self.choose(number) {
                    self.exit(worker);
                }
            }
            Step::Breaks(number) => {
                if let Some(worker) = self.choose(number) {
                    self.feed(Event::Broken {
                        worker,
                        reason: "closed".to_owned(),
                    });
                }
            }
            Step::Heeds(number) => {
                let asked: Vec<_> = self
                    .processes
                    .iter()
                    .filter(|(_, process)| process.1)
                    .map(|(id, _)| *id)
                    .collect();
                if let Some(worker) = asked.get(number % asked.len().max(1)) {
                    self.exit(*worker);
                }
            }
            Step::Connection(up) if up != self.connected => self.connect(up),
            Step::Wait(ms) => self.wait(Duration::from_millis(ms)),
            Step::Shutdown if self.registered => self.feed(Event::Ordered(ToTaskManager::Shutdown)),
            Step::Free(_) | Step::Fetched { .. } | Step::Connection(_) | Step::Shutdown => {}
        }
    }

    /// The JobManager asks for slots that it does not have yet, and never for more than there are.
    fn request(&mut self, job: u8, numbers: &[u8]) {
        let fresh: BTreeSet<u8> = numbers
            .iter()
            .copied()
            .filter(|number| !self.slots.contains_key(&allocation(*number)))
            .collect();
        if !self.registered || self.state.is_closing() || fresh.len() > self.state.free_slots() {
            return;
        }
        self.slots
            .extend(fresh.iter().map(|number| (allocation(*number), false)));
        let fresh: Vec<u8> = fresh.into_iter().collect();
        self.feed(Event::Ordered(slot_request(job, &fresh, job)));
    }

    fn connect(&mut self, up: bool) {
        self.connected = up;
        self.registered = false;
        self.feed(match up {
            true => Event::Reached,
            false => Event::Disconnected {
                reason: "lost".to_owned(),
                silent_for: Duration::ZERO,
            },
        });
    }

    /// Killed processes end at once here, others only when they heed what they were told.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        self.bury();
        while let Some(deadline) = self.state.deadline().filter(|deadline| *deadline <= end) {
            self.now = deadline.max(self.now);
            self.feed(Event::Tick);
            self.bury();
        }
        self.now = end;
        self.bury();
    }

    fn bury(&mut self) {
        let killed: Vec<_> = self
            .processes
            .iter()
            .filter(|(_, process)| process.2)
            .map(|(id, _)| *id)
            .collect();
        for worker in killed {
            self.exit(worker);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_slots_add_up_and_no_process_is_left(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        world.connect(true);
        for step in steps {
            world.step(step);
        }
        world.feed(Event::Terminate { reason: "the test is over".to_owned() });
        world.wait(Duration::from_secs(60));
        prop_assert!(world.over, "it never ended: {:?}", world.state);
        prop_assert!(world.processes.is_empty());
    }
}

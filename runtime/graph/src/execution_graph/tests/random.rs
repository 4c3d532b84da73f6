use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::testing::{Operator, Sink, Source, stream_graph};

/// Something that may happen at any time.
#[derive(Debug, Clone)]
enum Incident {
    Start,
    Offer {
        host: u8,
        count: u32,
    },
    RepeatOffers,
    Report {
        vertex: u32,
        subtask: u32,
        attempt: u32,
        state: ExecutionState,
        kind: TaskFailureKind,
    },
    LoseTaskManager {
        host: u8,
    },
    LoseWorker {
        host: u8,
        kind: TaskFailureKind,
    },
    SlotsUnavailable,
    CoordinatorReady,
    CoordinatorFailed {
        kind: TaskFailureKind,
    },
    CoordinatorEnded,
    Cancel,
}

fn any_incident() -> impl Strategy<Value = Incident> {
    use ExecutionState::{Canceled, Canceling, Created, Deploying, Failed, Finished, Initializing, Running, Scheduled};
    let state = prop_oneof![
        8 => prop::sample::select(vec![Initializing, Running, Finished]),
        2 => prop::sample::select(vec![Canceled, Failed]),
        1 => prop::sample::select(vec![Created, Scheduled, Deploying, Canceling]),
    ];
    let kinds = || {
        use TaskFailureKind::{Exchange, UserCode, WorkerDied};
        prop::sample::select(vec![Exchange, UserCode, WorkerDied(WorkerExit::Code(1))])
    };
    // One subtask, vertex and attempt more than there are.
    let report = (
        0..4u32,
        0..4u32,
        prop_oneof![9 => Just(0), 1 => Just(1)],
        state,
        kinds(),
    );
    let report = report.prop_map(|(vertex, subtask, attempt, state, kind)| Incident::Report {
        vertex,
        subtask,
        attempt,
        state,
        kind,
    });
    prop_oneof![
        3 => Just(Incident::Start),
        12 => (0..3u8, 1..4u32).prop_map(|(host, count)| Incident::Offer { host, count }),
        2 => Just(Incident::RepeatOffers),
        60 => report,
        1 => (0..3u8).prop_map(|host| Incident::LoseTaskManager { host }),
        1 => (0..3u8, kinds()).prop_map(|(host, kind)| Incident::LoseWorker { host, kind }),
        1 => Just(Incident::SlotsUnavailable),
        4 => Just(Incident::CoordinatorReady),
        1 => kinds().prop_map(|kind| Incident::CoordinatorFailed { kind }),
        1 => Just(Incident::CoordinatorEnded),
        1 => Just(Incident::Cancel),
    ]
}

/// The world around an ExecutionGraph: holds it to what it promises.
struct World {
    run: Run,
    /// By host: how many TaskManagers it had before the present one. An id is one life of one TaskManager.
    lives: [u8; 3],
    /// Slots that are the job's, with their TaskManagers.
    slots: BTreeMap<AllocationId, SlotOffer>,
    freed: BTreeSet<AllocationId>,
    states: BTreeMap<(u32, u32), ExecutionState>,
    deployed: BTreeSet<(u32, u32)>,
    status: JobStatus,
    declared: u32,
    coordinator: Process,
    outcomes: Vec<JobOutcome>,
}

/// The coordinator's process.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Process {
    /// The job has no coordinator.
    Absent,
    Unborn,
    Starting,
    Ready,
    Asked,
    Gone,
}

impl World {
    fn new(coordinated: bool) -> Self {
        let graph = stream_graph(
            &[("a", Source, 2), ("b", Operator, 3), ("c", Sink, 1)],
            &[(0, 1, None), (1, 2, None)],
        );
        Self {
            run: if coordinated {
                Run::coordinated(&graph, 1)
            } else {
                Run::new(&graph)
            },
            coordinator: if coordinated { Process::Unborn } else { Process::Absent },
            lives: [0; 3],
            slots: BTreeMap::new(),
            freed: BTreeSet::new(),
            states: BTreeMap::new(),
            deployed: BTreeSet::new(),
            status: JobStatus::Created,
            declared: 0,
            outcomes: Vec::new(),
        }
    }

    fn present(&self, host: u8) -> u8 {
        host + 3 * self.lives[host as usize]
    }

    /// What a coordinator says that is not there is not heard.
    fn is_possible(&self, incident: &Incident) -> bool {
        match incident {
            Incident::CoordinatorReady => self.coordinator == Process::Starting,
            Incident::CoordinatorFailed { .. } | Incident::CoordinatorEnded => {
                matches!(self.coordinator, Process::Starting | Process::Ready | Process::Asked)
            }
            _ => true,
        }
    }

    fn happen(&mut self, incident: &Incident) {
        if !self.is_possible(incident) {
            return;
        }
        let lost = match *incident {
            Incident::LoseTaskManager { host } | Incident::LoseWorker { host, .. } => Some(self.present(host)),
            _ => None,
        };
        let actions = self.handle(incident);
        if let Incident::Report {
            vertex,
            subtask,
            attempt,
            ..
        } = *incident
            && (attempt > 0 || !self.deployed.contains(&(vertex, subtask)))
        {
            assert_eq!(actions, [], "there is no such task");
        }
        actions.into_iter().for_each(|action| self.observe(action));
        if let Some(lost) = lost {
            let mut executions = self.run.graph.executions().iter().flatten();
            let lost = Some(task_manager(lost));
            assert!(executions.all(|execution| execution.task_manager != lost || execution.state.is_terminal()));
        }
        self.compare();
    }

    fn handle(&mut self, incident: &Incident) -> Vec<ExecutionGraphAction> {
        match *incident {
            Incident::Start => self.run.handle(ExecutionGraphEvent::Start),
            Incident::Cancel => self.run.handle(ExecutionGraphEvent::Cancel),
            Incident::CoordinatorReady => {
                self.coordinator = Process::Ready;
                self.run.handle(ExecutionGraphEvent::CoordinatorReady)
            }
            Incident::CoordinatorFailed { kind } => self.run.fail_coordinator(kind),
            Incident::CoordinatorEnded => {
                self.coordinator = Process::Gone;
                self.run.handle(ExecutionGraphEvent::CoordinatorEnded)
            }
            Incident::SlotsUnavailable => self.run.handle(ExecutionGraphEvent::SlotsUnavailable {
                message: "none".to_owned(),
            }),
            Incident::Offer { host, count } => {
                let offers = self.run.slots(self.present(host), count);
                self.slots
                    .extend(offers.iter().map(|offer| (offer.allocation, offer.clone())));
                self.run.handle(ExecutionGraphEvent::SlotsOffered(offers))
            }
            Incident::RepeatOffers => {
                let offers = self.slots.values().cloned().collect();
                self.run.handle(ExecutionGraphEvent::SlotsOffered(offers))
            }
            Incident::Report {
                vertex,
                subtask,
                attempt,
                state,
                kind,
            } => {
                let attempt = ExecutionAttemptId {
                    attempt,
                    ..self.run.attempt(vertex, subtask)
                };
                let failure = (state == ExecutionState::Failed).then(|| failure(kind));
                self.run.handle(ExecutionGraphEvent::TaskStateChanged {
                    attempt,
                    state,
                    failure,
                })
            }
            Incident::LoseTaskManager { host } => {
                let lost = self.present(host);
                self.lives[host as usize] += 1;
                self.slots.retain(|_, slot| slot.task_manager != task_manager(lost));
                self.run.lose_task_manager(lost)
            }
            Incident::LoseWorker { host, kind } => self.run.lose_worker(self.present(host), kind),
        }
    }

    fn observe(&mut self, action: ExecutionGraphAction) {
        let is_over = !self.outcomes.is_empty();
        match action {
            ExecutionGraphAction::FreeSlots(slots) => {
                for slot in slots {
                    assert!(self.slots.remove(&slot).is_some(), "{slot} was not the job's");
                    assert!(self.freed.insert(slot), "{slot} was freed twice");
                }
                // Only what is offered late may follow the end.
                return;
            }
            ExecutionGraphAction::DeclareRequirements { slots } => self.declared = slots,
            ExecutionGraphAction::StartCoordinator => {
                assert_eq!(self.coordinator, Process::Unborn);
                self.coordinator = Process::Starting;
            }
            ExecutionGraphAction::FinishCoordinator => self.coordinator_asked(true),
            ExecutionGraphAction::StopCoordinator => self.coordinator_asked(false),
            ExecutionGraphAction::Deploy {
                placement,
                tasks,
                task_manager,
            } => {
                assert_eq!(self.slots.len(), 3, "all slots are there and no more");
                assert!(matches!(self.coordinator, Process::Absent | Process::Ready));
                for task in tasks {
                    let worker = placement.worker(task.vertex, task.subtask).unwrap();
                    assert_eq!(worker.task_manager, task_manager);
                    assert!(self.slots.values().any(|slot| slot.task_manager == task_manager));
                    assert!(
                        self.deployed.insert((task.vertex, task.subtask)),
                        "{task} was deployed twice"
                    );
                }
            }
            ExecutionGraphAction::CancelTasks { tasks, .. } => {
                assert!(
                    tasks
                        .iter()
                        .all(|task| self.deployed.contains(&(task.vertex, task.subtask)))
                );
            }
            ExecutionGraphAction::JobStatusChanged { from, to } => {
                assert_eq!(from, self.status);
                assert!(from.can_transition_to(to), "{from} -> {to}");
                self.status = to;
            }
            ExecutionGraphAction::ExecutionChanged { attempt, from, to, .. } => {
                let state = self
                    .states
                    .entry((attempt.vertex, attempt.subtask))
                    .or_insert(ExecutionState::Created);
                assert_eq!(from, *state);
                assert!(from.can_transition_to(to), "{from} -> {to}");
                *state = to;
            }
            ExecutionGraphAction::JobTerminated(outcome) => self.outcomes.push(outcome),
        }
        assert!(!is_over, "the job had ended");
    }

    fn coordinator_asked(&mut self, to_finish: bool) {
        match self.coordinator {
            Process::Ready => {}
            Process::Starting | Process::Asked => assert!(!to_finish),
            other => panic!("asked when {other:?}"),
        }
        assert!(!to_finish || self.states.values().all(|state| *state == ExecutionState::Finished));
        self.coordinator = Process::Asked;
    }

    /// What the graph shows is what its actions said.
    fn compare(&self) {
        let graph = &self.run.graph;
        assert_eq!(graph.status(), self.status);
        let mut counts = BTreeMap::new();
        for (vertex, executions) in (0..).zip(graph.executions()) {
            for (subtask, execution) in (0..).zip(executions) {
                let state = self
                    .states
                    .get(&(vertex, subtask))
                    .copied()
                    .unwrap_or(ExecutionState::Created);
                assert_eq!(execution.state, state);
                assert_eq!(execution.end_ms.is_some(), state.is_terminal());
                *counts.entry(state).or_insert(0) += 1;
            }
        }
        assert_eq!(graph.state_counts(), counts.into_iter().collect::<Vec<_>>());
        let all_ended = graph
            .executions()
            .iter()
            .flatten()
            .all(|execution| execution.state.is_terminal());
        let is_gone = matches!(self.coordinator, Process::Absent | Process::Unborn | Process::Gone);
        assert_eq!(graph.status().is_globally_terminal(), all_ended && is_gone);
    }

    /// Lets the job come to its end: cancels it, and its tasks obey.
    fn end(&mut self) {
        self.happen(&Incident::Cancel);
        let (state, kind) = (ExecutionState::Canceled, TaskFailureKind::Runtime);
        for (vertex, subtask) in self.deployed.clone() {
            self.happen(&Incident::Report {
                vertex,
                subtask,
                attempt: 0,
                state,
                kind,
            });
        }
        assert!(self.coordinator != Process::Ready && self.coordinator != Process::Starting);
        self.happen(&Incident::CoordinatorEnded);
        assert!(self.status.is_globally_terminal());
        assert_eq!(self.outcomes.len(), 1);
        assert_eq!(self.run.graph.outcome().as_ref(), self.outcomes.first());
        assert!(self.status != JobStatus::Failed || self.outcomes[0].failure.is_some());
        assert!(self.slots.is_empty(), "each slot was freed or lost");
        assert_eq!(self.declared, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn promises_are_kept_whatever_happens(
        coordinated: bool,
        incidents in prop::collection::vec(any_incident(), 0..80),
    ) {
        let mut world = World::new(coordinated);
        incidents.iter().for_each(|incident| world.happen(incident));
        world.end();
    }

    #[test]
    fn promises_are_kept_from_the_start_on(
        coordinated: bool,
        incidents in prop::collection::vec(any_incident(), 0..80),
    ) {
        let mut world = World::new(coordinated);
        world.happen(&Incident::Start);
        world.happen(&Incident::CoordinatorReady);
        (0..3).for_each(|host| world.happen(&Incident::Offer { host, count: 1 }));
        incidents.iter().for_each(|incident| world.happen(incident));
        world.end();
    }
}

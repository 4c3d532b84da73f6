use flink_graph::{OperatorId, OperatorInfo, OperatorKind, WorkerExit};
use flink_process::{Death, life::EXIT_LAG};
use flink_rpc::messages::{COORDINATOR_WINDOW, EventsHandled, FromCoordinator, OperatorEvent};

use super::*;

/// The nodes of [`graph`]'s vertices have their numbers.
const SOURCE: u32 = 0;

/// Its source is coordinated.
fn coordinated_graph() -> JobGraph {
    let mut graph = graph();
    for vertex in &mut graph.vertices {
        vertex.operators = vec![OperatorInfo {
            id: OperatorId::from_bytes([0; 16]),
            name: vertex.name.clone(),
            uid: None,
            kind: OperatorKind::Operator,
            input_types: Vec::new(),
            output_type: None,
            coordinated: vertex.name == "source",
        }];
    }
    graph
}

/// Actions for the coordinator, and messages of it, as short lines; others are left out.
fn brief(actions: &[JobAction]) -> Vec<String> {
    let line = |action: &JobAction| match action {
        JobAction::LocateProgram(_) => Some("locate".to_owned()),
        JobAction::SpawnCoordinator { .. } => Some("spawn".to_owned()),
        JobAction::SignalCoordinator(signal) => Some(format!("{signal:?}")),
        JobAction::TellCoordinator(message) => Some(match message {
            ToCoordinator::Grant(messages) => format!("grant {messages}"),
            ToCoordinator::OperatorEvent(event) => format!("event of {}", event.attempt.subtask),
            ToCoordinator::SubtaskEnded(attempt) => format!("{} ended", attempt.subtask),
            ToCoordinator::SubtaskFailed(attempt) => format!("{} failed", attempt.subtask),
            other => format!("{other:?}"),
        }),
        JobAction::Send { id, message } => match message {
            ToTaskManager::OperatorEvent(event) => {
                Some(format!("tm{}: event for {}", id.as_bytes()[0], event.attempt.subtask))
            }
            ToTaskManager::EventsHandled(handled) => {
                Some(format!("tm{}: {} handled", id.as_bytes()[0], handled.events))
            }
            ToTaskManager::Deploy { .. } => Some(format!("tm{}: deploy", id.as_bytes()[0])),
            _ => None,
        },
        JobAction::Ended => Some("ended".to_owned()),
        _ => None,
    };
    actions.iter().filter_map(line).collect()
}

impl Bench {
    fn news(&mut self, news: CoordinatorNews) -> Vec<String> {
        brief(&self.job.coordinator_news(self.now, news))
    }

    fn say(&mut self, message: FromCoordinator) -> Vec<String> {
        self.news(CoordinatorNews::Told(message))
    }

    /// Started, with all slots, and a coordinator that is not ready.
    fn starting() -> Self {
        let mut bench = Self::of(false, coordinated_graph());
        assert_eq!(brief(&bench.job.start(bench.now)), ["locate"]);
        for number in [1, 2] {
            bench
                .job
                .allocated(task_manager(number), &format!("h{number}"), vec![allocation(number)]);
            assert_eq!(brief(&bench.offer(number, number)), [""; 0]);
        }
        assert_eq!(bench.news(CoordinatorNews::Located(Ok("/b/x".into()))), ["spawn"]);
        bench
    }

    /// The tasks run, subtask i on TaskManager i + 1.
    fn coordinated() -> Self {
        let mut bench = Self::starting();
        assert_eq!(
            bench.say(FromCoordinator::Ready),
            ["tm1: deploy", "tm2: deploy", "grant 16"]
        );
        bench
    }

    fn event(&self, subtask: u32) -> OperatorEvent {
        OperatorEvent {
            attempt: self.attempt(0, subtask),
            operator: SOURCE,
            payload: Vec::new().try_into().unwrap(),
        }
    }

    fn heard(&mut self, on: u8, event: OperatorEvent) -> Vec<String> {
        brief(
            &self
                .job
                .told(self.now, task_manager(on), FromTaskManager::OperatorEvent(event), 0),
        )
    }

    fn arrived(&mut self, on: u8, messages: u32) -> Vec<String> {
        let job = self.job.id();
        let arrived = FromTaskManager::EventsArrived { job, messages };
        brief(&self.job.told(self.now, task_manager(on), arrived, 0))
    }

    fn exit(&mut self, exit: WorkerExit) -> Vec<String> {
        self.news(CoordinatorNews::Exited(Death {
            exit: Some(exit),
            ..Death::unseen()
        }))
    }

    fn failure(&self) -> String {
        self.job.execution_graph.failure().unwrap().to_string()
    }
}

#[test]
fn events_are_passed_on_both_ways_and_what_arrives_is_credited() {
    let mut bench = Bench::coordinated();
    let (first, second) = (bench.event(0), bench.event(1));
    assert_eq!(bench.heard(1, first.clone()), ["event of 0"]);
    assert_eq!(bench.heard(2, second.clone()), ["event of 1"]);
    assert_eq!(bench.say(FromCoordinator::OperatorEvent(second)), ["tm2: event for 1"]);
    let handled = EventsHandled {
        attempt: first.attempt,
        operator: SOURCE,
        events: 3,
    };
    assert_eq!(bench.say(FromCoordinator::EventsHandled(handled)), ["tm1: 3 handled"]);
    assert_eq!(bench.arrived(1, 9), ["grant 1"], "no more than were sent");
    assert_eq!(bench.arrived(1, 1), [""; 0]);
    assert_eq!(bench.arrived(2, 1), ["grant 1"]);
}

#[test]
fn what_is_of_another_attempt_place_or_operator_is_dropped() {
    let mut bench = Bench::coordinated();
    let good = bench.event(0);
    assert_eq!(bench.heard(2, good.clone()), [""; 0], "it does not run there");
    let attempt = ExecutionAttemptId {
        attempt: 1,
        ..good.attempt
    };
    let old = OperatorEvent {
        attempt,
        ..good.clone()
    };
    assert_eq!(bench.heard(1, old.clone()), [""; 0]);
    assert_eq!(bench.say(FromCoordinator::OperatorEvent(old)), ["grant 1"]);
    let uncoordinated = OperatorEvent {
        attempt: bench.attempt(1, 0),
        operator: 1,
        ..good.clone()
    };
    assert_eq!(bench.heard(1, uncoordinated), [""; 0]);
    assert_eq!(brief(&bench.state(0, 0, ExecutionState::Finished)), ["0 ended"]);
    assert_eq!(bench.heard(1, good.clone()), [""; 0], "it is over");
    assert_eq!(bench.say(FromCoordinator::OperatorEvent(good)), ["grant 1"]);
}

#[test]
fn what_was_on_its_way_to_a_lost_worker_is_credited() {
    let mut bench = Bench::coordinated();
    let event = bench.event(1);
    for _ in 0..2 {
        bench.say(FromCoordinator::OperatorEvent(event.clone()));
    }
    // None of its tasks was running any more: no harm is done.
    bench.state(0, 1, ExecutionState::Finished);
    bench.state(1, 1, ExecutionState::Finished);
    let lost = FromTaskManager::WorkerLost {
        job: bench.job.id(),
        failure: TaskFailure::new(TaskFailureKind::Runtime, "gone"),
        allocations: vec![allocation(2)],
    };
    assert_eq!(brief(&bench.job.told(bench.now, task_manager(2), lost, 0)), ["grant 2"]);
    assert_eq!(bench.job.summary().status, JobStatus::Running);
}

#[test]
fn a_coordinator_that_spends_more_than_it_has_or_speaks_for_another_job_is_killed() {
    let mut bench = Bench::coordinated();
    let event = bench.event(0);
    for _ in 0..COORDINATOR_WINDOW {
        assert_eq!(bench.say(FromCoordinator::OperatorEvent(event.clone())).len(), 1);
    }
    assert_eq!(bench.say(FromCoordinator::OperatorEvent(event)), [""; 0]);
    assert_eq!(brief(&bench.wait(Duration::ZERO)), ["Kill"]);
    bench.exit(WorkerExit::Signal(9));
    let expected =
        "jm: the coordinator process of `source` ended: it sent more than it may at a time; signal 9 (SIGKILL)";
    assert_eq!(bench.failure(), expected);

    let mut bench = Bench::coordinated();
    let mut event = bench.event(0);
    event.attempt.job = JobId::random();
    assert_eq!(bench.say(FromCoordinator::OperatorEvent(event)), [""; 0]);
    assert_eq!(brief(&bench.wait(Duration::ZERO)), ["Kill"]);
}

#[test]
fn the_job_finishes_with_its_coordinator() {
    let mut bench = Bench::coordinated();
    let mut actions = Vec::new();
    for (vertex, subtask) in [(1, 0), (1, 1), (0, 0), (0, 1)] {
        actions.extend(bench.state(vertex, subtask, ExecutionState::Finished));
    }
    assert_eq!(brief(&actions), ["0 ended", "1 ended", "Finish"]);
    assert_eq!(bench.say(FromCoordinator::Done), ["Shutdown"]);
    // It closes its socket as it ends.
    let reason = "closed".to_owned();
    assert_eq!(bench.news(CoordinatorNews::Broken { reason }), [""; 0]);
    assert_eq!(bench.exit(WorkerExit::Code(0)), ["ended"]);
    assert_eq!(
        bench.job.finish(bench.now).unwrap().report.outcome.status,
        JobStatus::Finished
    );
}

#[test]
fn one_that_says_it_is_done_too_early_or_ends_without_a_word_has_failed() {
    let mut bench = Bench::coordinated();
    assert_eq!(bench.say(FromCoordinator::Done), [""; 0]);
    bench.wait(EXIT_LAG);
    bench.exit(WorkerExit::Code(0));
    let expected = "jm: the coordinator process of `source` ended: it ended before the job; exit code 0";
    assert_eq!(bench.failure(), expected);

    let mut bench = Bench::coordinated();
    bench.exit(WorkerExit::Code(0));
    assert_eq!(bench.job.summary().status, JobStatus::Failing);
    assert_eq!(
        bench.failure(),
        "jm: the coordinator process of `source` ended: exit code 0"
    );
}

#[test]
fn what_keeps_it_from_starting_fails_the_job() {
    let mut bench = Bench::of(false, coordinated_graph());
    bench.job.start(bench.now);
    assert_eq!(
        bench.news(CoordinatorNews::Located(Err("damaged".to_owned()))),
        ["ended"]
    );
    assert_eq!(bench.failure(), "jm: the coordinator could not be started: damaged");

    let mut bench = Bench::starting();
    assert_eq!(
        bench.news(CoordinatorNews::SpawnFailed("no memory".to_owned())),
        ["ended"]
    );

    let mut bench = Bench::starting();
    assert_eq!(brief(&bench.wait(Duration::from_secs(30))), ["Kill"]);
    assert_eq!(bench.exit(WorkerExit::Signal(9)), ["ended"]);
    let expected = "jm: the coordinator process of `source` did not get ready: it was not ready after 30s; signal 9 \
                    (SIGKILL)";
    assert_eq!(bench.failure(), expected);
}

#[test]
fn cancelling_ends_it_wherever_it_is_and_ever_harder() {
    let mut bench = Bench::of(false, coordinated_graph());
    bench.job.start(bench.now);
    assert_eq!(brief(&bench.job.cancel(bench.now)), ["ended"]);
    assert_eq!(
        bench.news(CoordinatorNews::Located(Ok("/b/x".into()))),
        [""; 0],
        "it is not started any more"
    );

    let mut bench = Bench::starting();
    assert_eq!(brief(&bench.job.cancel(bench.now)), ["Shutdown"]);
    assert_eq!(bench.say(FromCoordinator::Ready), [""; 0], "too late");
    assert_eq!(brief(&bench.wait(Duration::from_secs(1))), ["Terminate"]);
    assert_eq!(brief(&bench.wait(CANCELLATION_TIMEOUT)), ["Kill"]);
    assert_eq!(brief(&bench.wait(Duration::from_secs(5))), ["ended"], "given up");
    assert_eq!(bench.exit(WorkerExit::Signal(9)), [""; 0]);
    assert_eq!(
        bench.job.finish(bench.now).unwrap().report.outcome.status,
        JobStatus::Canceled
    );
}

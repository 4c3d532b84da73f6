use super::*;
use crate::testing::word_count;
use ExecutionGraphEvent::{Cancel, CoordinatorEnded, CoordinatorReady, Start};
use ExecutionState::{Canceled, Finished, Running, Scheduled};
use TaskFailureKind::{Exchange, UserCode, WorkerDied};

const KILLED: TaskFailureKind = WorkerDied(WorkerExit::Signal(9));
const NOTHING: [&str; 0] = [];
const TASKS: [(u32, u32); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

/// Word count whose source has a coordinator, started.
fn started() -> Run {
    let mut run = Run::coordinated(&word_count(2), 0);
    assert_eq!(
        brief(&run.handle(Start)),
        ["CREATED -> RUNNING", "start coordinator", "declare 2"]
    );
    run
}

/// The same with all tasks RUNNING, on tm1.
fn running() -> Run {
    let mut run = started();
    run.handle(CoordinatorReady);
    assert_eq!(brief(&run.offer(1, 2)), ["deploy tm1: 0.0 0.1 1.0 1.1"]);
    for (vertex, subtask) in TASKS {
        run.report(vertex, subtask, Running);
    }
    run
}

#[test]
fn tasks_are_deployed_when_slots_and_coordinator_are_there_in_either_order() {
    let mut run = started();
    assert_eq!(brief(&run.handle(CoordinatorReady)), NOTHING);
    assert_eq!(brief(&run.offer(1, 2)), ["deploy tm1: 0.0 0.1 1.0 1.1"]);

    let mut run = started();
    assert_eq!(brief(&run.offer(1, 3)), ["free 1"]);
    assert_eq!(run.state(0, 0), Scheduled);
    assert_eq!(brief(&run.handle(CoordinatorReady)), ["deploy tm1: 0.0 0.1 1.0 1.1"]);
    assert_eq!(brief(&run.handle(CoordinatorReady)), NOTHING, "it is ready once");
}

#[test]
fn slots_that_are_lost_while_the_coordinator_starts_are_waited_for_again() {
    let mut run = started();
    run.offer(1, 2);
    let unavailable = ExecutionGraphEvent::SlotsUnavailable {
        message: "none".to_owned(),
    };
    assert_eq!(brief(&run.handle(unavailable)), NOTHING, "all slots are there");
    assert_eq!(brief(&run.lose_task_manager(1)), NOTHING);
    assert_eq!(brief(&run.handle(CoordinatorReady)), NOTHING);
    assert_eq!(brief(&run.offer(2, 2)), ["deploy tm2: 0.0 0.1 1.0 1.1"]);
}

#[test]
fn the_job_has_finished_when_its_coordinator_has() {
    let mut run = running();
    for (vertex, subtask) in &TASKS[..3] {
        assert_eq!(brief(&run.report(*vertex, *subtask, Finished)), NOTHING);
    }
    assert_eq!(brief(&run.report(1, 1, Finished)), ["finish coordinator"]);
    assert_eq!(run.graph.status(), JobStatus::Running);
    assert_eq!(
        brief(&run.handle(CoordinatorEnded)),
        ["RUNNING -> FINISHED", "free 2", "declare 0", "terminated FINISHED"]
    );
}

#[test]
fn what_the_coordinator_does_at_the_end_can_fail_the_job() {
    let mut run = running();
    for (vertex, subtask) in TASKS {
        run.report(vertex, subtask, Finished);
    }
    assert_eq!(
        brief(&run.fail_coordinator(UserCode)),
        ["RUNNING -> FAILING", "stop coordinator"]
    );
    assert_eq!(
        brief(&run.handle(CoordinatorEnded)),
        ["FAILING -> FAILED", "free 2", "declare 0", "terminated FAILED"]
    );
    assert_eq!(run.graph.failure().unwrap().to_string(), "jm: UserCode");
}

#[test]
fn a_coordinator_that_cannot_be_started_fails_the_job() {
    let mut run = started();
    run.offer(1, 1);
    assert_eq!(
        brief(&run.fail_coordinator(TaskFailureKind::GraphMismatch)),
        ["RUNNING -> FAILING", "stop coordinator"]
    );
    assert_eq!(run.graph.state_counts(), [(Canceled, 4)]);
    assert_eq!(
        brief(&run.handle(CoordinatorEnded)),
        ["FAILING -> FAILED", "free 1", "declare 0", "terminated FAILED"]
    );
    assert_eq!(brief(&run.handle(CoordinatorEnded)), NOTHING);
}

#[test]
fn a_coordinator_that_dies_is_blamed_and_the_tasks_are_waited_for() {
    let mut run = running();
    assert_eq!(
        brief(&run.fail_coordinator(KILLED)),
        ["RUNNING -> FAILING", "cancel tm1: 0.0 0.1 1.0 1.1", "stop coordinator"]
    );
    assert_eq!(brief(&run.handle(CoordinatorEnded)), NOTHING);
    run.fail(0, 0, Exchange);
    for (vertex, subtask) in &TASKS[1..] {
        run.report(*vertex, *subtask, Canceled);
    }
    assert_eq!((run.graph.status(), run.cause()), (JobStatus::Failed, Some(KILLED)));
}

#[test]
fn one_that_is_gone_without_a_word_is_a_failure_too() {
    let mut run = running();
    let actions = run.handle(CoordinatorEnded);
    assert_eq!(
        brief(&actions),
        ["RUNNING -> FAILING", "cancel tm1: 0.0 0.1 1.0 1.1"],
        "there is nothing to stop"
    );
    assert_eq!(run.cause(), Some(TaskFailureKind::Runtime));
}

#[test]
fn a_failing_task_and_a_user_end_the_coordinator() {
    let mut run = running();
    let actions = brief(&run.fail(0, 1, UserCode));
    assert_eq!(actions.last().unwrap(), "stop coordinator");
    assert_eq!(brief(&run.fail_coordinator(KILLED)), NOTHING, "it was told to end");

    let mut run = started();
    assert_eq!(
        brief(&run.handle(Cancel)),
        ["RUNNING -> CANCELLING", "stop coordinator"]
    );
    assert_eq!(brief(&run.handle(CoordinatorReady)), NOTHING);
    assert_eq!(
        brief(&run.handle(CoordinatorEnded)),
        ["CANCELLING -> CANCELED", "declare 0", "terminated CANCELED"]
    );

    // While it is finishing.
    let mut run = running();
    for (vertex, subtask) in TASKS {
        run.report(vertex, subtask, Finished);
    }
    assert_eq!(
        brief(&run.handle(Cancel)),
        ["RUNNING -> CANCELLING", "stop coordinator"]
    );

    let mut run = Run::coordinated(&word_count(2), 0);
    assert_eq!(
        brief(&run.handle(Cancel)),
        ["CREATED -> CANCELLING", "CANCELLING -> CANCELED", "terminated CANCELED"],
        "before it was started"
    );
}

#[test]
fn a_job_without_coordinated_operators_has_none() {
    let mut run = Run::new(&word_count(2));
    assert_eq!(brief(&run.handle(CoordinatorEnded)), NOTHING);
    assert_eq!(brief(&run.fail_coordinator(KILLED)), NOTHING);
    run.handle(Start);
    assert_eq!(brief(&run.handle(CoordinatorReady)), NOTHING);
    assert_eq!(brief(&run.fail_coordinator(KILLED)), NOTHING);
}

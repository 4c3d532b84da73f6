use super::*;
use crate::{
    Partitioner,
    testing::{Operator, Sink, Source, stream_graph, word_count},
};
use ExecutionState::{Canceled, Canceling, Deploying, Failed, Finished, Initializing, Running, Scheduled};
use TaskFailureKind::{Exchange, TaskManagerLost, UserCode, WorkerDied};

const KILLED: TaskFailureKind = WorkerDied(WorkerExit::Signal(9));
const NOTHING: [&str; 0] = [];

/// Word count, two subtasks each on tm1 and tm2, all tasks RUNNING.
fn running() -> Run {
    let mut run = Run::new(&word_count(2));
    run.handle(ExecutionGraphEvent::Start);
    run.offer(1, 1);
    run.offer(2, 1);
    for (vertex, subtask) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        run.report(vertex, subtask, Initializing);
        run.report(vertex, subtask, Running);
    }
    run
}

#[test]
fn a_job_runs_to_its_end() {
    let mut run = Run::new(&word_count(2));
    assert_eq!(
        brief(&run.handle(ExecutionGraphEvent::Start)),
        ["CREATED -> RUNNING", "declare 2"]
    );
    assert_eq!(brief(&run.offer(2, 1)), NOTHING);
    assert_eq!(run.state(0, 0), Scheduled);
    assert_eq!(brief(&run.offer(1, 1)), ["deploy tm1: 0.0 1.0", "deploy tm2: 0.1 1.1"]);
    assert_eq!(run.graph.state_counts(), [(Deploying, 4)]);
    for (vertex, subtask) in [(0, 0), (0, 1), (1, 0)] {
        for state in [Initializing, Running, Finished] {
            assert_eq!(brief(&run.report(vertex, subtask, state)), NOTHING);
        }
    }
    assert_eq!(run.graph.state_counts(), [(Deploying, 1), (Finished, 3)]);
    // Reports may be left out by tasks that are too fast for them.
    assert_eq!(
        brief(&run.report(1, 1, Finished)),
        ["RUNNING -> FINISHED", "free 2", "declare 0", "terminated FINISHED"]
    );
    assert_eq!(
        run.graph.outcome(),
        Some(JobOutcome {
            status: JobStatus::Finished,
            failure: None
        })
    );
    let statuses = [
        (JobStatus::Created, 0),
        (JobStatus::Running, 1),
        (JobStatus::Finished, run.now_ms),
    ];
    assert_eq!(run.graph.status_timestamps(), statuses);
    let execution = &run.graph.executions()[1][1];
    assert_eq!(
        (execution.host.as_deref(), execution.start_ms, execution.end_ms),
        (Some("tm2"), Some(3), Some(run.now_ms))
    );
}

#[test]
fn subtasks_of_a_group_share_slots_and_neighbours_share_workers() {
    let mut graph = stream_graph(
        &[("a", Source, 1), ("b", Operator, 4), ("c", Operator, 2), ("d", Sink, 2)],
        &[(0, 1, None), (1, 2, Some(Partitioner::Rescale)), (2, 3, None)],
    );
    graph.nodes[3].slot_sharing_group = Some("sinks".to_owned());
    let mut run = Run::new(&graph);
    assert_eq!(brief(&run.handle(ExecutionGraphEvent::Start))[1], "declare 6");
    // Offered in turns, yet used one TaskManager after the other.
    for number in [2, 1, 2, 1, 2] {
        run.offer(number, 1);
    }
    let actions = run.offer(1, 1);
    assert_eq!(
        brief(&actions),
        ["deploy tm1: 0.0 1.0 1.1 1.2 2.0 2.1", "deploy tm2: 1.3 3.0 3.1"]
    );
    let placement = actions.iter().find_map(|action| match action {
        ExecutionGraphAction::Deploy { placement, .. } => Some(placement),
        _ => None,
    });
    let placement = placement.unwrap();
    assert_eq!(
        placement.assignment,
        [vec![0], vec![0, 0, 0, 1], vec![0, 0], vec![1, 1]]
    );
    assert_eq!(placement.worker(1, 3).unwrap().host, "tm2");
    assert_eq!((placement.attempt(1, 3), placement.attempt(1, 4)), (Some(0), None));
}

#[test]
fn slots_that_are_not_needed_are_freed_at_once() {
    let mut run = Run::new(&word_count(2));
    assert_eq!(brief(&run.offer(1, 1)), ["free 1"], "before the start");
    run.handle(ExecutionGraphEvent::Start);
    assert_eq!(brief(&run.offer(1, 5)), ["free 3", "deploy tm1: 0.0 0.1 1.0 1.1"]);
    assert_eq!(brief(&run.offer(1, 1)), ["free 1"], "while running");
    run.handle(ExecutionGraphEvent::Cancel);
    assert_eq!(brief(&run.offer(1, 1)), ["free 1"], "while cancelling");
    for (vertex, subtask) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        run.report(vertex, subtask, Canceled);
    }
    assert_eq!(run.graph.status(), JobStatus::Canceled);
    assert_eq!(brief(&run.offer(1, 1)), ["free 1"], "after the end");
}

#[test]
fn an_offer_that_is_repeated_is_the_same_offer() {
    let mut run = Run::new(&word_count(2));
    run.handle(ExecutionGraphEvent::Start);
    let slots = run.slots(1, 1);
    assert_eq!(
        brief(&run.handle(ExecutionGraphEvent::SlotsOffered(slots.clone()))),
        NOTHING
    );
    assert_eq!(
        brief(&run.handle(ExecutionGraphEvent::SlotsOffered(slots.clone()))),
        NOTHING
    );
    run.offer(1, 1);
    assert_eq!(
        brief(&run.handle(ExecutionGraphEvent::SlotsOffered(slots))),
        NOTHING,
        "it is in use"
    );
}

#[test]
fn a_failure_cancels_all_others() {
    let mut run = running();
    let actions = run.fail(0, 1, UserCode);
    assert_eq!(
        brief(&actions),
        ["RUNNING -> FAILING", "cancel tm1: 0.0 1.0", "cancel tm2: 1.1"]
    );
    assert_eq!((run.state(0, 1), run.state(1, 1)), (Failed, Canceling));
    assert_eq!(brief(&run.report(0, 0, Canceled)), NOTHING);
    // It was done before it was told to end.
    assert_eq!(brief(&run.report(1, 0, Finished)), NOTHING);
    assert_eq!(run.state(1, 0), Canceled);
    assert_eq!(
        brief(&run.report(1, 1, Canceled)),
        ["FAILING -> FAILED", "free 2", "declare 0", "terminated FAILED"]
    );
    let failure = run.graph.outcome().unwrap().failure.unwrap();
    assert_eq!(failure.to_string(), "Source: text -> split (2/2) on tm2: UserCode");
}

#[test]
fn the_culprit_is_blamed_though_its_neighbours_speak_first() {
    let mut run = running();
    run.fail(1, 0, Exchange);
    assert_eq!(run.cause(), Some(Exchange));
    run.fail(0, 0, Exchange);
    let actions = run.lose_worker(2, KILLED);
    assert_eq!(
        brief(&actions),
        [
            "free 1",
            "FAILING -> FAILED",
            "free 1",
            "declare 0",
            "terminated FAILED"
        ]
    );
    assert_eq!(
        (run.state(0, 0), run.state(0, 1)),
        (Canceled, Failed),
        "who only felt it counts as cancelled"
    );
    let failure = run.graph.outcome().unwrap().failure.unwrap();
    assert_eq!(
        (failure.failure.kind, failure.host.as_deref(), failure.task),
        (KILLED, Some("tm2"), None)
    );
}

#[test]
fn the_first_of_several_culprits_is_blamed() {
    let mut run = running();
    run.fail(0, 0, UserCode);
    run.lose_task_manager(2);
    run.fail(1, 0, Exchange);
    assert_eq!((run.graph.status(), run.cause()), (JobStatus::Failed, Some(UserCode)));
}

#[test]
fn a_worker_that_dies_after_its_tasks_have_finished_does_no_harm() {
    let mut run = running();
    run.report(0, 1, Finished);
    run.report(1, 1, Finished);
    assert_eq!(brief(&run.lose_worker(2, KILLED)), ["free 1"]);
    run.report(0, 0, Finished);
    run.report(1, 0, Finished);
    assert_eq!(run.graph.status(), JobStatus::Finished);
}

#[test]
fn unless_it_took_output_with_it() {
    let mut run = running();
    run.report(0, 1, Finished);
    run.report(1, 1, Finished);
    run.lose_worker(2, KILLED);
    run.fail(1, 0, Exchange);
    assert_eq!((run.graph.status(), run.cause()), (JobStatus::Failing, Some(KILLED)));
}

#[test]
fn slots_of_a_lost_task_manager_are_waited_for_again() {
    let mut run = Run::new(&word_count(2));
    run.handle(ExecutionGraphEvent::Start);
    run.offer(1, 1);
    assert_eq!(brief(&run.lose_task_manager(1)), NOTHING);
    assert_eq!(brief(&run.offer(2, 1)), NOTHING);
    assert_eq!(brief(&run.offer(3, 1)), ["deploy tm2: 0.0 1.0", "deploy tm3: 0.1 1.1"]);
    assert_eq!(
        brief(&run.lose_task_manager(1)),
        NOTHING,
        "it is not one of ours any more"
    );
    assert_eq!(brief(&run.lose_worker(1, KILLED)), NOTHING);
}

#[test]
fn a_worker_that_cannot_be_started_fails_the_job() {
    let mut run = Run::new(&word_count(2));
    run.handle(ExecutionGraphEvent::Start);
    run.offer(1, 1);
    let end = [
        "RUNNING -> FAILING",
        "FAILING -> FAILED",
        "free 1",
        "declare 0",
        "terminated FAILED",
    ];
    assert_eq!(brief(&run.lose_worker(2, TaskFailureKind::GraphMismatch)), end);
    assert_eq!(run.graph.failure().unwrap().to_string(), "tm2: GraphMismatch");
    assert_eq!(run.graph.state_counts(), [(Canceled, 4)]);
}

#[test]
fn slots_that_cannot_be_had_fail_a_job_that_waits() {
    let mut run = Run::new(&word_count(2));
    let unavailable = ExecutionGraphEvent::SlotsUnavailable {
        message: "2 of 1".to_owned(),
    };
    assert_eq!(brief(&run.handle(unavailable.clone())), NOTHING);
    run.handle(ExecutionGraphEvent::Start);
    assert_eq!(
        brief(&run.handle(unavailable.clone())).last().unwrap(),
        "terminated FAILED"
    );
    assert_eq!(run.graph.failure().unwrap().to_string(), "2 of 1");
    assert_eq!(brief(&running().handle(unavailable)), NOTHING);
}

#[test]
fn cancelling_before_there_are_slots_ends_the_job_at_once() {
    let mut run = Run::new(&word_count(2));
    let end = ["CREATED -> CANCELLING", "CANCELLING -> CANCELED", "terminated CANCELED"];
    assert_eq!(brief(&run.handle(ExecutionGraphEvent::Cancel)), end);
    assert_eq!(brief(&run.handle(ExecutionGraphEvent::Start)), NOTHING);

    let mut run = Run::new(&word_count(2));
    run.handle(ExecutionGraphEvent::Start);
    run.offer(1, 1);
    let end = [
        "RUNNING -> CANCELLING",
        "CANCELLING -> CANCELED",
        "free 1",
        "declare 0",
        "terminated CANCELED",
    ];
    assert_eq!(brief(&run.handle(ExecutionGraphEvent::Cancel)), end);
    assert_eq!(brief(&run.handle(ExecutionGraphEvent::Cancel)), NOTHING);
}

#[test]
fn what_ends_badly_while_cancelling_is_no_failure() {
    let mut run = running();
    let actions = run.handle(ExecutionGraphEvent::Cancel);
    assert_eq!(
        brief(&actions),
        ["RUNNING -> CANCELLING", "cancel tm1: 0.0 1.0", "cancel tm2: 0.1 1.1"]
    );
    run.fail(0, 0, Exchange);
    run.fail(1, 0, UserCode);
    run.lose_task_manager(2);
    assert_eq!(
        run.graph.outcome(),
        Some(JobOutcome {
            status: JobStatus::Canceled,
            failure: None
        })
    );
}

#[test]
fn cancelling_a_failing_job_ends_it_as_cancelled() {
    let mut run = running();
    run.fail(0, 0, UserCode);
    assert_eq!(
        brief(&run.handle(ExecutionGraphEvent::Cancel)),
        ["FAILING -> CANCELLING"]
    );
    for (vertex, subtask) in [(0, 1), (1, 0), (1, 1)] {
        run.report(vertex, subtask, Canceled);
    }
    let outcome = run.graph.outcome().unwrap();
    assert_eq!(outcome.status, JobStatus::Canceled);
    assert_eq!(
        outcome.failure.unwrap().failure.kind,
        UserCode,
        "why it had been failing is still told"
    );
}

#[test]
fn late_and_strange_reports_are_ignored() {
    let mut run = running();
    run.report(0, 0, Finished);
    for state in [Initializing, Running, Finished, Canceled, Failed] {
        assert_eq!(run.report(0, 0, state), [], "{state} after FINISHED");
    }
    for state in [
        ExecutionState::Created,
        Scheduled,
        Deploying,
        Canceling,
        Initializing,
        Running,
    ] {
        assert_eq!(run.report(0, 1, state), [], "{state} while RUNNING");
    }
    let good = run.attempt(0, 1);
    let strangers = [
        ExecutionAttemptId { attempt: 1, ..good },
        ExecutionAttemptId { subtask: 2, ..good },
        ExecutionAttemptId { vertex: 2, ..good },
        ExecutionAttemptId {
            job: JobId::from_bytes([8; 16]),
            ..good
        },
    ];
    for attempt in strangers {
        let event = ExecutionGraphEvent::TaskStateChanged {
            attempt,
            state: Failed,
            failure: None,
        };
        assert_eq!(run.handle(event), [], "{attempt}");
    }

    let mut run = Run::new(&word_count(2));
    run.handle(ExecutionGraphEvent::Start);
    assert_eq!(run.report(0, 0, Running), [], "before it was deployed");
}

#[test]
fn a_task_that_ends_as_cancelled_unasked_has_failed() {
    let mut run = running();
    run.report(1, 1, Canceled);
    assert_eq!((run.state(1, 1), run.graph.status()), (Failed, JobStatus::Failing));
    assert_eq!(run.cause(), Some(TaskFailureKind::Runtime));
}

#[test]
fn losing_a_task_manager_fails_its_tasks() {
    let mut run = running();
    let actions = run.lose_task_manager(1);
    assert_eq!(brief(&actions), ["RUNNING -> FAILING", "cancel tm2: 0.1 1.1"]);
    assert_eq!((run.state(0, 0), run.state(1, 0)), (Failed, Failed));
    run.report(0, 1, Canceled);
    let end = ["FAILING -> FAILED", "free 1", "declare 0", "terminated FAILED"];
    assert_eq!(brief(&run.report(1, 1, Canceled)), end, "its own slot is gone with it");
    assert_eq!(run.cause(), Some(TaskManagerLost));
}

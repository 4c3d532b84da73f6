//! The races of supervision, written down.

mod harness;
mod random;

use std::time::Duration;

use flink_graph::{ExecutionState, TaskFailure, TaskFailureKind, WorkerExit};
use flink_rpc::messages::{EventsHandled, Fault, FromWorker, OperatorEvent, ToTaskManager};

use super::{Event, Outcome};
use harness::{Bench, allocation, attempt, death, job};

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

#[test]
fn slots_are_offered_when_the_worker_is_ready() {
    let mut bench = Bench::joined(3);
    assert_eq!(bench.request(1, &[1, 2]), ["fetch 1"]);
    assert_eq!(bench.fetched(1), ["spawn 1 for job 1"]);
    assert_eq!(bench.request(1, &[3]), [""; 0], "the worker is on its way");
    assert_eq!(bench.ready(1), ["offer job 1: 1 2 3"]);
    assert_eq!(bench.free(&[3]), [""; 0]);
    assert_eq!(
        bench.request(1, &[4]),
        ["offer job 1: 4"],
        "a ready worker's slots are offered at once"
    );
    assert_eq!(
        bench.request(1, &[1, 4]),
        [""; 0],
        "slots that the job has are passed over"
    );
}

#[test]
fn no_more_slots_are_given_than_there_are() {
    let mut bench = Bench::joined(2);
    let refused = bench.request(1, &[1, 2, 3]);
    assert_eq!(
        refused,
        ["refuse job 1: 1 2 3 (h1: 3 slots were requested, 2 of 2 are free)"]
    );
    assert_eq!(bench.request(1, &[1, 2]), ["fetch 1"]);
    assert_eq!(
        bench.request(2, &[3]),
        ["refuse job 2: 3 (h1: 1 slots were requested, 0 of 2 are free)"]
    );
    assert_eq!(bench.free(&[1]), [""; 0]);
    assert_eq!(
        bench.request(2, &[2]),
        ["refuse job 2: 2 (h1: a requested slot is another job's)"]
    );
    assert_eq!(bench.state.free_slots(), 1);
}

#[test]
fn workers_with_one_program_share_one_fetch() {
    let mut bench = Bench::joined(4);
    assert_eq!(bench.request_program(1, &[1], 9), ["fetch 9"]);
    assert_eq!(bench.request_program(2, &[2], 9), [""; 0]);
    assert_eq!(bench.request_program(3, &[3], 8), ["fetch 8"]);
    assert_eq!(bench.free(&[1]), [""; 0], "another job still wants it");
    assert_eq!(bench.free(&[3]), ["cancel fetch 8"]);
    assert_eq!(bench.fetched(9), ["spawn 2 for job 2"]);
}

#[test]
fn without_a_program_there_is_no_worker() {
    let mut bench = Bench::joined(2);
    bench.request(1, &[1, 2]);
    let reason = "no space left on the disk while writing /b/x".to_owned();
    let actions = bench.handle(Event::Fetched {
        artifact: harness::artifact(1),
        result: Err(reason),
    });
    assert_eq!(
        actions,
        ["refuse job 1: 1 2 (h1: no space left on the disk while writing /b/x)"]
    );
    assert_eq!(bench.state.free_slots(), 2);
    bench.request(1, &[3]);
    bench.fetched(1);
    let actions = bench.handle(Event::SpawnFailed {
        worker: super::WorkerId(2),
        reason: "exec format error".into(),
    });
    assert_eq!(actions, ["refuse job 1: 3 (h1: exec format error)"]);
}

#[test]
fn a_worker_that_dies_is_lost_with_its_slots() {
    let mut bench = Bench::joined(2);
    bench.start(1, &[1, 2], 1);
    bench.free(&[2]);
    let lost = bench.exited(1, WorkerExit::Signal(9));
    assert_eq!(
        lost,
        ["lost job 1: 1 (h1: the worker process ended: signal 9 (SIGKILL))"]
    );
    assert_eq!(bench.state.free_slots(), 2);
    assert_eq!(bench.request(1, &[3]), ["fetch 1"], "the job gets another worker");
    assert_eq!(bench.fetched(1), ["spawn 2 for job 1"]);
}

#[test]
fn a_worker_that_dies_before_it_is_ready_means_refused_slots() {
    let mut bench = Bench::joined(1);
    bench.request(1, &[1]);
    bench.fetched(1);
    let actions = bench.exited(1, WorkerExit::Code(127));
    assert_eq!(
        actions,
        ["refuse job 1: 1 (h1: the worker process did not get ready: exit code 127)"]
    );
}

#[test]
fn a_worker_that_says_why_it_cannot_start_is_believed() {
    let mut bench = Bench::joined(1);
    bench.request(1, &[1]);
    bench.fetched(1);
    let failure = TaskFailure::new(TaskFailureKind::GraphMismatch, "operator `map` differs");
    let actions = bench.told(1, FromWorker::StartFailed(failure));
    assert_eq!(actions, ["refuse job 1: 1 (operator `map` differs)", "tell 1 Shutdown"]);
    assert_eq!(bench.exited(1, WorkerExit::Code(1)), [""; 0]);
}

#[test]
fn a_worker_that_never_gets_ready_is_killed() {
    let mut bench = Bench::joined(1);
    bench.request(1, &[1]);
    bench.fetched(1);
    assert_eq!(bench.wait(MS(29_999)), [""; 0]);
    assert_eq!(bench.wait(MS(1)), ["SIGKILL 1"]);
    assert_eq!(bench.ready(1), [""; 0], "too late");
    let actions = bench.exited(1, WorkerExit::Signal(9));
    let why = "h1: the worker process did not get ready: it was not ready after 30s; signal 9 (SIGKILL)";
    assert_eq!(actions, [format!("refuse job 1: 1 ({why})")]);
}

#[test]
fn the_last_slot_ends_the_worker_by_message_then_term_then_kill() {
    let mut bench = Bench::joined(1);
    bench.start(1, &[1], 1);
    assert_eq!(bench.free(&[1]), ["tell 1 Shutdown"]);
    assert_eq!(bench.wait(S(1)), ["SIGTERM 1"]);
    assert_eq!(bench.wait(MS(9_999)), [""; 0]);
    assert_eq!(bench.wait(MS(1)), ["SIGKILL 1"]);
    assert_eq!(bench.exited(1, WorkerExit::Signal(9)), [""; 0], "its end was asked for");
    assert_eq!(bench.state.deadline(), None);
}

#[test]
fn a_process_that_cannot_be_killed_is_given_up() {
    let mut bench = Bench::joined(1);
    bench.start(1, &[1], 1);
    bench.free(&[1]);
    bench.wait(S(11));
    bench.wait(S(10));
    assert_eq!(bench.order(ToTaskManager::Shutdown), [""; 0]);
    assert_eq!(bench.wait(S(5)), ["end ShutDown"]);
    assert_eq!(bench.exited(1, WorkerExit::Signal(9)), [""; 0]);
}

#[test]
fn a_job_that_comes_back_waits_for_its_old_worker_to_be_gone() {
    let mut bench = Bench::joined(1);
    bench.start(1, &[1], 1);
    bench.free(&[1]);
    assert_eq!(bench.request(1, &[2]), ["fetch 1"]);
    assert_eq!(bench.fetched(1), [""; 0]);
    assert_eq!(bench.exited(1, WorkerExit::Code(0)), ["spawn 2 for job 1"]);
    assert_eq!(bench.ready(2), ["offer job 1: 2"]);
}

#[test]
fn a_broken_socket_is_followed_by_the_exit_or_by_sigkill() {
    let mut bench = Bench::joined(2);
    bench.start(1, &[1], 1);
    assert_eq!(bench.broken(1), [""; 0]);
    let actions = bench.exited(1, WorkerExit::Signal(11));
    assert_eq!(
        actions,
        ["lost job 1: 1 (h1: the worker process ended: signal 11 (SIGSEGV))"]
    );

    bench.start(1, &[2], 2);
    assert_eq!(bench.broken(2), [""; 0]);
    assert_eq!(
        bench.request(1, &[3]),
        ["fetch 1"],
        "what comes now is for the next worker"
    );
    assert_eq!(bench.wait(MS(500)), ["SIGKILL 2"]);
    let why = "h1: the worker process ended: it closed its control socket; signal 9 (SIGKILL)";
    assert_eq!(
        bench.exited(2, WorkerExit::Signal(9)),
        [format!("lost job 1: 2 ({why})")]
    );
    assert_eq!(bench.fetched(1), ["spawn 3 for job 1"]);
}

#[test]
fn a_broken_worker_whose_slots_are_freed_is_not_lost() {
    let mut bench = Bench::joined(1);
    bench.start(1, &[1], 1);
    bench.broken(1);
    assert_eq!(bench.free(&[1]), ["SIGKILL 1"]);
    assert_eq!(bench.exited(1, WorkerExit::Signal(9)), [""; 0]);
}

#[test]
fn tasks_are_relayed_both_ways() {
    let mut bench = Bench::joined(2);
    bench.start(1, &[1], 1);
    assert_eq!(bench.deploy(1, &[attempt(1, 0)]), ["tell 1 Deploy"]);
    let running = harness::changed(attempt(1, 0), ExecutionState::Running);
    assert_eq!(bench.told(1, running), [format!("{} is Running", attempt(1, 0))]);
    assert_eq!(
        bench.told(1, FromWorker::Metrics(Default::default())),
        ["metrics of job 1"]
    );
    let orders = bench.order(ToTaskManager::CancelTasks(vec![attempt(2, 7), attempt(1, 0)]));
    assert_eq!(
        orders,
        [
            "tell 1 CancelTasks".to_owned(),
            format!("{} is Canceled", attempt(2, 7))
        ]
    );
}

#[test]
fn what_coordinators_and_tasks_say_is_relayed_both_ways() {
    let mut bench = Bench::joined(2);
    bench.start(1, &[1], 1);
    let event = |job, subtask| OperatorEvent {
        attempt: attempt(job, subtask),
        operator: 3,
        payload: Vec::new().try_into().unwrap(),
    };
    let handled = EventsHandled {
        attempt: attempt(1, 0),
        operator: 3,
        events: 1,
    };
    assert_eq!(
        bench.order(ToTaskManager::OperatorEvent(event(1, 0))),
        ["tell 1 OperatorEvent"]
    );
    assert_eq!(
        bench.order(ToTaskManager::EventsHandled(handled)),
        ["tell 1 EventsHandled"]
    );
    assert_eq!(bench.told(1, FromWorker::EventsArrived(2)), ["2 arrived of job 1"]);
    assert_eq!(
        bench.told(1, FromWorker::OperatorEvent(event(1, 0))),
        ["event of job 1, operator 3"]
    );
    assert_eq!(
        bench.order(ToTaskManager::OperatorEvent(event(2, 0))),
        [""; 0],
        "there is no worker"
    );
    // It speaks for another job.
    assert_eq!(bench.told(1, FromWorker::OperatorEvent(event(2, 0))), ["SIGKILL 1"]);
}

#[test]
fn tasks_that_no_worker_is_there_for_are_answered_for() {
    let mut bench = Bench::joined(2);
    let failed = format!(
        "{} is Failed (h1: the job has no worker here that could run the task)",
        attempt(1, 0)
    );
    assert_eq!(bench.deploy(1, &[attempt(1, 0)]), [failed]);
}

#[test]
fn a_worker_cannot_speak_for_another_job() {
    let mut bench = Bench::joined(2);
    bench.start(1, &[1], 1);
    bench.start(2, &[2], 2);
    let lie = harness::changed(attempt(2, 0), ExecutionState::Finished);
    assert_eq!(bench.told(1, lie), ["SIGKILL 1"]);
    let why = "h1: the worker process ended: it reported on tasks of another job; signal 9 (SIGKILL)";
    assert_eq!(
        bench.exited(1, WorkerExit::Signal(9)),
        [format!("lost job 1: 1 ({why})")]
    );
}

#[test]
fn workers_go_on_without_a_job_manager_and_are_gone_before_the_next_registration() {
    let mut bench = Bench::joined(3);
    bench.start(1, &[1], 1);
    bench.request(2, &[2]);
    assert_eq!(bench.disconnect(S(0)), [""; 0]);
    assert_eq!(
        bench.told(1, harness::changed(attempt(1, 0), ExecutionState::Finished)),
        [""; 0],
        "nobody to tell"
    );
    assert_eq!(bench.wait(S(20)), [""; 0]);
    assert_eq!(bench.handle(Event::Reached), ["SIGKILL 1", "cancel fetch 2"]);
    assert_eq!(bench.exited(1, WorkerExit::Signal(9)), ["register, last epoch 1"]);
    assert_eq!(bench.state.free_slots(), 3);
    assert_eq!(bench.handle(Event::Registered { epoch: 2 }), [""; 0]);
    assert_eq!(bench.state.deadline(), None);
    bench.start(1, &[1], 3);
}

#[test]
fn without_a_job_manager_for_too_long_everything_ends() {
    let mut bench = Bench::joined(1);
    bench.start(1, &[1], 1);
    bench.disconnect(S(3));
    assert_eq!(
        bench.wait(S(27)),
        ["SIGKILL 1"],
        "three of the 30 seconds had passed unnoticed"
    );
    assert_eq!(bench.exited(1, WorkerExit::Signal(9)), ["end Orphaned"]);
    assert_eq!(bench.state.deadline(), None);
    assert_eq!(bench.handle(Event::Reached), [""; 0]);
}

#[test]
fn a_connection_without_registration_does_not_extend_the_deadline() {
    let mut bench = Bench::joined(1);
    bench.disconnect(S(0));
    for _ in 0..3 {
        bench.wait(S(9));
        assert_eq!(bench.handle(Event::Reached), ["register, last epoch 1"]);
        assert_eq!(bench.disconnect(S(0)), [""; 0]);
    }
    assert_eq!(bench.wait(S(3)), ["end Orphaned"]);
}

#[test]
fn a_first_registration_has_its_own_deadline_and_says_what_went_wrong() {
    let mut bench = Bench::new(1);
    bench.handle(Event::Unreachable {
        reason: "connection refused".to_owned(),
    });
    assert_eq!(
        bench.wait(S(40)),
        ["end Unregistered { reason: \"connection refused\" }"]
    );
}

#[test]
fn a_refused_registration_is_the_end() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.handle(Event::Reached), ["register, last epoch 0"]);
    let actions = bench.raw(Event::Refused(Fault::new("taskmanager.unknown", "not one of mine")));
    assert!(
        matches!(&actions[..], [super::Action::End(Outcome::Refused(fault))] if fault.code == "taskmanager.unknown")
    );
}

#[test]
fn a_job_manager_of_an_older_epoch_is_not_followed() {
    let mut bench = Bench::joined(1);
    bench.handle(Event::Registered { epoch: 7 });
    bench.disconnect(S(0));
    bench.handle(Event::Reached);
    assert_eq!(bench.handle(Event::Registered { epoch: 0 }), ["reconnect"]);
    assert_eq!(bench.request(1, &[1]), [""; 0], "its orders do not count");
}

#[test]
fn leaving_is_said_and_workers_end_in_order() {
    let mut bench = Bench::joined(2);
    bench.start(1, &[1], 1);
    bench.request(2, &[2]);
    let leaving = bench.handle(Event::Terminate {
        reason: "SIGTERM".to_owned(),
    });
    assert_eq!(leaving, ["leaving (SIGTERM)", "tell 1 Shutdown", "cancel fetch 2"]);
    assert_eq!(bench.request(3, &[3]), [""; 0]);
    assert_eq!(bench.exited(1, WorkerExit::Code(0)), ["end Terminated"]);
    assert_eq!(bench.handle(Event::Tick), [""; 0], "the end is said once");
}

#[test]
fn a_job_manager_that_goes_away_does_not_disturb_the_end() {
    let mut bench = Bench::joined(2);
    bench.start(1, &[1], 1);
    bench.order(ToTaskManager::Shutdown);
    bench.disconnect(S(0));
    assert_eq!(bench.handle(Event::Reached), [""; 0]);
    assert_eq!(bench.wait(S(1)), ["SIGTERM 1"]);
    assert_eq!(
        bench.handle(Event::Exited {
            worker: super::WorkerId(1),
            death: death(WorkerExit::Signal(15))
        }),
        ["end ShutDown"]
    );
    let _ = (job(1), allocation(1));
}

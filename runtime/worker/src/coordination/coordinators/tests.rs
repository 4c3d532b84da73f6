use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use flink_rpc::messages::{EventPayload, MAX_WAITING_EVENTS};

use super::*;
use crate::{NodeFactory, OperatorCoordinator, operators::Map, testing::program_with};

const JOB: JobId = JobId::from_bytes([1; 16]);
const SECOND: Duration = Duration::from_secs(1);

/// The node of the operator between source and sink.
const OPERATOR: u32 = 1;

/// Writes down what happens, and does what it is told.
struct Scripted(Arc<Mutex<Vec<String>>>);

impl Scripted {
    fn note(&self, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

impl OperatorCoordinator for Scripted {
    fn start(&mut self, context: &mut CoordinatorContext) -> Result<(), TaskError> {
        self.note("start".to_owned());
        (0..context.parallelism()).try_for_each(|subtask| context.send_event(subtask, b"hello".to_vec()))
    }

    fn handle_event(
        &mut self,
        subtask: u32,
        event: Vec<u8>,
        context: &mut CoordinatorContext,
    ) -> Result<(), TaskError> {
        let text = String::from_utf8(event).unwrap();
        self.note(format!("{subtask}: {text}"));
        match text.as_str() {
            "fail" => return Err(TaskError::operator("as told")),
            "panic" => panic!("as told"),
            "wake me" => context.wake_at(context.now() + SECOND),
            "too much" => {
                for _ in 0..=MAX_WAITING_EVENTS {
                    context.send_event(1, Vec::new())?;
                }
            }
            _ => context.send_event(subtask, format!("re {text}").into_bytes())?,
        }
        Ok(())
    }

    fn subtask_ended(&mut self, subtask: u32, _: &mut CoordinatorContext) -> Result<(), TaskError> {
        self.note(format!("{subtask} ended"));
        Ok(())
    }

    fn subtask_failed(&mut self, subtask: u32, _: &mut CoordinatorContext) -> Result<(), TaskError> {
        self.note(format!("{subtask} failed"));
        Ok(())
    }

    fn wake(&mut self, _: Instant, _: &mut CoordinatorContext) -> Result<(), TaskError> {
        self.note("woken".to_owned());
        Ok(())
    }
}

struct Bench {
    coordinators: Coordinators,
    notes: Arc<Mutex<Vec<String>>>,
    now: Instant,
}

impl Bench {
    /// Of an operator with two subtasks, started, without credit.
    fn started() -> Self {
        let (notes, now) = (Arc::<Mutex<Vec<String>>>::default(), Instant::now());
        let written = Arc::clone(&notes);
        let factory = NodeFactory::operator::<u64, _>(|_| Ok(Map(|number: u64| number)))
            .with_coordinator(move || Ok(Box::new(Scripted(Arc::clone(&written)))));
        let mut coordinators = Coordinators::make(&program_with(factory, 2), JOB, now).unwrap();
        coordinators.start(now).unwrap();
        Self {
            coordinators,
            notes,
            now,
        }
    }

    fn handle(&mut self, message: ToCoordinator) -> Result<Flow, TaskError> {
        self.coordinators.handle(self.now, message)
    }

    fn say(&mut self, subtask: u32, number: u32, text: &str) -> Result<Flow, TaskError> {
        self.handle(ToCoordinator::OperatorEvent(OperatorEvent {
            attempt: attempt(subtask, number),
            operator: OPERATOR,
            payload: EventPayload::try_from(text.as_bytes().to_vec()).unwrap(),
        }))
    }

    /// What has happened since the last look.
    fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock().unwrap())
    }

    /// All messages that there is credit for, as short lines: subtask, attempt, what.
    fn messages(&mut self) -> Vec<String> {
        let line = |message| match message {
            FromCoordinator::OperatorEvent(OperatorEvent {
                attempt,
                operator,
                payload,
            }) => {
                assert_eq!((operator, attempt.job, attempt.vertex), (OPERATOR, JOB, 0));
                let text = String::from_utf8(payload.into()).unwrap();
                format!("{}.{} {text}", attempt.subtask, attempt.attempt)
            }
            FromCoordinator::EventsHandled(handled) => {
                let attempt = handled.attempt;
                format!("{}.{} handled {}", attempt.subtask, attempt.attempt, handled.events)
            }
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| self.coordinators.next_message())
            .map(line)
            .collect()
    }
}

fn attempt(subtask: u32, attempt: u32) -> ExecutionAttemptId {
    ExecutionAttemptId {
        job: JOB,
        vertex: 0,
        subtask,
        attempt,
    }
}

#[test]
fn what_is_sent_waits_for_credit_and_keeps_its_order() {
    let mut bench = Bench::started();
    assert_eq!(bench.notes(), ["start"]);
    assert!(bench.messages().is_empty(), "no task is there yet");
    for text in ["a", "b"] {
        bench.say(1, 0, text).unwrap();
    }
    bench.handle(ToCoordinator::Grant(2)).unwrap();
    assert_eq!(bench.messages(), ["1.0 handled 2", "0.0 hello"]);
    bench.handle(ToCoordinator::Grant(16)).unwrap();
    assert_eq!(bench.messages(), ["1.0 hello", "1.0 re a", "1.0 re b"]);
    assert_eq!(bench.notes(), ["1: a", "1: b"]);
}

#[test]
fn of_an_attempt_that_is_over_nothing_is_heard_and_nothing_is_sent_to_it() {
    let mut bench = Bench::started();
    bench.say(0, 0, "a").unwrap();
    bench.handle(ToCoordinator::SubtaskFailed(attempt(0, 0))).unwrap();
    bench.say(0, 0, "late").unwrap();
    bench.handle(ToCoordinator::SubtaskFailed(attempt(0, 0))).unwrap();
    bench.say(0, 1, "b").unwrap();
    bench.handle(ToCoordinator::SubtaskEnded(attempt(1, 0))).unwrap();
    bench.say(1, 0, "late").unwrap();
    bench.handle(ToCoordinator::Grant(16)).unwrap();
    assert_eq!(bench.messages(), ["0.1 handled 1", "0.1 re b"]);
    assert_eq!(bench.notes()[1..], ["0: a", "0 failed", "0: b", "1 ended"]);
}

#[test]
fn unknown_subtasks_and_operators_are_passed_over() {
    let mut bench = Bench::started();
    bench.say(2, 0, "who?").unwrap();
    bench.handle(ToCoordinator::SubtaskEnded(attempt(9, 0))).unwrap();
    let other = ExecutionAttemptId {
        vertex: 3,
        ..attempt(0, 0)
    };
    bench.handle(ToCoordinator::SubtaskEnded(other)).unwrap();
    bench
        .handle(ToCoordinator::OperatorEvent(OperatorEvent {
            attempt: attempt(0, 0),
            operator: 0,
            payload: Vec::new().try_into().unwrap(),
        }))
        .unwrap();
    assert_eq!(bench.notes(), ["start"]);
}

#[test]
fn a_coordinator_is_woken_once_at_its_time() {
    let mut bench = Bench::started();
    assert_eq!(bench.coordinators.deadline(), None);
    bench.say(0, 0, "wake me").unwrap();
    bench.now += SECOND / 2;
    bench.say(0, 0, "wake me").unwrap();
    let due = bench.now + SECOND / 2;
    assert_eq!(bench.coordinators.deadline(), Some(due), "the earliest counts");
    bench.coordinators.wake(due - SECOND / 4).unwrap();
    bench.coordinators.wake(due).unwrap();
    bench.coordinators.wake(due + SECOND).unwrap();
    assert_eq!(bench.notes().iter().filter(|note| *note == "woken").count(), 1);
    assert_eq!(bench.coordinators.deadline(), None);
}

#[test]
fn what_fails_is_named() {
    let mut bench = Bench::started();
    let error = bench.say(0, 0, "fail").unwrap_err();
    assert_eq!(
        (error.operator_name(), error.to_string().as_str()),
        (Some("closure"), "as told")
    );
    let error = bench.say(0, 0, "too much").unwrap_err();
    assert_eq!(
        (error.operator_name(), error.to_string().as_str()),
        (
            Some("closure"),
            "the coordinator is too far ahead: 1024 events of 5 bytes wait for subtask 1"
        )
    );
    let panic = crate::panics::catch(|| bench.say(0, 0, "panic")).unwrap_err();
    assert_eq!(panic.operator.as_deref(), Some("closure"));
}

#[test]
fn it_is_finished_when_everything_before_is_handled() {
    let mut bench = Bench::started();
    for subtask in 0..2 {
        let ended = bench.handle(ToCoordinator::SubtaskEnded(attempt(subtask, 0)));
        assert_eq!(ended.unwrap(), Flow::Continue);
    }
    assert_eq!(bench.handle(ToCoordinator::Finish).unwrap(), Flow::Finished);
    assert_eq!(bench.notes(), ["start", "0 ended", "1 ended"]);
}

#[test]
fn sending_is_bounded_in_number_and_length_and_goes_nowhere_else() {
    let mut context = CoordinatorContext::new(1, Instant::now());
    assert!(context.send_event(1, Vec::new()).is_err());
    assert!(context.send_event(0, vec![0; (1 << 20) + 1]).is_err());
    for _ in 0..8 {
        context.send_event(0, vec![0; 1 << 20]).unwrap();
    }
    assert!(context.send_event(0, vec![0]).is_err());
    assert_eq!(
        context.next_event().map(|(subtask, event)| (subtask, event.len())),
        Some((0, 1 << 20))
    );
    context.send_event(0, vec![0]).unwrap();
}

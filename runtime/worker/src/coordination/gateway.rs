//! A subtask's end of the way to its operator's coordinator.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use flink_exchange::TaskSignal;
use flink_graph::ExecutionAttemptId;
use flink_rpc::messages::{
    EventPayload, MAX_OPERATOR_EVENT, MAX_WAITING_BYTES, MAX_WAITING_EVENTS, OperatorEvent, SUBTASK_WINDOW,
};
use tokio::sync::mpsc;

use crate::{error::TaskError, executor::ExecutorEvent};

/// Connects one subtask with its operator's coordinator. Cheap to clone; all clones are one. For the task's thread.
#[derive(Debug, Clone)]
pub struct SubtaskGateway(Arc<Gateway>);

#[derive(Debug)]
struct Gateway {
    attempt: ExecutionAttemptId,
    operator: u32,
    signal: TaskSignal,
    outgoing: mpsc::Sender<ExecutorEvent>,
    queues: Mutex<Queues>,
}

#[derive(Debug, Default)]
struct Queues {
    /// What the coordinator has said and the task has not taken.
    inbox: VecDeque<EventPayload>,
    inbox_bytes: usize,
    /// Lengths of the events that the coordinator has not handled.
    in_flight: VecDeque<usize>,
}

impl Queues {
    fn has_room(&self, length: usize) -> bool {
        let bytes: usize = self.in_flight.iter().sum();
        self.in_flight.len() < SUBTASK_WINDOW && bytes + length <= MAX_OPERATOR_EVENT
    }
}

/// The task does not take what its coordinator says.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator is too far ahead of the task, which has not taken {events} events of {bytes} bytes")]
pub(crate) struct Outrun {
    events: usize,
    bytes: usize,
}

impl SubtaskGateway {
    pub(crate) fn new(
        attempt: ExecutionAttemptId,
        operator: u32,
        signal: TaskSignal,
        outgoing: mpsc::Sender<ExecutorEvent>,
    ) -> Self {
        Self(Arc::new(Gateway {
            attempt,
            operator,
            signal,
            outgoing,
            queues: Mutex::default(),
        }))
    }

    /// Sends something to the coordinator: 1 MiB at most. Waits while 8 events, or 1 MiB of them, are on their way and not handled
    /// yet. Arrives in order, and before the end of the task is told.
    ///
    /// Must not be called inside an async runtime.
    ///
    /// # Errors
    /// When the event is too long, or the task is cancelled.
    pub fn send(&self, event: Vec<u8>) -> Result<(), TaskError> {
        let payload = EventPayload::try_from(event).map_err(TaskError::operator)?;
        let Gateway { signal, .. } = &*self.0;
        loop {
            // What is signalled from here on ends the next wait at once.
            signal.bind();
            if signal.is_cancelled() {
                return Err(TaskError::cancelled());
            }
            let mut queues = self.queues();
            if queues.has_room(payload.len()) {
                queues.in_flight.push_back(payload.len());
                break;
            }
            drop(queues);
            signal.park(None);
        }
        let event = OperatorEvent {
            attempt: self.0.attempt,
            operator: self.0.operator,
            payload,
        };
        let sent = self.0.outgoing.blocking_send(ExecutorEvent::Operator(event));
        // Without the executor's owner there is nobody to work for.
        sent.map_err(|_gone| TaskError::cancelled())
    }

    /// The next thing that the coordinator has said, if there is one. When something comes, the task's signal wakes the task.
    pub fn try_receive(&self) -> Option<Vec<u8>> {
        let mut queues = self.queues();
        let payload = queues.inbox.pop_front()?;
        queues.inbox_bytes -= payload.len();
        Some(payload.into())
    }

    pub(crate) fn operator(&self) -> u32 {
        self.0.operator
    }

    /// The coordinator says something.
    pub(crate) fn deliver(&self, payload: EventPayload) -> Result<(), Outrun> {
        let mut queues = self.queues();
        let bytes = queues.inbox_bytes + payload.len();
        if queues.inbox.len() == MAX_WAITING_EVENTS || bytes > MAX_WAITING_BYTES {
            return Err(Outrun {
                events: queues.inbox.len(),
                bytes: queues.inbox_bytes,
            });
        }
        queues.inbox_bytes = bytes;
        queues.inbox.push_back(payload);
        drop(queues);
        self.0.signal.wake();
        Ok(())
    }

    /// The coordinator has handled the oldest events.
    pub(crate) fn handled(&self, events: u32) {
        let mut queues = self.queues();
        let events = queues.in_flight.len().min(events as usize);
        queues.in_flight.drain(..events);
        drop(queues);
        self.0.signal.wake();
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use flink_graph::JobId;

    use super::*;

    fn gateway(capacity: usize) -> (SubtaskGateway, mpsc::Receiver<ExecutorEvent>, TaskSignal) {
        let attempt = ExecutionAttemptId {
            job: JobId::from_bytes([1; 16]),
            vertex: 0,
            subtask: 3,
            attempt: 0,
        };
        let (outgoing, events) = mpsc::channel(capacity);
        let signal = TaskSignal::new();
        (
            SubtaskGateway::new(attempt, 5, signal.clone(), outgoing),
            events,
            signal,
        )
    }

    fn sent(event: ExecutorEvent) -> Vec<u8> {
        match event {
            ExecutorEvent::Operator(event) => {
                assert_eq!((event.operator, event.attempt.subtask), (5, 3));
                event.payload.into()
            }
            ExecutorEvent::Task(event) => panic!("{event:?}"),
        }
    }

    fn payload(bytes: &[u8]) -> EventPayload {
        bytes.to_vec().try_into().unwrap()
    }

    #[test]
    fn a_task_that_outruns_its_coordinator_waits_and_keeps_the_order() {
        let (gateway, mut events, _signal) = gateway(64);
        let sending = std::thread::spawn({
            let gateway = gateway.clone();
            move || (0..20_u8).try_for_each(|number| gateway.send(vec![number]))
        });
        for number in 0..20_u8 {
            if usize::from(number) >= SUBTASK_WINDOW {
                gateway.handled(1);
            }
            assert_eq!(sent(events.blocking_recv().unwrap()), [number]);
            assert!(gateway.queues().in_flight.len() <= SUBTASK_WINDOW);
        }
        sending.join().unwrap().unwrap();
    }

    #[test]
    fn bytes_count_too_and_too_much_is_refused() {
        let (gateway, mut events, signal) = gateway(64);
        assert!(gateway.send(vec![0; MAX_OPERATOR_EVENT + 1]).is_err());
        gateway.send(vec![0; MAX_OPERATOR_EVENT]).unwrap();
        let sending = std::thread::spawn({
            let gateway = gateway.clone();
            move || gateway.send(vec![7])
        });
        assert_eq!(sent(events.blocking_recv().unwrap()).len(), MAX_OPERATOR_EVENT);
        assert!(events.try_recv().is_err(), "there is no room for one byte more");
        gateway.handled(1);
        assert_eq!(sent(events.blocking_recv().unwrap()), [7]);
        sending.join().unwrap().unwrap();
        assert!(signal.take_woken());
    }

    #[test]
    fn a_task_that_waits_can_be_cancelled() {
        let (gateway, _events, signal) = gateway(64);
        (0..SUBTASK_WINDOW).for_each(|_| gateway.send(Vec::new()).unwrap());
        let sending = std::thread::spawn(move || gateway.send(Vec::new()).is_err());
        signal.cancel();
        assert!(sending.join().unwrap());
    }

    #[test]
    fn what_the_coordinator_says_wakes_the_task_and_is_bounded() {
        let (gateway, _events, signal) = gateway(1);
        assert_eq!(gateway.try_receive(), None);
        for number in 0..MAX_WAITING_EVENTS {
            gateway.deliver(payload(&number.to_le_bytes())).unwrap();
        }
        assert!(signal.take_woken());
        assert!(gateway.deliver(payload(&[])).is_err());
        for number in 0..MAX_WAITING_EVENTS {
            assert_eq!(gateway.try_receive(), Some(number.to_le_bytes().to_vec()));
        }
        assert_eq!(gateway.try_receive(), None);
        let large = payload(&vec![0; MAX_OPERATOR_EVENT]);
        (0..8).for_each(|_| gateway.deliver(large.clone()).unwrap());
        assert!(gateway.deliver(payload(&[1])).is_err());
    }
}

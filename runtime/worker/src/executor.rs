//! The tasks of one job in one process: what a worker process and the local cluster have in common.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use flink_exchange::{NetworkEnvironment, TaskSignal};
use flink_graph::{
    ExecutionAttemptId, ExecutionState, Placement, StreamNode, TaskFailure, TaskFailureKind, TaskManagerId,
};
use flink_rpc::messages::{EventsHandled, OperatorEvent, WorkerMetrics};
use tokio::sync::mpsc;

use crate::{
    SubtaskGateway,
    chain::task_name,
    counters::TaskCounters,
    job_output::JobOutput,
    program::JobProgram,
    task::{Task, TaskEvent},
};

/// What an executor's tasks have to say, in the order in which each of them says it.
#[derive(Debug, Clone, PartialEq)]
pub enum ExecutorEvent {
    /// A task has changed its state.
    Task(TaskEvent),
    /// A task says something to the coordinator of one of its operators.
    Operator(OperatorEvent),
}

/// Events that wait for the executor's owner; beyond that, tasks wait to report.
pub const TASK_EVENT_CAPACITY: usize = 1024;

/// Runs the tasks of one job in one process, a thread each.
///
/// Its owner receives their state changes from the channel whose sender it gave, and must show each of them to
/// [`observe`](Self::observe). Dropping it cancels what still runs, without waiting.
pub struct TaskExecutor {
    program: Arc<JobProgram>,
    environment: NetworkEnvironment,
    here: TaskManagerId,
    job_output: Arc<dyn JobOutput>,
    events: mpsc::Sender<ExecutorEvent>,
    tasks: BTreeMap<ExecutionAttemptId, RunningTask>,
}

struct RunningTask {
    signal: TaskSignal,
    counters: Arc<TaskCounters>,
    /// `None` once it has ended.
    thread: Option<JoinHandle<()>>,
    cancelled_at: Option<Instant>,
    /// To the coordinators of its operators.
    gateways: Vec<SubtaskGateway>,
    /// Why it was cancelled here, unasked.
    doom: Option<TaskFailure>,
}

impl TaskExecutor {
    /// An executor on the TaskManager `here` (as placements name it), without tasks yet.
    pub fn new(
        program: Arc<JobProgram>,
        environment: NetworkEnvironment,
        here: TaskManagerId,
        job_output: Arc<dyn JobOutput>,
        events: mpsc::Sender<ExecutorEvent>,
    ) -> Self {
        Self {
            program,
            environment,
            here,
            job_output,
            events,
            tasks: BTreeMap::new(),
        }
    }

    /// Starts tasks. Returns those that could not be: they have failed.
    #[must_use]
    pub fn deploy(&mut self, placement: &Arc<Placement>, tasks: &[ExecutionAttemptId]) -> Vec<TaskEvent> {
        let mut failed = Vec::new();
        for attempt in tasks {
            if let Err(failure) = self.start(placement, *attempt) {
                failed.push(TaskEvent {
                    attempt: *attempt,
                    state: ExecutionState::Failed,
                    failure: Some(failure),
                });
            }
        }
        failed
    }

    fn start(&mut self, placement: &Arc<Placement>, attempt: ExecutionAttemptId) -> Result<(), TaskFailure> {
        let runtime = |message: String| TaskFailure::new(TaskFailureKind::Runtime, message);
        if self.tasks.contains_key(&attempt) {
            return Err(runtime(format!("task {attempt} was deployed twice")));
        }
        let name = task_name(&self.program, attempt).ok_or_else(|| runtime(format!("there is no task {attempt}")))?;
        let (signal, counters) = (TaskSignal::new(), Arc::<TaskCounters>::default());
        let gateways = self.gateways(attempt, &signal);
        let task = Task {
            program: Arc::clone(&self.program),
            attempt,
            placement: Arc::clone(placement),
            here: self.here,
            environment: self.environment.clone(),
            signal: signal.clone(),
            counters: Arc::clone(&counters),
            job_output: Arc::clone(&self.job_output),
            gateways: gateways.clone(),
            events: self.events.clone(),
        };
        let thread = thread::Builder::new()
            .name(name.replace('\0', " "))
            .spawn(move || task.run())
            .map_err(|error| runtime(format!("could not start a thread: {error}")))?;
        self.tasks.insert(
            attempt,
            RunningTask {
                signal,
                counters,
                thread: Some(thread),
                cancelled_at: None,
                gateways,
                doom: None,
            },
        );
        Ok(())
    }

    /// For each operator of a task that has a coordinator.
    fn gateways(&self, attempt: ExecutionAttemptId, signal: &TaskSignal) -> Vec<SubtaskGateway> {
        let operators = self.program.graph().coordinated_operators();
        operators
            .filter(|operator| operator.vertex == attempt.vertex)
            .map(|operator| SubtaskGateway::new(attempt, operator.node, signal.clone(), self.events.clone()))
            .collect()
    }

    /// A coordinator says something to a task. When the task is over, nobody hears it; one that does not take what it
    /// is told is failed.
    pub fn operator_event(&mut self, event: OperatorEvent) {
        let OperatorEvent {
            attempt,
            operator,
            payload,
        } = event;
        let Some(outrun) = self
            .gateway(attempt, operator)
            .and_then(|gateway| gateway.deliver(payload).err())
        else {
            return;
        };
        let name = self
            .program
            .stream_graph()
            .nodes
            .get(operator as usize)
            .map_or_else(String::new, StreamNode::display_name);
        if let Some(task) = self.tasks.get_mut(&attempt) {
            let failure = TaskFailure::new(TaskFailureKind::UserCode, outrun.to_string()).in_operator(name);
            task.doom.get_or_insert(failure);
        }
        self.cancel(&[attempt]);
    }

    /// A coordinator has handled events of a task.
    pub fn events_handled(&mut self, handled: EventsHandled) {
        if let Some(gateway) = self.gateway(handled.attempt, handled.operator) {
            gateway.handled(handled.events);
        }
    }

    fn gateway(&self, attempt: ExecutionAttemptId, operator: u32) -> Option<&SubtaskGateway> {
        let gateways = &self.tasks.get(&attempt)?.gateways;
        gateways.iter().find(|gateway| gateway.operator() == operator)
    }

    /// Cancels tasks. Those that do not run (any more) are ignored.
    pub fn cancel(&mut self, tasks: &[ExecutionAttemptId]) {
        let now = Instant::now();
        for attempt in tasks {
            if let Some(task) = self.tasks.get_mut(attempt).filter(|task| task.thread.is_some()) {
                task.cancelled_at.get_or_insert(now);
                task.signal.cancel();
            }
        }
    }

    /// Cancels all tasks.
    pub fn cancel_all(&mut self) {
        let tasks: Vec<ExecutionAttemptId> = self.tasks.keys().copied().collect();
        self.cancel(&tasks);
    }

    /// A task has reported a state; returns what is to be told of it. With its terminal state its thread, which has
    /// nothing left to do, is joined. Its counters stay.
    #[must_use]
    pub fn observe(&mut self, mut event: TaskEvent) -> TaskEvent {
        let Some(task) = self.tasks.get_mut(&event.attempt).filter(|_| event.state.is_terminal()) else {
            return event;
        };
        if let Some(thread) = task.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(attempt = %event.attempt, "the task's thread panicked outside of the task");
        }
        task.gateways.clear();
        if event.state == ExecutionState::Canceled
            && let Some(doom) = task.doom.take()
        {
            event.state = ExecutionState::Failed;
            event.failure = Some(doom);
        }
        event
    }

    /// True while some task runs.
    pub fn is_busy(&self) -> bool {
        self.tasks.values().any(|task| task.thread.is_some())
    }

    /// A task that was cancelled longer than `patience` ago and still runs, by name: stuck in the job's own code.
    pub fn stuck_task(&self, now: Instant, patience: Duration) -> Option<String> {
        let stuck = self.tasks.iter().find(|(_, task)| {
            task.thread.is_some()
                && task
                    .cancelled_at
                    .is_some_and(|at| now.saturating_duration_since(at) > patience)
        });
        stuck.and_then(|(attempt, _)| task_name(&self.program, *attempt))
    }

    /// The counters of all tasks, ended ones included.
    pub fn metrics(&self) -> WorkerMetrics {
        let mut metrics = WorkerMetrics::default();
        for (attempt, task) in &self.tasks {
            let (task, channels) = task.counters.snapshot(*attempt);
            metrics.tasks.push(task);
            metrics.channels.extend(channels);
        }
        metrics
    }
}

impl Drop for TaskExecutor {
    fn drop(&mut self) {
        self.tasks.values().for_each(|task| task.signal.cancel());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use flink_graph::{JobId, WorkerAddress};

    use flink_rpc::messages::{EventPayload, MAX_WAITING_EVENTS, SUBTASK_WINDOW};

    use super::*;
    use crate::{
        CoordinatorContext, JobProgram, NodeFactory, OperatorCoordinator, TaskError,
        operators::Map,
        testing::{NoOutput, environment, program, program_with},
    };

    const PATIENCE: Duration = Duration::from_secs(10);

    struct Bench {
        executor: TaskExecutor,
        events: mpsc::Receiver<ExecutorEvent>,
        placement: Arc<Placement>,
        attempt: ExecutionAttemptId,
    }

    /// One task, whose source emits numbers without end, through this closure.
    fn bench(closure: impl FnMut(u64) -> u64 + Clone + Send + 'static) -> Bench {
        bench_of(program(closure))
    }

    fn bench_of(program: JobProgram) -> Bench {
        let job = JobId::random();
        let (here, environment) = (TaskManagerId::random(), environment(job));
        let (sender, events) = mpsc::channel(TASK_EVENT_CAPACITY);
        let worker = WorkerAddress {
            task_manager: here,
            host: "h".to_owned(),
            data_address: environment.local_address(),
        };
        let placement = Placement {
            workers: vec![worker],
            assignment: vec![vec![0]],
            attempts: vec![vec![0]],
        };
        let executor = TaskExecutor::new(Arc::new(program), environment, here, Arc::new(NoOutput), sender);
        let attempt = ExecutionAttemptId {
            job,
            vertex: 0,
            subtask: 0,
            attempt: 0,
        };
        Bench {
            executor,
            events,
            placement: Arc::new(placement),
            attempt,
        }
    }

    impl Bench {
        fn deploy(&mut self) -> Vec<TaskEvent> {
            self.executor.deploy(&self.placement, &[self.attempt])
        }

        fn expect(&mut self, state: ExecutionState) -> TaskEvent {
            let ExecutorEvent::Task(event) = self.events.blocking_recv().unwrap() else {
                panic!("an event for a coordinator")
            };
            let event = self.executor.observe(event);
            assert_eq!((event.attempt, event.state), (self.attempt, state), "{event:?}");
            event
        }
    }

    #[test]
    fn a_cancelled_task_ends_and_keeps_its_counters() {
        let mut bench = bench(|number| number);
        assert_eq!(bench.deploy(), []);
        bench.expect(ExecutionState::Initializing);
        bench.expect(ExecutionState::Running);
        while bench.executor.metrics().tasks[0].records_out < 1000 {
            thread::yield_now();
        }
        bench.executor.cancel(&[bench.attempt]);
        bench.expect(ExecutionState::Canceled);
        assert!(!bench.executor.is_busy());
        let task = &bench.executor.metrics().tasks[0];
        // The last batch of the source, 1024 at most, went out and was not counted in any more.
        assert!(
            (task.records_in..=task.records_in + 1024).contains(&task.records_out),
            "{task:?}"
        );
    }

    /// It is never made here.
    struct Nobody;

    impl OperatorCoordinator for Nobody {
        fn handle_event(&mut self, _: u32, _: Vec<u8>, _: &mut CoordinatorContext) -> Result<(), TaskError> {
            Ok(())
        }
    }

    /// One task whose closure, at each record, gives back to its coordinator what that says.
    fn echoing() -> Bench {
        let factory = NodeFactory::operator::<u64, _>(|context| {
            let gateway = context.coordinator()?;
            Ok(Map(move |number: u64| {
                while let Some(event) = gateway.try_receive() {
                    let _cancelled = gateway.send(event);
                }
                number
            }))
        });
        bench_of(program_with(factory.with_coordinator(|| Ok(Box::new(Nobody))), 1))
    }

    impl Bench {
        fn event(&self, number: u8) -> OperatorEvent {
            OperatorEvent {
                attempt: self.attempt,
                operator: 1,
                payload: EventPayload::try_from(vec![number]).unwrap(),
            }
        }

        fn heard(&mut self) -> OperatorEvent {
            match self.events.blocking_recv().unwrap() {
                ExecutorEvent::Operator(event) => event,
                ExecutorEvent::Task(event) => panic!("{event:?}"),
            }
        }
    }

    #[test]
    fn a_task_and_its_coordinator_hear_one_another_in_order() {
        let mut bench = echoing();
        assert_eq!(bench.deploy(), []);
        // Before its operators are made.
        bench.executor.operator_event(bench.event(0));
        bench.expect(ExecutionState::Initializing);
        bench.expect(ExecutionState::Running);
        for number in 0..3 * SUBTASK_WINDOW as u8 {
            assert_eq!(bench.heard(), bench.event(number));
            bench.executor.events_handled(EventsHandled {
                attempt: bench.attempt,
                operator: 1,
                events: 1,
            });
            bench.executor.operator_event(bench.event(number + 1));
        }
        bench.heard();
        bench.executor.cancel_all();
        bench.expect(ExecutionState::Canceled);
        bench.executor.operator_event(bench.event(0));
    }

    #[test]
    fn a_task_that_does_not_take_what_its_coordinator_says_fails() {
        let release = Arc::new(AtomicBool::new(false));
        let factory = NodeFactory::operator::<u64, _>({
            let release = Arc::clone(&release);
            move |_| {
                let release = Arc::clone(&release);
                Ok(Map(move |number: u64| {
                    while !release.load(Ordering::Relaxed) {
                        thread::yield_now();
                    }
                    number
                }))
            }
        });
        let mut bench = bench_of(program_with(factory.with_coordinator(|| Ok(Box::new(Nobody))), 1));
        assert_eq!(bench.deploy(), []);
        bench.expect(ExecutionState::Initializing);
        bench.expect(ExecutionState::Running);
        for _ in 0..=MAX_WAITING_EVENTS {
            bench.executor.operator_event(bench.event(0));
        }
        release.store(true, Ordering::Relaxed);
        let failure = bench.expect(ExecutionState::Failed).failure.unwrap();
        assert_eq!(failure.operator.as_deref(), Some("closure"));
        let expected = "the coordinator is too far ahead of the task, which has not taken 1024 events of 1024 bytes";
        assert_eq!(failure.message, expected);
    }

    #[test]
    fn an_operator_without_a_coordinator_has_no_way_to_one() {
        let factory = NodeFactory::operator::<u64, _>(|context| {
            let _gateway = context.coordinator()?;
            Ok(Map(|number: u64| number))
        });
        let mut bench = bench_of(program_with(factory, 1));
        assert_eq!(bench.deploy(), []);
        bench.expect(ExecutionState::Initializing);
        let failure = bench.expect(ExecutionState::Failed).failure.unwrap();
        assert_eq!(failure.message, "the operator has no coordinator");
    }

    #[test]
    fn a_task_is_deployed_once_and_only_if_it_exists() {
        let mut bench = bench(|number| number);
        assert_eq!(bench.deploy(), []);
        let again = bench.deploy();
        assert!(
            again[0]
                .failure
                .as_ref()
                .is_some_and(|failure| failure.message.ends_with("was deployed twice"))
        );
        bench.attempt.subtask = 7;
        let unknown = bench.deploy();
        assert!(
            unknown[0]
                .failure
                .as_ref()
                .is_some_and(|failure| failure.message.starts_with("there is no task"))
        );
        bench.executor.cancel_all();
    }

    #[test]
    fn a_task_that_ignores_its_cancellation_is_named() {
        let release = Arc::new(AtomicBool::new(false));
        let mut bench = bench({
            let release = Arc::clone(&release);
            move |number| {
                while !release.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
                number
            }
        });
        assert_eq!(bench.deploy(), []);
        bench.expect(ExecutionState::Initializing);
        bench.expect(ExecutionState::Running);
        let later = Instant::now() + 2 * PATIENCE;
        assert_eq!(bench.executor.stuck_task(later, PATIENCE), None);
        bench.executor.cancel_all();
        assert_eq!(bench.executor.stuck_task(Instant::now(), PATIENCE), None);
        let name = "Source: numbers -> closure -> Sink: nowhere (1/1)";
        assert_eq!(
            bench.executor.stuck_task(later + PATIENCE, PATIENCE).as_deref(),
            Some(name)
        );
        release.store(true, Ordering::Relaxed);
        bench.expect(ExecutionState::Canceled);
        assert_eq!(bench.executor.stuck_task(later + PATIENCE, PATIENCE), None);
    }

    #[test]
    fn a_panic_fails_the_task_with_its_operator() {
        let mut bench = bench(|number| {
            if number == 5000 {
                panic!("five thousand")
            } else {
                number
            }
        });
        assert_eq!(bench.deploy(), []);
        bench.expect(ExecutionState::Initializing);
        bench.expect(ExecutionState::Running);
        let failure = bench.expect(ExecutionState::Failed).failure.unwrap();
        assert_eq!(
            (failure.kind, failure.operator.as_deref()),
            (TaskFailureKind::UserCode, Some("closure"))
        );
        assert!(
            failure
                .message
                .starts_with("panicked at runtime/worker/src/executor.rs:"),
            "{failure:?}"
        );
        assert!(failure.message.ends_with(": five thousand"), "{failure:?}");
    }
}

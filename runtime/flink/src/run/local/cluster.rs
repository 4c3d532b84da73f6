//! Drives an ExecutionGraph with one TaskExecutor, and the thread of its coordinators: JobMaster and TaskManager in one
//! loop.

use std::{
    future::pending,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use flink_exchange::{NetworkConfig, NetworkEnvironment};
use flink_graph::{
    Accumulators, AllocationId, ClusterId, ExecutionGraph, ExecutionGraphAction as Action,
    ExecutionGraphEvent as Event, JobFailure, JobId, JobOutcome, JobStatus, SlotOffer, TaskManagerId,
};
use flink_rpc::{ClusterCa, Role};
use flink_worker::{ExecutorEvent, JobOutput, JobProgram, TASK_EVENT_CAPACITY, TaskEvent, TaskExecutor};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::coordination::Coordination;
use crate::run::{exit_code, tell};

/// The name of the one host.
pub(super) const HOST: &str = "localhost";

/// How long the job's code may go on after its task was cancelled.
const CANCELLATION_TIMEOUT: Duration = Duration::from_secs(30);

/// How a run came to its end.
pub(super) struct Ending {
    pub(super) outcome: JobOutcome,
    /// What the functions of all its tasks have added up, merged by name.
    pub(super) accumulators: Accumulators,
    /// The user wanted it.
    pub(super) interrupted: bool,
}

/// Runs one job in this process.
pub(super) struct LocalCluster<F> {
    graph: ExecutionGraph,
    /// Is told each state of the job.
    on_status: F,
    executor: TaskExecutor,
    coordination: Coordination,
    outcome: Option<JobOutcome>,
    interrupted: bool,
}

/// Who may want the job to be cancelled.
pub(super) enum Stops {
    /// Nobody.
    Never,
    /// The user, with an interrupt or termination signal; a second one ends the process.
    Signals,
    /// Whoever holds the other end.
    Requests(mpsc::Receiver<()>),
}

impl<F: FnMut(JobStatus)> LocalCluster<F> {
    /// Runs a job to its end, or until it is stopped. `on_status` is told each of its states.
    ///
    /// # Errors
    /// What keeps the cluster from starting.
    pub(super) fn run(
        job: JobId,
        program: JobProgram,
        output: Arc<dyn JobOutput>,
        stops: Stops,
        on_status: F,
    ) -> Result<Ending, String> {
        if let Err(failure) = program.preflight() {
            let failure = JobFailure {
                task: None,
                host: None,
                failure,
            };
            let outcome = JobOutcome {
                status: JobStatus::Failed,
                failure: Some(failure),
            };
            return Ok(Ending {
                outcome,
                accumulators: Accumulators::default(),
                interrupted: false,
            });
        }
        let environment = start_network(job)?;
        let (here, graph) = (TaskManagerId::random(), Arc::clone(program.graph()));
        let (events, task_events) = mpsc::channel(TASK_EVENT_CAPACITY);
        let (slots, program) = (graph.slots_required(), Arc::new(program));
        let mut cluster = Self {
            graph: ExecutionGraph::new(job, graph, now_ms()),
            on_status,
            coordination: Coordination::new(job, Arc::clone(&program)),
            executor: TaskExecutor::new(program, environment.clone(), here, output, events),
            outcome: None,
            interrupted: false,
        };
        let offer = |_| SlotOffer {
            allocation: AllocationId::random(),
            task_manager: here,
            host: HOST.to_owned(),
            data_address: environment.local_address(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let outcome = runtime.block_on(async {
            let mut stops = match stops {
                Stops::Never => Source::None,
                Stops::Signals => Source::Signals(Interrupts::new()?),
                Stops::Requests(requests) => Source::Requests(requests),
            };
            cluster.handle(Event::Start);
            cluster.handle(Event::SlotsOffered((0..slots).map(offer).collect()));
            Ok(cluster.serve(task_events, &mut stops).await)
        });
        let interrupted = cluster.interrupted;
        let mut accumulators = Accumulators::default();
        for task in cluster.executor.metrics().tasks {
            accumulators.merge(&task.accumulators);
        }
        drop(cluster);
        environment.shutdown();
        outcome
            .map(|outcome| Ending {
                outcome,
                accumulators,
                interrupted,
            })
            .map_err(|error: std::io::Error| format!("cannot listen for signals: {error}"))
    }

    async fn serve(&mut self, mut task_events: mpsc::Receiver<ExecutorEvent>, stops: &mut Source) -> JobOutcome {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            if let Some(outcome) = self.outcome.take() {
                return outcome;
            }
            tokio::select! {
                Some(event) = task_events.recv() => match event {
                    ExecutorEvent::Task(event) => self.task_changed(event),
                    ExecutorEvent::Operator(event) => {
                        let event = self.coordination.event(event);
                        self.handle_if_any(event);
                    }
                },
                said = self.coordination.next() => {
                    let events = self.coordination.said(said, &mut self.executor);
                    events.into_iter().for_each(|event| self.handle(event));
                }
                stop = stops.next() => self.stop(stop),
                _ = tick.tick() => {
                    if let Some(task) = self.executor.stuck_task(Instant::now(), CANCELLATION_TIMEOUT) {
                        let seconds = CANCELLATION_TIMEOUT.as_secs();
                        end_at_once(&format!("task {task} did not react to its cancellation for {seconds} s"));
                    }
                    if self.coordination.is_stuck(Instant::now(), CANCELLATION_TIMEOUT) {
                        let seconds = CANCELLATION_TIMEOUT.as_secs();
                        end_at_once(&format!("a coordinator did not end when it was asked to, for {seconds} s"));
                    }
                }
            }
        }
    }

    fn stop(&mut self, stop: Stop) {
        match stop {
            Stop::Requested => self.handle(Event::Cancel),
            Stop::Interrupted => self.interrupt(),
        }
    }

    fn interrupt(&mut self) {
        if self.interrupted {
            end_at_once("interrupted again");
        }
        self.interrupted = true;
        tell("cancelling the job (interrupt again to end at once)");
        self.handle(Event::Cancel);
    }

    fn task_changed(&mut self, event: TaskEvent) {
        let TaskEvent {
            attempt,
            state,
            failure,
        } = self.executor.observe(event);
        self.handle(Event::TaskStateChanged {
            attempt,
            state,
            failure,
        });
    }

    fn handle_if_any(&mut self, event: Option<Event>) {
        if let Some(event) = event {
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        for action in self.graph.handle(now_ms(), event) {
            match action {
                Action::Deploy { placement, tasks, .. } => {
                    for failed in self.executor.deploy(&placement, &tasks) {
                        self.task_changed(failed);
                    }
                    let failed = self.coordination.tasks_are_there();
                    self.handle_if_any(failed);
                }
                Action::CancelTasks { tasks, .. } => self.executor.cancel(&tasks),
                Action::JobTerminated(outcome) => self.outcome = Some(outcome),
                Action::ExecutionChanged { attempt, from, to, .. } => {
                    tracing::debug!(%attempt, %from, %to, "task");
                    let failed = self.coordination.task_changed(attempt, to);
                    self.handle_if_any(failed);
                }
                Action::StartCoordinator => {
                    let failed = self.coordination.start();
                    failed.into_iter().for_each(|event| self.handle(event));
                }
                Action::FinishCoordinator => {
                    let failed = self.coordination.finish();
                    self.handle_if_any(failed);
                }
                Action::StopCoordinator => self.coordination.stop(Instant::now()),
                Action::JobStatusChanged { from, to } => {
                    tracing::debug!(%from, %to, "job");
                    (self.on_status)(to);
                }
                Action::DeclareRequirements { .. } | Action::FreeSlots(_) => {}
            }
        }
    }
}

/// All channels of a local cluster are in-process; its environment only lends them its clock.
fn start_network(job: JobId) -> Result<NetworkEnvironment, String> {
    let identity = ClusterCa::generate(ClusterId::random(), Duration::from_secs(24 * 3600))
        .and_then(|ca| ca.issue(Role::Worker(job)))
        .map_err(|error| error.to_string())?;
    let config = NetworkConfig::new(Ipv4Addr::LOCALHOST.into());
    NetworkEnvironment::start(config, &identity, job).map_err(|error| error.to_string())
}

/// The signals by which a user ends a program.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// From now on, they no longer end the process by themselves.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next of them. Cancel safe.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Where requests to stop come from.
enum Source {
    None,
    Signals(Interrupts),
    Requests(mpsc::Receiver<()>),
}

/// A request to stop.
enum Stop {
    Interrupted,
    Requested,
}

impl Source {
    /// The next request; never, when none can come any more. Cancel safe.
    async fn next(&mut self) -> Stop {
        match self {
            Self::Signals(interrupts) => {
                interrupts.next().await;
                Stop::Interrupted
            }
            Self::Requests(requests) => match requests.recv().await {
                Some(()) => Stop::Requested,
                None => pending().await,
            },
            Self::None => pending().await,
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Ends the process without waiting for its tasks.
#[expect(clippy::exit, reason = "task threads in the job's own code cannot be waited for")]
pub(super) fn end_at_once(reason: &str) -> ! {
    tell(&format!("error[job.cancelled]: {reason}"));
    std::process::exit(exit_code::INTERRUPTED.into())
}

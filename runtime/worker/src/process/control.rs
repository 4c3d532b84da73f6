//! The control thread of a worker process.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use flink_exchange::{NetworkConfig, NetworkEnvironment, StartError};
use flink_graph::{TaskFailure, TaskFailureKind};
use flink_rpc::{
    FrameError, FrameReader, FrameWriter,
    messages::{FromWorker, ToWorker, WorkerMetrics, WorkerStartup},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

use super::{
    collect::CollectOutput,
    end_at_once,
    load::{Origin, Role},
};
use crate::{
    executor::{ExecutorEvent, TASK_EVENT_CAPACITY, TaskExecutor},
    program::JobProgram,
    task::TaskEvent,
};

/// How often changed counters are reported.
const METRICS_INTERVAL: Duration = Duration::from_millis(250);

/// How long the job's code may go on after its task was cancelled. Then the process ends, and its tasks with it.
const CANCELLATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of IP and UDP headers in a packet.
const PACKET_HEADERS: u16 = 48;

/// A whole worker's life: start, tasks, end.
pub(super) async fn run<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    mut reader: FrameReader<R>,
    mut writer: FrameWriter<W>,
    build: impl FnOnce(&[u8]) -> Result<JobProgram, String>,
) -> Result<ExitCode, FrameError> {
    let ToWorker::Start(startup) = reader.expect().await? else {
        return Err(FrameError::Closed);
    };
    let (program, environment) = match prepare(&startup, build) {
        Ok(prepared) => prepared,
        Err(failure) => {
            writer.send(&FromWorker::StartFailed(failure)).await?;
            return Ok(ExitCode::FAILURE);
        }
    };
    writer
        .send(&FromWorker::Ready {
            data_address: environment.local_address(),
        })
        .await?;
    let (events, executor_events) = mpsc::channel(TASK_EVENT_CAPACITY);
    let job_output = Arc::new(CollectOutput::new(&startup));
    let executor = TaskExecutor::new(
        Arc::new(program),
        environment.clone(),
        startup.task_manager,
        job_output,
        events,
    );
    let mut worker = Worker {
        executor,
        executor_events,
        writer,
        reported: WorkerMetrics::default(),
        shutting_down: false,
    };
    let code = worker.serve(&mut reader).await?;
    drop(worker);
    environment.shutdown();
    Ok(code)
}

fn prepare(
    startup: &WorkerStartup,
    build: impl FnOnce(&[u8]) -> Result<JobProgram, String>,
) -> Result<(JobProgram, NetworkEnvironment), TaskFailure> {
    let failure = |message: String| TaskFailure::new(TaskFailureKind::WorkerStart, message);
    let origin = Origin {
        protocol: startup.protocol,
        args: &startup.args,
        graph: &startup.graph,
    };
    let program = Role::WORKER.load(&origin, build)?;
    program.preflight()?;
    let environment = start_network(startup).map_err(|error| failure(network_error(&error)))?;
    Ok((program, environment))
}

fn start_network(startup: &WorkerStartup) -> Result<NetworkEnvironment, StartError> {
    let mut config = NetworkConfig::new(startup.data_address);
    config.ports = startup.data_ports.0..=startup.data_ports.1;
    config.udp_payload = startup.mtu.saturating_sub(PACKET_HEADERS);
    config.idle_timeout = Duration::from_millis(startup.heartbeat_timeout_ms);
    NetworkEnvironment::start(config, &startup.identity, startup.job)
}

fn network_error(error: &StartError) -> String {
    match error {
        StartError::NoFreePort { .. } => {
            format!("{error}: every worker process needs one, widen [taskmanager] data_ports")
        }
        _ => error.to_string(),
    }
}

struct Worker<W> {
    executor: TaskExecutor,
    executor_events: mpsc::Receiver<ExecutorEvent>,
    writer: FrameWriter<W>,
    reported: WorkerMetrics,
    shutting_down: bool,
}

impl<W: AsyncWrite + Unpin> Worker<W> {
    /// Serves the TaskManager until it asks for the end, all tasks have ended, and their ends are reported.
    async fn serve<R: AsyncRead + Unpin>(&mut self, reader: &mut FrameReader<R>) -> Result<ExitCode, FrameError> {
        let mut tick = tokio::time::interval(METRICS_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut events = Vec::new();
        while !self.shutting_down || self.executor.is_busy() {
            tokio::select! {
                message = reader.next() => match message {
                    Ok(Some(message)) => self.handle(message).await?,
                    Ok(None) | Err(_) => end_at_once(Role::WORKER, "the TaskManager is gone"),
                },
                _ = self.executor_events.recv_many(&mut events, TASK_EVENT_CAPACITY) => {
                    self.report(std::mem::take(&mut events)).await?;
                }
                _ = tick.tick() => {
                    self.report_metrics().await?;
                    if let Some(task) = self.executor.stuck_task(Instant::now(), CANCELLATION_TIMEOUT) {
                        let seconds = CANCELLATION_TIMEOUT.as_secs();
                        let message = format!("task {task} did not react to its cancellation for {seconds} s");
                        end_at_once(Role::WORKER, &message);
                    }
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn handle(&mut self, message: ToWorker) -> Result<(), FrameError> {
        match message {
            ToWorker::Start(_) => tracing::warn!("ignored a second start message"),
            ToWorker::Deploy { placement, tasks } => {
                let failed = self.executor.deploy(&placement, &tasks);
                self.report(failed.into_iter().map(ExecutorEvent::Task).collect())
                    .await?;
            }
            ToWorker::CancelTasks(tasks) => self.executor.cancel(&tasks),
            ToWorker::OperatorEvent(event) => {
                self.executor.operator_event(event);
                self.writer.send(&FromWorker::EventsArrived(1)).await?;
            }
            ToWorker::EventsHandled(handled) => {
                self.executor.events_handled(handled);
                self.writer.send(&FromWorker::EventsArrived(1)).await?;
            }
            ToWorker::Shutdown => {
                self.executor.cancel_all();
                self.shutting_down = true;
            }
        }
        Ok(())
    }

    /// Reports state changes and events; before the first last state of a task, the counters as they then are.
    async fn report(&mut self, events: Vec<ExecutorEvent>) -> Result<(), FrameError> {
        let is_last = |event: &ExecutorEvent| matches!(event, ExecutorEvent::Task(task) if task.state.is_terminal());
        if events.iter().any(is_last) {
            self.report_metrics().await?;
        }
        for event in events {
            let message = match event {
                ExecutorEvent::Operator(event) => FromWorker::OperatorEvent(event),
                ExecutorEvent::Task(event) => {
                    let TaskEvent {
                        attempt,
                        state,
                        failure,
                    } = self.executor.observe(event);
                    FromWorker::TaskStateChanged {
                        attempt,
                        state,
                        failure,
                    }
                }
            };
            self.writer.send(&message).await?;
        }
        Ok(())
    }

    async fn report_metrics(&mut self) -> Result<(), FrameError> {
        let metrics = self.executor.metrics();
        if metrics != self.reported {
            self.writer.send(&FromWorker::Metrics(metrics.clone())).await?;
            self.reported = metrics;
        }
        Ok(())
    }
}

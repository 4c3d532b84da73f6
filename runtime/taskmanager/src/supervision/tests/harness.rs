//! Feeds a [`TaskManagerState`] and writes its actions as short lines.

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use flink_graph::{
    AllocationId, ClusterId, ExecutionAttemptId, ExecutionState, JobGraph, JobId, Placement, WorkerExit,
};
use flink_process::{Death, StopSignal, life::LifeLimits};
use flink_rpc::{
    ClusterCa, Identity, Role,
    messages::{BlobDigest, FromTaskManager, FromWorker, JobSpec, SlotRequest, ToTaskManager, ToWorker},
};

use super::super::{Action, Event, Limits, TaskManagerState, WorkerId};

pub(super) fn limits(slots: u32) -> Limits {
    Limits {
        slots,
        host: "h1".to_owned(),
        registration_timeout: Duration::from_secs(40),
        death_timeout: Duration::from_secs(30),
        workers: LifeLimits {
            ready_timeout: Duration::from_secs(30),
            shutdown_patience: Duration::from_secs(1),
            stop_grace: Duration::from_secs(10),
        },
    }
}

pub(super) fn job(number: u8) -> JobId {
    JobId::from_bytes([number; 16])
}

pub(super) fn allocation(number: u8) -> AllocationId {
    AllocationId::from_bytes([number; 16])
}

pub(super) fn artifact(number: u8) -> BlobDigest {
    BlobDigest([number; 32])
}

pub(super) fn attempt(job_number: u8, subtask: u32) -> ExecutionAttemptId {
    ExecutionAttemptId {
        job: job(job_number),
        vertex: 0,
        subtask,
        attempt: 0,
    }
}

pub(super) fn death(exit: WorkerExit) -> Death {
    Death {
        exit: Some(exit),
        core_dumped: false,
        output: Vec::new(),
    }
}

pub(super) fn changed(attempt: ExecutionAttemptId, state: ExecutionState) -> FromWorker {
    FromWorker::TaskStateChanged {
        attempt,
        state,
        failure: None,
    }
}

pub(super) fn slot_request(job_number: u8, allocations: &[u8], program: u8) -> ToTaskManager {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
        let ca = ClusterCa::generate(ClusterId::random(), Duration::from_secs(60)).unwrap();
        ca.issue(Role::TaskManager).unwrap()
    });
    let graph = JobGraph {
        name: String::new(),
        vertices: Vec::new(),
        edges: Vec::new(),
    };
    let spec = JobSpec {
        graph,
        artifact: artifact(program),
        args: Vec::new(),
        identity: IDENTITY.clone(),
    };
    let allocations = allocations.iter().map(|number| allocation(*number)).collect();
    ToTaskManager::RequestSlots(SlotRequest {
        job: job(job_number),
        allocations,
        spec: Arc::new(spec),
    })
}

/// A state and a clock.
pub(super) struct Bench {
    pub(super) state: TaskManagerState,
    pub(super) now: Instant,
}

impl Bench {
    pub(super) fn new(slots: u32) -> Self {
        let now = Instant::now();
        Self {
            state: TaskManagerState::new(limits(slots), now),
            now,
        }
    }

    /// One that is registered at a JobManager of epoch 1.
    pub(super) fn joined(slots: u32) -> Self {
        let mut bench = Self::new(slots);
        assert_eq!(bench.handle(Event::Reached), ["register, last epoch 0"]);
        assert_eq!(bench.handle(Event::Registered { epoch: 1 }), [""; 0]);
        bench
    }

    pub(super) fn raw(&mut self, event: Event) -> Vec<Action> {
        self.state.handle(self.now, event)
    }

    pub(super) fn handle(&mut self, event: Event) -> Vec<String> {
        self.raw(event).iter().map(describe).collect()
    }

    /// Lets time pass and gives one tick.
    pub(super) fn wait(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.handle(Event::Tick)
    }

    pub(super) fn order(&mut self, order: ToTaskManager) -> Vec<String> {
        self.handle(Event::Ordered(order))
    }

    /// The job's program has the job's number.
    pub(super) fn request(&mut self, job: u8, allocations: &[u8]) -> Vec<String> {
        self.request_program(job, allocations, job)
    }

    pub(super) fn request_program(&mut self, job: u8, allocations: &[u8], program: u8) -> Vec<String> {
        self.order(slot_request(job, allocations, program))
    }

    pub(super) fn free(&mut self, allocations: &[u8]) -> Vec<String> {
        self.order(ToTaskManager::FreeSlots(
            allocations.iter().map(|number| allocation(*number)).collect(),
        ))
    }

    pub(super) fn deploy(&mut self, number: u8, tasks: &[ExecutionAttemptId]) -> Vec<String> {
        let placement = Arc::new(Placement {
            workers: Vec::new(),
            assignment: Vec::new(),
            attempts: Vec::new(),
        });
        self.order(ToTaskManager::Deploy {
            job: job(number),
            placement,
            tasks: tasks.to_vec(),
        })
    }

    pub(super) fn fetched(&mut self, program: u8) -> Vec<String> {
        self.handle(Event::Fetched {
            artifact: artifact(program),
            result: Ok(PathBuf::from("/b/x")),
        })
    }

    pub(super) fn told(&mut self, worker: u64, message: FromWorker) -> Vec<String> {
        self.handle(Event::Told {
            worker: WorkerId(worker),
            message,
        })
    }

    pub(super) fn ready(&mut self, worker: u64) -> Vec<String> {
        self.told(
            worker,
            FromWorker::Ready {
                data_address: ([10, 0, 0, 1], 4000).into(),
            },
        )
    }

    pub(super) fn broken(&mut self, worker: u64) -> Vec<String> {
        let reason = "it closed its control socket".to_owned();
        self.handle(Event::Broken {
            worker: WorkerId(worker),
            reason,
        })
    }

    pub(super) fn exited(&mut self, worker: u64, exit: WorkerExit) -> Vec<String> {
        self.handle(Event::Exited {
            worker: WorkerId(worker),
            death: death(exit),
        })
    }

    pub(super) fn disconnect(&mut self, silent_for: Duration) -> Vec<String> {
        self.handle(Event::Disconnected {
            reason: "timed out".to_owned(),
            silent_for,
        })
    }

    /// Gives the job slots and makes its worker, which must get this number, ready.
    pub(super) fn start(&mut self, job: u8, allocations: &[u8], worker: u64) {
        assert_eq!(self.request(job, allocations), [format!("fetch {job}")]);
        assert_eq!(self.fetched(job), [format!("spawn {worker} for job {job}")]);
        assert_eq!(self.ready(worker).len(), 1);
    }
}

fn describe(action: &Action) -> String {
    let number = |job: &JobId| job.as_bytes()[0];
    match action {
        Action::Register { last_epoch } => format!("register, last epoch {last_epoch}"),
        Action::Reconnect => "reconnect".to_owned(),
        Action::Report(report) => describe_report(report),
        Action::Fetch(artifact) => format!("fetch {}", artifact.0[0]),
        Action::CancelFetch(artifact) => format!("cancel fetch {}", artifact.0[0]),
        Action::Spawn { worker, job, .. } => format!("spawn {worker} for job {}", number(job)),
        Action::Send { worker, message } => format!(
            "tell {worker} {}",
            match message {
                ToWorker::Start(_) => "Start",
                ToWorker::Deploy { .. } => "Deploy",
                ToWorker::CancelTasks(_) => "CancelTasks",
                ToWorker::Shutdown => "Shutdown",
                ToWorker::OperatorEvent(_) => "OperatorEvent",
                ToWorker::EventsHandled(_) => "EventsHandled",
            }
        ),
        Action::Signal {
            worker,
            signal: StopSignal::Terminate,
        } => format!("SIGTERM {worker}"),
        Action::Signal {
            worker,
            signal: StopSignal::Kill,
        } => format!("SIGKILL {worker}"),
        Action::End(outcome) => format!("end {outcome:?}"),
    }
}

fn describe_report(report: &FromTaskManager) -> String {
    let slots = |job: &JobId, allocations: &[AllocationId]| {
        let numbers: String = allocations.iter().map(|id| format!(" {}", id.as_bytes()[0])).collect();
        format!("job {}:{numbers}", job.as_bytes()[0])
    };
    match report {
        FromTaskManager::SlotsOffered { job, allocations, .. } => format!("offer {}", slots(job, allocations)),
        FromTaskManager::SlotsRefused {
            job,
            allocations,
            failure,
        } => {
            format!("refuse {} ({})", slots(job, allocations), failure.message)
        }
        FromTaskManager::WorkerLost {
            job,
            allocations,
            failure,
        } => {
            format!("lost {} ({})", slots(job, allocations), failure.message)
        }
        FromTaskManager::TaskStateChanged {
            attempt,
            state,
            failure,
        } => {
            let why = failure
                .as_ref()
                .map(|failure| format!(" ({})", failure.message))
                .unwrap_or_default();
            format!("{attempt} is {state:?}{why}")
        }
        FromTaskManager::Metrics { job, .. } => format!("metrics of job {}", job.as_bytes()[0]),
        FromTaskManager::Leaving { reason } => format!("leaving ({reason})"),
        FromTaskManager::OperatorEvent(event) => {
            format!(
                "event of job {}, operator {}",
                event.attempt.job.as_bytes()[0],
                event.operator
            )
        }
        FromTaskManager::EventsArrived { job, messages } => format!("{messages} arrived of job {}", job.as_bytes()[0]),
    }
}

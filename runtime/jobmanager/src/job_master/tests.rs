mod coordination;

use flink_graph::{
    AccumulatorValue, Accumulators, ClusterId, ExecutionState, JobEdge, JobVertex, Partitioner, VertexId,
};
use flink_rpc::{
    ClusterCa, Role,
    messages::{BlobDigest, ChannelMetrics, MetricValue, OperatorMetric, TaskMetrics, Transport, WorkerMetrics},
};

use super::*;
use crate::config::LEASE_TIMEOUT;

const CANCELLATION_TIMEOUT: Duration = Duration::from_secs(10);

/// `source (2) -> sink (2)`, in one slot sharing group.
fn graph() -> JobGraph {
    let vertex = |number: u8, name: &str| JobVertex {
        id: VertexId::from_bytes([number; 16]),
        name: name.to_owned(),
        nodes: vec![u32::from(number)],
        parallelism: 2,
        max_parallelism: 128,
        slot_sharing_group: "default".to_owned(),
        operators: Vec::new(),
    };
    let edge = JobEdge {
        source: 0,
        source_node: 0,
        target: 1,
        target_node: 1,
        input: 0,
        partitioner: Partitioner::Rebalance,
        schema: String::new(),
    };
    JobGraph {
        name: "test".to_owned(),
        vertices: vec![vertex(0, "source"), vertex(1, "sink")],
        edges: vec![edge],
    }
}

fn task_manager(number: u8) -> TaskManagerId {
    TaskManagerId::from_bytes([number; 16])
}

fn allocation(number: u8) -> AllocationId {
    AllocationId::from_bytes([number; 16])
}

/// A job, and the time.
struct Bench {
    job: JobMaster,
    now: Now,
}

impl Bench {
    fn new(attached: bool) -> Self {
        Self::of(attached, graph())
    }

    fn of(attached: bool, graph: JobGraph) -> Self {
        let id = JobId::random();
        let ca = ClusterCa::generate(ClusterId::random(), Duration::from_secs(60)).unwrap();
        let identity = ca.issue(Role::Worker(id)).unwrap();
        let spec = JobSpec {
            graph: graph.clone(),
            artifact: BlobDigest([0; 32]),
            args: Vec::new(),
            identity,
        };
        let now = Now {
            instant: Instant::now(),
            epoch_ms: 1_000,
        };
        let setup = JobSetup {
            id,
            graph,
            spec: Arc::new(spec),
            attached,
            slot_timeout: Duration::from_secs(60),
            cancellation_timeout: CANCELLATION_TIMEOUT,
            host: "jm".to_owned(),
            coordinator_limits: LifeLimits {
                ready_timeout: Duration::from_secs(30),
                shutdown_patience: Duration::from_secs(1),
                stop_grace: CANCELLATION_TIMEOUT,
            },
            provisioning_since: 0,
            output_paths: ["a".into(), "b".into()],
        };
        let (job, _writer) = JobMaster::new(now, setup);
        Self { job, now }
    }

    /// Runs on TaskManagers 1 and 2, with a slot on each.
    fn running(attached: bool) -> Self {
        let mut bench = Self::new(attached);
        let actions = bench.job.start(bench.now);
        assert!(
            matches!(actions[..], [JobAction::Declare { slots: 2, .. }]),
            "{actions:?}"
        );
        for number in [1, 2] {
            bench
                .job
                .allocated(task_manager(number), &format!("h{number}"), vec![allocation(number)]);
        }
        assert!(bench.offer(1, 1).is_empty());
        let actions = bench.offer(2, 2);
        assert_eq!(actions.len(), 2, "two deployments: {actions:?}");
        for vertex in 0..2 {
            for subtask in 0..2 {
                bench.state(vertex, subtask, ExecutionState::Running);
            }
        }
        bench
    }

    fn attempt(&self, vertex: u32, subtask: u32) -> ExecutionAttemptId {
        ExecutionAttemptId {
            job: self.job.id(),
            vertex,
            subtask,
            attempt: 0,
        }
    }

    fn offer(&mut self, on: u8, number: u8) -> Vec<JobAction> {
        let message = FromTaskManager::SlotsOffered {
            job: self.job.id(),
            allocations: vec![allocation(number)],
            data_address: ([127, 0, 0, 1], 1).into(),
        };
        self.job.told(self.now, task_manager(on), message, 0)
    }

    /// What the TaskManager of a subtask (subtask i is on TaskManager i + 1) says about it.
    fn state(&mut self, vertex: u32, subtask: u32, state: ExecutionState) -> Vec<JobAction> {
        let message = FromTaskManager::TaskStateChanged {
            attempt: self.attempt(vertex, subtask),
            state,
            failure: None,
        };
        self.job.told(self.now, task_manager(subtask as u8 + 1), message, 0)
    }

    fn wait(&mut self, time: Duration) -> Vec<JobAction> {
        self.now.instant += time;
        self.now.epoch_ms += time.as_millis() as u64;
        self.job.tick(self.now)
    }
}

fn freed(actions: &[JobAction]) -> Vec<AllocationId> {
    let freed = |action: &JobAction| match action {
        JobAction::Send {
            message: ToTaskManager::FreeSlots(allocations),
            ..
        } => allocations.clone(),
        _ => Vec::new(),
    };
    actions.iter().flat_map(freed).collect()
}

fn has_ended(actions: &[JobAction]) -> bool {
    actions.iter().any(|action| matches!(action, JobAction::Ended))
}

#[test]
fn slots_that_were_taken_back_are_not_accepted_and_reports_of_others_are_not_believed() {
    let mut bench = Bench::new(true);
    bench.job.start(bench.now);
    bench
        .job
        .allocated(task_manager(1), "h1", vec![allocation(1), allocation(2)]);
    bench.job.taken_back(&[allocation(2)]);
    assert!(bench.offer(1, 2).is_empty());
    bench.job.allocated(task_manager(2), "h2", vec![allocation(3)]);
    assert!(bench.offer(1, 3).is_empty(), "a slot of another TaskManager");
    assert!(bench.offer(1, 1).is_empty());
    assert_eq!(bench.offer(2, 3).len(), 2);
    let attempt = bench.attempt(0, 0);
    let finished = FromTaskManager::TaskStateChanged {
        attempt,
        state: ExecutionState::Finished,
        failure: None,
    };
    bench.job.told(bench.now, task_manager(2), finished, 0);
    assert_eq!(bench.job.summary().tasks, [(ExecutionState::Deploying, 4)]);
}

#[test]
fn a_finished_job_gives_its_slots_back_and_is_remembered_with_its_counters() {
    let mut bench = Bench::running(false);
    let task = TaskMetrics {
        attempt: bench.attempt(0, 1),
        records_in: 7,
        records_out: 7,
        records_skipped: 0,
        late_records_dropped: 0,
        bytes_in: 0,
        bytes_out: 70,
        accumulators: Accumulators::default(),
        metrics: Vec::new(),
    };
    let channel = |edge, producer| ChannelMetrics {
        edge,
        producer,
        consumer: 0,
        transport: Transport::Quic,
        records: 7,
        bytes: 70,
    };
    // One that the job has, and two that it has not.
    let metrics = WorkerMetrics {
        tasks: vec![task],
        channels: vec![channel(0, 1), channel(1, 0), channel(0, 2)],
    };
    let job = bench.job.id();
    bench
        .job
        .told(bench.now, task_manager(2), FromTaskManager::Metrics { job, metrics }, 0);
    let mut actions = Vec::new();
    for (vertex, subtask) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        actions.extend(bench.state(vertex, subtask, ExecutionState::Finished));
    }
    assert!(has_ended(&actions));
    assert_eq!(freed(&actions), [allocation(1), allocation(2)]);
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, JobAction::Declare { slots: 0, .. }))
    );
    let finished = bench.job.finish(bench.now).unwrap();
    let details = finished.report.details;
    assert_eq!(details.vertices[0].subtasks[1].records_out, 7);
    assert_eq!(details.channels.len(), 1);
    let [channel] = &details.channels[..] else { panic!() };
    assert_eq!(
        (
            channel.source_host.as_str(),
            channel.target_host.as_str(),
            channel.bytes
        ),
        ("h2", "h1", 70)
    );
    assert!(finished.output.is_some() && details.summary.end_ms.is_some());
}

#[test]
fn accumulators_of_all_tasks_are_merged_and_stay_with_the_job() {
    let mut bench = Bench::running(false);
    let report = |vertex, subtask, attempt, value| {
        let mut accumulators = Accumulators::default();
        accumulators.add("lines", value);
        let task = TaskMetrics {
            attempt: ExecutionAttemptId {
                attempt,
                ..bench.attempt(vertex, subtask)
            },
            records_in: 0,
            records_out: 0,
            records_skipped: 0,
            late_records_dropped: 0,
            bytes_in: 0,
            bytes_out: 0,
            accumulators,
            metrics: Vec::new(),
        };
        WorkerMetrics {
            tasks: vec![task],
            channels: Vec::new(),
        }
    };
    let reports = [
        (1, report(0, 0, 0, AccumulatorValue::LongCounter(1))),
        (1, report(0, 0, 0, AccumulatorValue::LongCounter(3))),
        // Of an attempt that the job does not have.
        (2, report(0, 1, 7, AccumulatorValue::LongCounter(100))),
        (2, report(1, 1, 0, AccumulatorValue::LongCounter(4))),
    ];
    let (job, conflicting) = (bench.job.id(), report(1, 0, 0, AccumulatorValue::LongMaximum(4)));
    for (number, metrics) in reports {
        let message = FromTaskManager::Metrics { job, metrics };
        bench.job.told(bench.now, task_manager(number), message, 0);
    }
    let lines = |details: &JobDetails| details.accumulators.get("lines");
    assert_eq!(lines(&bench.job.details()), Some(Ok(AccumulatorValue::LongCounter(7))));
    for (vertex, subtask) in [(0, 0), (0, 1), (1, 0)] {
        bench.state(vertex, subtask, ExecutionState::Finished);
    }
    let message = FromTaskManager::Metrics {
        job,
        metrics: conflicting,
    };
    bench.job.told(bench.now, task_manager(1), message, 0);
    bench.state(1, 1, ExecutionState::Finished);
    let report = bench.job.finish(bench.now).unwrap().report;
    assert!(lines(&report.details).unwrap().is_err());
    // As in the archive.
    let json = serde_json::to_vec(&report).unwrap();
    assert_eq!(serde_json::from_slice::<JobReport>(&json).unwrap(), report);
}

#[test]
fn what_functions_measure_and_records_left_out_are_told_by_vertex() {
    let mut bench = Bench::running(false);
    let report = |subtask, count, gauge: f64| {
        let metric = |name: &str, value| OperatorMetric {
            operator: "ask".to_owned(),
            name: name.to_owned(),
            value,
        };
        let (min, max) = (gauge.into(), gauge.into());
        let task = TaskMetrics {
            attempt: bench.attempt(0, subtask),
            records_in: 0,
            records_out: 0,
            records_skipped: count + 1,
            late_records_dropped: count + 2,
            bytes_in: 0,
            bytes_out: 0,
            accumulators: Accumulators::default(),
            metrics: vec![
                metric("requests", MetricValue::Counter(count)),
                metric("open", MetricValue::Gauge { min, max }),
            ],
        };
        WorkerMetrics {
            tasks: vec![task],
            channels: Vec::new(),
        }
    };
    let job = bench.job.id();
    for (number, metrics) in [(1, report(0, 3, 1.5)), (2, report(1, 4, -1.0))] {
        let message = FromTaskManager::Metrics { job, metrics };
        bench.job.told(bench.now, task_manager(number), message, 0);
    }
    let details = bench.job.details();
    let values: Vec<_> = details.vertices[0].metrics.iter().map(|metric| metric.value).collect();
    let gauge = MetricValue::Gauge {
        min: (-1.0).into(),
        max: 1.5.into(),
    };
    assert_eq!(values, [gauge, MetricValue::Counter(7)]);
    assert_eq!(details.vertices[1].metrics, []);
    let subtask = &details.vertices[0].subtasks[1];
    assert_eq!((subtask.records_skipped, subtask.late_records_dropped), (5, 6));
}

#[test]
fn tasks_that_do_not_react_to_cancelling_lose_their_worker() {
    let mut bench = Bench::running(false);
    let actions = bench.job.cancel(bench.now);
    assert!(actions.iter().any(|action| matches!(action, JobAction::Hold)));
    for (vertex, subtask) in [(0, 0), (1, 0), (1, 1)] {
        assert!(!has_ended(&bench.state(vertex, subtask, ExecutionState::Canceled)));
    }
    assert_eq!(bench.job.deadline(), Some(bench.now.instant + CANCELLATION_TIMEOUT));
    let actions = bench.wait(CANCELLATION_TIMEOUT);
    assert!(has_ended(&actions), "{actions:?}");
    let mut slots = freed(&actions);
    slots.sort_unstable();
    assert_eq!(slots, [allocation(1), allocation(2)], "each slot is freed once");
    assert_eq!(
        bench.job.finish(bench.now).unwrap().report.outcome.status,
        JobStatus::Canceled
    );
}

#[test]
fn a_lost_worker_fails_the_job_and_its_slots_are_not_freed_a_second_time() {
    let mut bench = Bench::running(true);
    let failure = TaskFailure::new(TaskFailureKind::Runtime, "signal 9 (SIGKILL)");
    let lost = FromTaskManager::WorkerLost {
        job: bench.job.id(),
        failure,
        allocations: vec![allocation(1)],
    };
    let actions = bench.job.told(bench.now, task_manager(1), lost, 0);
    assert!(matches!(&actions[0], JobAction::SlotsFreed { allocations, .. } if allocations[..] == [allocation(1)]));
    assert_eq!(freed(&actions), []);
    bench.state(0, 1, ExecutionState::Canceled);
    let actions = bench.state(1, 1, ExecutionState::Canceled);
    assert_eq!(freed(&actions), [allocation(2)]);
    let report = bench.job.finish(bench.now).unwrap().report;
    assert_eq!(report.outcome.status, JobStatus::Failed);
    assert_eq!(report.outcome.failure.unwrap().host.as_deref(), Some("h1"));
}

#[test]
fn a_lost_task_manager_is_a_failure_with_its_hosts_name_and_of_one_without_slots_none() {
    let reason = || TaskFailure::new(TaskFailureKind::TaskManagerLost, "lost");
    let mut bench = Bench::running(true);
    assert!(
        bench
            .job
            .task_manager_lost(bench.now, task_manager(3), reason())
            .is_empty()
    );
    bench.job.task_manager_lost(bench.now, task_manager(2), reason());
    assert_eq!(bench.job.summary().status, JobStatus::Failing);
    bench.state(0, 0, ExecutionState::Canceled);
    let actions = bench.state(1, 0, ExecutionState::Canceled);
    assert_eq!(freed(&actions), [allocation(1)]);
    assert_eq!(
        bench
            .job
            .finish(bench.now)
            .unwrap()
            .report
            .outcome
            .failure
            .unwrap()
            .host
            .as_deref(),
        Some("h2")
    );
}

#[test]
fn without_slots_the_job_fails_with_the_whole_fault() {
    let mut bench = Bench::new(true);
    bench.job.start(bench.now);
    let fault = Fault::new("slots.insufficient", "needs 2").with_help("-p 1");
    let actions = bench.job.slots_unavailable(bench.now, fault.clone());
    assert!(has_ended(&actions));
    let report = bench.job.finish(bench.now).unwrap().report;
    assert_eq!(report.fault, Some(fault));
    assert_eq!(
        report.outcome.failure.unwrap().failure.kind,
        TaskFailureKind::SlotsUnavailable
    );
}

#[test]
fn an_attached_job_lives_by_its_lease() {
    // Nobody comes.
    let mut bench = Bench::running(true);
    assert!(bench.wait(LEASE_TIMEOUT - Duration::from_millis(1)).is_empty());
    bench.wait(Duration::from_millis(1));
    assert_eq!(bench.job.summary().status, JobStatus::Cancelling);
    assert_eq!(
        bench.job.attach(bench.now, AttachMode::Lease).unwrap_err().code,
        "job.already-attached"
    );
    // Somebody comes, alone, and goes.
    let mut bench = Bench::running(true);
    let attachment = bench.job.attach(bench.now, AttachMode::Lease).unwrap();
    assert!(attachment.output.is_some());
    assert!(bench.job.attach(bench.now, AttachMode::Lease).is_err());
    assert!(bench.job.attach(bench.now, AttachMode::Watch).unwrap().output.is_none());
    bench.wait(LEASE_TIMEOUT);
    assert_eq!(bench.job.summary().status, JobStatus::Running);
    bench.job.lease_ended(bench.now);
    assert_eq!(bench.job.summary().status, JobStatus::Cancelling);
    // A detached one has no lease.
    let mut bench = Bench::running(false);
    assert_eq!(
        bench.job.attach(bench.now, AttachMode::Lease).unwrap_err().code,
        "job.detached"
    );
    bench.wait(LEASE_TIMEOUT);
    assert_eq!(bench.job.summary().status, JobStatus::Running);
}

#[test]
fn watchers_are_told_of_states_soon_and_of_counters_four_times_a_second() {
    let mut bench = Bench::running(false);
    assert_eq!(bench.job.deadline(), None, "nobody watches, nobody is told");
    let mut view = bench.job.attach(bench.now, AttachMode::Watch).unwrap().view;
    assert_eq!(
        view.borrow_and_update().details.summary.tasks,
        [(ExecutionState::Running, 4)]
    );
    bench.state(0, 0, ExecutionState::Finished);
    bench.state(0, 1, ExecutionState::Finished);
    bench.wait(Duration::from_millis(19));
    assert!(!view.has_changed().unwrap());
    bench.wait(Duration::from_millis(1));
    assert_eq!(
        view.borrow_and_update().details.vertices[0].subtasks[1].state,
        ExecutionState::Finished
    );
    let metrics = |records_in| WorkerMetrics {
        tasks: vec![TaskMetrics {
            attempt: bench.attempt(1, 0),
            records_in,
            records_out: 0,
            records_skipped: 0,
            late_records_dropped: 0,
            bytes_in: 0,
            bytes_out: 0,
            accumulators: Accumulators::default(),
            metrics: Vec::new(),
        }],
        channels: Vec::new(),
    };
    let (job, reports) = (bench.job.id(), [metrics(1), metrics(2), metrics(2)]);
    for metrics in reports {
        bench
            .job
            .told(bench.now, task_manager(1), FromTaskManager::Metrics { job, metrics }, 0);
    }
    assert_eq!(
        bench.job.deadline(),
        Some(bench.now.instant + Duration::from_millis(250))
    );
    bench.wait(Duration::from_millis(250));
    assert_eq!(view.borrow_and_update().details.vertices[1].subtasks[0].records_in, 2);
    assert_eq!(bench.job.deadline(), None, "no news, nothing to tell");
}

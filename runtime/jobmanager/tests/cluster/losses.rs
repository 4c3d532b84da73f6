//! Ends that nobody asked for.

use std::time::{Duration, Instant};

use flink_graph::{ExecutionState, JobStatus, TaskFailure, TaskFailureKind, WorkerExit};
use flink_jobmanager::ClusterMode;
use flink_rpc::messages::{AttachMode, ClientRequest, ClusterStatus, FromTaskManager, JobEvent, ProvisioningStage};

use crate::harness::{Cluster, Doomed, HEARTBEAT, SHORT_HEARTBEAT, Setup, TaskManager, within};

#[tokio::test]
async fn a_task_manager_that_falls_silent_fails_its_job_within_the_heartbeat_timeout() {
    let mut cluster = Cluster::start(Setup {
        heartbeat: SHORT_HEARTBEAT,
        ..Setup::default()
    })
    .await;
    let client = cluster.client().await;
    let job = client.submit(1, true).await.unwrap();
    let mut watch = client.watch(job, AttachMode::Lease).await;
    let request = within(cluster.started.recv()).await.unwrap();
    let doomed = Doomed::new();
    let task_manager = doomed.run(async move {
        let mut task_manager = TaskManager::register(&request, 2).await.unwrap();
        task_manager.take_slots().await;
        task_manager.run_tasks().await;
        task_manager
    });
    let task_manager = task_manager.await;
    watch.until_tasks(ExecutionState::Running, 1).await;
    let killed = Instant::now();
    doomed.kill();
    let failed = |event: &JobEvent| match event {
        JobEvent::Provisioning(event) => matches!(event.stage, ProvisioningStage::Failed(_)).then_some(()),
        JobEvent::Terminated(report) => {
            let failure = report.outcome.failure.as_ref().unwrap();
            assert_eq!(failure.host.as_deref(), Some("h1"));
            assert_eq!(failure.failure.kind, TaskFailureKind::TaskManagerLost);
            assert!(failure.failure.message.contains("no sign of life for 2s"), "{failure}");
            Some(())
        }
        _ => None,
    };
    watch.until(failed).await;
    // Some slack for a busy machine; the promise itself is the endpoint's, and tested there.
    assert!(
        killed.elapsed() < SHORT_HEARTBEAT.timeout + Duration::from_secs(8),
        "{:?}",
        killed.elapsed()
    );
    assert_eq!(
        within(cluster.stopped.recv()).await,
        Some(task_manager.id),
        "its process is seen to"
    );
}

#[tokio::test]
async fn a_task_manager_that_ends_by_itself_is_told_apart() {
    for announces in [false, true] {
        let mut cluster = Cluster::start(Setup::default()).await;
        let client = cluster.client().await;
        let job = client.submit(1, true).await.unwrap();
        let mut watch = client.watch(job, AttachMode::Lease).await;
        let mut task_manager = cluster.task_manager(2).await;
        task_manager.take_slots().await;
        task_manager.run_tasks().await;
        watch.until_tasks(ExecutionState::Running, 1).await;
        if announces {
            task_manager
                .say(FromTaskManager::Leaving {
                    reason: "SIGTERM".into(),
                })
                .await;
            // It has been heard before the end is.
            loop {
                let status: ClusterStatus = client.call(ClientRequest::ClusterStatus).await.unwrap();
                if status.task_managers[0].free_slots == 0 {
                    break;
                }
            }
        }
        task_manager.end("out of memory").await;
        let failure = watch.report().await.outcome.failure.unwrap();
        let reason = if announces { "SIGTERM" } else { "out of memory" };
        assert_eq!(failure.failure.message, format!("the TaskManager ended: {reason}"));
    }
}

#[tokio::test]
async fn a_worker_that_dies_fails_the_job_at_once_and_its_task_manager_is_there_for_the_next() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let client = cluster.client().await;
    let mut task_manager = None;
    for refuses in [true, false] {
        let job = client.submit(1, true).await.unwrap();
        let mut watch = client.watch(job, AttachMode::Lease).await;
        if task_manager.is_none() {
            task_manager = Some(cluster.task_manager(2).await);
        }
        let task_manager = task_manager.as_mut().unwrap();
        let killed = TaskFailure::new(TaskFailureKind::WorkerDied(WorkerExit::Signal(9)), "signal 9 (SIGKILL)");
        let request = task_manager.requested().await;
        let allocations = request.allocations.clone();
        if refuses {
            task_manager
                .say(FromTaskManager::SlotsRefused {
                    job,
                    allocations,
                    failure: killed.clone(),
                })
                .await;
        } else {
            task_manager.offer(&request).await;
            task_manager.run_tasks().await;
            watch.until_tasks(ExecutionState::Running, 1).await;
            task_manager
                .say(FromTaskManager::WorkerLost {
                    job,
                    allocations,
                    failure: killed.clone(),
                })
                .await;
        }
        let report = watch.report().await;
        assert_eq!(report.outcome.status, JobStatus::Failed);
        let failure = report.outcome.failure.unwrap();
        assert_eq!((failure.failure, failure.host.as_deref()), (killed, Some("h1")));
        let status: ClusterStatus = client.call(ClientRequest::ClusterStatus).await.unwrap();
        assert_eq!(status.task_managers[0].free_slots, 2);
    }
}

#[tokio::test]
async fn a_client_that_falls_silent_loses_its_lease() {
    let mut cluster = Cluster::start(Setup {
        mode: ClusterMode::PerJob,
        heartbeat: SHORT_HEARTBEAT,
        ..Setup::default()
    })
    .await;
    let doomed = Doomed::new();
    let other = cluster.client().await;
    let (address, identity) = (cluster.handle.address(), cluster.handle.client_identity().clone());
    let (job, _client) = doomed
        .run(async move {
            let connected = flink_rpc::connect(address, flink_rpc::Role::JobManager, &identity, HEARTBEAT);
            let client = crate::harness::Client(crate::harness::Peer::new(connected.await.unwrap()));
            let job = client.submit(1, true).await.unwrap();
            let mut watch = client.watch(job, AttachMode::Lease).await;
            watch.next().await.unwrap();
            (job, (client, watch))
        })
        .await;
    let mut watch = other.watch(job, AttachMode::Watch).await;
    let mut task_manager = cluster.task_manager(2).await;
    task_manager.take_slots().await;
    task_manager.run_tasks().await;
    watch.until_tasks(ExecutionState::Running, 1).await;
    doomed.kill();
    task_manager.cancel_tasks().await;
    assert_eq!(watch.report().await.outcome.status, JobStatus::Canceled);
}

#[tokio::test]
async fn a_task_manager_that_takes_no_messages_is_given_up() {
    let mut cluster = Cluster::start(Setup {
        hosts: vec![4000],
        ..Setup::default()
    })
    .await;
    let client = cluster.client().await;
    let job = client.submit(1, false).await.unwrap();
    // The jobs that end with this one are more than are remembered.
    let mut watch = client.watch(job, AttachMode::Watch).await;
    watch.next().await.unwrap();
    let task_manager = cluster.task_manager(4000).await;
    // It reads nothing from here on. What it is sent fills its stream's window first, then its queue.
    let args = vec![0; 20_000];
    let submissions = async {
        while task_manager.connection().close_reason().is_none() {
            client.submit_with(1, false, args.clone()).await.unwrap();
        }
    };
    within(submissions).await;
    // What it is told does not always get through: its socket is as full as its queue.
    within(task_manager.connection().closed()).await;
    assert_eq!(within(cluster.stopped.recv()).await, Some(task_manager.id));
    // The jobs lose their slots there, and no other host is left.
    let fault = watch.report().await.fault.unwrap();
    assert_eq!(fault.code, "taskmanager.lost");
    assert_eq!(
        fault.hosts[0].message,
        "the TaskManager is lost: it does not take its messages"
    );
}

#[tokio::test]
async fn one_that_comes_back_after_it_was_given_up_is_refused() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let client = cluster.client().await;
    client.submit(1, false).await.unwrap();
    let request = within(cluster.started.recv()).await.unwrap();
    let task_manager = TaskManager::register(&request, 2).await.unwrap();
    task_manager.end("a short break").await;
    within(cluster.stopped.recv()).await;
    let Err(fault) = TaskManager::register(&request, 2).await else {
        panic!("it was let in")
    };
    assert_eq!(fault.code, "taskmanager.unknown");
}

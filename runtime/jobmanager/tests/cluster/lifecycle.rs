//! Jobs and clusters from beginning to end.

use std::time::Duration;

use flink_graph::{ExecutionState, JobId, JobStatus, TaskFailureKind, TaskManagerId};
use flink_jobmanager::{ClusterMode, ExitCause, JobManager, StandaloneProvider, StartError, archive};
use flink_rpc::messages::{
    AttachMode, ClientRequest, ClusterStatus, HostFault, JobDetails, JobEvent, JobSummary, ProvisioningStage,
};

use crate::harness::{Cluster, Peer, Setup, Stops, TaskManager, config, within};

fn per_job() -> Setup {
    Setup {
        mode: ClusterMode::PerJob,
        ..Setup::default()
    }
}

#[tokio::test]
async fn an_attached_per_job_cluster_ends_when_its_client_has_the_result() {
    let mut cluster = Cluster::start(per_job()).await;
    let client = cluster.client().await;
    let job = client.submit(2, true).await.unwrap();
    let mut watch = client.watch(job, AttachMode::Lease).await;
    let (mut first, mut second) = (cluster.task_manager(2).await, cluster.task_manager(2).await);
    assert_eq!(first.take_slots().await.allocations.len(), 1, "the slots are spread");
    second.take_slots().await;
    let tasks = [first.run_tasks().await, second.run_tasks().await].concat();
    watch.until_tasks(ExecutionState::Running, 2).await;
    assert_eq!(client.submit(1, true).await.unwrap_err().code, "cluster.per-job");
    first.task(tasks[0], ExecutionState::Finished).await;
    second.task(tasks[1], ExecutionState::Finished).await;
    let report = watch.report().await;
    assert_eq!(
        (report.outcome.status, report.details.summary.id),
        (JobStatus::Finished, job)
    );
    for mut task_manager in [first, second] {
        task_manager.slots_are_freed().await;
        task_manager.shut_down().await;
    }
    let mut stopped = std::mem::replace(&mut cluster.stopped, tokio::sync::mpsc::channel(1).1);
    let exit = cluster.exit().await;
    assert_eq!((exit.cause, exit.left_behind.len()), (ExitCause::JobEnded, 0));
    assert_eq!(exit.jobs[0].outcome.as_ref().unwrap().status, JobStatus::Finished);
    assert_eq!(stopped.recv().await, None, "nobody had to be stopped by the provider");
}

#[tokio::test]
async fn provisioning_is_told_to_the_job_that_waits_for_it() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let client = cluster.client().await;
    let job = client.submit(1, false).await.unwrap();
    let mut watch = client.watch(job, AttachMode::Watch).await;
    let mut task_manager = cluster.task_manager(2).await;
    let registered = ProvisioningStage::Registered { slots: 2 };
    let stage = |event: &JobEvent| match event {
        JobEvent::Provisioning(event) => (event.host == "h1" && event.stage == registered).then_some(()),
        _ => None,
    };
    watch.until(stage).await;
    task_manager.take_slots().await;
    task_manager.run_tasks().await;
    watch.until_tasks(ExecutionState::Running, 1).await;
    // One that comes later has nothing to do with how its TaskManager came.
    let next = client.submit(1, false).await.unwrap();
    let mut watch = client.watch(next, AttachMode::Watch).await;
    task_manager.take_slots().await;
    task_manager.run_tasks().await;
    let ran = |event: &JobEvent| match event {
        JobEvent::Provisioning(event) => panic!("{event:?}"),
        JobEvent::Progress(details) => details
            .summary
            .tasks
            .contains(&(ExecutionState::Running, 1))
            .then_some(()),
        _ => None,
    };
    watch.until(ran).await;
}

#[tokio::test]
async fn a_broken_off_lease_cancels_the_job_and_ends_its_cluster() {
    let mut cluster = Cluster::start(per_job()).await;
    let client = cluster.client().await;
    let job = client.submit(1, true).await.unwrap();
    let mut watch = client.watch(job, AttachMode::Lease).await;
    let mut looks_only = client.watch(job, AttachMode::Watch).await;
    let mut task_manager = cluster.task_manager(2).await;
    task_manager.take_slots().await;
    task_manager.run_tasks().await;
    watch.until_tasks(ExecutionState::Running, 1).await;
    drop(watch);
    task_manager.cancel_tasks().await;
    assert_eq!(looks_only.report().await.outcome.status, JobStatus::Canceled);
    task_manager.slots_are_freed().await;
    task_manager.shut_down().await;
    assert_eq!(cluster.exit().await.cause, ExitCause::JobEnded);
}

#[tokio::test]
async fn a_detached_per_job_cluster_ends_with_its_job_and_leaves_a_record() {
    let mut cluster = Cluster::start(per_job()).await;
    let client = cluster.client().await;
    let job = client.submit(1, false).await.unwrap();
    assert_eq!(
        client
            .call::<JobDetails>(ClientRequest::DescribeJob(job))
            .await
            .unwrap()
            .vertices
            .len(),
        1
    );
    // Looking on does not hold it.
    drop(client.watch(job, AttachMode::Watch).await);
    let mut task_manager = cluster.task_manager(2).await;
    task_manager.take_slots().await;
    let tasks = task_manager.run_tasks().await;
    task_manager.task(tasks[0], ExecutionState::Finished).await;
    task_manager.slots_are_freed().await;
    task_manager.shut_down().await;
    let archive_dir = cluster.dir.path().join("archive");
    let exit = within(cluster.handle.join()).await;
    assert_eq!(exit.cause, ExitCause::JobEnded);
    let record = archive::read(&archive_dir, job).unwrap().unwrap();
    assert_eq!(
        (record.cluster.as_str(), record.report.outcome.status),
        ("test", JobStatus::Finished)
    );
    assert_eq!(archive::list(&archive_dir).unwrap(), [job]);
    assert!(
        !archive::output_path(&archive_dir, job).exists(),
        "it has printed nothing"
    );
}

#[tokio::test]
async fn a_session_runs_one_job_after_the_other_on_the_same_task_manager_and_stops_when_asked() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let client = cluster.client().await;
    let mut task_manager = None;
    for _ in 0..2 {
        let job = client.submit(1, false).await.unwrap();
        let mut watch = client.watch(job, AttachMode::Watch).await;
        if task_manager.is_none() {
            task_manager = Some(cluster.task_manager(2).await);
        }
        let task_manager = task_manager.as_mut().unwrap();
        task_manager.take_slots().await;
        let tasks = task_manager.run_tasks().await;
        task_manager.task(tasks[0], ExecutionState::Finished).await;
        assert_eq!(watch.report().await.outcome.status, JobStatus::Finished);
        task_manager.slots_are_freed().await;
    }
    assert!(cluster.started.try_recv().is_err(), "the second job starts nothing");
    let status: ClusterStatus = client.call(ClientRequest::ClusterStatus).await.unwrap();
    assert_eq!(
        (status.task_managers.len(), status.jobs.len(), status.startable_slots),
        (1, 2, 2)
    );
    assert_eq!(
        (status.task_managers[0].free_slots, status.task_managers[0].pid),
        (2, 42)
    );
    // One that runs is cancelled first.
    let job = client.submit(1, false).await.unwrap();
    let mut watch = client.watch(job, AttachMode::Watch).await;
    let mut task_manager = task_manager.unwrap();
    task_manager.take_slots().await;
    task_manager.run_tasks().await;
    let mut stopping = client.stream::<()>(ClientRequest::StopCluster).await;
    task_manager.cancel_tasks().await;
    assert_eq!(watch.report().await.outcome.status, JobStatus::Canceled);
    task_manager.slots_are_freed().await;
    task_manager.shut_down().await;
    assert_eq!(stopping.next().await, Ok(Some(())));
    let exit = cluster.exit().await;
    assert_eq!((exit.cause, exit.jobs.len()), (ExitCause::Stopped, 3));
}

#[tokio::test]
async fn the_last_states_arrive_although_nothing_is_left_to_wait_for() {
    let cluster = Cluster::start(Setup {
        hosts: vec![],
        ..Setup::default()
    })
    .await;
    cluster.handle.shutdown();
    assert_eq!(cluster.exit().await.cause, ExitCause::ShutDown);
    let cluster = Cluster::standalone().await;
    let client = cluster.client().await;
    let job = client.submit(1, false).await.unwrap();
    let mut watch = client.watch(job, AttachMode::Watch).await;
    watch.next().await.unwrap();
    assert_eq!(client.call::<()>(ClientRequest::StopCluster).await, Ok(()));
    assert_eq!(watch.report().await.outcome.status, JobStatus::Canceled);
    assert_eq!(cluster.exit().await.cause, ExitCause::Stopped);
}

#[tokio::test]
async fn an_idle_task_manager_is_told_to_end() {
    let idle_timeout = Duration::from_millis(50);
    let mut cluster = Cluster::start(Setup {
        idle_timeout,
        ..Setup::default()
    })
    .await;
    let client = cluster.client().await;
    let job = client.submit(1, false).await.unwrap();
    let mut task_manager = cluster.task_manager(2).await;
    task_manager.take_slots().await;
    let tasks = task_manager.run_tasks().await;
    task_manager.task(tasks[0], ExecutionState::Finished).await;
    task_manager.slots_are_freed().await;
    task_manager.shut_down().await;
    let summaries: Vec<JobSummary> = client.call(ClientRequest::ListJobs).await.unwrap();
    assert_eq!(
        (summaries.len(), summaries[0].id, summaries[0].status),
        (1, job, JobStatus::Finished)
    );
    // The host is there for the next job.
    client.submit(4, false).await.unwrap();
    let _both = (cluster.task_manager(2).await, cluster.task_manager(2).await);
}

#[tokio::test]
async fn a_task_manager_that_does_not_end_is_stopped_and_what_cannot_be_verified_is_named() {
    for stops in [Stops::Clean, Stops::LeftBehind] {
        let setup = Setup {
            stops,
            stop_grace: Duration::from_millis(100),
            mode: ClusterMode::Session { attached: true },
            ..Setup::default()
        };
        let mut cluster = Cluster::start(setup).await;
        let client = cluster.client().await;
        let mut hold = client.stream::<()>(ClientRequest::HoldCluster).await;
        assert_eq!(hold.next().await, Ok(Some(())));
        client.submit(1, false).await.unwrap();
        let mut task_manager = cluster.task_manager(2).await;
        // It neither offers its slots nor ends.
        task_manager.requested().await;
        let answer = client.call::<()>(ClientRequest::StopCluster).await;
        assert_eq!(hold.next().await.map(|end| assert_eq!(end, None)), answer);
        assert_eq!(within(cluster.stopped.recv()).await, Some(task_manager.id));
        let exit = cluster.exit().await;
        if stops == Stops::Clean {
            assert_eq!((answer, exit.left_behind.len()), (Ok(()), 0));
        } else {
            let fault = answer.unwrap_err();
            assert_eq!(
                (fault.code.as_str(), &fault.hosts),
                ("cluster.left-behind", &exit.left_behind)
            );
            assert_eq!(fault.hosts.len(), 1);
        }
    }
}

#[tokio::test]
async fn an_attached_session_ends_with_the_client_that_holds_it() {
    let mut cluster = Cluster::start(Setup {
        mode: ClusterMode::Session { attached: true },
        ..Setup::default()
    })
    .await;
    let client = cluster.client().await;
    let mut hold = client.stream::<()>(ClientRequest::HoldCluster).await;
    assert_eq!(hold.next().await, Ok(Some(())));
    let second = client.call::<()>(ClientRequest::HoldCluster).await;
    assert_eq!(second.unwrap_err().code, "cluster.already-held");
    let job = client.submit(1, false).await.unwrap();
    let mut watch = client.watch(job, AttachMode::Watch).await;
    let mut task_manager = cluster.task_manager(2).await;
    task_manager.take_slots().await;
    task_manager.run_tasks().await;
    drop(hold);
    task_manager.cancel_tasks().await;
    assert_eq!(watch.report().await.outcome.status, JobStatus::Canceled);
    task_manager.slots_are_freed().await;
    task_manager.shut_down().await;
    assert_eq!(cluster.exit().await.cause, ExitCause::LeaseLost);
}

#[tokio::test]
async fn a_per_job_cluster_ends_with_its_holder_only_before_it_has_a_job() {
    let cluster = Cluster::start(per_job()).await;
    let client = cluster.client().await;
    let mut hold = client.stream::<()>(ClientRequest::HoldCluster).await;
    hold.next().await.unwrap();
    drop(hold);
    assert_eq!(cluster.exit().await.cause, ExitCause::LeaseLost);

    let mut cluster = Cluster::start(per_job()).await;
    let client = cluster.client().await;
    let mut hold = client.stream::<()>(ClientRequest::HoldCluster).await;
    hold.next().await.unwrap();
    client.submit(1, false).await.unwrap();
    drop(hold);
    let mut task_manager = cluster.task_manager(2).await;
    task_manager.take_slots().await;
    let tasks = task_manager.run_tasks().await;
    task_manager.task(tasks[0], ExecutionState::Finished).await;
    task_manager.slots_are_freed().await;
    task_manager.shut_down().await;
    assert_eq!(
        cluster.exit().await.jobs[0].outcome.as_ref().unwrap().status,
        JobStatus::Finished
    );
}

#[tokio::test]
async fn a_holder_sees_the_cluster_end() {
    let cluster = Cluster::start(Setup {
        mode: ClusterMode::Session { attached: true },
        ..Setup::default()
    })
    .await;
    let client = cluster.client().await;
    let mut hold = client.stream::<()>(ClientRequest::HoldCluster).await;
    assert_eq!(hold.next().await, Ok(Some(())));
    cluster.handle.shutdown();
    assert_eq!(hold.next().await, Ok(None));
    assert_eq!(cluster.exit().await.cause, ExitCause::ShutDown);
}

#[tokio::test]
async fn too_many_slots_are_refused_with_numbers_and_failed_hosts_with_their_reason() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let client = cluster.client().await;
    let job = client.submit(5, true).await.unwrap();
    let report = client.watch(job, AttachMode::Lease).await.report().await;
    let fault = report.fault.unwrap();
    assert_eq!(fault.code, "slots.insufficient");
    assert_eq!(fault.message, "job \"numbers\" needs 5 slots, the cluster can offer 4");
    assert_eq!(
        report.outcome.failure.unwrap().failure.kind,
        TaskFailureKind::SlotsUnavailable
    );

    let job = client.submit(4, true).await.unwrap();
    let mut watch = client.watch(job, AttachMode::Lease).await;
    let (request, _) = (
        within(cluster.started.recv()).await.unwrap(),
        within(cluster.started.recv()).await.unwrap(),
    );
    let refused = HostFault {
        host: request.host.clone(),
        code: "ssh.refused".into(),
        message: "Connection refused".into(),
        help: Some("flinkctl cluster check -H h1".into()),
    };
    let event = flink_jobmanager::ProviderEvent::Failed {
        id: request.id,
        fault: refused.clone(),
    };
    cluster.provider_events.as_ref().unwrap().send(event).await.unwrap();
    let report = watch.report().await;
    let fault = report.fault.unwrap();
    assert_eq!(
        (fault.code.as_str(), &fault.hosts[..], &fault.help),
        ("ssh.refused", &[refused.clone()][..], &refused.help)
    );
    // The other one is not wanted any more.
    assert!(within(cluster.stopped.recv()).await.is_some());
}

#[tokio::test]
async fn a_standalone_cluster_takes_what_registers() {
    let cluster = Cluster::standalone().await;
    let client = cluster.client().await;
    let job = client.submit(2, false).await.unwrap();
    let mut watch = client.watch(job, AttachMode::Watch).await;
    let mut task_managers = Vec::new();
    for host in ["a", "b"] {
        let peer = Peer::connect(&cluster.handle, cluster.handle.task_manager_identity()).await;
        task_managers.push(TaskManager::join(peer, TaskManagerId::random(), host, 1).await.unwrap());
    }
    for task_manager in &mut task_managers {
        task_manager.take_slots().await;
    }
    for task_manager in &mut task_managers {
        let tasks = task_manager.run_tasks().await;
        task_manager.task(tasks[0], ExecutionState::Finished).await;
    }
    let report = watch.report().await;
    assert_eq!(report.outcome.status, JobStatus::Finished);
    let hosts: Vec<_> = report.details.vertices[0]
        .subtasks
        .iter()
        .map(|task| task.host.clone().unwrap())
        .collect();
    assert_eq!(hosts, ["a", "b"]);
    // One that comes back on a new connection replaces itself, before its old connection is noticed to be gone.
    let (id, host) = (task_managers[0].id, task_managers[0].host.clone());
    let peer = Peer::connect(&cluster.handle, cluster.handle.task_manager_identity()).await;
    let again = TaskManager::join(peer, id, &host, 1).await.unwrap();
    within(task_managers[0].connection().closed()).await;
    let status: ClusterStatus = client.call(ClientRequest::ClusterStatus).await.unwrap();
    assert_eq!(status.task_managers.len(), 2);
    cluster.handle.shutdown();
    let mut second = task_managers.pop().unwrap();
    second.slots_are_freed().await;
    second.shut_down().await;
    again.shut_down().await;
    assert_eq!(cluster.exit().await.left_behind, []);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let cluster = Cluster::start(Setup::default()).await;
    let mut config = config(&cluster.dir, &Setup::default());
    config.bind = cluster.handle.address();
    let error = JobManager::start(config, |_| Box::new(StandaloneProvider))
        .await
        .unwrap_err();
    assert!(matches!(&error, StartError::AddressInUse { address } if *address == cluster.handle.address()));
    assert!(error.to_string().contains(&cluster.handle.address().to_string()));
}

#[tokio::test]
async fn jobs_that_are_not_there_and_submissions_that_cannot_be_are_faults() {
    let cluster = Cluster::start(Setup::default()).await;
    let client = cluster.client().await;
    let job = JobId::random();
    let not_found = |fault: flink_rpc::messages::Fault| assert_eq!(fault.code, "job.not-found");
    not_found(
        client
            .call::<JobDetails>(ClientRequest::DescribeJob(job))
            .await
            .unwrap_err(),
    );
    not_found(client.call::<()>(ClientRequest::CancelJob(job)).await.unwrap_err());
    not_found(
        client
            .call::<()>(ClientRequest::JobOutput { job, follow: false })
            .await
            .unwrap_err(),
    );
    not_found(client.watch(job, AttachMode::Watch).await.next().await.unwrap_err());
    let attached = client.submit(1, true).await.unwrap();
    let fault = client
        .call::<()>(ClientRequest::JobOutput {
            job: attached,
            follow: false,
        })
        .await
        .unwrap_err();
    assert_eq!(fault.code, "job.output-not-kept");
    assert_eq!(client.call::<()>(ClientRequest::CancelJob(attached)).await, Ok(()));
    let fault = client.call::<()>(ClientRequest::CancelJob(attached)).await.unwrap_err();
    assert_eq!(fault.code, "job.ended");
    assert_eq!(client.submit(0, true).await.unwrap_err().code, "job.graph");
    std::fs::remove_dir_all(cluster.dir.path().join("blobs")).unwrap();
    assert_eq!(client.submit(1, true).await.unwrap_err().code, "blob.not-found");
    assert_eq!(
        client.call::<()>(ClientRequest::HoldCluster).await.unwrap_err().code,
        "cluster.detached"
    );
}

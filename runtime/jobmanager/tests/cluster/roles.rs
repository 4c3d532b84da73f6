//! Who may say what.

use flink_graph::{ClusterId, ExecutionAttemptId, ExecutionState, JobId, TaskManagerId};
use flink_rpc::{
    ClusterCa, FrameReader, Role, connect,
    messages::{
        BlobDigest, BlobHeader, BlobRequest, ClientRequest, CollectHeader, FromTaskManager, JobSummary,
        PROTOCOL_VERSION, Registration, TaskManagerRequest, WorkerRequest,
    },
    read_reply,
};
use std::time::Duration;

use crate::harness::{ARTIFACT, Client, Cluster, HEARTBEAT, Peer, Setup, TaskManager, artifact, within};

fn registration(id: TaskManagerId) -> Registration {
    Registration {
        protocol: PROTOCOL_VERSION,
        id,
        host: "h1".into(),
        pid: 1,
        slots: 1,
        last_epoch: 0,
    }
}

#[tokio::test]
async fn a_client_cannot_speak_as_a_task_manager_and_others_are_served_on() {
    let cluster = Cluster::start(Setup::default()).await;
    let client = cluster.client().await;
    let _stream = client
        .0
        .open(&TaskManagerRequest::Register(registration(TaskManagerId::random())))
        .await;
    assert!(client.0.closed().await.contains("not one of its role"));
    let jobs: Vec<JobSummary> = cluster.client().await.call(ClientRequest::ListJobs).await.unwrap();
    assert_eq!(jobs, []);
}

#[tokio::test]
async fn a_task_manager_cannot_speak_as_a_client() {
    let cluster = Cluster::start(Setup::default()).await;
    let peer = Peer::connect(&cluster.handle, cluster.handle.task_manager_identity()).await;
    let _stream = peer.open(&ClientRequest::StopCluster).await;
    assert!(peer.closed().await.contains("not one of its role"));
}

#[tokio::test]
async fn a_registered_task_manager_that_says_nonsense_is_lost() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let client = cluster.client().await;
    client.submit(1, false).await.unwrap();
    let request = within(cluster.started.recv()).await.unwrap();
    let (_endpoint, connection) = connect(request.job_manager, Role::JobManager, &request.identity, HEARTBEAT)
        .await
        .unwrap();
    let (send, receive) = connection.open_bi().await.unwrap();
    let mut writer = flink_rpc::FrameWriter::new(send);
    writer
        .send(&TaskManagerRequest::Register(registration(request.id)))
        .await
        .unwrap();
    let mut reader = FrameReader::new(receive);
    within(read_reply::<flink_rpc::messages::Registered>(&mut reader))
        .await
        .unwrap();
    writer.send(&"what is this").await.unwrap();
    assert!(
        within(connection.closed())
            .await
            .to_string()
            .contains("not one of its role")
    );
    assert_eq!(within(cluster.stopped.recv()).await, Some(request.id));
}

#[tokio::test]
async fn a_worker_may_print_for_its_own_job_only() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let client = cluster.client().await;
    let (ours, theirs) = (
        client.submit(1, false).await.unwrap(),
        client.submit(1, false).await.unwrap(),
    );
    let mut task_manager = cluster.task_manager(2).await;
    let requests = [task_manager.requested().await, task_manager.requested().await];
    let request = requests.iter().find(|request| request.job == ours).unwrap();
    let peer = Peer::connect(&cluster.handle, &request.spec.identity).await;
    let attempt = ExecutionAttemptId {
        job: theirs,
        vertex: 0,
        subtask: 0,
        attempt: 0,
    };
    let _stream = peer.open(&WorkerRequest::Collect(CollectHeader { attempt })).await;
    assert!(peer.closed().await.contains("its own job only"));
    let peer = Peer::connect(&cluster.handle, &request.spec.identity).await;
    let _stream = peer.open(&ClientRequest::CancelJob(theirs)).await;
    assert!(peer.closed().await.contains("not one of its role"));
}

#[tokio::test]
async fn another_clusters_certificate_gets_no_answer() {
    let cluster = Cluster::start(Setup::default()).await;
    let ca = ClusterCa::generate(ClusterId::random(), Duration::from_secs(60)).unwrap();
    for role in [
        Role::Client,
        Role::TaskManager,
        Role::Worker(JobId::random()),
        Role::JobManager,
    ] {
        let identity = ca.issue(role).unwrap();
        let connected = within(connect(
            cluster.handle.address(),
            Role::JobManager,
            &identity,
            HEARTBEAT,
        ))
        .await;
        // We refuse them too: their CA is not ours.
        assert!(connected.is_err(), "{role:?}");
    }
}

#[tokio::test]
async fn a_task_manager_that_nobody_asked_for_or_of_another_version_is_refused() {
    let cluster = Cluster::start(Setup::default()).await;
    let join = |peer| TaskManager::join(peer, TaskManagerId::random(), "h1", 1);
    let peer = Peer::connect(&cluster.handle, cluster.handle.task_manager_identity()).await;
    let Err(fault) = join(peer).await else {
        panic!("it was let in")
    };
    assert_eq!(fault.code, "taskmanager.unknown");

    let standalone = Cluster::standalone().await;
    let identity = standalone.handle.task_manager_identity();
    for (registration, code) in [
        (
            Registration {
                protocol: 99,
                ..registration(TaskManagerId::random())
            },
            "protocol.version",
        ),
        (
            Registration {
                slots: 0,
                ..registration(TaskManagerId::random())
            },
            "taskmanager.slots",
        ),
    ] {
        let peer = Peer::connect(&standalone.handle, identity).await;
        let (_writer, mut reader) = peer.open(&TaskManagerRequest::Register(registration)).await;
        match within(read_reply::<flink_rpc::messages::Registered>(&mut reader)).await {
            Err(flink_rpc::CallError::Fault(fault)) => assert_eq!(fault.code, code),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_a_task_manager_says_about_jobs_that_are_not_there_is_passed_over() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let client: Client = cluster.client().await;
    client.submit(1, false).await.unwrap();
    let mut task_manager = cluster.task_manager(2).await;
    let job = JobId::random();
    let attempt = ExecutionAttemptId {
        job,
        vertex: 9,
        subtask: 9,
        attempt: 9,
    };
    task_manager.task(attempt, ExecutionState::Finished).await;
    task_manager
        .say(FromTaskManager::SlotsOffered {
            job,
            allocations: Vec::new(),
            data_address: ([127, 0, 0, 1], 1).into(),
        })
        .await;
    let request = task_manager.take_slots().await;
    let out_of_range = ExecutionAttemptId {
        job: request.job,
        vertex: 9,
        subtask: 9,
        attempt: 9,
    };
    task_manager.task(out_of_range, ExecutionState::Finished).await;
    assert_eq!(task_manager.run_tasks().await.len(), 1);
}

#[tokio::test]
async fn artifacts_are_served_to_task_managers() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let client = cluster.client().await;
    client.submit(1, false).await.unwrap();
    let task_manager = cluster.task_manager(2).await;
    let fetch = |digest| TaskManagerRequest::FetchBlob(BlobRequest { digest });
    let mut reader = task_manager.open(&fetch(ARTIFACT)).await;
    let header: BlobHeader = within(read_reply(&mut reader)).await.unwrap().unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = within(reader.next_bytes()).await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!((header.size, bytes), (artifact().len() as u64, artifact()));
    let mut reader = task_manager.open(&fetch(BlobDigest([1; 32]))).await;
    match within(read_reply::<BlobHeader>(&mut reader)).await {
        Err(flink_rpc::CallError::Fault(fault)) => assert_eq!(fault.code, "blob.not-found"),
        other => panic!("{other:?}"),
    }
}

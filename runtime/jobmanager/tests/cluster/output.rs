//! What jobs print.

use flink_graph::{ExecutionAttemptId, ExecutionState, JobStatus};
use flink_jobmanager::archive;
use flink_rpc::messages::{AttachMode, ClientRequest, JobEvent, OutputChunk, SlotRequest};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::harness::{Client, Cluster, Collect, Peer, Replies, Setup, TaskManager, within};

fn printed(event: &JobEvent) -> Option<Vec<u8>> {
    match event {
        JobEvent::Output(chunk) => Some(chunk.bytes.clone()),
        _ => None,
    }
}

async fn file(replies: &mut Replies<OutputChunk>, length: usize) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let chunk = replies.next().await.unwrap().expect("there is more").bytes;
        assert_eq!(chunk.last(), Some(&b'\n'), "whole lines");
        bytes.extend(chunk);
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn an_attached_client_gets_what_is_printed_before_the_worker_is_told_so() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let client = cluster.client().await;
    let (mut watch, mut task_manager, request, task) = attached(&mut cluster, &client).await;
    let mut collect = Collect::open(&cluster, &request, task).await;
    collect.print("1\n2\n").await;
    assert_eq!(watch.until(printed).await, b"1\n2\n");
    collect.print("3\n").await;
    collect.finish().await.unwrap();
    task_manager.task(task, ExecutionState::Finished).await;
    assert_eq!(watch.until(printed).await, b"3\n", "before the end of the job");
    assert_eq!(watch.report().await.outcome.status, JobStatus::Finished);
    // A task that is over prints nothing more.
    let late = Collect::open(&cluster, &request, task).await;
    assert_eq!(late.finish().await.unwrap_err().code, "job.no-such-task");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_the_worker_and_nothing_is_lost() {
    const CHUNK: usize = 64 << 10;
    const CHUNKS: usize = 640;
    let mut cluster = Cluster::start(Setup::default()).await;
    let client = cluster.client().await;
    let (mut watch, _task_manager, request, task) = attached(&mut cluster, &client).await;
    let mut collect = Collect::open(&cluster, &request, task).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let worker = tokio::spawn(async move {
        for number in 0..CHUNKS {
            let mut bytes = vec![number as u8 | 1; CHUNK];
            bytes[CHUNK - 1] = b'\n';
            collect.send(bytes).await;
            counter.fetch_add(1, Ordering::Relaxed);
        }
        collect.finish().await
    });
    // Without back-pressure it would go on to the last chunk.
    let standing_still = async {
        let mut before = usize::MAX;
        while before != sent.load(Ordering::Relaxed) {
            before = sent.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        before
    };
    let before = within(standing_still).await;
    assert!(before < CHUNKS / 2, "{before} chunks of {CHUNKS} were taken by nobody");
    let mut bytes = 0;
    while bytes < CHUNKS * CHUNK {
        bytes += watch.until(printed).await.len();
    }
    assert_eq!(bytes, CHUNKS * CHUNK);
    within(worker).await.unwrap().unwrap();
}

#[tokio::test]
async fn any_number_of_subtasks_of_a_worker_may_print_at_the_same_time() {
    const SUBTASKS: usize = 200;
    let mut cluster = Cluster::start(Setup::default()).await;
    let client = cluster.client().await;
    let (mut watch, _task_manager, request, task) = attached(&mut cluster, &client).await;
    let worker = Arc::new(Peer::connect(&cluster.handle, &request.spec.identity).await);
    let mut printing = Vec::new();
    for _ in 0..SUBTASKS {
        let mut collect = Collect::on(&worker, task).await;
        collect.print("a line\n").await;
        printing.push(collect);
    }
    for collect in printing {
        collect.finish().await.unwrap();
    }
    let mut bytes = 0;
    while bytes < SUBTASKS * "a line\n".len() {
        bytes += watch.until(printed).await.len();
    }
}

/// A running job with one task, and the client that holds it.
async fn attached(
    cluster: &mut Cluster,
    client: &Client,
) -> (Replies<JobEvent>, TaskManager, SlotRequest, ExecutionAttemptId) {
    let job = client.submit(1, true).await.unwrap();
    let mut watch = client.watch(job, AttachMode::Lease).await;
    let mut task_manager = cluster.task_manager(2).await;
    let request = task_manager.take_slots().await;
    let tasks = task_manager.run_tasks().await;
    watch.until_tasks(ExecutionState::Running, 1).await;
    (watch, task_manager, request, tasks[0])
}

/// The same without a client.
async fn run(cluster: &mut Cluster, client: &Client) -> (flink_graph::JobId, TaskManager, Collect) {
    let job = client.submit(1, false).await.unwrap();
    let mut task_manager = cluster.task_manager(2).await;
    let request = task_manager.take_slots().await;
    let tasks = task_manager.run_tasks().await;
    let mut watch = client.watch(job, AttachMode::Watch).await;
    watch.until_tasks(ExecutionState::Running, 1).await;
    let collect = Collect::open(cluster, &request, tasks[0]).await;
    (job, task_manager, collect)
}

#[tokio::test]
async fn a_detached_job_prints_into_a_file_that_can_be_read_during_and_after() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let client = cluster.client().await;
    let (job, mut task_manager, mut collect) = run(&mut cluster, &client).await;
    let mut empty = client
        .stream::<OutputChunk>(ClientRequest::JobOutput { job, follow: false })
        .await;
    assert_eq!(empty.next().await, Ok(None));
    let mut follow = client.stream(ClientRequest::JobOutput { job, follow: true }).await;
    collect.print("1\n2\n").await;
    assert_eq!(file(&mut follow, 4).await, "1\n2\n");
    // A line that is longer than what is read at once.
    let long = format!("{}\n{}\n", "x".repeat(200_000), "y".repeat(10));
    collect.print(&long).await;
    collect.finish().await.unwrap();
    let task = ExecutionAttemptId {
        job,
        vertex: 0,
        subtask: 0,
        attempt: 0,
    };
    task_manager.task(task, ExecutionState::Finished).await;
    assert_eq!(file(&mut follow, long.len()).await, long);
    assert_eq!(follow.next().await, Ok(None), "the job has ended");
    let mut again = client.stream(ClientRequest::JobOutput { job, follow: false }).await;
    let whole = format!("1\n2\n{long}");
    assert_eq!(file(&mut again, whole.len()).await, whole);
    cluster.handle.shutdown();
    task_manager.slots_are_freed().await;
    task_manager.shut_down().await;
    within(cluster.handle.join()).await;
    let archived = archive::output_path(&cluster.dir.path().join("archive"), job);
    assert_eq!(std::fs::read_to_string(archived).unwrap(), whole);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_told_to_the_worker() {
    let mut cluster = Cluster::start(Setup::default()).await;
    std::fs::write(cluster.dir.path().join("session/jobs"), b"in the way").unwrap();
    let client = cluster.client().await;
    let (_job, _task_manager, mut collect) = run(&mut cluster, &client).await;
    collect.print("1\n").await;
    let fault = collect.finish().await.unwrap_err();
    assert_eq!(fault.code, "job.output");
    assert!(fault.message.contains("session/jobs"), "{fault}");
}

#[tokio::test]
async fn without_its_client_nothing_more_is_taken() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let client = cluster.client().await;
    let (mut watch, mut task_manager, request, task) = attached(&mut cluster, &client).await;
    let mut collect = Collect::open(&cluster, &request, task).await;
    collect.print("1\n").await;
    watch.until(printed).await;
    drop(watch);
    task_manager.cancel_tasks().await;
    assert_eq!(collect.finish().await.unwrap_err().code, "job.output");
}

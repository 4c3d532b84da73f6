//! Role `worker` as real processes: this test is their TaskManager, on real sockets.

use std::{fs, net::SocketAddr};

use flink_graph::{
    AccumulatorValue, Accumulators, ExecutionGraphEvent, ExecutionState, JobId, JobStatus, TaskFailureKind,
};
use flink_rpc::messages::{FromWorker, ToWorker, Transport};

use crate::harness::{Cluster, Worker, ca, plan, startup, until, wait};

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

#[tokio::test]
async fn two_workers_exchange_over_quic_and_print_to_the_job_manager() {
    let mut cluster = Cluster::start("count", &["--records", "100000"]).await;
    cluster.deploy().await;
    let (outcome, lines, metrics) = cluster.finish().await;
    assert_eq!(outcome.status, JobStatus::Finished, "{outcome:?}");
    let expected: Vec<String> = (0..10).map(|key| format!("{key},10000")).collect();
    assert_eq!(lines, expected);
    let channels: Vec<_> = metrics.iter().flat_map(|metrics| &metrics.channels).collect();
    assert_eq!(channels.iter().map(|channel| channel.records).sum::<u64>(), 100_000);
    let quic: Vec<_> = channels
        .iter()
        .filter(|channel| channel.transport == Transport::Quic)
        .collect();
    assert!(
        quic.iter().any(|channel| channel.records > 0 && channel.bytes > 0),
        "{channels:?}"
    );
    let tasks = metrics.iter().flat_map(|metrics| &metrics.tasks);
    let sources: u64 = tasks
        .clone()
        .filter(|task| task.attempt.vertex == 0)
        .map(|task| task.records_in)
        .sum();
    let sinks: u64 = tasks
        .filter(|task| task.attempt.vertex == 1)
        .map(|task| task.records_out)
        .sum();
    assert_eq!((sources, sinks), (100_000, 10));
}

#[tokio::test]
async fn files_of_both_workers_are_complete() {
    let root = tempfile::tempdir().unwrap();
    let output = root.path().join("counts");
    let mut cluster = Cluster::start("count", &["--output", output.to_str().unwrap()]).await;
    cluster.deploy().await;
    let (outcome, ..) = cluster.finish().await;
    assert_eq!(outcome.status, JobStatus::Finished, "{outcome:?}");
    let text: String = ["part-0-0", "part-1-0"]
        .map(|part| fs::read_to_string(output.join(part)).unwrap())
        .concat();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 10);
    assert_eq!((lines[0], lines[9]), ("0,100", "9,100"));
    assert_eq!(fs::read_dir(&output).unwrap().count(), 2);
}

#[tokio::test]
async fn accumulators_are_told_before_the_last_state() {
    let mut cluster = Cluster::start("accumulators", &["--records", "1000"]).await;
    cluster.deploy().await;
    let (outcome, _, metrics) = cluster.finish().await;
    assert_eq!(outcome.status, JobStatus::Finished);
    let mut merged = Accumulators::default();
    for task in metrics.iter().flat_map(|metrics| &metrics.tasks) {
        merged.merge(&task.accumulators);
    }
    assert_eq!(merged.get("numbers"), Some(Ok(AccumulatorValue::LongCounter(2000))));
}

#[tokio::test]
async fn a_panic_is_told_with_operator_and_subtask() {
    let mut cluster = Cluster::start("panic", &[]).await;
    cluster.deploy().await;
    let (outcome, ..) = cluster.finish().await;
    assert_eq!(outcome.status, JobStatus::Failed);
    let failure = outcome.failure.unwrap();
    assert_eq!(failure.failure.kind, TaskFailureKind::UserCode);
    assert_eq!(failure.failure.operator.as_deref(), Some("touchy"));
    let text = failure.to_string();
    assert!(
        text.starts_with("before -> touchy -> after -> Sink: discard ("),
        "{text}"
    );
    assert!(
        text.contains("panicked at ") && text.ends_with(": cannot stand 500"),
        "{text}"
    );
}

#[tokio::test]
async fn an_error_fails_the_job_and_leaves_no_files() {
    let root = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start("error", &["--output", root.path().to_str().unwrap()]).await;
    cluster.deploy().await;
    let (outcome, ..) = cluster.finish().await;
    let failure = outcome.failure.unwrap().failure;
    assert_eq!(
        (failure.kind, failure.operator.as_deref()),
        (TaskFailureKind::UserCode, Some("parse"))
    );
    assert_eq!(failure.message, "invalid digit found in string");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_running_job_is_cancelled() {
    let root = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start("endless", &["--output", root.path().to_str().unwrap()]).await;
    cluster.deploy().await;
    cluster
        .drive(|execution| execution.state_counts() == [(ExecutionState::Running, 4)])
        .await;
    cluster.handle(ExecutionGraphEvent::Cancel).await;
    let (outcome, ..) = cluster.finish().await;
    assert_eq!((outcome.status, outcome.failure), (JobStatus::Canceled, None));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_job_whose_output_nobody_reads_waits_and_can_be_cancelled() {
    let mut cluster = Cluster::start("numbers", &[]).await;
    cluster.deploy().await;
    cluster
        .drive(|execution| execution.state_counts() == [(ExecutionState::Running, 2)])
        .await;
    let chunk = cluster.printed.recv().await.unwrap();
    assert!(chunk.starts_with(b"0\n") && chunk.ends_with(b"\n"), "{chunk:?}");
    let is_full = || cluster.printed.len() == cluster.printed.max_capacity();
    until("the queue is full that nobody reads", is_full).await;
    // All queues up to the sinks fill up now, and nothing more is printed.
    let printed = |cluster: &Cluster| cluster.workers.iter().map(|worker| worker.records_out()).sum::<u64>();
    let mut before = 0;
    loop {
        cluster.drive_for(std::time::Duration::from_millis(600)).await;
        let now = printed(&cluster);
        if now == before && now > 0 {
            break;
        }
        before = now;
    }
    cluster.handle(ExecutionGraphEvent::Cancel).await;
    let (outcome, ..) = cluster.finish().await;
    assert_eq!((outcome.status, outcome.failure), (JobStatus::Canceled, None));
}

#[tokio::test]
async fn a_killed_worker_is_felt_by_the_other() {
    let mut cluster = Cluster::start("endless", &[]).await;
    cluster.deploy().await;
    cluster
        .drive(|execution| execution.state_counts() == [(ExecutionState::Running, 4)])
        .await;
    cluster.workers[0].child.kill().unwrap();
    let failure = loop {
        if let FromWorker::TaskStateChanged {
            failure: Some(failure), ..
        } = cluster.workers[1].next().await
        {
            break failure;
        }
    };
    assert_eq!(failure.kind, TaskFailureKind::Exchange, "{failure:?}");
}

#[tokio::test]
async fn a_worker_that_builds_another_graph_does_not_start() {
    let (graph, args) = plan("unstable", &[], 2).await.unwrap();
    let mut worker = Worker::start("unstable", startup(&ca(), JobId::random(), &graph, &args, NOWHERE)).await;
    let FromWorker::StartFailed(failure) = worker.next().await else {
        panic!("it started")
    };
    assert_eq!(failure.kind, TaskFailureKind::GraphMismatch);
    assert_eq!(
        failure.message,
        "the worker built another graph than the client: operator `worker`: name is `worker`, in the other graph \
         `client` (`build` must depend on its arguments alone)"
    );
    assert!(!wait(&mut worker.child).await.success());
}

#[tokio::test]
async fn an_output_that_exists_is_refused_before_anything_runs() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("old"), "").unwrap();
    let (graph, args) = plan("count", &["--output", root.path().to_str().unwrap()], 2)
        .await
        .unwrap();
    let mut worker = Worker::start("count", startup(&ca(), JobId::random(), &graph, &args, NOWHERE)).await;
    let FromWorker::StartFailed(failure) = worker.next().await else {
        panic!("it started")
    };
    assert_eq!(failure.operator.as_deref(), Some("Sink: files"));
    assert!(
        failure.message.ends_with("exists and is not an empty directory"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_worker_ends_with_its_task_manager() {
    let (graph, args) = plan("endless", &[], 2).await.unwrap();
    let mut worker = Worker::start("endless", startup(&ca(), JobId::random(), &graph, &args, NOWHERE)).await;
    assert!(matches!(worker.next().await, FromWorker::Ready { .. }));
    worker.hang_up();
    assert!(!wait(&mut worker.child).await.success());
}

#[tokio::test]
async fn a_worker_without_tasks_shuts_down() {
    let (graph, args) = plan("count", &[], 2).await.unwrap();
    let mut worker = Worker::start("count", startup(&ca(), JobId::random(), &graph, &args, NOWHERE)).await;
    assert!(matches!(worker.next().await, FromWorker::Ready { .. }));
    worker.send(&ToWorker::Shutdown).await;
    assert!(wait(&mut worker.child).await.success());
    assert_eq!(worker.stderr(), "");
}

#[tokio::test]
async fn the_client_is_told_why_there_is_no_job() {
    assert_eq!(
        plan("build-error", &[], 1).await.unwrap_err(),
        "invalid digit found in string"
    );
    let error = plan("no-sink", &[], 1).await.unwrap_err();
    assert!(error.starts_with("nothing consumes the output of `map`"), "{error}");
}

#[tokio::test]
async fn the_default_parallelism_and_the_arguments_are_shipped() {
    let (graph, args) = plan("count", &["--records", "5"], 3).await.unwrap();
    assert_eq!(
        graph
            .vertices
            .iter()
            .map(|vertex| vertex.parallelism)
            .collect::<Vec<_>>(),
        [3, 3]
    );
    assert_eq!(graph.edges[0].schema, "u64");
    let mut worker = Worker::start("count", startup(&ca(), JobId::random(), &graph, &args, NOWHERE)).await;
    assert!(matches!(worker.next().await, FromWorker::Ready { .. }));
}

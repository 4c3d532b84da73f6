//! Role `coordinator` as a real process: this test is its JobManager, and that of two workers.

use flink_graph::{JobId, JobStatus, TaskFailureKind};
use flink_rpc::messages::{FromCoordinator, ToCoordinator};

use crate::harness::{Cluster, Coordinator, plan, wait};

#[tokio::test]
async fn two_workers_and_their_coordinator_hear_one_another() {
    let mut cluster = Cluster::start("coordinated", &["--records", "1001"]).await;
    cluster.deploy().await;
    let (outcome, lines, _) = cluster.finish().await;
    assert_eq!(outcome.status, JobStatus::Finished, "{outcome:?}");
    assert_eq!(lines, ["500500", "500500"]);
}

#[tokio::test]
async fn the_graph_says_which_operators_are_coordinated() {
    let (graph, _) = plan("coordinated", &[], 2).await.unwrap();
    let names: Vec<&str> = graph.coordinated_operators().map(|operator| operator.name).collect();
    assert_eq!(names, ["Sink: sums"]);
    let (graph, _) = plan("count", &[], 2).await.unwrap();
    assert_eq!(graph.coordinated_operators().count(), 0);
}

#[tokio::test]
async fn a_coordinator_that_builds_another_graph_or_cannot_start_says_so() {
    let (graph, args) = plan("unstable", &[], 2).await.unwrap();
    let mut coordinator = Coordinator::start("unstable", JobId::random(), &graph, &args).await;
    let FromCoordinator::Failed(failure) = coordinator.next().await else {
        panic!("it started")
    };
    assert_eq!(failure.kind, TaskFailureKind::GraphMismatch);
    assert!(
        failure
            .message
            .starts_with("the coordinator built another graph than the client: "),
        "{failure:?}"
    );
    assert!(!wait(&mut coordinator.child).await.success());

    let (graph, args) = plan("coordinator-start-error", &[], 2).await.unwrap();
    let mut coordinator = Coordinator::start("coordinator-start-error", JobId::random(), &graph, &args).await;
    let FromCoordinator::Failed(failure) = coordinator.next().await else {
        panic!("it started")
    };
    assert_eq!(
        (failure.operator.as_deref(), failure.message.as_str()),
        (Some("Sink: sums"), "nowhere to begin")
    );
    assert!(!wait(&mut coordinator.child).await.success());
}

#[tokio::test]
async fn a_coordinator_ends_when_told_to_and_with_its_job_manager() {
    let (graph, args) = plan("coordinated", &[], 2).await.unwrap();
    let start = || Coordinator::start("coordinated", JobId::random(), &graph, &args);
    let mut coordinator = start().await;
    assert!(matches!(coordinator.next().await, FromCoordinator::Ready));
    coordinator.send(&ToCoordinator::Shutdown).await;
    assert!(wait(&mut coordinator.child).await.success());

    let mut coordinator = start().await;
    assert!(matches!(coordinator.next().await, FromCoordinator::Ready));
    coordinator.send(&ToCoordinator::Finish).await;
    assert!(matches!(coordinator.next().await, FromCoordinator::Done));
    assert!(wait(&mut coordinator.child).await.success());

    let mut coordinator = start().await;
    assert!(matches!(coordinator.next().await, FromCoordinator::Ready));
    assert!(!wait(&mut coordinator.hang_up()).await.success());
}

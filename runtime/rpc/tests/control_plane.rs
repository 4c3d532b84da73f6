//! The control plane over real QUIC: identities, calls, broken connections.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use flink_graph::{ClusterId, JobId};
use flink_rpc::{
    CallError, ClusterCa, FrameReader, FrameWriter, Heartbeat, Responder, Role, connect, listen,
    messages::{ClientRequest, Fault},
    peer_certificate, read_reply,
};
use quinn::{Connection, Endpoint, RecvStream};
use tokio::{sync::mpsc, task::JoinHandle};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const DEADLINE: Duration = Duration::from_secs(20);

fn ca() -> ClusterCa {
    ClusterCa::generate(ClusterId::random(), Duration::from_secs(600)).unwrap()
}

/// A server that answers `ListJobs` with 42, `ClusterStatus` with a stream of numbers until the caller goes away
/// (which it reports), and everything else with a fault.
fn serve(ca: &ClusterCa) -> (SocketAddr, mpsc::Receiver<u64>, JoinHandle<()>) {
    let endpoint = listen(LOOPBACK, &ca.issue(Role::JobManager).unwrap(), Heartbeat::default()).unwrap();
    let address = endpoint.local_addr().unwrap();
    let (gone, reports) = mpsc::channel(4);
    let task = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        assert!(Role::Client.matches(&peer_certificate(&connection).unwrap()));
        while let Ok((send, receive)) = connection.accept_bi().await {
            let request: ClientRequest = FrameReader::new(receive).expect().await.unwrap();
            let mut responder = Responder::new(send);
            match request {
                ClientRequest::ListJobs => responder.send(&42_u64).await.unwrap(),
                ClientRequest::ClusterStatus => {
                    let gone = gone.clone();
                    tokio::spawn(async move {
                        let mut number = 0_u64;
                        while responder.send(&number).await.is_ok() {
                            number += 1;
                            // QUIC streams are not part of tokio's cooperative budget.
                            tokio::task::yield_now().await;
                        }
                        gone.send(number).await.unwrap();
                    });
                }
                _ => responder
                    .fail(&Fault::new("job.not-found", "no such job"))
                    .await
                    .unwrap(),
            }
        }
    });
    (address, reports, task)
}

async fn client(ca: &ClusterCa, address: SocketAddr) -> (Endpoint, Connection) {
    let identity = ca.issue(Role::Client).unwrap();
    connect(address, Role::JobManager, &identity, Heartbeat::default())
        .await
        .unwrap()
}

async fn open(connection: &Connection, request: &ClientRequest) -> FrameReader<RecvStream> {
    let (send, receive) = connection.open_bi().await.unwrap();
    FrameWriter::new(send).send(request).await.unwrap();
    FrameReader::new(receive)
}

async fn call(connection: &Connection, request: &ClientRequest) -> Result<Option<u64>, CallError> {
    read_reply(&mut open(connection, request).await).await
}

#[tokio::test]
async fn calls_are_answered_and_faults_arrive_as_such() {
    let ca = ca();
    let (address, _reports, _server) = serve(&ca);
    let (_endpoint, connection) = client(&ca, address).await;
    assert_eq!(call(&connection, &ClientRequest::ListJobs).await.unwrap(), Some(42));
    match call(&connection, &ClientRequest::CancelJob(JobId::random())).await {
        Err(CallError::Fault(fault)) => assert_eq!(fault.code, "job.not-found"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn dropping_a_stream_cancels_its_call_and_no_other() {
    let ca = ca();
    let (address, mut reports, _server) = serve(&ca);
    let (_endpoint, connection) = client(&ca, address).await;
    let mut numbers = open(&connection, &ClientRequest::ClusterStatus).await;
    for number in 0..1000 {
        assert_eq!(read_reply::<u64>(&mut numbers).await.unwrap(), Some(number));
    }
    drop(numbers);
    let sent = tokio::time::timeout(DEADLINE, reports.recv()).await.unwrap().unwrap();
    assert!(sent >= 1000);
    assert_eq!(call(&connection, &ClientRequest::ListJobs).await.unwrap(), Some(42));
}

#[tokio::test]
async fn a_client_that_vanishes_breaks_its_calls_off() {
    let ca = ca();
    let (address, mut reports, _server) = serve(&ca);
    let (endpoint, connection) = client(&ca, address).await;
    let mut numbers = open(&connection, &ClientRequest::ClusterStatus).await;
    read_reply::<u64>(&mut numbers).await.unwrap();
    drop((numbers, connection, endpoint));
    tokio::time::timeout(DEADLINE, reports.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_caller_learns_that_the_server_died() {
    let ca = ca();
    let (address, _reports, server) = serve(&ca);
    let (_endpoint, connection) = client(&ca, address).await;
    assert_eq!(call(&connection, &ClientRequest::ListJobs).await.unwrap(), Some(42));
    server.abort();
    let closed = tokio::time::timeout(DEADLINE, connection.closed()).await;
    assert!(closed.is_ok());
}

#[tokio::test]
async fn another_clusters_certificate_gets_no_answer() {
    let (ours, theirs) = (ca(), ca());
    let endpoint = listen(LOOPBACK, &ours.issue(Role::JobManager).unwrap(), Heartbeat::default()).unwrap();
    let address = endpoint.local_addr().unwrap();
    let server = tokio::spawn(async move { endpoint.accept().await.unwrap().await.map(|_| ()) });
    let stranger = theirs.issue(Role::Client).unwrap();
    let connected = connect(address, Role::JobManager, &stranger, Heartbeat::default()).await;
    assert!(connected.is_err(), "the stranger does not trust our server either");
    assert!(server.await.unwrap().is_err());
}

#[tokio::test]
async fn a_server_in_another_role_is_refused() {
    let ca = ca();
    let endpoint = listen(LOOPBACK, &ca.issue(Role::TaskManager).unwrap(), Heartbeat::default()).unwrap();
    let address = endpoint.local_addr().unwrap();
    let _server = tokio::spawn(async move { endpoint.accept().await.unwrap().await.map(|_| ()) });
    let identity = ca.issue(Role::Client).unwrap();
    assert!(
        connect(address, Role::JobManager, &identity, Heartbeat::default())
            .await
            .is_err()
    );
}

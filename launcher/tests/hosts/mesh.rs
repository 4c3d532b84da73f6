//! UDP between agents.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use flinkctl::agent::mesh::{BindFailure, DataPorts, MeshSpec, Opened, Source, Target};

use crate::fixture::Sshd;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn spec(nonce: u8, rpc: bool) -> MeshSpec {
    MeshSpec {
        nonce: [nonce; 16],
        data: Some(DataPorts {
            address: HERE,
            first: 0,
            last: 0,
        }),
        rpc: rpc.then(|| SocketAddr::new(HERE, 0)),
        payload: 8952,
    }
}

fn data_port(opened: &Opened) -> u16 {
    opened.data.as_ref().unwrap().as_ref().unwrap().ports[0]
}

fn target(port: u16, from: Source) -> Target {
    Target {
        address: SocketAddr::new(HERE, port),
        from,
    }
}

#[tokio::test]
async fn agents_answer_each_other_and_nobody_else() {
    let sshd = Sshd::start();
    let (_first_connection, first) = sshd.agent().await;
    let (_second_connection, second) = sshd.agent().await;
    let (mut asking, asking_opened) = first.mesh(spec(1, false)).await.unwrap();
    let (mut answering, answering_opened) = second.mesh(spec(1, true)).await.unwrap();
    let (_stranger, stranger) = second.mesh(spec(2, false)).await.unwrap();
    let silent = UdpSocket::bind((HERE, 0)).unwrap();
    let rpc = answering_opened.rpc.clone().unwrap().unwrap();
    let targets = [
        target(data_port(&answering_opened), Source::Worker),
        target(rpc, Source::Client),
        target(data_port(&stranger), Source::Worker),
        target(silent.local_addr().unwrap().port(), Source::Worker),
    ];
    let started = Instant::now();
    let answers = asking.probe(&targets).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    let found: Vec<_> = answers
        .iter()
        .map(|answer| (answer.round_trip.is_some(), answer.whole))
        .collect();
    assert_eq!(found, [(true, true), (true, false), (false, false), (false, false)]);

    // Both ways, and at once where everybody answers.
    let started = Instant::now();
    let back = [target(data_port(&asking_opened), Source::Worker)];
    assert!(answering.probe(&back).await.unwrap()[0].whole);
    assert!(started.elapsed() < Duration::from_secs(1));

    // Its sockets close with the call.
    let port = data_port(&asking_opened);
    drop(asking);
    crate::fixture::eventually("the port is free again", || UdpSocket::bind((HERE, port)).is_ok()).await;
}

#[tokio::test]
async fn what_cannot_be_opened_is_said() {
    let sshd = Sshd::start();
    let (_connection, agent) = sshd.agent().await;
    let holder = UdpSocket::bind((HERE, 0)).unwrap();
    let taken = holder.local_addr().unwrap();
    let mut spec = spec(1, false);
    spec.rpc = Some(taken);
    spec.data = Some(DataPorts {
        address: IpAddr::from([192, 0, 2, 1]),
        first: 0,
        last: 0,
    });
    let (mut mesh, opened) = agent.mesh(spec).await.unwrap();
    assert_eq!(opened.rpc, Some(Err(BindFailure::Taken)));
    assert_eq!(opened.data, Some(Err(BindFailure::NotOurs)));
    assert_eq!(mesh.probe(&[]).await.unwrap(), []);
    assert_eq!(
        agent
            .resolve(vec!["127.0.0.1".to_owned(), "no such name".to_owned()])
            .await
            .unwrap()
            .iter()
            .map(Result::is_ok)
            .collect::<Vec<_>>(),
        [true, false]
    );
}

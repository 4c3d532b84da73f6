//! Connections: limits, jump hosts, and every way in which a login fails.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use flinkctl::ssh::{Connector, ConnectorSettings, HostKeys, SshErrorKind, SshTarget, Transport};
use tokio::task::JoinSet;

use crate::fixture::{Sshd, eventually, run, runs};

#[tokio::test]
async fn a_connection_leaves_nothing() {
    let sshd = Sshd::start();
    let control = sshd.path("control").display().to_string();
    let connection = sshd.connect().await;
    assert_eq!(connection.transport(), Transport::Ssh);
    assert!(connection.is_alive());
    assert_eq!(sshd.control_sockets(), 1);
    connection.close().await;
    assert_eq!(sshd.control_sockets(), 0);
    assert!(!runs(&control));

    let dropped = sshd.connect().await;
    drop(dropped);
    eventually("the dropped master is gone", || {
        sshd.control_sockets() == 0 && !runs(&control)
    })
    .await;
}

#[tokio::test]
async fn a_dropped_connect_leaves_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let sshd = Sshd::start();
    let control = sshd.path("control").display().to_string();
    let mut target = sshd.target("tm01");
    target.port = Some(silent.local_addr().unwrap().port());
    let connector = sshd.connector();
    {
        let connecting = connector.connect(&target);
        tokio::pin!(connecting);
        let accepted = tokio::task::spawn_blocking(move || silent.accept().map(|(stream, _)| (stream, silent)));
        tokio::select! {
            _ = &mut connecting => panic!("nobody answers there"),
            accepted = accepted => drop(accepted.unwrap().unwrap()),
        }
    }
    eventually("the given up master is gone", || !runs(&control)).await;
}

#[tokio::test]
async fn this_machine_needs_no_ssh() {
    let connector = Connector::new(ConnectorSettings {
        ssh: "/nonexistent/ssh".into(),
        ..ConnectorSettings::default()
    });
    let connection = connector.connect(&SshTarget::new("here", "localhost")).await.unwrap();
    assert_eq!(connection.transport(), Transport::Local);
    connection.close().await;
}

async fn failure(connector: &Connector, target: &SshTarget) -> flinkctl::ssh::SshError {
    connector.connect(target).await.map(|_| ()).expect_err("must fail")
}

#[tokio::test]
async fn every_failure_has_its_code() {
    let sshd = Sshd::start();
    let connector = sshd.connector();
    let good = sshd.target("tm01");

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = failure(
        &connector,
        &SshTarget {
            port: Some(free),
            ..good.clone()
        },
    )
    .await;
    assert_eq!(error.code(), "ssh.refused");
    assert!(error.text.contains("Connection refused"), "{}", error.text);

    let error = failure(
        &connector,
        &SshTarget {
            address: "no-such-host.invalid".to_owned(),
            ..good.clone()
        },
    )
    .await;
    assert_eq!(error.code(), "ssh.unresolvable");

    let other = Some(sshd.path("other_id"));
    let error = failure(
        &connector,
        &SshTarget {
            identity_file: other,
            ..good.clone()
        },
    )
    .await;
    assert_eq!(error.code(), "ssh.auth");
    let details = error.details().join("\n");
    assert!(
        details.contains("other_id") && details.contains("server accepts: publickey"),
        "{details}"
    );

    let missing = Some(sshd.path("no_such_key"));
    let error = failure(
        &connector,
        &SshTarget {
            identity_file: missing,
            ..good.clone()
        },
    )
    .await;
    assert_eq!(error.code(), "ssh.key-file");

    let nothing_known = Some(sshd.path("empty_known_hosts"));
    let strict = SshTarget {
        known_hosts: nothing_known,
        host_keys: HostKeys::Strict,
        ..good.clone()
    };
    let error = failure(&connector, &strict).await;
    assert_eq!(error.code(), "ssh.host-key-unknown");

    let without_ssh = Connector::new(ConnectorSettings {
        ssh: "/nonexistent/ssh".into(),
        ..sshd.settings()
    });
    let error = failure(&without_ssh, &good).await;
    assert_eq!(error.code(), "ssh.no-client");

    let long = ConnectorSettings {
        control_directory: Some(sshd.path(&"x".repeat(120))),
        ..sshd.settings()
    };
    let error = failure(&Connector::new(long), &good).await;
    assert_eq!(error.code(), "ssh.control-path");
    assert_eq!(sshd.control_sockets(), 0);
}

#[tokio::test]
async fn a_changed_host_key_is_refused_and_both_keys_are_told() {
    let sshd = Sshd::start();
    sshd.connect().await.close().await;
    let recorded = fs::read_to_string(sshd.path("known_hosts")).unwrap();
    let stranger = fs::read_to_string(sshd.path("other_id.pub")).unwrap();
    let name = recorded.split(' ').next().unwrap();
    let forged = stranger.split(' ').take(2).collect::<Vec<_>>().join(" ");
    fs::write(sshd.path("known_hosts"), format!("# first line\n{name} {forged}\n")).unwrap();

    let error = failure(&sshd.connector(), &sshd.target("tm01")).await;
    assert_eq!(error.code(), "ssh.host-key-changed");
    let SshErrorKind::HostKeyChanged {
        known: Some(known),
        offered: Some(offered),
    } = &error.kind
    else {
        panic!("{error:?}");
    };
    assert!(known.value.ends_with("known_hosts:2"), "{known}");
    assert!(offered.value.starts_with("SHA256:"), "{offered}");
    let help = error.help().unwrap();
    assert!(help.contains(&format!("-R '[127.0.0.1]:{}'", sshd.port)), "{help}");

    let mut careless = sshd.target("tm01");
    careless.host_keys = HostKeys::Off;
    careless.known_hosts = None;
    sshd.connector().connect(&careless).await.unwrap().close().await;
}

#[tokio::test]
async fn a_silent_server_is_given_up_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let sshd = Sshd::start();
    let mut target = sshd.target("tm01");
    target.port = Some(silent.local_addr().unwrap().port());
    target.connect_timeout = Duration::from_secs(1);
    let started = Instant::now();
    let error = failure(&sshd.connector(), &target).await;
    assert_eq!(error.code(), "ssh.timeout");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_server_that_drops_connections_is_tried_four_times() {
    let rude = TcpListener::bind("127.0.0.1:0").unwrap();
    let sshd = Sshd::start();
    let mut target = sshd.target("tm01");
    target.port = Some(rude.local_addr().unwrap().port());
    let counted = std::thread::spawn(move || {
        for _ in 0..4 {
            let (mut stream, _) = rude.accept().unwrap();
            // Reads the client's banner, so that the close is no reset.
            let _some = stream.read(&mut [0; 256]).unwrap();
        }
    });
    let error = failure(&sshd.connector(), &target).await;
    counted.join().unwrap();
    assert_eq!(error.code(), "ssh.throttled");
    assert!(
        matches!(error.kind, SshErrorKind::Throttled { attempts: 4, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn addresses_of_the_new_kind_are_addresses() {
    let sshd = Sshd::with("ListenAddress [::1]:PORT");
    let target = SshTarget {
        address: "::1".to_owned(),
        ..sshd.target("tm01")
    };
    sshd.connector().connect(&target).await.unwrap().close().await;
    let behind = SshTarget {
        jump: vec![format!("[::1]:{}", sshd.port)],
        ..target
    };
    sshd.connector().connect(&behind).await.unwrap().close().await;
}

async fn connect_all(connector: &Connector, targets: Vec<SshTarget>) -> Vec<String> {
    let mut tasks = JoinSet::new();
    for target in targets {
        let connector = connector.clone();
        tasks.spawn(async move { connector.connect(&target).await });
    }
    let mut failures = Vec::new();
    let mut connections = Vec::new();
    while let Some(result) = tasks.join_next().await {
        match result.unwrap() {
            Ok(connection) => connections.push(connection),
            Err(error) => failures.push(error.to_string()),
        }
    }
    for connection in connections {
        connection.close().await;
    }
    failures
}

#[tokio::test(flavor = "multi_thread")]
async fn many_hosts_stay_within_the_limits_of_one_sshd() {
    let sshd = Sshd::start();
    let targets = (0..40).map(|number| sshd.target(&format!("tm{number:02}"))).collect();
    assert_eq!(connect_all(&sshd.connector(), targets).await, Vec::<String>::new());
    assert_eq!(sshd.control_sockets(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_host_sees_one_login() {
    let bastion = Sshd::with("LogLevel VERBOSE\nMaxStartups 2:100:3");
    let sshd = Sshd::start();
    // One key for both: a hop is reached with the identity of the host behind it.
    run(std::process::Command::new("cp")
        .arg(sshd.path("authorized_keys"))
        .arg(bastion.path("authorized_keys")));
    let targets = (0..12)
        .map(|number| SshTarget {
            jump: vec![format!("127.0.0.1:{}", bastion.port)],
            ..sshd.target(&format!("tm{number:02}"))
        })
        .collect();
    let connector = sshd.connector();
    assert_eq!(connect_all(&connector, targets).await, Vec::<String>::new());
    assert_eq!(sshd.control_sockets(), 1, "the jump host's master stays for others");
    drop(connector);
    eventually("the jump host's master goes with the connector", || {
        sshd.control_sockets() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_at_and_behind_a_jump_host_are_told_apart() {
    let bastion = Sshd::start();
    let sshd = Sshd::start();
    let connector = sshd.connector();
    let mut target = sshd.target("tm01");
    target.jump = vec![format!("127.0.0.1:{}", bastion.port)];
    // The bastion does not know the key: one refused login, however many wait for it.
    let (first, second) = tokio::join!(failure(&connector, &target), failure(&connector, &target));
    for error in [first, second] {
        assert_eq!(error.code(), "ssh.jump");
        assert!(error.to_string().contains("refused the login"), "{error}");
    }
    fs::copy(sshd.path("authorized_keys"), bastion.path("authorized_keys")).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let closed = SshTarget {
        port: Some(free),
        ..target.clone()
    };
    let error = failure(&connector, &closed).await;
    assert_eq!(error.code(), "ssh.jump");
    assert!(error.to_string().contains("from there"), "{error}");
    connector.connect(&target).await.unwrap().close().await;
}

//! A launcher that is killed leaves no process and no socket.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use flinkctl::ssh::{Connector, ConnectorSettings, SshTarget};

use crate::fixture::{Sshd, binary, eventually, runs};

const TARGET: &str = "FLINKCTL_TEST_TARGET";

/// No test of its own: the process that [`sigkill_leaves_nothing`] kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the victim of `sigkill_leaves_nothing`"]
async fn victim() {
    let Ok(text) = std::env::var(TARGET) else { return };
    let [dir, port] = text.split(' ').collect::<Vec<_>>()[..] else {
        return;
    };
    let mut target = SshTarget::new("tm01", "127.0.0.1");
    target.port = port.parse().ok();
    target.identity_file = Some(format!("{dir}/id").into());
    target.known_hosts = Some(format!("{dir}/known_hosts").into());
    target.config_file = Some("/dev/null".into());
    let connector = Connector::new(ConnectorSettings {
        helper: env!("CARGO_BIN_EXE_flinkctl").into(),
        control_directory: Some(format!("{dir}/control").into()),
        ..ConnectorSettings::default()
    });
    let connection = connector.connect(&target).await.unwrap();
    let agent = connection
        .agent(binary(), &format!("{dir}/base"), |_| {})
        .await
        .unwrap();
    let _lock = agent.lock("lock", "the victim", Duration::ZERO).await.unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "UP").unwrap();
    out.flush().unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn sigkill_leaves_nothing() {
    let sshd = Sshd::start();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["killed::victim", "--exact", "--ignored", "--nocapture"])
        .env(TARGET, format!("{} {}", sshd.dir.path().display(), sshd.port))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    assert!(
        lines.map_while(Result::ok).any(|line| line.ends_with("UP")),
        "the victim failed"
    );
    let here = sshd.dir.path().display().to_string();
    assert!(runs(&format!("{here}/control")) && runs(&format!("agent serve {here}")));
    assert_eq!(sshd.control_sockets(), 1);
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually("master, agent and socket are gone", || {
        !runs(&format!("{here}/control")) && !runs(&format!("agent serve {here}")) && sshd.control_sockets() == 0
    })
    .await;
    let (_connection, agent) = sshd.agent().await;
    agent
        .lock("lock", "the next", Duration::ZERO)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
}

/// A parent that dies before the child has asked for its death signal would never be noticed.
#[test]
fn a_tether_to_somebody_else_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_flinkctl"))
        .args(["agent", "tether", "1", "echo", "runs"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(126));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "flinkctl agent: the parent is gone\n"
    );
    assert!(output.stdout.is_empty());
}

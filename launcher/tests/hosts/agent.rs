//! Calls to an agent on a host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use flinkctl::agent::protocol::{AgentError, Bytes, Exit, LaunchOutcome, LaunchSpec, Output, ProbeRequest, Program};
use flinkctl::agent::{AgentClient, CallError, CommandEvent};
use flinkctl::process::{ProcessIdentity, StopOutcome};
use flinkctl::ssh::Binary;

use crate::fixture::{Sshd, eventually, runs};

fn agent_error(error: CallError) -> AgentError {
    match error {
        CallError::Agent { error, .. } => error,
        other => panic!("{other}"),
    }
}

/// A launch of a shell that plays a role: takes the payload `secret` off its stdin, then runs the script.
fn role(name: &str, script: &str) -> LaunchSpec {
    LaunchSpec {
        program: Program::Path("/bin/sh".to_owned()),
        args: vec![
            "-c".to_owned(),
            format!("P=$(head -c 10 | tail -c 6); {script}"),
            name.to_owned(),
        ],
        env: vec![("COLOUR".to_owned(), "blue green".to_owned())],
        tag: format!("test-{}/s/{name}/0", std::process::id()),
        log: format!("logs/{name}.log"),
        working_dir: None,
        payload: Bytes(b"secret".to_vec()),
        ready_timeout: Duration::from_secs(10),
    }
}

/// The words that run a shell script.
fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

/// Says "up" on the launch channel.
const READY: &str = r"printf '\002\000\000\000up' >&0; exec </dev/null;";

#[tokio::test]
async fn a_detached_process_outlives_everything_and_is_stopped_by_identity() {
    let sshd = Sshd::start();
    let (connection, agent) = sshd.agent().await;
    let script =
        format!("echo got $P; echo oops >&2; env; ls -l /proc/self/fd; umask; pwd; {READY} exec tail -f /dev/null");
    let LaunchOutcome::Ready { identity, message } = agent.launch(role("jm", &script)).await.unwrap() else {
        panic!("ready");
    };
    assert_eq!(message.0, b"up");
    // While the shell gives way to `tail`, its environment cannot be read.
    eventually(
        "the shell has given way, and the process has the identity that was told",
        || {
            let name = fs::read_to_string(format!("/proc/{}/comm", identity.pid)).unwrap_or_default();
            name == "tail\n" && ProcessIdentity::of(identity.pid).is_ok_and(|now| now == identity)
        },
    )
    .await;
    agent.close().await;
    connection.close().await;
    assert!(identity.is_alive(), "it survives its session");

    let log = fs::read_to_string(sshd.path("base/logs/jm.log")).unwrap();
    assert!(log.contains("got secret\n") && log.contains("oops\n"), "{log}");
    assert!(
        log.contains("COLOUR=blue green\n") && !log.contains("SSH_CONNECTION"),
        "{log}"
    );
    assert!(log.contains("\n0077\n/\n"), "{log}");
    // 0 is the launch channel, 1 and 2 the log, 3 what `ls` itself reads.
    let descriptors = log.lines().filter(|line| line.contains(" -> ")).count();
    assert_eq!(descriptors, 4, "{log}");
    let status = fs::read_to_string(format!("/proc/{}/stat", identity.pid)).unwrap();
    let stat = flinkctl::process::parse_stat(&status).unwrap();
    assert_eq!((stat.session, stat.group), (identity.pid, identity.pid));

    let (_connection, agent) = sshd.agent().await;
    let tag = identity.tag.clone().unwrap();
    let found = agent.list_tagged(&tag).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].identity, identity);
    let stranger = ProcessIdentity {
        start_time: identity.start_time + 1,
        ..identity.clone()
    };
    assert_eq!(
        agent.stop(stranger, Duration::ZERO).await.unwrap(),
        StopOutcome::AlreadyGone
    );
    assert!(identity.is_alive());
    assert_eq!(
        agent.stop(identity.clone(), Duration::from_secs(5)).await.unwrap(),
        StopOutcome::Terminated
    );
    assert!(!identity.is_alive());
    assert_eq!(agent.list_tagged(&tag).await.unwrap(), []);
}

#[tokio::test]
async fn a_process_that_fails_to_start_is_explained() {
    let sshd = Sshd::start();
    let (_connection, agent) = sshd.agent().await;
    // An earlier run's lines are not this run's.
    fs::create_dir_all(sshd.path("base/logs")).unwrap();
    fs::write(sshd.path("base/logs/dies.log"), "old\n").unwrap();
    let outcome = agent
        .launch(role("dies", "echo memory pool too large; exit 3"))
        .await
        .unwrap();
    let LaunchOutcome::Died { exit, log_tail, .. } = outcome else {
        panic!("died");
    };
    assert_eq!((exit, log_tail.as_str()), (Exit::Code(3), "memory pool too large\n"));

    let outcome = agent.launch(role("killed", "kill -9 $$")).await.unwrap();
    assert!(
        matches!(
            outcome,
            LaunchOutcome::Died {
                exit: Exit::Signal(9),
                ..
            }
        ),
        "{outcome:?}"
    );

    let mut slow = role("slow", "echo still loading; sleep 1000 & wait");
    slow.ready_timeout = Duration::from_millis(500);
    let tag = slow.tag.clone();
    let outcome = agent.launch(slow).await.unwrap();
    assert_eq!(
        outcome,
        LaunchOutcome::NotReady {
            log_tail: "still loading\n".to_owned()
        }
    );
    eventually("the slow one is killed with its child", || {
        flinkctl::process::list_tagged(&tag).is_empty()
    })
    .await;

    let mut missing = role("missing", "");
    missing.program = Program::Path("/nonexistent/program".to_owned());
    let error = agent_error(agent.launch(missing).await.unwrap_err());
    let AgentError::NotStarted { program, text } = error else {
        panic!("{error}")
    };
    assert_eq!(program, "/nonexistent/program");
    assert!(text.contains("No such file"), "{text}");
}

#[tokio::test]
async fn a_launch_whose_caller_goes_away_never_happened() {
    let sshd = Sshd::start();
    let (connection, agent) = sshd.agent().await;
    let spec = role("abandoned", "echo here; sleep 1000");
    let tag = spec.tag.clone();
    {
        let launching = agent.launch(spec);
        tokio::pin!(launching);
        tokio::select! {
            outcome = &mut launching => panic!("{outcome:?}"),
            () = eventually("it runs", || !flinkctl::process::list_tagged(&tag).is_empty()) => {}
        }
    }
    eventually("the cancelled one is gone", || {
        flinkctl::process::list_tagged(&tag).is_empty()
    })
    .await;

    let spec = role("abandoned", "echo here; sleep 1000");
    {
        let launching = agent.launch(spec);
        tokio::pin!(launching);
        tokio::select! {
            outcome = &mut launching => panic!("{outcome:?}"),
            () = eventually("it runs", || !flinkctl::process::list_tagged(&tag).is_empty()) => {}
        }
        connection.close().await;
    }
    eventually("it ends with the connection", || {
        flinkctl::process::list_tagged(&tag).is_empty()
    })
    .await;
}

/// Runs a command to its end: how it exited, and what it said on standard output and error.
async fn run(agent: &AgentClient, words: Vec<String>) -> Result<(Exit, (Vec<u8>, Vec<u8>)), CallError> {
    let mut said = (Vec::new(), Vec::new());
    let mut running = agent.exec(words).await?;
    loop {
        match running.next().await? {
            CommandEvent::Output(Output::Stdout, bytes) => said.0.extend(bytes),
            CommandEvent::Output(Output::Stderr, bytes) => said.1.extend(bytes),
            CommandEvent::Exited(exit) => return Ok((exit, said)),
        }
    }
}

#[tokio::test]
async fn commands_stream_and_are_killed_with_their_call() {
    let sshd = Sshd::start();
    let (_connection, agent) = sshd.agent().await;
    let (exit, said) = run(&agent, shell("seq 200000; echo oops >&2; exit 7")).await.unwrap();
    assert_eq!(exit, Exit::Code(7));
    assert_eq!(said.0.iter().filter(|byte| **byte == b'\n').count(), 200_000);
    assert_eq!(said.1, b"oops\n");

    let argv = ["printf", "%s|", "a b", "it's"].map(str::to_owned).to_vec();
    let (_, said) = run(&agent, argv).await.unwrap();
    assert_eq!(said.0, b"a b|it's|");

    let error = run(&agent, vec!["no-such-command".to_owned()]).await.unwrap_err();
    assert!(matches!(agent_error(error), AgentError::NotStarted { .. }));

    let mark = format!("sleep 10{:07}", sshd.port);
    {
        let running = run(&agent, shell(&format!("{mark} & wait")));
        tokio::pin!(running);
        tokio::select! {
            exit = &mut running => panic!("{exit:?}"),
            () = eventually("it runs", || runs(&mark)) => {}
        }
    }
    eventually("the command dies with its call", || !runs(&mark)).await;
}

#[tokio::test]
async fn a_lock_belongs_to_its_channel() {
    let sshd = Sshd::start();
    let (first_connection, first) = sshd.agent().await;
    let (_second_connection, second) = sshd.agent().await;
    let lock = first
        .lock("clusters/c/lock", "ops@a pid 1: flinkctl session stop", Duration::ZERO)
        .await
        .unwrap();
    let error = second
        .lock("clusters/c/lock", "ops@b", Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "lock.held");
    assert!(
        error.to_string().contains("ops@a pid 1: flinkctl session stop"),
        "{error}"
    );
    lock.release().await.unwrap();
    second
        .lock("clusters/c/lock", "ops@b", Duration::ZERO)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();

    let _kept = first.lock("clusters/c/lock", "ops@a", Duration::ZERO).await.unwrap();
    let waiting = second.lock("clusters/c/lock", "ops@b", Duration::from_secs(10));
    // The end of the connection, however it comes, releases the lock.
    let (taken, ()) = tokio::join!(waiting, first_connection.close());
    taken.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn blobs_and_files_travel() {
    let sshd = Sshd::start();
    let (_connection, agent) = sshd.agent().await;
    let file = sshd.path("artifact");
    fs::write(&file, vec![7; 3_000_000]).unwrap();
    let artifact = Binary::of(&file, None).unwrap();
    let (digest, size) = (artifact.digest(), artifact.size());
    assert_eq!(agent.has_blobs(vec![(digest, size)]).await.unwrap(), [false]);
    let mut sent = 0;
    agent.put_blob(&file, digest, size, |bytes| sent = bytes).await.unwrap();
    assert_eq!(sent, size);
    assert_eq!(agent.has_blobs(vec![(digest, size)]).await.unwrap(), [true]);
    let stored = sshd.path(&format!("base/blobs/sha256/{digest}"));
    fs::set_permissions(&stored, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&stored, vec![7; 1000]).unwrap();
    assert_eq!(agent.has_blobs(vec![(digest, size)]).await.unwrap(), [false]);
    agent.put_blob(&file, digest, size, |_| {}).await.unwrap();
    assert_eq!(fs::metadata(&stored).unwrap().len(), size);
    let error = agent
        .put_blob(&file, flink_rpc::messages::BlobDigest([0; 32]), size, |_| {})
        .await
        .unwrap_err();
    assert_eq!(error.code(), "upload.damaged");

    let path = "clusters/c/sessions/s/session.json";
    fs::create_dir_all(sshd.path("base/clusters/c/sessions/s")).unwrap();
    fs::write(sshd.path("base").join(path), b"{}").unwrap();
    assert_eq!(agent.read_file(path, 1 << 20).await.unwrap(), b"{}");
    let names = agent.list_dir("clusters/c/sessions").await.unwrap();
    assert_eq!(
        names
            .iter()
            .map(|entry| (entry.name.as_str(), entry.directory))
            .collect::<Vec<_>>(),
        [("s", true)]
    );
    agent.remove_tree("clusters/c").await.unwrap();
    let error = agent.read_file(path, 1).await.unwrap_err();
    assert_eq!(error.code(), "host.not-found");
    let error = agent.remove_tree("../base").await.unwrap_err();
    assert_eq!(error.code(), "host.file");
}

#[tokio::test]
async fn calls_run_side_by_side_and_a_lost_host_fails_them_all() {
    let sshd = Sshd::start();
    let (connection, agent) = sshd.agent().await;
    let slow = run(&agent, shell("sleep 1000"));
    tokio::pin!(slow);
    for _ in 0..50 {
        tokio::select! {
            exit = &mut slow => panic!("{exit:?}"),
            facts = agent.probe(ProbeRequest::default()) => drop(facts.unwrap()),
        }
    }
    let started = Instant::now();
    let (exit, ()) = tokio::join!(slow, connection.close());
    assert_eq!(exit.unwrap_err().code(), "ssh.lost");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(agent.list_tagged("x").await.unwrap_err().code(), "ssh.lost");
}

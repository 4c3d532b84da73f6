//! A TaskManager in a process of its own, a JobManager of the test's, and real worker processes between them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::exit,
    reason = "a test, and the processes that it starts"
)]

mod fixture;
mod harness;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use flink_graph::{ExecutionState, TaskFailure, TaskFailureKind, WorkerExit};
use flink_rpc::messages::{Fault, FromTaskManager, ToTaskManager};
use harness::{Bench, Session, is_alive, job, kill, program};

const SECOND: Duration = Duration::from_secs(1);

/// The failure that slots are refused with.
async fn refused(session: &mut Session) -> TaskFailure {
    match session.next().await {
        FromTaskManager::SlotsRefused { failure, .. } => failure,
        other => panic!("expected SlotsRefused, got {other:?}"),
    }
}

/// The failure that a worker is lost with.
async fn lost(session: &mut Session) -> TaskFailure {
    match session.next().await {
        FromTaskManager::WorkerLost { failure, .. } => failure,
        other => panic!("expected WorkerLost, got {other:?}"),
    }
}

#[tokio::test]
async fn a_worker_gets_its_environment_and_its_tasks_and_ends_with_its_last_slot() {
    let mut bench = Bench::start().await;
    let mut session = bench.session().await;
    assert_eq!(
        (session.registration.host.as_str(), session.registration.slots),
        ("h1", 4)
    );
    assert_eq!(session.registration.pid, bench.task_manager_pid());

    session.request(1, "", &[1, 2]).await;
    let worker = session.offered(&[1, 2]).await;
    let environment = fs::read(format!("/proc/{worker}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    let tag = format!("FLINKCTL=test/cluster/tm1/worker/{}", job(1));
    let parent = format!("FLINK_PARENT_PID={}", bench.task_manager_pid());
    let tmp = bench.tmp_dir().join(format!("worker-{}-1", job(1)));
    let tmpdir = format!("TMPDIR={}", tmp.display());
    for expected in ["FLINK_ROLE=worker", "SPECIAL=value", &tag, &parent, &tmpdir] {
        assert!(
            environment.split('\0').any(|entry| entry == expected),
            "{expected} in {environment}"
        );
    }
    let dir = fs::read_link(format!("/proc/{worker}/cwd")).unwrap();
    assert_eq!(dir, bench.work_dir().join(format!("worker-{}-1", job(1))));
    assert_eq!(
        fs::metadata(bench.work_dir()).unwrap().permissions().mode() & 0o777,
        0o700
    );

    session.deploy(1, 3).await;
    for _ in 0..3 {
        assert_eq!(session.task_state().await, ExecutionState::Running);
    }
    session.cancel(1, 3).await;
    for _ in 0..3 {
        assert_eq!(session.task_state().await, ExecutionState::Canceled);
    }
    session.free(&[1]).await;
    session.request(1, "", &[3]).await;
    assert_eq!(session.offered(&[3]).await, worker, "the job's one worker");
    session.free(&[2, 3]).await;
    harness::until("the worker is gone", || !is_alive(worker)).await;
    harness::until("its directories are gone", || !dir.exists() && !tmp.exists()).await;
    session.send(&ToTaskManager::Shutdown).await;
    assert_eq!(bench.outcome().await, "Ok(ShutDown)");
    assert!(!bench.work_dir().exists() && !bench.tmp_dir().exists());
    session.says_no_more().await;
}

#[tokio::test]
async fn a_killed_worker_is_lost_within_a_second_and_other_jobs_go_on() {
    let mut bench = Bench::start().await;
    let mut session = bench.session().await;
    session.request(1, "", &[1]).await;
    let victim = session.offered(&[1]).await;
    session.request(2, "", &[2]).await;
    let other = session.offered(&[2]).await;
    kill(victim, "KILL");
    let killed = Instant::now();
    let failure = lost(&mut session).await;
    assert!(killed.elapsed() < SECOND, "{:?}", killed.elapsed());
    assert_eq!(failure.kind, TaskFailureKind::WorkerDied(WorkerExit::Signal(9)));
    assert!(
        failure
            .message
            .starts_with("h1: the worker process ended: signal 9 (SIGKILL)"),
        "{}",
        failure.message
    );
    assert!(is_alive(other));
    session.request(1, "", &[3]).await;
    assert_ne!(session.offered(&[3]).await, victim);
}

#[tokio::test]
async fn a_worker_that_aborts_is_reported_with_its_last_lines() {
    let mut bench = Bench::start().await;
    let mut session = bench.session().await;
    session.request(1, "abort when deployed", &[1]).await;
    session.offered(&[1]).await;
    session.deploy(1, 1).await;
    let failure = lost(&mut session).await;
    assert_eq!(failure.kind, TaskFailureKind::WorkerDied(WorkerExit::Signal(6)));
    assert!(
        failure.message.contains("\n  fixture: aborting on purpose"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn what_a_worker_said_before_it_ended_arrives_before_its_end() {
    let mut bench = Bench::start().await;
    let mut session = bench.session().await;
    session.request(1, "finish and exit when deployed", &[1]).await;
    session.offered(&[1]).await;
    session.deploy(1, 500).await;
    for _ in 0..500 {
        assert_eq!(session.task_state().await, ExecutionState::Finished);
    }
    assert_eq!(
        lost(&mut session).await.kind,
        TaskFailureKind::WorkerDied(WorkerExit::Code(0))
    );
}

#[tokio::test]
async fn a_worker_that_does_not_start_says_why() {
    let mut bench = Bench::start().await;
    let mut session = bench.session().await;
    let cases = [
        ("exit before ready", "exit code 3\nlast lines of its output:\n"),
        ("refuse to start", "the graph differs at `map`"),
    ];
    for (behaviour, expected) in cases {
        session.request(1, behaviour, &[1]).await;
        let failure = refused(&mut session).await;
        assert!(failure.message.contains(expected), "{}", failure.message);
    }
    session.request(1, "", &[1]).await;
    session.offered(&[1]).await;
}

#[tokio::test]
async fn a_program_that_the_kernel_does_not_execute_is_a_clear_failure() {
    let mut bench = Bench::start().await;
    let mut session = bench.session().await;
    let cases: [(&[u8], &str); 2] = [
        (b"\x7fELF, but no more than that", "Exec format error"),
        (
            b"#!/no/such/interpreter\n",
            "its dynamic loader or interpreter is not installed on this host",
        ),
    ];
    for (bytes, expected) in cases {
        session.request_program(1, bytes, &[1]).await;
        let failure = refused(&mut session).await;
        assert_eq!(failure.kind, TaskFailureKind::WorkerStart);
        assert!(
            failure.message.starts_with("h1: could not execute"),
            "{}",
            failure.message
        );
        assert!(failure.message.contains(expected), "{}", failure.message);
    }
    let work_dir = bench.work_dir();
    let directories = || {
        fs::read_dir(&work_dir)
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .count()
    };
    harness::until("the workers' directories are gone", || directories() == 0).await;
}

#[tokio::test]
async fn a_damaged_program_is_refused_and_not_kept() {
    let mut bench = Bench::start().await;
    let mut session = bench.session().await;
    let cases = [
        (harness::Damage::Altered, "is damaged: expected SHA-256"),
        (harness::Damage::Truncated, "instead of"),
        (harness::Damage::Longer, "instead of"),
        (harness::Damage::Missing, "no such blob"),
    ];
    for (damage, expected) in cases {
        bench.damage(Some(damage));
        session.request(1, "", &[1]).await;
        let failure = refused(&mut session).await;
        assert!(failure.message.contains(expected), "{damage:?}: {}", failure.message);
        assert_eq!(bench.cached(), Vec::<String>::new(), "{damage:?}");
    }
    bench.damage(None);
    session.request(1, "", &[1]).await;
    session.offered(&[1]).await;
}

#[tokio::test]
async fn a_program_is_fetched_once_and_a_cached_file_that_was_altered_is_replaced() {
    let mut bench = Bench::start().await;
    let mut session = bench.session().await;
    let stale = bench.blob_dir().join(".0000.1-1.part");
    fs::write(&stale, "left by a killed process").unwrap();
    session.request(1, "", &[1]).await;
    session.request(2, "", &[2]).await;
    let (first, second) = (session.next().await, session.next().await);
    assert!(matches!(
        (first, second),
        (
            FromTaskManager::SlotsOffered { .. },
            FromTaskManager::SlotsOffered { .. }
        )
    ));
    session.request(3, "", &[3]).await;
    session.offered(&[3]).await;
    assert_eq!(bench.fetches(), 1);
    assert!(!stale.exists());

    let [name] = &bench.cached()[..] else {
        panic!("{:?}", bench.cached())
    };
    let file = bench.blob_dir().join(name);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o500);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
    session.request(4, "", &[4]).await;
    session.offered(&[4]).await;
    assert_eq!(bench.fetches(), 1, "not taken at its word, but found good");
    session.free(&[1, 4]).await;

    fs::remove_file(&file).unwrap();
    fs::write(&file, "#!/bin/sh\necho evil\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
    session.request(5, "", &[5]).await;
    session.offered(&[5]).await;
    assert_eq!(bench.fetches(), 2);
}

#[tokio::test]
async fn a_cache_that_others_may_write_to_is_not_used() {
    let mut bench = Bench::prepare().await;
    fs::set_permissions(bench.blob_dir(), fs::Permissions::from_mode(0o777)).unwrap();
    bench.start_task_manager().await;
    let outcome = bench.outcome().await;
    assert!(outcome.contains("others may write to it (mode 777)"), "{outcome}");
    assert!(!bench.work_dir().exists());
}

#[tokio::test]
async fn a_full_disk_is_named() {
    let mut bench = Bench::prepare().await;
    let Some(_mounted) = TinyDisk::mount(bench.blob_dir()) else {
        eprintln!("SKIPPED a_full_disk_is_named: mounting a tmpfs takes root");
        return;
    };
    bench.start_task_manager().await;
    let mut session = bench.session().await;
    session.request_program(1, &vec![b'x'; 1 << 20], &[1]).await;
    let message = refused(&mut session).await.message;
    let expected = format!(
        "h1: no space left on the disk while writing {}",
        bench.blob_dir().display()
    );
    assert!(message.starts_with(&expected), "{message}");
    assert_eq!(bench.cached(), Vec::<String>::new(), "the space is free again");
    session.request(1, "", &[1]).await;
    session.offered(&[1]).await;
    session.send(&ToTaskManager::Shutdown).await;
    bench.outcome().await;
}

/// 64 KiB that fill up soon.
struct TinyDisk(PathBuf);

impl TinyDisk {
    fn mount(at: PathBuf) -> Option<Self> {
        let mount = ["-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs"];
        let done = Command::new("mount").args(mount).arg(&at).output();
        done.is_ok_and(|done| done.status.success()).then_some(Self(at))
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _left = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[tokio::test]
async fn workers_die_with_their_killed_task_manager() {
    let mut bench = Bench::start().await;
    let mut session = bench.session().await;
    session.request(1, "", &[1]).await;
    let first = session.offered(&[1]).await;
    session.request(2, "", &[2]).await;
    let workers = [first, session.offered(&[2]).await];
    kill(bench.task_manager_pid(), "KILL");
    let killed = Instant::now();
    harness::until("the workers are gone", || {
        workers.iter().all(|worker| !is_alive(*worker))
    })
    .await;
    assert!(killed.elapsed() < SECOND, "{:?}", killed.elapsed());
}

#[tokio::test]
async fn sigterm_is_announced_and_leaves_nothing() {
    let mut bench = Bench::start().await;
    let mut session = bench.session().await;
    session.request(1, "", &[1]).await;
    let worker = session.offered(&[1]).await;
    kill(bench.task_manager_pid(), "TERM");
    assert!(matches!(session.next().await, FromTaskManager::Leaving { .. }));
    assert_eq!(bench.outcome().await, "Ok(Terminated)");
    assert!(!is_alive(worker));
    assert!(!bench.work_dir().exists());
    session.says_no_more().await;
}

#[tokio::test]
async fn a_worker_that_heeds_nothing_is_killed_with_all_that_it_started() {
    let mut bench = Bench::start().await;
    let mut session = bench.session().await;
    let stubborn = program("trap '' TERM; sleep 60 & echo $! >sleeper");
    session.request_behaviour(1, &stubborn, "ignore shutdown", &[1]).await;
    let worker = session.offered(&[1]).await;
    let sleeper = fs::read_to_string(format!("/proc/{worker}/cwd/sleeper")).unwrap();
    let sleeper: u32 = sleeper.trim().parse().unwrap();
    assert!(is_alive(sleeper));
    session.free(&[1]).await;
    let freed = Instant::now();
    harness::until("the worker is gone", || !is_alive(worker)).await;
    let took = freed.elapsed();
    assert!(
        (harness::STOP_GRACE + SECOND..harness::STOP_GRACE + 3 * SECOND).contains(&took),
        "{took:?}"
    );
    harness::until("what it started is gone", || !is_alive(sleeper)).await;
    session.send(&ToTaskManager::Shutdown).await;
    assert_eq!(bench.outcome().await, "Ok(ShutDown)");
    session.says_no_more().await;
}

#[tokio::test]
async fn what_a_dead_worker_started_ends_with_it() {
    let mut bench = Bench::start().await;
    let mut session = bench.session().await;
    let parent = program("sleep 60 & echo $! >sleeper");
    session.request_behaviour(1, &parent, "", &[1]).await;
    let worker = session.offered(&[1]).await;
    let sleeper = fs::read_to_string(format!("/proc/{worker}/cwd/sleeper"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(is_alive(sleeper));
    // Not SIGQUIT: the background jobs of a script are born with it ignored, and so would the worker be.
    kill(worker, "ABRT");
    assert_eq!(
        lost(&mut session).await.kind,
        TaskFailureKind::WorkerDied(WorkerExit::Signal(6))
    );
    harness::until("what it started is gone", || !is_alive(sleeper)).await;
}

#[tokio::test]
async fn a_worker_that_closes_its_socket_is_killed_and_lost() {
    let mut bench = Bench::start().await;
    let mut session = bench.session().await;
    session.request(1, "fall silent when deployed", &[1]).await;
    let worker = session.offered(&[1]).await;
    session.deploy(1, 1).await;
    let failure = lost(&mut session).await;
    assert!(
        failure
            .message
            .contains("it closed its control socket; signal 9 (SIGKILL)"),
        "{}",
        failure.message
    );
    assert!(!is_alive(worker));
}

#[tokio::test]
async fn a_task_manager_comes_back_with_nothing_left_of_before() {
    let mut bench = Bench::start().await;
    let mut session = bench.session().await;
    session.request(1, "", &[1, 2, 3, 4]).await;
    let worker = session.offered(&[1, 2, 3, 4]).await;
    session.break_off();
    let mut session = bench.session().await;
    assert_eq!(session.registration.last_epoch, 1);
    assert!(!is_alive(worker), "gone before the registration");
    session.request(1, "", &[1, 2, 3, 4]).await;
    assert_ne!(session.offered(&[1, 2, 3, 4]).await, worker);
}

#[tokio::test]
async fn without_its_job_manager_everything_ends_by_itself() {
    let mut bench = Bench::start().await;
    let mut session = bench.session().await;
    session.request(1, "ignore shutdown", &[1]).await;
    let worker = session.offered(&[1]).await;
    bench.silence_job_manager();
    session.break_off();
    let lost = Instant::now();
    assert_eq!(bench.outcome().await, "Ok(Orphaned)");
    let took = lost.elapsed();
    assert!(took < harness::DEATH_TIMEOUT + SECOND, "{took:?}");
    assert!(took > harness::DEATH_TIMEOUT / 2, "{took:?}");
    assert!(!is_alive(worker));
    assert!(!bench.work_dir().exists());
}

#[tokio::test]
async fn a_refused_task_manager_ends_at_once_and_says_why() {
    let mut bench = Bench::prepare().await;
    bench.refuse(Fault::new("taskmanager.unknown", "not one of this cluster's"));
    bench.start_task_manager().await;
    let outcome = bench.outcome().await;
    assert!(
        outcome.contains("refused the TaskManager: not one of this cluster's"),
        "{outcome}"
    );
    assert!(!bench.work_dir().exists());
}

#[tokio::test]
async fn a_job_manager_that_comes_late_is_found() {
    let mut bench = Bench::prepare().await;
    bench.silence_job_manager();
    bench.start_task_manager().await;
    harness::until("it is up", || bench.work_dir().exists()).await;
    bench.restart_job_manager();
    assert_eq!(bench.session().await.registration.last_epoch, 0);
}

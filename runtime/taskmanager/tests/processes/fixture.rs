//! The processes of the tests, in this very test binary.
//!
//! A worker must be a file that is executed without arguments. The tests' artifacts are shell scripts that execute
//! the test binary again with the name of one test, [`worker`]; it behaves as the job's arguments say.
//! [`task_manager`] is the TaskManager. Both are no-ops in an ordinary test run.

use std::{
    io::{Read, Write},
    net::Ipv4Addr,
    os::unix::process::parent_id,
};

use flink_graph::{ExecutionState, TaskFailure, TaskFailureKind};
use flink_rpc::{
    FrameReader, FrameWriter,
    messages::{FromWorker, TaskManagerStartup, ToWorker},
};
use flink_taskmanager::{ENV_PARENT_PID, ENV_ROLE, TaskManager};
use rustix::process::Signal;
use tokio::net::UnixStream;

/// Set for the process that is to be a TaskManager.
pub(crate) const ENV_TASK_MANAGER: &str = "FLINK_TEST_TASK_MANAGER";

/// Begins the line that tells how the TaskManager ended.
pub(crate) const OUTCOME: &str = "outcome: ";

#[test]
fn task_manager() {
    if std::env::var_os(ENV_TASK_MANAGER).is_none() || std::env::var_os(ENV_ROLE).is_some() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcome = runtime.block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        let mut startup = Vec::new();
        std::io::stdin().read_to_end(&mut startup).unwrap();
        let startup: TaskManagerStartup = FrameReader::new(&startup[..]).expect().await.unwrap();
        let shutdown = async { terminate.recv().await.unwrap() };
        TaskManager::run(startup, shutdown, |_| {}).await
    });
    let outcome = outcome.map_err(|error| error.to_string());
    writeln!(std::io::stdout(), "\n{OUTCOME}{outcome:?}").unwrap();
}

#[test]
fn worker() {
    if std::env::var(ENV_ROLE).as_deref() != Ok("worker") {
        return;
    }
    // What role `worker` of a job program does first, too.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    assert_eq!(std::env::var(ENV_PARENT_PID).unwrap(), parent_id().to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let code = runtime.block_on(behave());
    std::process::exit(code);
}

/// Does what the job's arguments say; returns the exit code.
async fn behave() -> i32 {
    let socket = rustix::io::dup(rustix::stdio::stdin()).unwrap();
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true).unwrap();
    let (read, write) = UnixStream::from_std(socket).unwrap().into_split();
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    let ToWorker::Start(startup) = reader.expect().await.unwrap() else {
        return 90;
    };
    assert!(startup.tmp_dir.is_dir() && startup.tmp_dir == std::env::temp_dir());
    let behaviour = String::from_utf8(startup.args).unwrap();
    match behaviour.as_str() {
        "exit before ready" => return 3,
        "refuse to start" => {
            let failure = TaskFailure::new(TaskFailureKind::GraphMismatch, "the graph differs at `map`");
            writer.send(&FromWorker::StartFailed(failure)).await.unwrap();
            return 1;
        }
        _ => {}
    }
    // How the test learns the process id.
    let data_address = (Ipv4Addr::from(std::process::id()), 1).into();
    writer.send(&FromWorker::Ready { data_address }).await.unwrap();
    loop {
        let (tasks, state) = match reader.next().await {
            Ok(Some(ToWorker::Deploy { tasks, .. })) => (tasks, ExecutionState::Running),
            Ok(Some(ToWorker::CancelTasks(tasks))) => (tasks, ExecutionState::Canceled),
            Ok(Some(ToWorker::Shutdown)) if behaviour == "ignore shutdown" => continue,
            Ok(_) | Err(_) => return 0,
        };
        let state = match behaviour.as_str() {
            "abort when deployed" => {
                eprintln!("fixture: aborting on purpose");
                std::process::abort();
            }
            "fall silent when deployed" => {
                // Closes both copies of the socket.
                rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null").unwrap()).unwrap();
                drop((reader, writer));
                return std::future::pending().await;
            }
            "finish and exit when deployed" => ExecutionState::Finished,
            _ => state,
        };
        for attempt in tasks {
            let message = FromWorker::TaskStateChanged {
                attempt,
                state,
                failure: None,
            };
            writer.send(&message).await.unwrap();
        }
        if state == ExecutionState::Finished {
            return 0;
        }
    }
}

//! Jobs with a coordinator: a real process beside a real JobManager. The tasks are the test's.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use flink_graph::{ExecutionAttemptId, ExecutionState, JobFailure, JobId, JobStatus, TaskFailureKind, WorkerExit};
use flink_rpc::messages::{AttachMode, ClientRequest, FromTaskManager, JobEvent, OperatorEvent, ToTaskManager};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    fixture::{self, SOURCE},
    harness::{Client, Cluster, Replies, Setup, TaskManager},
};

/// A job that was submitted.
struct Job {
    cluster: Cluster,
    client: Client,
    id: JobId,
    watch: Replies<JobEvent>,
}

impl Job {
    /// It has no TaskManagers yet.
    async fn submitted(behaviour: &str, parallelism: u32) -> Self {
        let setup = Setup {
            hosts: vec![1; parallelism as usize],
            stop_grace: Duration::from_secs(1),
            ..Setup::default()
        };
        let cluster = Cluster::start(setup).await;
        let artifact = fixture::install(&cluster.dir.path().join("blobs"));
        let client = cluster.client().await;
        let graph = fixture::program(behaviour, parallelism).graph().as_ref().clone();
        let args = format!("{behaviour}/{parallelism}").into_bytes();
        let id = client.submit_job(graph, artifact, args, false).await.unwrap();
        let watch = client.watch(id, AttachMode::Watch).await;
        Self {
            cluster,
            client,
            id,
            watch,
        }
    }

    /// Its tasks run. Sorted by subtask; with them comes the coordinator's process id.
    async fn running(behaviour: &str, parallelism: u32) -> (Self, Vec<Task>, u32) {
        let mut job = Self::submitted(behaviour, parallelism).await;
        let (mut task_managers, mut tasks, mut pids) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..parallelism {
            task_managers.push(job.cluster.task_manager(1).await);
        }
        for task_manager in &mut task_managers {
            task_manager.take_slots().await;
        }
        for mut task_manager in task_managers {
            let attempts = task_manager.run_tasks().await;
            tasks.push(Task {
                task_manager,
                attempt: attempts[0],
            });
        }
        tasks.sort_by_key(|task| task.attempt.subtask);
        for task in &mut tasks {
            pids.push(task.hear().await.parse().unwrap());
        }
        job.watch.until_tasks(ExecutionState::Running, parallelism).await;
        assert!(pids.iter().all(|pid| *pid == pids[0]), "one process for all");
        (job, tasks, pids[0])
    }

    async fn failure(&mut self) -> JobFailure {
        let report = self.watch.report().await;
        assert_eq!(report.outcome.status, JobStatus::Failed);
        report.outcome.failure.unwrap()
    }

    fn tmp_dir(&self) -> PathBuf {
        self.cluster.dir.path().join("tmp/jobmanager")
    }

    /// Nothing of the coordinator is left, neither now nor when the cluster has ended.
    async fn ends_clean(self, pid: u32, tasks: Vec<Task>) {
        assert!(!is_alive(pid), "the job does not end before its coordinator");
        let tmp_dir = self.tmp_dir();
        until("the directories are removed", || is_empty(&tmp_dir)).await;
        self.cluster.handle.shutdown();
        for task in tasks {
            task.shut_down().await;
        }
        let session_dir = self.cluster.dir.path().join("session");
        let dir = self.cluster.exit_keeping_dir().await;
        assert!(!tmp_dir.exists() && !session_dir.join("coordinators").exists());
        drop(dir);
    }
}

/// A task that runs on a TaskManager of its own.
struct Task {
    task_manager: TaskManager,
    attempt: ExecutionAttemptId,
}

impl Task {
    async fn say(&mut self, text: &str) {
        let event = OperatorEvent {
            attempt: self.attempt,
            operator: SOURCE,
            payload: text.as_bytes().to_vec().try_into().unwrap(),
        };
        self.task_manager.say(FromTaskManager::OperatorEvent(event)).await;
    }

    /// The next thing that the coordinator says to this task; meanwhile, how many of its events were handled is taken as it comes.
    async fn hear(&mut self) -> String {
        loop {
            let event = match self.task_manager.next().await {
                ToTaskManager::OperatorEvent(event) => Some(event),
                ToTaskManager::EventsHandled(handled) => {
                    assert_eq!((handled.attempt, handled.operator), (self.attempt, SOURCE));
                    None
                }
                other => panic!("{other:?}"),
            };
            self.task_manager
                .say(FromTaskManager::EventsArrived {
                    job: self.attempt.job,
                    messages: 1,
                })
                .await;
            if let Some(event) = event {
                assert_eq!((event.attempt, event.operator), (self.attempt, SOURCE));
                return String::from_utf8(event.payload.into()).unwrap();
            }
        }
    }

    /// Says much, and hears an answer to each of it.
    async fn converse(&mut self) {
        let subtask = self.attempt.subtask;
        for round in 0..20 {
            for number in 0..5 {
                self.say(&format!("{round}.{number}")).await;
            }
            for number in 0..5 {
                assert_eq!(self.hear().await, format!("{subtask}: {round}.{number}"));
            }
        }
    }

    async fn finish(&mut self) {
        self.task_manager.task(self.attempt, ExecutionState::Finished).await;
    }

    /// Gives its slot back and ends with its TaskManager.
    async fn shut_down(mut self) {
        while !matches!(self.task_manager.next().await, ToTaskManager::FreeSlots(_)) {}
        self.task_manager.shut_down().await;
    }

    /// Takes what comes until the order to cancel, and carries that out.
    async fn cancel(&mut self) {
        loop {
            match self.task_manager.next().await {
                ToTaskManager::CancelTasks(tasks) => {
                    assert_eq!(tasks, [self.attempt]);
                    return self.task_manager.task(self.attempt, ExecutionState::Canceled).await;
                }
                ToTaskManager::OperatorEvent(_) | ToTaskManager::EventsHandled(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn is_alive(pid: u32) -> bool {
    PathBuf::from(format!("/proc/{pid}")).exists()
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// Waits for what another process or task brings about.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(crate::harness::DEADLINE, waiting).await;
    assert!(waited.is_ok(), "waited in vain: {what}");
}

#[tokio::test]
async fn events_reach_the_right_subtask_in_order() {
    let (job, mut tasks, pid) = Job::running("obey", 3).await;
    assert!(!is_empty(&job.tmp_dir()), "it has a directory for temporary files");
    let [first, second, third] = &mut tasks[..] else {
        panic!()
    };
    tokio::join!(first.converse(), second.converse(), third.converse());
    tasks[2].say("later").await;
    assert_eq!(tasks[0].hear().await, "woken");
    for task in &mut tasks {
        task.finish().await;
    }
    let mut job = job;
    assert_eq!(job.watch.report().await.outcome.status, JobStatus::Finished);
    job.ends_clean(pid, tasks).await;
}

#[tokio::test]
async fn a_coordinator_that_is_killed_fails_the_job_with_its_signal() {
    let (mut job, mut tasks, pid) = Job::running("obey", 1).await;
    kill(pid, Signal::KILL);
    tasks[0].cancel().await;
    let failure = job.failure().await;
    assert_eq!(failure.host.as_deref(), Some("jm"));
    assert_eq!(failure.failure.kind, TaskFailureKind::WorkerDied(WorkerExit::Signal(9)));
    let message = failure.failure.message;
    let expected =
        "the coordinator process of `Source: numbers` ended: signal 9 (SIGKILL)\nlast lines of its output:\n";
    assert!(message.starts_with(expected), "{message}");
    assert!(message.contains("fixture: starting"), "{message}");
    job.ends_clean(pid, tasks).await;
}

#[tokio::test]
async fn errors_and_panics_fail_the_job_with_the_operators_name() {
    for (order, expected) in [
        ("error", "no more splits"),
        ("panic", "cannot stand 0"),
        ("flood", "too far ahead"),
    ] {
        let (mut job, mut tasks, pid) = Job::running("obey", 1).await;
        tasks[0].say(order).await;
        tasks[0].cancel().await;
        let failure = job.failure().await;
        assert_eq!(failure.host.as_deref(), Some("jm"));
        let failure = failure.failure;
        assert_eq!(
            (failure.kind, failure.operator.as_deref()),
            (TaskFailureKind::UserCode, Some("Source: numbers"))
        );
        assert!(failure.message.contains(expected), "{}", failure.message);
        job.ends_clean(pid, tasks).await;
    }
}

#[tokio::test]
async fn a_crash_is_told_with_its_signal() {
    let (mut job, mut tasks, pid) = Job::running("obey", 1).await;
    tasks[0].say("abort").await;
    tasks[0].cancel().await;
    let failure = job.failure().await.failure;
    assert_eq!(failure.kind, TaskFailureKind::WorkerDied(WorkerExit::Signal(6)));
    job.ends_clean(pid, tasks).await;
}

#[tokio::test]
async fn what_a_coordinator_does_at_the_end_can_fail_the_job() {
    let (mut job, mut tasks, pid) = Job::running("end error", 2).await;
    for task in &mut tasks {
        task.finish().await;
    }
    let failure = job.failure().await.failure;
    assert_eq!(
        (failure.operator.as_deref(), failure.message.as_str()),
        (Some("Source: numbers"), "could not commit")
    );
    job.ends_clean(pid, tasks).await;
}

#[tokio::test]
async fn without_its_coordinator_no_task_is_deployed() {
    for (behaviour, expected) in [("build error", "`build` failed: as told"), ("start error", "as told")] {
        let mut job = Job::submitted(behaviour, 1).await;
        let report = job.watch.report().await;
        let task = &report.details.vertices[0].subtasks[0];
        assert_eq!((task.state, &task.host), (ExecutionState::Canceled, &None));
        let failure = report.outcome.failure.unwrap().failure;
        assert_eq!(failure.message, expected);
        let is_users = behaviour == "start error";
        assert_eq!(failure.operator.as_deref(), is_users.then_some("Source: numbers"));
    }
}

#[tokio::test]
async fn cancelling_ends_it_whatever_it_does() {
    for hangs in [false, true] {
        let (mut job, mut tasks, pid) = Job::running("obey", 1).await;
        if hangs {
            tasks[0].say("hang").await;
        }
        job.client.call::<()>(ClientRequest::CancelJob(job.id)).await.unwrap();
        tasks[0].cancel().await;
        assert_eq!(job.watch.report().await.outcome.status, JobStatus::Canceled);
        job.ends_clean(pid, tasks).await;
    }
}

#[tokio::test]
async fn it_ends_with_its_job_manager() {
    let (job, _tasks, pid) = Job::running("obey", 1).await;
    drop(job.cluster.handle);
    until("the process is gone", || !is_alive(pid)).await;
}

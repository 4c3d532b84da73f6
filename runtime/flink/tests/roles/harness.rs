//! Plays launcher, JobManager and TaskManagers for processes of the test job program.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use flink_graph::{
    AllocationId, ClusterId, ExecutionGraph, ExecutionGraphAction as Action, ExecutionGraphEvent as Event,
    ExecutionState, JobGraph, JobId, JobOutcome, SlotOffer, TaskManagerId,
};
use flink_rpc::{
    ClusterCa, FrameReader, FrameWriter, Heartbeat, Responder, Role,
    messages::{
        COORDINATOR_WINDOW, CollectAck, CoordinatorStartup, FromCoordinator, FromProgram, FromWorker, OutputChunk,
        PROTOCOL_VERSION, ToCoordinator, ToProgram, ToWorker, WorkerMetrics, WorkerRequest, WorkerStartup,
    },
};
use tokio::{
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

/// The test job program: an example of this crate, for want of a better place.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test
        .parent()
        .and_then(std::path::Path::parent)
        .unwrap()
        .join("examples/test-jobs");
    assert!(
        program.exists(),
        "{} is missing: `cargo build -p flink --examples`",
        program.display()
    );
    program
}

/// A command that runs a job of the test program by itself.
pub(crate) fn local(job: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .env("TEST_JOB", job)
        .env("FLINK_PARALLELISM", "2")
        .env_remove("RUST_BACKTRACE")
        .args(args);
    command
}

pub(crate) fn in_role(
    role: &str,
    job: &str,
    args: &[&str],
) -> (Child, FrameReader<OwnedReadHalf>, FrameWriter<OwnedWriteHalf>) {
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    let child = local(job, args)
        .env("FLINK_ROLE", role)
        .env("FLINK_PARENT_PID", std::process::id().to_string())
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    ours.set_nonblocking(true).unwrap();
    let (read, write) = UnixStream::from_std(ours).unwrap().into_split();
    (child, FrameReader::new(read), FrameWriter::new(write))
}

/// Has a job declared in role `client`.
pub(crate) async fn plan(job: &str, args: &[&str], default_parallelism: u32) -> Result<(JobGraph, Vec<u8>), String> {
    let (mut child, mut reader, mut writer) = in_role("client", job, args);
    writer.send(&ToProgram::Plan { default_parallelism }).await.unwrap();
    let reply: FromProgram = reader.expect().await.unwrap();
    assert!(wait(&mut child).await.success());
    match reply {
        FromProgram::Planned { protocol, graph, args } => {
            assert_eq!(protocol, PROTOCOL_VERSION);
            Ok((graph, args))
        }
        FromProgram::Failed { message } => Err(message),
        other => panic!("a program with one job said {other:?}"),
    }
}

/// Waits for a process, 10 s at most.
pub(crate) async fn wait(child: &mut Child) -> ExitStatus {
    for _ in 0..2000 {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill().unwrap();
    panic!("the process did not end within 10 s");
}

/// Waits for what gives no signal, 10 s at most.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain: {what}");
}

/// Chunks of a job's output that a test may leave unread.
const PRINTED: usize = 16;

/// One worker process and its TaskManager.
pub(crate) struct Worker {
    pub(crate) child: Child,
    pub(crate) id: TaskManagerId,
    writer: Option<FrameWriter<OwnedWriteHalf>>,
    pub(crate) metrics: WorkerMetrics,
    reader: Option<FrameReader<OwnedReadHalf>>,
}

impl Worker {
    pub(crate) async fn start(job: &str, startup: WorkerStartup) -> Self {
        let (child, reader, mut writer) = in_role("worker", job, &[]);
        let id = startup.task_manager;
        writer.send(&ToWorker::Start(Box::new(startup))).await.unwrap();
        Self {
            child,
            id,
            writer: Some(writer),
            metrics: WorkerMetrics::default(),
            reader: Some(reader),
        }
    }

    pub(crate) async fn send(&mut self, message: &ToWorker) {
        self.writer.as_mut().unwrap().send(message).await.unwrap();
    }

    /// Records that its sinks took or its tasks sent, as last reported.
    pub(crate) fn records_out(&self) -> u64 {
        self.metrics.tasks.iter().map(|task| task.records_out).sum()
    }

    /// Closes the socket, as a TaskManager does that dies.
    pub(crate) fn hang_up(&mut self) {
        (self.reader, self.writer) = (None, None);
    }

    pub(crate) async fn next(&mut self) -> FromWorker {
        self.reader.as_mut().unwrap().expect().await.unwrap()
    }

    pub(crate) fn stderr(mut self) -> String {
        std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap()
    }
}

/// A job on two worker processes, this process being all the rest of its cluster.
pub(crate) struct Cluster {
    pub(crate) workers: Vec<Worker>,
    pub(crate) execution: ExecutionGraph,
    addresses: Vec<SocketAddr>,
    pub(crate) printed: mpsc::Receiver<Vec<u8>>,
    outcome: Option<JobOutcome>,
    pub(crate) coordinator: Option<Coordinator>,
}

/// A coordinator process and its JobManager.
pub(crate) struct Coordinator {
    pub(crate) child: Child,
    writer: FrameWriter<OwnedWriteHalf>,
    reader: FrameReader<OwnedReadHalf>,
}

impl Coordinator {
    pub(crate) async fn start(program_job: &str, job: JobId, graph: &JobGraph, args: &[u8]) -> Self {
        let (child, reader, mut writer) = in_role("coordinator", program_job, &[]);
        let startup = CoordinatorStartup {
            protocol: PROTOCOL_VERSION,
            job,
            graph: graph.clone(),
            args: args.to_vec(),
            host: "jm".to_owned(),
            tmp_dir: std::env::temp_dir(),
        };
        writer.send(&ToCoordinator::Start(Box::new(startup))).await.unwrap();
        Self { child, writer, reader }
    }

    pub(crate) async fn send(&mut self, message: &ToCoordinator) {
        self.writer.send(message).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> FromCoordinator {
        self.reader.expect().await.unwrap()
    }

    /// Closes the socket, as a JobManager does that dies.
    pub(crate) fn hang_up(self) -> Child {
        self.child
    }
}

/// What each worker of a job is started with.
pub(crate) fn startup(
    ca: &ClusterCa,
    job: JobId,
    graph: &JobGraph,
    args: &[u8],
    job_manager: SocketAddr,
) -> WorkerStartup {
    WorkerStartup {
        protocol: PROTOCOL_VERSION,
        job,
        graph: graph.clone(),
        args: args.to_vec(),
        identity: ca.issue(Role::Worker(job)).unwrap(),
        task_manager: TaskManagerId::random(),
        host: "h1".to_owned(),
        job_manager,
        data_address: Ipv4Addr::LOCALHOST.into(),
        data_ports: (0, 0),
        mtu: 1500,
        heartbeat_timeout_ms: 3000,
        tmp_dir: std::env::temp_dir(),
    }
}

pub(crate) fn ca() -> ClusterCa {
    ClusterCa::generate(ClusterId::random(), Duration::from_secs(3600)).unwrap()
}

impl Cluster {
    /// Declares the job for a default parallelism of 2 and starts its two workers.
    pub(crate) async fn start(job: &str, args: &[&str]) -> Self {
        let (graph, args) = plan(job, args, 2).await.unwrap();
        let (ca, id) = (ca(), JobId::random());
        let (print, printed) = mpsc::channel(PRINTED);
        let identity = ca.issue(Role::JobManager).unwrap();
        let endpoint = flink_rpc::listen((Ipv4Addr::LOCALHOST, 0).into(), &identity, Heartbeat::default()).unwrap();
        let job_manager = endpoint.local_addr().unwrap();
        tokio::spawn(take_output(endpoint, print));
        let (mut workers, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let mut worker = Worker::start(job, startup(&ca, id, &graph, &args, job_manager)).await;
            let FromWorker::Ready { data_address } = worker.next().await else {
                panic!("not ready")
            };
            workers.push(worker);
            addresses.push(data_address);
        }
        let coordinator = if graph.coordinated_operators().next().is_some() {
            Some(Coordinator::start(job, id, &graph, &args).await)
        } else {
            None
        };
        let execution = ExecutionGraph::new(id, Arc::new(graph), 0);
        Self {
            workers,
            execution,
            addresses,
            printed,
            outcome: None,
            coordinator,
        }
    }

    /// Deploys the job.
    pub(crate) async fn deploy(&mut self) {
        self.handle(Event::Start).await;
        let offers = self
            .workers
            .iter()
            .zip(&self.addresses)
            .map(|(worker, data_address)| SlotOffer {
                allocation: AllocationId::random(),
                task_manager: worker.id,
                host: "h1".to_owned(),
                data_address: *data_address,
            });
        let offers = offers.collect();
        self.handle(Event::SlotsOffered(offers)).await;
    }

    pub(crate) async fn handle(&mut self, event: Event) {
        for action in self.execution.handle(0, event) {
            let (task_manager, message) = match action {
                Action::Deploy {
                    task_manager,
                    placement,
                    tasks,
                } => (task_manager, ToWorker::Deploy { placement, tasks }),
                Action::CancelTasks { task_manager, tasks } => (task_manager, ToWorker::CancelTasks(tasks)),
                Action::JobTerminated(outcome) => {
                    self.outcome = Some(outcome);
                    continue;
                }
                Action::FinishCoordinator => {
                    self.tell_coordinator(ToCoordinator::Finish).await;
                    continue;
                }
                Action::ExecutionChanged {
                    attempt,
                    to: ExecutionState::Finished,
                    ..
                } => {
                    self.tell_coordinator(ToCoordinator::SubtaskEnded(attempt)).await;
                    continue;
                }
                _ => continue,
            };
            let worker = self
                .workers
                .iter_mut()
                .find(|worker| worker.id == task_manager)
                .unwrap();
            worker.send(&message).await;
        }
    }

    /// Passes messages on until `until`, 20 s at most.
    pub(crate) async fn drive(&mut self, until: impl Fn(&ExecutionGraph) -> bool) {
        let driving = async {
            while !until(&self.execution) {
                self.pass_on().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), driving)
            .await
            .expect("not within 20 s");
    }

    /// Passes messages on for some time.
    pub(crate) async fn drive_for(&mut self, time: Duration) {
        let deadline = tokio::time::Instant::now() + time;
        // Reading a frame is cancel safe, and what a message leads to is done at once.
        while tokio::time::timeout_at(deadline, self.pass_on()).await.is_ok() {}
    }

    async fn pass_on(&mut self) {
        let [first, second] = self.workers.as_mut_slice() else {
            panic!("two workers")
        };
        let coordinator = &mut self.coordinator;
        let said = async {
            match coordinator {
                Some(coordinator) => coordinator.next().await,
                None => std::future::pending().await,
            }
        };
        let (index, message) = tokio::select! {
            message = first.next() => (0, message),
            message = second.next() => (1, message),
            said = said => return self.relay(said).await,
        };
        match message {
            FromWorker::TaskStateChanged {
                attempt,
                state,
                failure,
            } => {
                self.handle(Event::TaskStateChanged {
                    attempt,
                    state,
                    failure,
                })
                .await;
            }
            FromWorker::Metrics(metrics) => self.workers[index].metrics = metrics,
            FromWorker::OperatorEvent(event) => self.tell_coordinator(ToCoordinator::OperatorEvent(event)).await,
            FromWorker::EventsArrived(messages) => self.tell_coordinator(ToCoordinator::Grant(messages)).await,
            other => panic!("{other:?}"),
        }
    }

    async fn tell_coordinator(&mut self, message: ToCoordinator) {
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.send(&message).await;
        }
    }

    /// Passes on what the coordinator says.
    async fn relay(&mut self, said: FromCoordinator) {
        let (attempt, message) = match said {
            FromCoordinator::Ready => {
                self.handle(Event::CoordinatorReady).await;
                return self.tell_coordinator(ToCoordinator::Grant(COORDINATOR_WINDOW)).await;
            }
            FromCoordinator::Done => {
                let mut coordinator = self.coordinator.take().unwrap();
                assert!(wait(&mut coordinator.child).await.success());
                return self.handle(Event::CoordinatorEnded).await;
            }
            FromCoordinator::OperatorEvent(event) => (event.attempt, ToWorker::OperatorEvent(event)),
            FromCoordinator::EventsHandled(handled) => (handled.attempt, ToWorker::EventsHandled(handled)),
            FromCoordinator::Failed(failure) => panic!("{failure:?}"),
        };
        let execution = &self.execution.executions()[attempt.vertex as usize][attempt.subtask as usize];
        let place = execution.task_manager.unwrap();
        let worker = self.workers.iter_mut().find(|worker| worker.id == place).unwrap();
        worker.send(&message).await;
    }

    /// Runs the job to its end and its workers to theirs; what it printed is there too, as sorted lines.
    pub(crate) async fn finish(mut self) -> (JobOutcome, Vec<String>, Vec<WorkerMetrics>) {
        self.drive(|execution| execution.outcome().is_some()).await;
        for worker in &mut self.workers {
            worker.send(&ToWorker::Shutdown).await;
        }
        for worker in &mut self.workers {
            assert!(wait(&mut worker.child).await.success());
        }
        let mut bytes = Vec::new();
        while let Ok(chunk) = self.printed.try_recv() {
            bytes.extend(chunk);
        }
        let mut lines: Vec<String> = String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        let metrics = self.workers.into_iter().map(|worker| worker.metrics).collect();
        (self.outcome.unwrap(), lines, metrics)
    }
}

/// The JobManager's side of what a job prints.
async fn take_output(endpoint: quinn::Endpoint, print: mpsc::Sender<Vec<u8>>) {
    while let Some(incoming) = endpoint.accept().await {
        let (connection, print) = (incoming.await.unwrap(), print.clone());
        tokio::spawn(async move {
            while let Ok((send, receive)) = connection.accept_bi().await {
                let mut reader = FrameReader::new(receive);
                let WorkerRequest::Collect(_) = reader.expect().await.unwrap();
                while let Ok(Some(OutputChunk { bytes })) = reader.next().await {
                    // The test may have seen enough.
                    let _enough = print.send(bytes).await;
                }
                // A task that was cancelled has gone away.
                let _gone = Responder::new(send).send(&CollectAck).await;
            }
        });
    }
}

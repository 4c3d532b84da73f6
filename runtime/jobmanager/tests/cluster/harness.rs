//! A real JobManager, and around it what it talks to: a provider, TaskManagers, workers and clients that do what a
//! test says.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use flink_graph::{ClusterId, ExecutionAttemptId, ExecutionState, JobGraph, JobId, JobVertex, TaskManagerId, VertexId};
use flink_jobmanager::{
    ClusterExit, ClusterMode, HostCapacity, JobManager, JobManagerConfig, JobManagerHandle, PlacementStrategy,
    ProviderEvent, ProviderEvents, ResourceProvider, StandaloneProvider, StartTaskManager,
};
use flink_rpc::{
    CallError, FrameReader, FrameWriter, Heartbeat, Identity, Role, connect,
    messages::{
        AttachMode, BlobDigest, ClientRequest, CollectAck, CollectHeader, Fault, FromTaskManager, HostFault, JobEvent,
        JobReport, JobSubmission, OutputChunk, PROTOCOL_VERSION, Registered, Registration, SlotRequest,
        TaskManagerRequest, ToTaskManager, WorkerRequest,
    },
    read_reply,
};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use serde::{Serialize, de::DeserializeOwned};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};

/// No step of a test takes as long, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Where nobody falls silent: a busy machine must not look like it.
pub(crate) const HEARTBEAT: Heartbeat = Heartbeat {
    interval: Duration::from_millis(500),
    timeout: Duration::from_secs(20),
};

/// Where somebody does.
pub(crate) const SHORT_HEARTBEAT: Heartbeat = Heartbeat {
    interval: Duration::from_millis(200),
    timeout: Duration::from_secs(2),
};

/// The artifact of every job.
pub(crate) const ARTIFACT: BlobDigest = BlobDigest([0xab; 32]);

/// Its bytes: more than one chunk.
pub(crate) fn artifact() -> Vec<u8> {
    (0..700_000_u32).map(|number| number as u8).collect()
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("took too long")
}

/// How the test's provider answers a stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Stops {
    Clean,
    LeftBehind,
}

struct TestProvider {
    hosts: Vec<HostCapacity>,
    events: ProviderEvents,
    started: mpsc::Sender<StartTaskManager>,
    stopped: mpsc::Sender<TaskManagerId>,
    stops: Stops,
}

impl ResourceProvider for TestProvider {
    fn capacity(&self) -> Vec<HostCapacity> {
        self.hosts.clone()
    }

    fn start(&mut self, request: StartTaskManager) {
        self.started.try_send(request).expect("the test takes them");
    }

    fn stop(&mut self, id: TaskManagerId) {
        self.stopped.try_send(id).expect("there is room");
        let fault = HostFault {
            host: "h?".into(),
            code: "ssh.timeout".into(),
            message: "no answer".into(),
            help: None,
        };
        let left_behind = (self.stops == Stops::LeftBehind).then_some(fault);
        self.events
            .try_send(ProviderEvent::Stopped { id, left_behind })
            .expect("there is room");
    }

    fn shutdown(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { drop(self) })
    }
}

/// A cluster under test.
pub(crate) struct Cluster {
    pub(crate) handle: JobManagerHandle,
    pub(crate) dir: TempDir,
    /// What the provider is asked to start and to stop.
    pub(crate) started: mpsc::Receiver<StartTaskManager>,
    pub(crate) stopped: mpsc::Receiver<TaskManagerId>,
    pub(crate) provider_events: Option<ProviderEvents>,
}

pub(crate) struct Setup {
    pub(crate) mode: ClusterMode,
    pub(crate) hosts: Vec<u32>,
    pub(crate) stops: Stops,
    pub(crate) idle_timeout: Duration,
    pub(crate) stop_grace: Duration,
    pub(crate) heartbeat: Heartbeat,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            mode: ClusterMode::Session { attached: false },
            hosts: vec![2, 2],
            stops: Stops::Clean,
            idle_timeout: Duration::from_secs(600),
            stop_grace: Duration::from_secs(10),
            heartbeat: HEARTBEAT,
        }
    }
}

pub(crate) fn config(dir: &TempDir, setup: &Setup) -> JobManagerConfig {
    let blob_dir = dir.path().join("blobs");
    std::fs::create_dir_all(&blob_dir).unwrap();
    std::fs::write(blob_dir.join(ARTIFACT.to_string()), artifact()).unwrap();
    JobManagerConfig {
        cluster: ClusterId::random(),
        cluster_name: "test".into(),
        session_name: None,
        mode: setup.mode,
        host: "jm".into(),
        bind: ([127, 0, 0, 1], 0).into(),
        advertise: [127, 0, 0, 1].into(),
        blob_dir,
        session_dir: dir.path().join("session"),
        tmp_dir: dir.path().join("tmp/jobmanager"),
        coordinator_env: Vec::new(),
        tag_prefix: "test/session".into(),
        archive_dir: dir.path().join("archive"),
        placement: PlacementStrategy::Spread,
        max_task_managers: None,
        idle_timeout: setup.idle_timeout,
        start_timeout: Duration::from_secs(60),
        heartbeat: setup.heartbeat,
        stop_grace: setup.stop_grace,
        tls_validity: Duration::from_secs(3600),
    }
}

impl Cluster {
    pub(crate) async fn start(setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ((start, started), (stop, stopped)) = (mpsc::channel(64), mpsc::channel(64));
        let hosts = (1..).zip(&setup.hosts);
        let hosts = hosts
            .map(|(number, slots)| HostCapacity {
                host: format!("h{number}"),
                slots: *slots,
            })
            .collect();
        let mut provider_events = None;
        let handle = JobManager::start(config(&dir, &setup), |events| {
            provider_events = Some(events.clone());
            Box::new(TestProvider {
                hosts,
                events,
                started: start,
                stopped: stop,
                stops: setup.stops,
            })
        });
        Self {
            handle: handle.await.unwrap(),
            dir,
            started,
            stopped,
            provider_events,
        }
    }

    pub(crate) async fn standalone() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ((_, started), (_, stopped)) = (mpsc::channel(1), mpsc::channel(1));
        let handle = JobManager::start(config(&dir, &Setup::default()), |_events| Box::new(StandaloneProvider));
        Self {
            handle: handle.await.unwrap(),
            dir,
            started,
            stopped,
            provider_events: None,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client(Peer::connect(&self.handle, self.handle.client_identity()).await)
    }

    /// The TaskManager that the provider is asked for next, registered.
    pub(crate) async fn task_manager(&mut self, slots: u32) -> TaskManager {
        let request = within(self.started.recv()).await.unwrap();
        TaskManager::register(&request, slots).await.unwrap()
    }

    pub(crate) async fn exit(mut self) -> ClusterExit {
        within(self.handle.join()).await
    }

    /// As [`Self::exit`], with the directories to be looked at.
    pub(crate) async fn exit_keeping_dir(mut self) -> TempDir {
        within(self.handle.join()).await;
        self.dir
    }
}

/// A connection to the JobManager.
pub(crate) struct Peer {
    pub(crate) connection: Connection,
    _endpoint: Endpoint,
}

impl Peer {
    pub(crate) async fn connect(handle: &JobManagerHandle, identity: &Identity) -> Self {
        let connected = connect(handle.address(), Role::JobManager, identity, HEARTBEAT);
        Self::new(within(connected).await.unwrap())
    }

    pub(crate) fn new((endpoint, connection): (Endpoint, Connection)) -> Self {
        Self {
            connection,
            _endpoint: endpoint,
        }
    }

    pub(crate) async fn open(&self, request: &impl Serialize) -> (FrameWriter<SendStream>, FrameReader<RecvStream>) {
        let (send, receive) = within(self.connection.open_bi()).await.unwrap();
        let mut writer = FrameWriter::new(send);
        writer.send(request).await.unwrap();
        (writer, FrameReader::new(receive))
    }

    /// Why the JobManager closed the connection.
    pub(crate) async fn closed(&self) -> String {
        within(self.connection.closed()).await.to_string()
    }
}

pub(crate) struct Client(pub(crate) Peer);

impl Client {
    pub(crate) async fn call<T: DeserializeOwned>(&self, request: ClientRequest) -> Result<T, Fault> {
        let mut replies = self.stream(request).await;
        replies.next().await.transpose().expect("a call has a reply")
    }

    pub(crate) async fn stream<T>(&self, request: ClientRequest) -> Replies<T> {
        let (_writer, reader) = self.0.open(&request).await;
        Replies {
            reader,
            _writer,
            item: std::marker::PhantomData,
        }
    }

    pub(crate) async fn submit(&self, parallelism: u32, attached: bool) -> Result<JobId, Fault> {
        self.submit_with(parallelism, attached, Vec::new()).await
    }

    pub(crate) async fn submit_with(&self, parallelism: u32, attached: bool, args: Vec<u8>) -> Result<JobId, Fault> {
        self.submit_job(graph(parallelism), ARTIFACT, args, attached).await
    }

    pub(crate) async fn submit_job(
        &self,
        graph: JobGraph,
        artifact: BlobDigest,
        args: Vec<u8>,
        attached: bool,
    ) -> Result<JobId, Fault> {
        let slot_timeout_ms = 60_000;
        let submission = JobSubmission {
            graph,
            artifact,
            args,
            attached,
            slot_timeout_ms,
        };
        self.call(ClientRequest::Submit(Box::new(submission))).await
    }

    pub(crate) async fn watch(&self, job: JobId, mode: AttachMode) -> Replies<JobEvent> {
        self.stream(ClientRequest::WatchJob { job, mode }).await
    }
}

/// The replies to a call. Dropping them breaks the call off.
pub(crate) struct Replies<T> {
    reader: FrameReader<RecvStream>,
    _writer: FrameWriter<SendStream>,
    item: std::marker::PhantomData<T>,
}

impl<T: DeserializeOwned> Replies<T> {
    pub(crate) async fn next(&mut self) -> Result<Option<T>, Fault> {
        match within(read_reply(&mut self.reader)).await {
            Ok(reply) => Ok(reply),
            Err(CallError::Fault(fault)) => Err(fault),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Replies<JobEvent> {
    /// Reads on until an event is what is looked for.
    pub(crate) async fn until<T>(&mut self, mut found: impl FnMut(&JobEvent) -> Option<T>) -> T {
        loop {
            let event = self.next().await.unwrap().expect("the job goes on");
            if let Some(found) = found(&event) {
                return found;
            }
        }
    }

    /// Until this many tasks are in a state.
    pub(crate) async fn until_tasks(&mut self, state: ExecutionState, number: u32) {
        self.until(|event| match event {
            JobEvent::Progress(details) => details.summary.tasks.contains(&(state, number)).then_some(()),
            _ => None,
        })
        .await;
    }

    pub(crate) async fn report(&mut self) -> JobReport {
        let terminated = |event: &JobEvent| match event {
            JobEvent::Terminated(report) => Some(report.clone()),
            _ => None,
        };
        let report = self.until(terminated).await;
        assert!(self.next().await.unwrap().is_none(), "nothing follows");
        report
    }
}

/// One vertex that prints.
pub(crate) fn graph(parallelism: u32) -> JobGraph {
    let vertex = JobVertex {
        id: VertexId::from_bytes([1; 16]),
        name: "Source: numbers -> Sink: print".into(),
        nodes: vec![0],
        parallelism,
        max_parallelism: 128,
        slot_sharing_group: "default".into(),
        // A graph is valid only with as many operators as nodes.
        operators: vec![operator()],
    };
    JobGraph {
        name: "numbers".into(),
        vertices: vec![vertex],
        edges: Vec::new(),
    }
}

fn operator() -> flink_graph::OperatorInfo {
    flink_graph::OperatorInfo {
        id: flink_graph::OperatorId::from_bytes([1; 16]),
        name: "Source: numbers".into(),
        uid: None,
        kind: flink_graph::OperatorKind::Source,
        input_types: Vec::new(),
        output_type: None,
        coordinated: false,
    }
}

/// A TaskManager's supervisor, without workers.
pub(crate) struct TaskManager {
    pub(crate) id: TaskManagerId,
    pub(crate) host: String,
    peer: Peer,
    writer: FrameWriter<SendStream>,
    reader: FrameReader<RecvStream>,
}

impl TaskManager {
    pub(crate) async fn register(request: &StartTaskManager, slots: u32) -> Result<Self, Fault> {
        let connected = connect(request.job_manager, Role::JobManager, &request.identity, HEARTBEAT);
        Self::join(
            Peer::new(within(connected).await.unwrap()),
            request.id,
            &request.host,
            slots,
        )
        .await
    }

    pub(crate) async fn join(peer: Peer, id: TaskManagerId, host: &str, slots: u32) -> Result<Self, Fault> {
        let registration = Registration {
            protocol: PROTOCOL_VERSION,
            id,
            host: host.into(),
            pid: 42,
            slots,
            last_epoch: 0,
        };
        let (writer, mut reader) = peer.open(&TaskManagerRequest::Register(registration)).await;
        match within(read_reply::<Registered>(&mut reader)).await {
            Ok(registered) => assert_eq!(registered.expect("an answer").epoch, 1),
            Err(CallError::Fault(fault)) => return Err(fault),
            Err(error) => panic!("{error}"),
        }
        Ok(Self {
            id,
            host: host.into(),
            peer,
            writer,
            reader,
        })
    }

    pub(crate) async fn say(&mut self, message: FromTaskManager) {
        within(self.writer.send(&message)).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> ToTaskManager {
        within(self.reader.expect()).await.unwrap()
    }

    pub(crate) async fn requested(&mut self) -> SlotRequest {
        match self.next().await {
            ToTaskManager::RequestSlots(request) => request,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn offer(&mut self, request: &SlotRequest) {
        let (job, allocations) = (request.job, request.allocations.clone());
        self.say(FromTaskManager::SlotsOffered {
            job,
            allocations,
            data_address: ([127, 0, 0, 1], 9).into(),
        })
        .await;
    }

    /// Takes slots as asked.
    pub(crate) async fn take_slots(&mut self) -> SlotRequest {
        let request = self.requested().await;
        self.offer(&request).await;
        request
    }

    /// Takes tasks and says that they run.
    pub(crate) async fn run_tasks(&mut self) -> Vec<ExecutionAttemptId> {
        let ToTaskManager::Deploy { tasks, .. } = self.next().await else {
            panic!("no deployment")
        };
        for attempt in &tasks {
            self.task(*attempt, ExecutionState::Running).await;
        }
        tasks
    }

    pub(crate) async fn task(&mut self, attempt: ExecutionAttemptId, state: ExecutionState) {
        self.say(FromTaskManager::TaskStateChanged {
            attempt,
            state,
            failure: None,
        })
        .await;
    }

    /// Takes the order to cancel, and carries it out.
    pub(crate) async fn cancel_tasks(&mut self) {
        let ToTaskManager::CancelTasks(tasks) = self.next().await else {
            panic!("not cancelled")
        };
        for attempt in tasks {
            self.task(attempt, ExecutionState::Canceled).await;
        }
    }

    pub(crate) async fn slots_are_freed(&mut self) {
        assert!(matches!(self.next().await, ToTaskManager::FreeSlots(_)));
    }

    /// Takes the order to end, and does.
    pub(crate) async fn shut_down(mut self) {
        assert!(matches!(self.next().await, ToTaskManager::Shutdown));
        self.end("shut down").await;
    }

    /// Ends: its connection is closed.
    pub(crate) async fn end(self, reason: &str) {
        flink_rpc::close(&self.peer.connection, reason);
        within(self.peer._endpoint.wait_idle()).await;
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.peer.connection
    }

    pub(crate) async fn open(&self, request: &TaskManagerRequest) -> FrameReader<RecvStream> {
        self.peer.open(request).await.1
    }
}

/// What a worker prints.
pub(crate) struct Collect {
    _peer: Arc<Peer>,
    writer: FrameWriter<SendStream>,
    reader: FrameReader<RecvStream>,
}

impl Collect {
    pub(crate) async fn open(cluster: &Cluster, request: &SlotRequest, attempt: ExecutionAttemptId) -> Self {
        let peer = Peer::connect(&cluster.handle, &request.spec.identity).await;
        Self::on(&Arc::new(peer), attempt).await
    }

    /// On a connection that others use, too.
    pub(crate) async fn on(peer: &Arc<Peer>, attempt: ExecutionAttemptId) -> Self {
        let (writer, reader) = peer.open(&WorkerRequest::Collect(CollectHeader { attempt })).await;
        Self {
            _peer: Arc::clone(peer),
            writer,
            reader,
        }
    }

    pub(crate) async fn print(&mut self, lines: &str) {
        self.send(lines.as_bytes().to_vec()).await;
    }

    /// Sends, as soon as there is room.
    pub(crate) async fn send(&mut self, bytes: Vec<u8>) {
        self.writer.send(&OutputChunk { bytes }).await.unwrap();
    }

    /// Ends the stream and waits for the acknowledgement.
    pub(crate) async fn finish(mut self) -> Result<CollectAck, Fault> {
        self.writer.get_mut().finish().unwrap();
        match within(read_reply(&mut self.reader)).await {
            Ok(ack) => Ok(ack.expect("an answer")),
            Err(CallError::Fault(fault)) => Err(fault),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Runs a future on a runtime of its own that can be taken away from under it, as SIGKILL or a power cut would do: not
/// a packet more leaves it.
pub(crate) struct Doomed(tokio::runtime::Runtime);

impl Doomed {
    pub(crate) fn new() -> Self {
        Self(
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
        )
    }

    pub(crate) async fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        within(self.0.spawn(future)).await.unwrap()
    }

    pub(crate) fn kill(self) {
        self.0.shutdown_background();
    }
}

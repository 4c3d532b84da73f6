//! The tests' JobManager, and their grip on the processes.

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Command as StdCommand, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use flink_graph::{
    AllocationId, ClusterId, ExecutionAttemptId, ExecutionState, JobGraph, JobId, Placement, TaskManagerId,
};
use flink_rpc::{
    ClusterCa, FrameReader, FrameWriter, Heartbeat, Identity, Responder, Role,
    messages::{
        BlobDigest, BlobHeader, Fault, FromTaskManager, JobSpec, PROTOCOL_VERSION, Registered, Registration,
        SlotRequest, TaskManagerRequest, TaskManagerStartup, ToTaskManager,
    },
};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::fixture::{ENV_TASK_MANAGER, OUTCOME};

/// Longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const DEATH_TIMEOUT: Duration = Duration::from_secs(2);
pub(crate) const STOP_GRACE: Duration = Duration::from_millis(700);

pub(crate) fn job(number: u8) -> JobId {
    JobId::from_bytes([number; 16])
}

fn allocations(numbers: &[u8]) -> Vec<AllocationId> {
    numbers
        .iter()
        .map(|number| AllocationId::from_bytes([*number; 16]))
        .collect()
}

fn attempts(number: u8, count: u32) -> Vec<ExecutionAttemptId> {
    (0..count)
        .map(|subtask| ExecutionAttemptId {
            job: job(number),
            vertex: 0,
            subtask,
            attempt: 0,
        })
        .collect()
}

/// An artifact that becomes the worker after some lines of shell.
pub(crate) fn program(before: &str) -> Vec<u8> {
    let this = std::env::current_exe().unwrap();
    format!(
        "#!/bin/sh\n{before}\nexec '{}' --exact fixture::worker --nocapture\n",
        this.display()
    )
    .into_bytes()
}

/// Waits for a condition that another process brings about.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// False for a zombie too: nobody may be there to reap it.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub(crate) fn kill(pid: u32, signal: &str) {
    let done = StdCommand::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status()
        .unwrap();
    assert!(done.success());
}

/// How the JobManager serves artifacts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    Altered,
    Truncated,
    Longer,
    Missing,
}

#[derive(Default)]
struct Behaviour {
    blobs: HashMap<BlobDigest, Vec<u8>>,
    fetches: usize,
    damage: Option<Damage>,
    refusal: Option<Fault>,
}

type Shared = Arc<Mutex<Behaviour>>;

/// One test's TaskManager process, JobManager and directories.
pub(crate) struct Bench {
    dirs: TempDir,
    cluster: ClusterId,
    ca: ClusterCa,
    identity: Identity,
    address: SocketAddr,
    endpoint: Option<Endpoint>,
    accepting: JoinSet<()>,
    sessions: (mpsc::Sender<Session>, mpsc::Receiver<Session>),
    behaviour: Shared,
    child: Option<(Child, BufReader<ChildStdout>)>,
}

impl Bench {
    /// JobManager and directories, without the TaskManager.
    pub(crate) async fn prepare() -> Self {
        let cluster = ClusterId::random();
        let ca = ClusterCa::generate(cluster, Duration::from_secs(3600)).unwrap();
        let dirs = tempfile::tempdir().unwrap();
        fs::create_dir(dirs.path().join("blobs")).unwrap();
        let mut bench = Self {
            cluster,
            identity: ca.issue(Role::JobManager).unwrap(),
            ca,
            dirs,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            endpoint: None,
            accepting: JoinSet::new(),
            sessions: mpsc::channel(8),
            behaviour: Shared::default(),
            child: None,
        };
        bench.restart_job_manager();
        bench
    }

    pub(crate) async fn start() -> Self {
        let mut bench = Self::prepare().await;
        bench.start_task_manager().await;
        bench
    }

    /// On the port that it had before, if it had one.
    pub(crate) fn restart_job_manager(&mut self) {
        let endpoint = flink_rpc::listen(self.address, &self.identity, Heartbeat::default()).unwrap();
        self.address = endpoint.local_addr().unwrap();
        let context = (self.cluster, self.sessions.0.clone(), self.behaviour.clone());
        self.accepting.spawn(accept(endpoint.clone(), context));
        self.endpoint = Some(endpoint);
    }

    /// The port stays silent from now on; connections that are there remain.
    pub(crate) fn silence_job_manager(&mut self) {
        self.accepting = JoinSet::new();
        self.endpoint = None;
    }

    pub(crate) async fn start_task_manager(&mut self) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "fixture::task_manager", "--nocapture"])
            .env(ENV_TASK_MANAGER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        FrameWriter::new(stdin).send(&self.startup()).await.unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        self.child = Some((child, stdout));
    }

    fn startup(&self) -> TaskManagerStartup {
        TaskManagerStartup {
            protocol: PROTOCOL_VERSION,
            cluster: self.cluster,
            id: TaskManagerId::random(),
            host: "h1".to_owned(),
            slots: 4,
            job_manager: self.address,
            identity: self.ca.issue(Role::TaskManager).unwrap(),
            heartbeat: Heartbeat::default(),
            death_timeout_ms: u64::try_from(DEATH_TIMEOUT.as_millis()).unwrap(),
            stop_grace_ms: u64::try_from(STOP_GRACE.as_millis()).unwrap(),
            data_address: IpAddr::from(Ipv4Addr::LOCALHOST),
            data_ports: (0, 0),
            mtu: 1500,
            blob_dir: self.blob_dir(),
            work_dir: self.work_dir(),
            tmp_dir: self.tmp_dir(),
            worker_env: vec![("SPECIAL".to_owned(), "value".to_owned())],
            tag_prefix: "test/cluster/tm1".to_owned(),
        }
    }

    /// The TaskManager's next registration.
    pub(crate) async fn session(&mut self) -> Session {
        let session = timeout(PATIENCE, self.sessions.1.recv())
            .await
            .expect("a registration")
            .unwrap();
        assert_eq!(session.registration.protocol, PROTOCOL_VERSION);
        session
    }

    /// How the TaskManager ended, once it has.
    pub(crate) async fn outcome(&mut self) -> String {
        let (mut child, stdout) = self.child.take().expect("a TaskManager");
        let mut lines = stdout.lines();
        let mut outcome = None;
        timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some(text) = line.strip_prefix(OUTCOME) {
                    outcome = Some(text.to_owned());
                }
            }
            child.wait().await.unwrap();
        })
        .await
        .expect("the TaskManager ends");
        outcome.expect("the TaskManager tells how it ended")
    }

    pub(crate) fn task_manager_pid(&self) -> u32 {
        self.child
            .as_ref()
            .and_then(|(child, _)| child.id())
            .expect("a TaskManager")
    }

    pub(crate) fn work_dir(&self) -> PathBuf {
        self.dirs.path().join("work")
    }

    pub(crate) fn tmp_dir(&self) -> PathBuf {
        self.dirs.path().join("tmp")
    }

    pub(crate) fn blob_dir(&self) -> PathBuf {
        self.dirs.path().join("blobs")
    }

    /// Names of the files in the cache.
    pub(crate) fn cached(&self) -> Vec<String> {
        let entries = fs::read_dir(self.blob_dir()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    pub(crate) fn fetches(&self) -> usize {
        self.behaviour.lock().unwrap().fetches
    }

    pub(crate) fn damage(&self, damage: Option<Damage>) {
        self.behaviour.lock().unwrap().damage = damage;
    }

    pub(crate) fn refuse(&self, fault: Fault) {
        self.behaviour.lock().unwrap().refusal = Some(fault);
    }
}

type Context = (ClusterId, mpsc::Sender<Session>, Shared);

async fn accept(endpoint: Endpoint, context: Context) {
    let mut connections = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        if let Ok(connection) = incoming.await {
            connections.spawn(serve(connection, context.clone()));
        }
    }
}

async fn serve(connection: Connection, (cluster, sessions, behaviour): Context) {
    let certificate = flink_rpc::peer_certificate(&connection).expect("a certificate");
    assert!(Role::TaskManager.matches(&certificate));
    while let Ok((send, receive)) = connection.accept_bi().await {
        let mut reader = FrameReader::new(receive);
        match reader.expect().await {
            Ok(TaskManagerRequest::Register(registration)) => {
                let mut responder = Responder::new(send);
                let refusal = behaviour.lock().unwrap().refusal.clone();
                if let Some(fault) = refusal {
                    responder.fail(&fault).await.unwrap();
                    continue;
                }
                responder.send(&Registered { cluster, epoch: 1 }).await.unwrap();
                let identity = ca_identity(cluster);
                let session = Session {
                    registration,
                    connection: connection.clone(),
                    responder,
                    reader,
                    identity,
                    behaviour: behaviour.clone(),
                };
                sessions.send(session).await.unwrap();
            }
            Ok(TaskManagerRequest::FetchBlob(request)) => serve_blob(send, request.digest, &behaviour).await,
            Err(_) => return,
        }
    }
}

fn ca_identity(cluster: ClusterId) -> Identity {
    ClusterCa::generate(cluster, Duration::from_secs(60))
        .unwrap()
        .issue(Role::Worker(job(1)))
        .unwrap()
}

async fn serve_blob(send: SendStream, digest: BlobDigest, behaviour: &Shared) {
    let (bytes, damage) = {
        let mut behaviour = behaviour.lock().unwrap();
        behaviour.fetches += 1;
        (behaviour.blobs.get(&digest).cloned(), behaviour.damage)
    };
    let mut responder = Responder::new(send);
    let (Some(mut bytes), false) = (bytes, matches!(damage, Some(Damage::Missing))) else {
        responder
            .fail(&Fault::new("blob.not-found", "no such blob"))
            .await
            .unwrap();
        return;
    };
    responder
        .send(&BlobHeader {
            size: bytes.len() as u64,
        })
        .await
        .unwrap();
    match damage {
        Some(Damage::Altered) => bytes[20] ^= 1,
        Some(Damage::Truncated) => bytes.truncate(bytes.len() - 1),
        Some(Damage::Longer) => bytes.push(0),
        Some(Damage::Missing) | None => {}
    }
    let mut writer = FrameWriter::new(responder.get_mut());
    for chunk in bytes.chunks(16 << 10) {
        // The TaskManager breaks off when its disk is full.
        if writer.send_bytes(chunk.to_vec().into()).await.is_err() {
            return;
        }
    }
    let _broken_off = writer.get_mut().finish();
}

/// A registered TaskManager, as its JobManager sees it.
pub(crate) struct Session {
    pub(crate) registration: Registration,
    connection: Connection,
    responder: Responder<SendStream>,
    reader: FrameReader<RecvStream>,
    identity: Identity,
    behaviour: Shared,
}

impl Session {
    pub(crate) async fn send(&mut self, message: &ToTaskManager) {
        FrameWriter::new(self.responder.get_mut()).send(message).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> FromTaskManager {
        timeout(PATIENCE, self.reader.expect())
            .await
            .expect("a message")
            .unwrap()
    }

    /// The TaskManager leaves without another word.
    pub(crate) async fn says_no_more(&mut self) {
        let last = timeout(PATIENCE, self.reader.next::<FromTaskManager>())
            .await
            .expect("the end");
        assert!(!matches!(last, Ok(Some(_))), "{last:?}");
    }

    pub(crate) fn break_off(self) {
        flink_rpc::close(&self.connection, "test");
    }

    pub(crate) async fn request(&mut self, number: u8, behaviour: &str, slots: &[u8]) {
        self.request_behaviour(number, &program(""), behaviour, slots).await;
    }

    pub(crate) async fn request_program(&mut self, number: u8, bytes: &[u8], slots: &[u8]) {
        self.request_behaviour(number, bytes, "", slots).await;
    }

    pub(crate) async fn request_behaviour(&mut self, number: u8, bytes: &[u8], behaviour: &str, slots: &[u8]) {
        let artifact = BlobDigest(Sha256::digest(bytes).into());
        self.behaviour.lock().unwrap().blobs.insert(artifact, bytes.to_vec());
        let graph = JobGraph {
            name: "test".to_owned(),
            vertices: Vec::new(),
            edges: Vec::new(),
        };
        let args = behaviour.as_bytes().to_vec();
        let spec = Arc::new(JobSpec {
            graph,
            artifact,
            args,
            identity: self.identity.clone(),
        });
        let request = SlotRequest {
            job: job(number),
            allocations: allocations(slots),
            spec,
        };
        self.send(&ToTaskManager::RequestSlots(request)).await;
    }

    pub(crate) async fn free(&mut self, slots: &[u8]) {
        self.send(&ToTaskManager::FreeSlots(allocations(slots))).await;
    }

    pub(crate) async fn deploy(&mut self, number: u8, count: u32) {
        let placement = Arc::new(Placement {
            workers: Vec::new(),
            assignment: Vec::new(),
            attempts: Vec::new(),
        });
        self.send(&ToTaskManager::Deploy {
            job: job(number),
            placement,
            tasks: attempts(number, count),
        })
        .await;
    }

    pub(crate) async fn cancel(&mut self, number: u8, count: u32) {
        self.send(&ToTaskManager::CancelTasks(attempts(number, count))).await;
    }

    /// Waits for an offer of these slots; returns the worker's process id.
    pub(crate) async fn offered(&mut self, slots: &[u8]) -> u32 {
        match self.next().await {
            FromTaskManager::SlotsOffered {
                allocations: offered,
                data_address,
                ..
            } => {
                assert_eq!(offered, allocations(slots));
                let IpAddr::V4(pid) = data_address.ip() else {
                    panic!("{data_address}")
                };
                pid.into()
            }
            other => panic!("expected SlotsOffered, got {other:?}"),
        }
    }

    pub(crate) async fn task_state(&mut self) -> ExecutionState {
        match self.next().await {
            FromTaskManager::TaskStateChanged { state, .. } => state,
            other => panic!("expected TaskStateChanged, got {other:?}"),
        }
    }
}

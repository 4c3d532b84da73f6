//! The TaskManager process: carries out what [`TaskManagerState`] decides.
//!
//! One loop owns the state. Around it: the link's task, a task per worker process, a task per fetch, a task per
//! directory that is being removed; all in sets that the loop owns, and all gone when it returns.
//!
//! # Bounds
//! Messages for the JobManager wait in an outbox. While it holds [`OUTBOX`] or more, no further input is taken from
//! workers or JobManager (only timers, signals and fetches go on), so that it never holds more than that and what one
//! order is answered with: a message per task of the order. A JobManager must therefore go on reading while it
//! writes. What waits for a JobManager that is gone is dropped with the connection.

use std::{
    collections::{HashMap, VecDeque},
    marker::PhantomData,
    path::PathBuf,
    pin::pin,
    time::{Duration, Instant},
};

use flink_graph::JobId;
use flink_process::{
    ChildCommand, ChildEvent, ChildHandle, ChildProcess, ENV_PARENT_PID, ENV_ROLE, ENV_TAG,
    blobs::{BlobCache, BlobError},
    dirs::{ProcessDirs, WorkDir},
    life::{LifeLimits, READY_TIMEOUT, SHUTDOWN_PATIENCE},
};
use flink_rpc::messages::{
    BlobDigest, JobSpec, PROTOCOL_VERSION, Registered, Registration, TaskManagerStartup, ToWorker, WorkerStartup,
};
use quinn::Connection;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, Id, JoinError, JoinHandle, JoinSet},
    time::{sleep_until, timeout},
};
use tracing::info;

use crate::{
    error::{Exit, TaskManagerError},
    link::{self, LinkCommand, LinkNews, Peer},
    supervision::{Action, Event, Limits, Outcome, TaskManagerState, WorkerId},
};

/// How long a TaskManager tries to register for the first time.
pub const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the end of a TaskManager waits for the JobManager to take its last messages.
const FAREWELL: Duration = Duration::from_secs(3);

/// Messages for the JobManager above which no input is taken.
const OUTBOX: usize = 1024;

/// Messages that wait for a worker which does not read.
const WORKER_QUEUE: usize = 256;

/// Has a worker's allocator keep what was freed, for as long as the job runs. Given back and taken again, as mimalloc does after
/// 10 ms, memory costs page faults in bursts of some milliseconds: three times the latency at the 99th percentile beside saturating
/// bulk, and a tenth of its throughput. The `env` of a host can say otherwise.
const KEEP_MEMORY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "-1");

/// Events of workers, news of the link, and commands to it that may wait.
const QUEUE: usize = 64;

/// A TaskManager.
#[derive(Debug)]
pub struct TaskManager {
    startup: TaskManagerStartup,
    work_dir: WorkDir,
    blobs: BlobCache,
    state: TaskManagerState,
    link: LinkTask,
    outbox: VecDeque<LinkCommand>,
    /// The registered connection.
    connection: Option<Connection>,
    workers: HashMap<WorkerId, Worker>,
    worker_tasks: JoinSet<()>,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    fetches: HashMap<BlobDigest, AbortHandle>,
    fetch_tasks: JoinSet<Result<PathBuf, BlobError>>,
    removals: JoinSet<()>,
    /// Workers must be forked by one long-lived thread (see [`flink_process::child`]): this keeps [`run`](Self::run) from
    /// being handed to a thread pool.
    _one_thread: PhantomData<*const ()>,
}

#[derive(Debug)]
struct Worker {
    handle: ChildHandle<ToWorker>,
    dirs: ProcessDirs,
}

#[derive(Debug)]
struct LinkTask {
    commands: mpsc::Sender<LinkCommand>,
    news: mpsc::Receiver<LinkNews>,
    task: JoinHandle<()>,
}

impl Drop for LinkTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TaskManager {
    /// Runs a TaskManager until it is told to end, by its JobManager or by `shutdown`, or has lost its JobManager.
    /// Then all workers have ended and its directories are gone. `on_registered` is called once, when the first
    /// registration was answered.
    ///
    /// To be driven by `block_on` on the main thread, preferably of a current-thread runtime with I/O and time:
    /// workers die with the thread that drives it. Dropped before its end it kills its workers, but not what they
    /// have started.
    ///
    /// # Errors
    /// When the directories are not usable, or no JobManager takes the first registration within
    /// [`REGISTRATION_TIMEOUT`], or one refuses a registration.
    pub async fn run(
        startup: TaskManagerStartup,
        shutdown: impl Future<Output = ()>,
        on_registered: impl FnOnce(&Registered),
    ) -> Result<Exit, TaskManagerError> {
        if startup.protocol != PROTOCOL_VERSION {
            return Err(TaskManagerError::Protocol {
                ours: PROTOCOL_VERSION,
                theirs: startup.protocol,
            });
        }
        let work_dir = WorkDir::create("worker", &startup.work_dir, startup.tmp_dir.clone())?;
        let blobs = BlobCache::open(&startup.blob_dir)?;
        let mut task_manager = Self {
            state: TaskManagerState::new(limits(&startup), Instant::now()),
            link: LinkTask::start(&startup),
            work_dir,
            blobs,
            outbox: VecDeque::new(),
            connection: None,
            workers: HashMap::new(),
            worker_tasks: JoinSet::new(),
            events: mpsc::channel(QUEUE),
            fetches: HashMap::new(),
            fetch_tasks: JoinSet::new(),
            removals: JoinSet::new(),
            startup,
            _one_thread: PhantomData,
        };
        info!(id = %task_manager.startup.id, slots = task_manager.startup.slots, "TaskManager started");
        let ended = task_manager.supervise(shutdown, on_registered).await;
        task_manager.finish().await;
        ended
    }

    async fn supervise(
        &mut self,
        shutdown: impl Future<Output = ()>,
        on_registered: impl FnOnce(&Registered),
    ) -> Result<Exit, TaskManagerError> {
        let mut shutdown = pin!(shutdown);
        let mut told_to_end = false;
        let mut on_registered = Some(on_registered);
        loop {
            let input = tokio::select! {
                () = &mut shutdown, if !told_to_end => {
                    told_to_end = true;
                    Input::Event(Event::Terminate { reason: "it was told to end on its host".to_owned() })
                }
                input = self.next_input() => input,
            };
            let event = match input {
                Input::Event(event) => event,
                Input::Registered(registered, connection) => {
                    let event = self.registered(&registered, connection)?;
                    if let Some(on_registered) = on_registered.take() {
                        on_registered(&registered);
                    }
                    event
                }
                Input::Fetch(done) => match self.fetched(done) {
                    Some(event) => event,
                    None => continue,
                },
                Input::LinkGone => return Err(TaskManagerError::Link),
                Input::Nothing => continue,
            };
            if let Some(outcome) = self.take(event) {
                return self.ended(outcome);
            }
        }
    }

    /// What happens next. Cancel safe.
    async fn next_input(&mut self) -> Input {
        // Once the end is decided nothing is added to the outbox, and only the workers' exits matter. A link whose connection is
        // lost takes nothing from it: word of that must get through.
        let lost = self.connection.as_ref().is_none_or(|it| it.close_reason().is_some());
        let listening = self.outbox.len() < OUTBOX || self.state.is_closing() || lost;
        let deadline = self.state.deadline();
        tokio::select! {
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                Input::Event(Event::Tick)
            }
            permit = self.link.commands.reserve(), if !self.outbox.is_empty() => {
                if let (Ok(permit), Some(command)) = (permit, self.outbox.pop_front()) {
                    permit.send(command);
                }
                Input::Nothing
            }
            () = closed(self.connection.as_ref()), if !listening => Input::Nothing,
            Some(event) = self.events.1.recv(), if listening => Input::Event(event),
            news = self.link.news.recv(), if listening => match news {
                Some(LinkNews::Event(event)) => Input::Event(event),
                Some(LinkNews::Registered(registered, connection)) => Input::Registered(registered, connection),
                None => Input::LinkGone,
            },
            Some(done) = self.fetch_tasks.join_next_with_id() => Input::Fetch(done),
            Some(_done) = self.worker_tasks.join_next() => Input::Nothing,
            Some(_done) = self.removals.join_next() => Input::Nothing,
        }
    }

    /// Feeds an event, and those that come of it, to the state; returns the outcome when all is over.
    fn take(&mut self, event: Event) -> Option<Outcome> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            match &event {
                Event::Disconnected { .. } => {
                    self.connection = None;
                    self.outbox.clear();
                }
                Event::Exited { worker, .. } => self.worker_is_gone(*worker),
                _ => {}
            }
            for action in self.state.handle(Instant::now(), event) {
                match self.act(action) {
                    Acted::Done => {}
                    Acted::Event(event) => events.push_back(event),
                    Acted::Over(outcome) => return Some(outcome),
                }
            }
        }
        None
    }

    fn act(&mut self, action: Action) -> Acted {
        match action {
            Action::Register { last_epoch } => {
                let registration = self.registration(last_epoch);
                self.outbox.push_back(LinkCommand::Register(Box::new(registration)));
            }
            Action::Reconnect => self.outbox.push_back(LinkCommand::Reconnect),
            Action::Report(message) => self.outbox.push_back(LinkCommand::Report(message)),
            Action::Fetch(artifact) => return self.fetch(artifact),
            Action::CancelFetch(artifact) => {
                if let Some(task) = self.fetches.remove(&artifact) {
                    task.abort();
                }
            }
            Action::Spawn {
                worker,
                job,
                program,
                spec,
            } => {
                if let Err(reason) = self.spawn(worker, job, program, &spec) {
                    return Acted::Event(Event::SpawnFailed { worker, reason });
                }
            }
            // A worker that is not in the map has ended; the event is on its way.
            Action::Send { worker, message } => {
                if self.workers.get(&worker).is_some_and(|hold| !hold.handle.send(message)) {
                    return Acted::Event(Event::Broken {
                        worker,
                        reason: "it takes no messages".to_owned(),
                    });
                }
            }
            Action::Signal { worker, signal } => {
                if let Some(hold) = self.workers.get(&worker) {
                    hold.handle.signal(signal);
                }
            }
            Action::End(outcome) => return Acted::Over(outcome),
        }
        Acted::Done
    }

    fn registration(&self, last_epoch: u64) -> Registration {
        Registration {
            protocol: PROTOCOL_VERSION,
            id: self.startup.id,
            host: self.startup.host.clone(),
            pid: std::process::id(),
            slots: self.startup.slots,
            last_epoch,
        }
    }

    fn registered(&mut self, registered: &Registered, connection: Connection) -> Result<Event, TaskManagerError> {
        let (expected, got) = (self.startup.cluster, registered.cluster);
        if expected != got {
            return Err(TaskManagerError::OtherCluster {
                address: self.startup.job_manager,
                expected,
                got,
            });
        }
        self.connection = Some(connection);
        Ok(Event::Registered {
            epoch: registered.epoch,
        })
    }

    fn fetch(&mut self, artifact: BlobDigest) -> Acted {
        let Some(connection) = self.connection.clone() else {
            let result = Err("the connection to the JobManager is lost".to_owned());
            return Acted::Event(Event::Fetched { artifact, result });
        };
        let task = self.fetch_tasks.spawn(self.blobs.clone().get(artifact, connection));
        self.fetches.insert(artifact, task);
        Acted::Done
    }

    /// What a fetch has come to, unless it was cancelled.
    fn fetched(&mut self, done: FetchDone) -> Option<Event> {
        let (id, result) = match done {
            Ok((id, result)) => (id, result.map_err(|error| error.to_string())),
            Err(error) => (error.id(), Err(format!("could not fetch the program: {error}"))),
        };
        let artifact = *self.fetches.iter().find(|(_, task)| task.id() == id)?.0;
        self.fetches.remove(&artifact);
        Some(Event::Fetched { artifact, result })
    }

    fn spawn(&mut self, worker: WorkerId, job: JobId, program: PathBuf, spec: &JobSpec) -> Result<(), String> {
        let dirs = self.work_dir.create_process(job, worker.0)?;
        let (name, value) = KEEP_MEMORY;
        let mut env = vec![(name.to_owned(), value.to_owned())];
        env.extend(self.startup.worker_env.iter().cloned());
        env.extend([
            (ENV_ROLE.to_owned(), "worker".to_owned()),
            (ENV_PARENT_PID.to_owned(), std::process::id().to_string()),
            (ENV_TAG.to_owned(), format!("{}/worker/{job}", self.startup.tag_prefix)),
            ("TMPDIR".to_owned(), dirs.tmp.display().to_string()),
        ]);
        let command = ChildCommand {
            program,
            env,
            dir: dirs.work.clone(),
            log: self.work_dir.log(job),
            queue: WORKER_QUEUE,
        };
        let (handle, process) = ChildProcess::spawn(&command).inspect_err(|_| self.remove(dirs.clone()))?;
        info!(%job, %worker, pid = process.pid(), "worker started");
        let startup = self.worker_startup(job, spec, dirs.tmp.clone());
        // There is room: it is the first.
        let _room = handle.send(ToWorker::Start(Box::new(startup)));
        let wrap = move |event| match event {
            ChildEvent::Told(message) => Event::Told { worker, message },
            ChildEvent::Broken { reason } => Event::Broken { worker, reason },
            ChildEvent::Exited(death) => Event::Exited { worker, death },
        };
        self.worker_tasks.spawn(process.run(self.events.0.clone(), wrap));
        self.workers.insert(worker, Worker { handle, dirs });
        Ok(())
    }

    fn worker_startup(&self, job: JobId, spec: &JobSpec, tmp_dir: PathBuf) -> WorkerStartup {
        let startup = &self.startup;
        WorkerStartup {
            protocol: PROTOCOL_VERSION,
            job,
            graph: spec.graph.clone(),
            args: spec.args.clone(),
            identity: spec.identity.clone(),
            task_manager: startup.id,
            host: startup.host.clone(),
            job_manager: startup.job_manager,
            data_address: startup.data_address,
            data_ports: startup.data_ports,
            mtu: startup.mtu,
            heartbeat_timeout_ms: u64::try_from(startup.heartbeat.timeout.as_millis()).unwrap_or(u64::MAX),
            tmp_dir,
        }
    }

    fn worker_is_gone(&mut self, worker: WorkerId) {
        if let Some(hold) = self.workers.remove(&worker) {
            self.remove(hold.dirs);
        }
    }

    /// Removes a worker's directories, which may hold much, without waiting for it.
    fn remove(&mut self, dirs: ProcessDirs) {
        self.removals.spawn(dirs.remove());
    }

    fn ended(&self, outcome: Outcome) -> Result<Exit, TaskManagerError> {
        let address = self.startup.job_manager;
        match outcome {
            Outcome::ShutDown => Ok(Exit::ShutDown),
            Outcome::Terminated => Ok(Exit::Terminated),
            Outcome::Orphaned => Ok(Exit::Orphaned),
            Outcome::Refused(fault) => Err(TaskManagerError::Refused {
                address,
                fault: Box::new(fault),
            }),
            Outcome::Unregistered { reason } => Err(TaskManagerError::Unregistered {
                address,
                waited_s: REGISTRATION_TIMEOUT.as_secs(),
                reason,
            }),
        }
    }

    /// Delivers the last messages, ends what is left of the tasks, removes the directories, and only then takes leave: whoever
    /// hears of that may use this host again.
    async fn finish(self) {
        let Self {
            mut link,
            outbox,
            connection,
            work_dir,
            mut worker_tasks,
            mut fetch_tasks,
            mut removals,
            ..
        } = self;
        let mut connected = connection.is_some();
        if connected {
            connected = timeout(FAREWELL, link.tell(outbox)).await.unwrap_or(true);
        }
        worker_tasks.shutdown().await;
        fetch_tasks.shutdown().await;
        while removals.join_next().await.is_some() {}
        drop(work_dir);
        if connected {
            let _late = timeout(FAREWELL, link.finish()).await;
        }
    }
}

/// Until the link has ended, or has lost its connection, and with it whoever one could take leave of. News that nobody takes
/// would hold the link up.
async fn lost(news: &mut mpsc::Receiver<LinkNews>) {
    while let Some(news) = news.recv().await {
        if matches!(news, LinkNews::Event(Event::Disconnected { .. })) {
            return;
        }
    }
}

/// Until the connection has ended.
async fn closed(connection: Option<&Connection>) {
    if let Some(connection) = connection {
        connection.closed().await;
    }
}

/// How the task of a fetch ended.
type FetchDone = Result<(Id, Result<PathBuf, BlobError>), JoinError>;

/// What the loop waits for.
enum Input {
    Event(Event),
    Registered(Registered, Connection),
    Fetch(FetchDone),
    LinkGone,
    /// Something was done that the state need not know.
    Nothing,
}

/// What came of an action.
enum Acted {
    Done,
    Event(Event),
    Over(Outcome),
}

impl LinkTask {
    fn start(startup: &TaskManagerStartup) -> Self {
        let peer = Peer {
            address: startup.job_manager,
            identity: startup.identity.clone(),
            heartbeat: startup.heartbeat,
        };
        let (commands, queue) = mpsc::channel(QUEUE);
        let (sender, news) = mpsc::channel(QUEUE);
        Self {
            commands,
            news,
            task: tokio::spawn(link::run(peer, queue, sender)),
        }
    }

    /// Hands the link the last commands. False when its connection is lost.
    async fn tell(&mut self, last: impl IntoIterator<Item = LinkCommand>) -> bool {
        let Self { commands, news, .. } = self;
        let sending = async {
            for command in last {
                // Fails only when the link has ended.
                let _ended = commands.send(command).await;
            }
        };
        tokio::select! {
            () = sending => true,
            () = lost(news) => false,
        }
    }

    /// Takes leave, and waits until the link has ended.
    async fn finish(&mut self) {
        if self.tell([LinkCommand::Finish]).await {
            lost(&mut self.news).await;
        }
    }
}

fn limits(startup: &TaskManagerStartup) -> Limits {
    Limits {
        slots: startup.slots,
        host: startup.host.clone(),
        registration_timeout: REGISTRATION_TIMEOUT,
        death_timeout: Duration::from_millis(startup.death_timeout_ms),
        workers: LifeLimits {
            ready_timeout: READY_TIMEOUT,
            shutdown_patience: SHUTDOWN_PATIENCE,
            stop_grace: Duration::from_millis(startup.stop_grace_ms),
        },
    }
}

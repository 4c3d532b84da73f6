//! The Dispatcher's dealings with coordinators: their processes on this host.

use std::{collections::BTreeMap, path::PathBuf};

use flink_graph::JobId;
use flink_process::{
    ChildCommand, ChildEvent, ChildHandle, ChildProcess, ENV_PARENT_PID, ENV_ROLE, ENV_TAG, StopSignal,
    blobs::BlobCache,
    dirs::{ProcessDirs, WorkDir},
};
use flink_rpc::messages::{
    BlobDigest, CoordinatorStartup, FromCoordinator, JobSpec, PROTOCOL_VERSION, ToCoordinator, coordinator_queue,
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{Dispatcher, Work};
use crate::{clock::Now, config::JobManagerConfig, job_master::CoordinatorNews};

/// The role of the processes that are started here.
const ROLE: &str = "coordinator";

/// News of coordinators that wait for the Dispatcher; more wait in the coordinators' sockets.
const NEWS_QUEUE: usize = 64;

/// The coordinators of all jobs.
pub(super) struct Coordinators {
    /// `None` before the first.
    work_dir: Option<WorkDir>,
    running: BTreeMap<JobId, Running>,
    /// How many were started: their numbers.
    started: u64,
    /// One per process, which ends with it; and the searches for programs.
    pub(super) tasks: JoinSet<()>,
    pub(super) news: (mpsc::Sender<News>, mpsc::Receiver<News>),
}

/// What is heard of a job's coordinator.
pub(super) type News = (JobId, CoordinatorNews);

struct Running {
    handle: ChildHandle<ToCoordinator>,
    dirs: ProcessDirs,
}

impl Coordinators {
    pub(super) fn new() -> Self {
        Self {
            work_dir: None,
            running: BTreeMap::new(),
            started: 0,
            tasks: JoinSet::new(),
            news: mpsc::channel(NEWS_QUEUE),
        }
    }

    /// Looks for a program's file, and verifies it.
    fn locate(&mut self, job: JobId, blob_dir: PathBuf, artifact: BlobDigest) {
        let news = self.news.0.clone();
        self.tasks.spawn(async move {
            let found = tokio::task::spawn_blocking(move || find(blob_dir, artifact)).await;
            let found = found.unwrap_or_else(|error| Err(error.to_string()));
            // Without the Dispatcher nobody needs it.
            let _gone = news.send((job, CoordinatorNews::Located(found))).await;
        });
    }

    /// Starts a process; returns its id.
    fn spawn(
        &mut self,
        config: &JobManagerConfig,
        job: JobId,
        program: PathBuf,
        spec: &JobSpec,
    ) -> Result<Option<i32>, String> {
        let mut work_dir = match self.work_dir.take() {
            Some(work_dir) => work_dir,
            None => WorkDir::create(ROLE, &config.session_dir.join("coordinators"), config.tmp_dir.clone())
                .map_err(|error| error.to_string())?,
        };
        self.started += 1;
        let dirs = work_dir.create_process(job, self.started);
        let log = work_dir.log(job);
        self.work_dir = Some(work_dir);
        let dirs = dirs?;
        let command = ChildCommand {
            program,
            env: environment(config, job, &dirs),
            dir: dirs.work.clone(),
            log,
            queue: coordinator_queue(&spec.graph),
        };
        let (handle, process) =
            ChildProcess::spawn(&command).inspect_err(|_| drop(self.tasks.spawn(dirs.clone().remove())))?;
        let startup = CoordinatorStartup {
            protocol: PROTOCOL_VERSION,
            job,
            graph: spec.graph.clone(),
            args: spec.args.clone(),
            host: config.host.clone(),
            tmp_dir: dirs.tmp.clone(),
        };
        // There is room: it is the first.
        let _room = handle.send(ToCoordinator::Start(Box::new(startup)));
        let pid = process.pid();
        let wrap = move |event: ChildEvent<FromCoordinator>| match event {
            ChildEvent::Told(message) => (job, CoordinatorNews::Told(message)),
            ChildEvent::Broken { reason } => (job, CoordinatorNews::Broken { reason }),
            ChildEvent::Exited(death) => (job, CoordinatorNews::Exited(death)),
        };
        self.tasks.spawn(process.run(self.news.0.clone(), wrap));
        self.running.insert(job, Running { handle, dirs });
        Ok(pid)
    }
}

fn find(blob_dir: PathBuf, artifact: BlobDigest) -> Result<PathBuf, String> {
    let store = BlobCache::open(&blob_dir).map_err(|error| error.to_string())?;
    let found = store.find(artifact).map_err(|error| error.to_string())?;
    found.ok_or_else(|| {
        let path = store.path(artifact);
        format!(
            "the program is missing or damaged in the JobManager's blob store: {}",
            path.display()
        )
    })
}

fn environment(config: &JobManagerConfig, job: JobId, dirs: &ProcessDirs) -> Vec<(String, String)> {
    let mut env = config.coordinator_env.clone();
    env.extend([
        (ENV_ROLE.to_owned(), ROLE.to_owned()),
        (ENV_PARENT_PID.to_owned(), std::process::id().to_string()),
        (ENV_TAG.to_owned(), format!("{}/{ROLE}/{job}", config.tag_prefix)),
        ("TMPDIR".to_owned(), dirs.tmp.display().to_string()),
    ]);
    env
}

impl Dispatcher {
    pub(super) fn coordinator_news(&mut self, now: Now, (job, news): News) {
        if matches!(news, CoordinatorNews::Exited(_))
            && let Some(Running { dirs, .. }) = self.coordinators.running.remove(&job)
        {
            self.background.spawn(dirs.remove());
        }
        // One that outlived its job, since it did not end after SIGKILL, is of no interest but for its directories.
        let Some(master) = self.jobs.get_mut(&job) else { return };
        let actions = master.coordinator_news(now, news);
        self.work
            .extend(actions.into_iter().map(|action| Work::Job(job, action)));
    }

    pub(super) fn locate_program(&mut self, job: JobId, artifact: BlobDigest) {
        self.coordinators.locate(job, self.config.blob_dir.clone(), artifact);
    }

    pub(super) fn spawn_coordinator(&mut self, now: Now, job: JobId, program: PathBuf) {
        let Some(master) = self.jobs.get(&job) else { return };
        match self.coordinators.spawn(&self.config, job, program, master.spec()) {
            Ok(pid) => master.coordinator_started(pid),
            Err(reason) => self.coordinator_news(now, (job, CoordinatorNews::SpawnFailed(reason))),
        }
    }

    /// Tells a coordinator. One that has ended hears nothing; one that does not take its messages is given up.
    pub(super) fn tell_coordinator(&mut self, now: Now, job: JobId, message: ToCoordinator) {
        let running = self.coordinators.running.get(&job);
        if running.is_some_and(|running| !running.handle.send(message)) {
            let reason = "it takes no messages".to_owned();
            self.coordinator_news(now, (job, CoordinatorNews::Broken { reason }));
        }
    }

    pub(super) fn signal_coordinator(&self, job: JobId, signal: StopSignal) {
        if let Some(running) = self.coordinators.running.get(&job) {
            running.handle.signal(signal);
        }
    }
}

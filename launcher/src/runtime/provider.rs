//! The provider of TaskManagers on the hosts of the inventory: over SSH, or directly on the JobManager's own host.
//!
//! A start is one SSH connection: bootstrap, launch, close. Nothing is kept open while the TaskManager runs; it and the
//! JobManager watch each other over QUIC. To stop one that does not end by itself, its host is reached anew, and exactly
//! the process that was started there is ended.

use std::{collections::HashMap, future::Future, path::Path, pin::Pin, sync::Arc, time::Duration};

use flink_graph::TaskManagerId;
use flink_jobmanager::{HostCapacity, ProviderEvent, ProviderEvents, ResourceProvider, StartTaskManager};
use flink_rpc::messages::{Fault, HostFault, PROTOCOL_VERSION, ProvisioningStage, TaskManagerStartup};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{JobManagerStartup, Layout, jobmanager, tmp};
use crate::{
    agent::{
        AgentClient, CallError,
        protocol::{Bytes, LaunchOutcome, LaunchSpec, Program},
    },
    config::{Cluster, Host},
    control::call_text,
    hosts::{HostLink, Hosts},
    process::ProcessIdentity,
};

/// Longest that a stop may take beyond the TaskManager's grace period: reaching its host.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Longest that the removal of what a killed TaskManager's workers left in `[dirs] tmp` is waited for.
const REMOVE_LIMIT: Duration = Duration::from_secs(8);

/// Longest that the host of a TaskManager to be stopped may take to accept a connection and begin to speak SSH. It did
/// before, so it is a matter of milliseconds; a host that is down would otherwise hold up the end of its cluster for `connect_timeout`.
const STOP_CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Longest that a launch which is no longer wanted may take to say that its process is ready. A TaskManager says so when it
/// has registered; from then on it may have workers, and its end must be an orderly one.
const READY_LAG: Duration = Duration::from_secs(2);

/// Starts TaskManagers on the hosts of an inventory.
pub(super) struct HostProvider {
    shared: Arc<Shared>,
    started: HashMap<TaskManagerId, Started>,
    tasks: JoinSet<()>,
}

struct Shared {
    cluster: Cluster,
    session: String,
    hosts: Hosts,
    events: ProviderEvents,
}

/// A TaskManager that was asked for.
struct Started {
    host: String,
    /// Name of its directory for temporary files.
    tmp_name: String,
    /// Set to true to give the start up.
    cancel: watch::Sender<bool>,
    /// The process: `None` while the start goes on, and for ever when it has come to nothing.
    running: watch::Receiver<Option<ProcessIdentity>>,
}

impl HostProvider {
    pub(super) fn new(startup: &JobManagerStartup, hosts: Hosts, events: ProviderEvents) -> Self {
        let shared = Shared {
            cluster: startup.cluster.clone(),
            session: startup.session.clone(),
            hosts,
            events,
        };
        Self {
            shared: Arc::new(shared),
            started: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    fn reap(&mut self) {
        while self.tasks.try_join_next().is_some() {}
    }
}

impl ResourceProvider for HostProvider {
    fn capacity(&self) -> Vec<HostCapacity> {
        let hosts = self.shared.cluster.taskmanager_hosts();
        hosts
            .map(|host| HostCapacity {
                host: host.name.clone(),
                slots: host.slots,
            })
            .collect()
    }

    fn start(&mut self, request: StartTaskManager) {
        self.reap();
        let (cancel, cancelled) = watch::channel(false);
        let (told, running) = watch::channel(None);
        let tmp_name = tmp::fresh_name(&Layout::of(&self.shared.cluster.name).tag(&self.shared.session));
        let started = Started {
            host: request.host.clone(),
            tmp_name: tmp_name.clone(),
            cancel,
            running,
        };
        // A host has one TaskManager at a time: one that ended by itself, and so was never stopped, is of the past.
        self.started.retain(|_, earlier| earlier.host != request.host);
        self.started.insert(request.id, started);
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            let id = request.id;
            let started = shared.start(request, tmp_name, cancelled, &told).await;
            // Who stops it waits for word of it no longer.
            drop(told);
            if let Err(fault) = started {
                shared.tell(ProviderEvent::Failed { id, fault }).await;
            }
        });
    }

    fn stop(&mut self, task_manager: TaskManagerId) {
        self.reap();
        let started = self.started.remove(&task_manager);
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            let left_behind = match started {
                Some(started) => shared.stop(task_manager, started).await.err(),
                None => None,
            };
            shared
                .tell(ProviderEvent::Stopped {
                    id: task_manager,
                    left_behind,
                })
                .await;
        });
    }

    fn shutdown(mut self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            for started in self.started.values() {
                started.cancel.send_replace(true);
            }
            while self.tasks.join_next().await.is_some() {}
        })
    }
}

impl Shared {
    async fn tell(&self, event: ProviderEvent) {
        // The JobManager has ended: nobody wants to know.
        let _ended = self.events.send(event).await;
    }

    /// Starts a TaskManager, unless `cancelled` comes first; tells `running` of the process as soon as it is known.
    async fn start(
        &self,
        request: StartTaskManager,
        tmp_name: String,
        mut cancelled: watch::Receiver<bool>,
        running: &watch::Sender<Option<ProcessIdentity>>,
    ) -> Result<(), HostFault> {
        let host = self.cluster.host(&request.host).ok_or_else(|| {
            fault(
                &request.host,
                "config.host",
                "the host is not in the inventory".to_owned(),
            )
        })?;
        let link = tokio::select! {
            link = self.connect(host, request.id) => link?,
            _ = cancelled.wait_for(|cancelled| *cancelled) => return Ok(()),
        };
        let launched = tokio::select! {
            launched = self.launch(host, &link.agent, request, tmp_name) => launched,
            // Dropping the launch undoes it: it is cancelled with its channel.
            () = overdue(cancelled) => return Ok(()),
        };
        if let Ok(identity) = &launched {
            running.send_replace(Some(identity.clone()));
        }
        link.close().await;
        launched.map(drop)
    }

    async fn connect(&self, host: &Host, id: TaskManagerId) -> Result<HostLink, HostFault> {
        self.tell(ProviderEvent::Progress {
            id,
            stage: ProvisioningStage::Connecting,
        })
        .await;
        let events = self.events.clone();
        let uploading = move |sent, total| {
            // Progress that finds no room is not worth waiting for.
            let stage = ProvisioningStage::Uploading { sent, total };
            let _full = events.try_send(ProviderEvent::Progress { id, stage });
        };
        let link = self
            .hosts
            .connect(host, uploading)
            .await
            .map_err(|error| error.into_fault(&host.name))?;
        self.tell(ProviderEvent::Progress {
            id,
            stage: ProvisioningStage::Starting,
        })
        .await;
        Ok(link)
    }

    async fn launch(
        &self,
        host: &Host,
        agent: &AgentClient,
        request: StartTaskManager,
        tmp_name: String,
    ) -> Result<ProcessIdentity, HostFault> {
        let layout = Layout::of(&self.cluster.name);
        let work_dir = layout.task_manager(&self.session, &host.name, request.id);
        let startup = self
            .startup(host, Path::new(&agent.hello().base), &work_dir, &tmp_name, request)
            .await?;
        let payload = postcard::to_stdvec(&startup)
            .map_err(|error| fault(&host.name, "taskmanager.startup", error.to_string()))?;
        let spec = LaunchSpec {
            program: Program::Flinkctl,
            args: vec!["taskmanager".to_owned(), "--launched".to_owned()],
            env: host
                .env
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            tag: format!("{}/taskmanager/{}", layout.tag(&self.session), host.name),
            log: format!("{work_dir}/taskmanager.log"),
            working_dir: None,
            payload: Bytes(payload),
            ready_timeout: self.cluster.taskmanager.start_timeout,
        };
        let outcome = agent
            .launch(spec)
            .await
            .map_err(|error| call_fault(&host.name, &error))?;
        let result = ready(&host.name, outcome);
        if result.is_err() {
            // What is left is its log, whose end is in the message.
            let _unreachable = agent.remove_tree(&work_dir).await;
        }
        result
    }

    async fn startup(
        &self,
        host: &Host,
        base: &Path,
        work_dir: &str,
        tmp_name: &str,
        request: StartTaskManager,
    ) -> Result<TaskManagerStartup, HostFault> {
        let taskmanager = &self.cluster.taskmanager;
        let data_address = jobmanager::resolve(host)
            .await
            .map_err(|error| fault(&host.name, &error.code, error.message.clone()))?;
        Ok(TaskManagerStartup {
            protocol: PROTOCOL_VERSION,
            cluster: request.cluster,
            id: request.id,
            host: host.name.clone(),
            slots: host.slots,
            job_manager: request.job_manager,
            identity: request.identity,
            heartbeat: jobmanager::heartbeat(&self.cluster),
            death_timeout_ms: millis(self.cluster.supervise.death_timeout),
            stop_grace_ms: millis(self.cluster.supervise.stop_grace),
            data_address,
            data_ports: (taskmanager.data_ports.first, taskmanager.data_ports.last),
            mtu: taskmanager.mtu.bytes(),
            blob_dir: base.join(Layout::BLOBS),
            work_dir: base.join(work_dir),
            tmp_dir: Path::new(&host.tmp_dir).join(tmp_name),
            worker_env: host
                .env
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            tag_prefix: Layout::of(&self.cluster.name).tag(&self.session),
        })
    }

    async fn stop(&self, id: TaskManagerId, mut started: Started) -> Result<(), HostFault> {
        started.cancel.send_replace(true);
        let running = match started.running.wait_for(Option::is_some).await {
            Ok(running) => running.clone(),
            Err(_start_is_over) => None,
        };
        let Some(identity) = running else {
            return Ok(());
        };
        let Some(host) = self.cluster.host(&started.host) else {
            return Ok(());
        };
        let grace = self.cluster.supervise.stop_grace;
        let late = || fault(&host.name, "ssh.timeout", format!("not reached within {STOP_LIMIT:?}"));
        timeout(grace + STOP_LIMIT, async {
            let hosts = self.hosts.clone().connect_timeout(STOP_CONNECT_TIMEOUT);
            let link = hosts
                .connect(host, |_, _| ())
                .await
                .map_err(|error| error.into_fault(&host.name))?;
            let result = self.end(id, host, &link.agent, &started.tmp_name, identity).await;
            link.close().await;
            result
        })
        .await
        .unwrap_or_else(|_elapsed| Err(late()))
    }

    /// Ends a TaskManager, and removes what it did not remove itself.
    async fn end(
        &self,
        id: TaskManagerId,
        host: &Host,
        agent: &AgentClient,
        tmp_name: &str,
        identity: ProcessIdentity,
    ) -> Result<(), HostFault> {
        let work_dir = Layout::of(&self.cluster.name).task_manager(&self.session, &host.name, id);
        let ending = async {
            agent.stop(identity, self.cluster.supervise.stop_grace).await?;
            agent.remove_tree(&work_dir).await
        };
        let failed = |error: CallError| call_fault(&host.name, &error);
        ending.await.map_err(failed)?;
        let removed = timeout(REMOVE_LIMIT, tmp::remove(agent, &host.tmp_dir, tmp_name)).await;
        removed.map_or_else(
            |_elapsed| {
                let what = format!(
                    "its TaskManager is gone; its temporary files are not, after {REMOVE_LIMIT:?}: {}/{tmp_name}",
                    host.tmp_dir
                );
                Err(fault(&host.name, "host.file", what))
            },
            |removed| removed.map_err(failed),
        )
    }
}

/// [`READY_LAG`] after the start was cancelled.
async fn overdue(mut cancelled: watch::Receiver<bool>) {
    // Without a sender nobody will cancel it, for it was forgotten: its host has another one.
    let _forgotten = cancelled.wait_for(|cancelled| *cancelled).await.map(drop);
    sleep(READY_LAG).await;
}

/// A failed call to the agent on a host.
fn call_fault(host: &str, error: &CallError) -> HostFault {
    fault(host, error.code(), call_text(error))
}

/// What a launch came to: the process, or why there is none.
fn ready(host: &str, outcome: LaunchOutcome) -> Result<ProcessIdentity, HostFault> {
    match outcome {
        LaunchOutcome::Ready { identity, message } => match postcard::from_bytes::<Result<(), Fault>>(&message.0) {
            Ok(Ok(())) => Ok(identity),
            Ok(Err(said)) => Err(HostFault {
                help: said.help,
                ..fault(host, &said.code, said.message)
            }),
            Err(error) => Err(fault(host, "taskmanager.startup", error.to_string())),
        },
        LaunchOutcome::Died { exit, log_tail, after } => {
            let message = format!("TaskManager exited {after:.1?} after its start, before it registered ({exit})");
            Err(fault(host, "taskmanager.died", with_log(message, &log_tail)))
        }
        LaunchOutcome::NotReady { log_tail } => {
            let message = "the TaskManager did not register in time".to_owned();
            Err(fault(host, "taskmanager.start-timeout", with_log(message, &log_tail)))
        }
    }
}

fn with_log(message: String, log_tail: &str) -> String {
    if log_tail.trim().is_empty() {
        return message;
    }
    format!("{message}\nlast lines of its log:\n{}", log_tail.trim_end())
}

fn fault(host: &str, code: &str, message: String) -> HostFault {
    HostFault {
        host: host.to_owned(),
        code: code.to_owned(),
        message,
        help: None,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

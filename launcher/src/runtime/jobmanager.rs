//! `flinkctl jobmanager` as an agent launches it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use flink_graph::ClusterId;
use flink_jobmanager::{ClusterMode, JobManager, JobManagerConfig, JobManagerHandle, PlacementStrategy, StartError};
use flink_rpc::{Heartbeat, messages::Fault};
use serde::{Deserialize, Serialize};

use super::{
    layout::{Layout, remove_with_empty_parents},
    provider::HostProvider,
    record::{CLIENT_IDENTITY, SESSION_RECORD, SessionRecord},
    taskmanager::terminated,
    tmp,
};
use crate::{
    config::{Cluster, Host, Placement},
    hosts::Hosts,
    process::{PortHolder, ProcessIdentity, Startup, udp_port_holder},
    ssh::expand_home,
};

/// What a cluster is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SessionKind {
    /// One job.
    PerJob,
    /// The jobs of one program, for as long as the client that runs its driver stays.
    Application,
    /// Any number of jobs, until it is stopped.
    Session,
    /// The same, for as long as the client that started it stays.
    AttachedSession,
    /// A session whose TaskManagers are started by others.
    Standalone,
}

impl SessionKind {
    /// Whether it takes jobs of `job run --session`.
    pub(crate) const fn takes_jobs(self) -> bool {
        !matches!(self, Self::PerJob | Self::Application)
    }
}

/// What makes a JobManager; travels over its launch channel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JobManagerStartup {
    /// The new cluster's id.
    pub(crate) id: ClusterId,
    /// The inventory; its hosts are those that may be used.
    pub(crate) cluster: Cluster,
    /// The host it runs on.
    pub(crate) host: String,
    /// The session's name.
    pub(crate) session: String,
    /// What it is there for.
    pub(crate) kind: SessionKind,
    /// Who starts it, `user@host`.
    pub(crate) owner: String,
    /// The base directory on its host, absolute.
    pub(crate) base: PathBuf,
}

/// What a JobManager says once it serves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct JobManagerReady {
    /// Where it takes connections.
    pub(crate) address: SocketAddr,
}

/// Runs the JobManager that the launch channel on standard input describes, until its cluster ends.
///
/// # Errors
/// When the channel holds no such description, or a file of the session cannot be written. What else keeps it from
/// serving is told to whoever launched it.
pub(crate) fn run_launched() -> anyhow::Result<()> {
    let (channel, payload) = Startup::receive()?;
    let startup: JobManagerStartup = postcard::from_bytes(&payload).context("decode the start-up message")?;
    drop(payload);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let session = SessionDirectory::new(&startup);
        match session.start(&startup).await {
            Ok((handle, ready)) => {
                let told = channel.ready(&postcard::to_stdvec(&Ok::<_, Fault>(ready))?);
                if told.is_err() {
                    // Whoever wanted this cluster is gone.
                    handle.shutdown();
                }
                session.serve(handle).await;
                told?;
            }
            Err(fault) => {
                session.remove();
                channel.ready(&postcard::to_stdvec(&Err::<JobManagerReady, _>(fault))?)?;
            }
        }
        Ok(())
    })
}

/// A session's directory on the JobManager's host; it is there while the JobManager is.
pub(super) struct SessionDirectory {
    base: PathBuf,
    path: PathBuf,
}

impl SessionDirectory {
    pub(super) fn new(startup: &JobManagerStartup) -> Self {
        let path = startup
            .base
            .join(Layout::of(&startup.cluster.name).session(&startup.session));
        Self {
            base: startup.base.clone(),
            path,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    async fn start(&self, startup: &JobManagerStartup) -> Result<(JobManagerHandle, JobManagerReady), Fault> {
        let config = config(startup, &self.path).await?;
        let hosts = Hosts::on_jobmanager(&startup.cluster, &startup.host)
            .await
            .map_err(|error| Fault::new("jobmanager.binary", error.to_string()))?;
        let handle = JobManager::start(config, |events| Box::new(HostProvider::new(startup, hosts, events)))
            .await
            .map_err(|error| start_fault(&error, &startup.cluster))?;
        let ready = self
            .publish(startup, &handle)
            .map_err(|error| Fault::new("jobmanager.session-dir", format!("{error:#}")))?;
        Ok((handle, ready))
    }

    /// Writes what launchers need to find and reach this JobManager.
    pub(super) fn publish(
        &self,
        startup: &JobManagerStartup,
        handle: &JobManagerHandle,
    ) -> anyhow::Result<JobManagerReady> {
        let record = SessionRecord {
            cluster: startup.id,
            name: startup.session.clone(),
            kind: startup.kind,
            host: startup.host.clone(),
            address: handle.address(),
            process: ProcessIdentity::current()?,
            owner: startup.owner.clone(),
            start_ms: now_ms(),
            heartbeat: heartbeat(&startup.cluster),
        };
        let identity = postcard::to_stdvec(handle.client_identity())?;
        write_private(&self.path.join(CLIENT_IDENTITY), &identity)?;
        write_private(&self.path.join(SESSION_RECORD), &serde_json::to_vec_pretty(&record)?)?;
        Ok(JobManagerReady {
            address: handle.address(),
        })
    }

    /// Until the cluster has ended, by itself or by a signal; then the directory is gone.
    pub(super) async fn serve(&self, mut handle: JobManagerHandle) {
        let exit = tokio::select! {
            exit = handle.join() => exit,
            () = terminated() => {
                handle.shutdown();
                handle.join().await
            }
        };
        for fault in &exit.left_behind {
            tracing::error!(
                host = fault.host,
                code = fault.code,
                "not verified to be gone: {}",
                fault.message
            );
        }
        self.remove();
    }

    pub(super) fn remove(&self) {
        remove_with_empty_parents(&self.base, &self.path);
    }
}

/// Why a JobManager does not serve, for people.
pub(super) fn start_fault(error: &StartError, cluster: &Cluster) -> Fault {
    match error {
        StartError::AddressInUse { address } => port_in_use(*address, cluster, error),
        StartError::Directory { .. } => Fault::new("host.file", error.to_string()),
        _ => Fault::new("jobmanager.start", format!("cluster \"{}\": {error}", cluster.name)),
    }
}

/// The port that the inventory names is taken, by a process that can be named if it is this user's.
fn port_in_use(address: SocketAddr, cluster: &Cluster, error: &StartError) -> Fault {
    let (host, port) = (&cluster.jobmanager_host().name, address.port());
    let fault = Fault::new("port.in-use", format!("{host}: UDP port {port} is taken"));
    let any_port = "set [jobmanager] rpc_port = 0 for any free port";
    let Some(holder) = udp_port_holder(port) else {
        let help = format!("{any_port}; who has this one: flinkctl cluster exec -H {host} -- ss -ulpn");
        return Fault {
            notes: vec![error.to_string()],
            ..fault.with_help(&help)
        };
    };
    let session = holder.tag.as_deref().and_then(|tag| {
        let (owner, session, _) = Layout::parse_tag(tag)?;
        (owner == cluster.name).then_some(session)
    });
    let (of_session, stop_it) = session
        .map(|session| {
            (
                format!(" of session \"{session}\""),
                format!(", or stop that session: flinkctl session stop {session}"),
            )
        })
        .unwrap_or_default();
    let PortHolder { pid, command, .. } = &holder;
    Fault {
        notes: vec![format!("by pid {pid} `{command}`{of_session}")],
        ..fault.with_help(format!("{any_port}{stop_it}"))
    }
}

/// Writes a file that only its owner may read, all of it or nothing.
pub(super) fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    use std::{io::Write as _, os::unix::fs::DirBuilderExt as _};
    let directory = path.parent().context("a file has a directory")?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("create {}", directory.display()))?;
    let mut file = tempfile::NamedTempFile::new_in(directory).with_context(|| format!("write {}", path.display()))?;
    file.write_all(content)
        .with_context(|| format!("write {}", path.display()))?;
    file.persist(path)
        .with_context(|| format!("write {}", path.display()))?;
    Ok(())
}

pub(super) async fn config(startup: &JobManagerStartup, session_dir: &Path) -> Result<JobManagerConfig, Fault> {
    let cluster = &startup.cluster;
    let host = cluster.host(&startup.host).ok_or_else(|| {
        Fault::new(
            "config.host",
            format!("host `{}` is not in the inventory", startup.host),
        )
    })?;
    let advertise = resolve(host).await?;
    let any: IpAddr = match advertise {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let layout = Layout::of(&cluster.name);
    let tag_prefix = layout.tag(&startup.session);
    Ok(JobManagerConfig {
        cluster: startup.id,
        cluster_name: cluster.name.clone(),
        session_name: startup.kind.takes_jobs().then(|| startup.session.clone()),
        mode: match startup.kind {
            SessionKind::PerJob => ClusterMode::PerJob,
            kind => ClusterMode::Session {
                attached: matches!(kind, SessionKind::AttachedSession | SessionKind::Application),
            },
        },
        host: host.name.clone(),
        bind: SocketAddr::new(any, cluster.jobmanager.rpc_port),
        advertise,
        blob_dir: startup.base.join(Layout::BLOBS),
        session_dir: session_dir.to_owned(),
        tmp_dir: expand_home(Path::new(&host.tmp_dir)).join(tmp::fresh_name(&tag_prefix)),
        coordinator_env: Vec::new(),
        tag_prefix,
        archive_dir: startup.base.join(layout.archive()),
        placement: match cluster.taskmanager.placement {
            Placement::Spread => PlacementStrategy::Spread,
            Placement::Pack => PlacementStrategy::Pack,
        },
        max_task_managers: cluster.taskmanager.max,
        idle_timeout: cluster.taskmanager.idle_timeout,
        start_timeout: cluster.taskmanager.start_timeout,
        heartbeat: heartbeat(cluster),
        stop_grace: cluster.supervise.stop_grace,
        tls_validity: cluster.tls.validity,
    })
}

pub(super) fn heartbeat(cluster: &Cluster) -> Heartbeat {
    Heartbeat {
        interval: cluster.taskmanager.heartbeat.interval,
        timeout: cluster.taskmanager.heartbeat.timeout,
    }
}

/// The address at which other hosts reach this one.
pub(super) async fn resolve(host: &Host) -> Result<IpAddr, Fault> {
    let failed = |why: String| {
        Fault::new(
            "host.unresolvable",
            format!("{}: data_address `{}`: {why}", host.name, host.data_address),
        )
        .with_help("set data_address of the host to an address that the other hosts can reach")
    };
    crate::agent::resolve(&host.data_address).await.map_err(failed)
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

//! Standalone clusters: a JobManager and TaskManagers that an operator's service manager starts, without SSH.
//!
//! The JobManager writes a *join file*, which holds what a TaskManager needs to be let in: where the JobManager is and a
//! certificate. It is a secret: mode 0600, to be brought to the TaskManagers' hosts by the operator's own means.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::Context;
use flink_graph::{ClusterId, TaskManagerId};
use flink_jobmanager::{JobManager, StandaloneProvider};
use flink_rpc::{
    Heartbeat, Identity,
    messages::{PROTOCOL_VERSION, TaskManagerStartup, UMASK_VARIABLE},
};
use rustix::{fs::Mode, process::umask};
use serde::{Deserialize, Serialize};

use super::{
    JobManagerStartup, Layout, SESSION_RECORD, SessionKind, SessionRecord,
    jobmanager::{SessionDirectory, config, heartbeat, start_fault, write_private},
    taskmanager, tmp,
};
use crate::{
    cli::{JobManagerArgs, TaskManagerArgs},
    config::Inventory,
    control::{fault_error, owner},
    error::UserError,
    exit_code::ExitCode,
    ssh::expand_home,
};

/// What a standalone TaskManager is let in with.
#[derive(Serialize, Deserialize)]
struct JoinFile {
    protocol: u32,
    cluster: ClusterId,
    cluster_name: String,
    session: String,
    job_manager: SocketAddr,
    identity: Identity,
    heartbeat: Heartbeat,
    death_timeout_ms: u64,
    stop_grace_ms: u64,
    data_ports: (u16, u16),
    mtu: u16,
}

/// Runs a JobManager in the foreground until `session stop`, SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot serve, or a file cannot be written.
pub(super) fn run_jobmanager(inventory: &Inventory, args: &JobManagerArgs) -> Result<(), UserError> {
    // What it writes is its owner's alone, as that of a launched one is. No job's code runs in it; coordinators, which run
    // some, go back to the login's own.
    let own_umask = umask(Mode::from_raw_mode(0o077));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::new)?;
    runtime.block_on(async {
        let mut cluster = inventory.cluster.clone();
        if let Some(port) = args.rpc_port {
            cluster.jobmanager.rpc_port = port;
        }
        let host = cluster.jobmanager_host().clone();
        let startup = JobManagerStartup {
            id: ClusterId::random(),
            host: host.name.clone(),
            session: args.session.clone(),
            kind: SessionKind::Standalone,
            owner: owner(),
            base: expand(&host.base_dir)?,
            cluster,
        };
        let session = SessionDirectory::new(&startup);
        if is_served(session.path()) {
            let what = format!(
                "session \"{}\" is running already: {}",
                args.session,
                session.path().display()
            );
            let error = UserError::new("session.exists", ExitCode::Conflict, what);
            return Err(error.help(format!(
                "flinkctl session stop {}      or choose another name: --session NAME",
                args.session
            )));
        }
        let result = serve(&startup, &session, &args.join_file, own_umask).await;
        session.remove();
        result
    })
}

async fn serve(
    startup: &JobManagerStartup,
    session: &SessionDirectory,
    join_file: &Path,
    own_umask: Mode,
) -> Result<(), UserError> {
    let mut config = config(startup, session.path()).await.map_err(fault_error)?;
    config.coordinator_env = vec![(UMASK_VARIABLE.to_owned(), format!("{:o}", own_umask.as_raw_mode()))];
    let handle = JobManager::start(config, |_events| Box::new(StandaloneProvider))
        .await
        .map_err(|error| fault_error(start_fault(&error, &startup.cluster)))?;
    let ready = session.publish(startup, &handle)?;
    let cluster = &startup.cluster;
    let join = JoinFile {
        protocol: PROTOCOL_VERSION,
        cluster: startup.id,
        cluster_name: cluster.name.clone(),
        session: startup.session.clone(),
        job_manager: ready.address,
        identity: handle.task_manager_identity().clone(),
        heartbeat: heartbeat(cluster),
        death_timeout_ms: millis(cluster.supervise.death_timeout),
        stop_grace_ms: millis(cluster.supervise.stop_grace),
        data_ports: (
            cluster.taskmanager.data_ports.first,
            cluster.taskmanager.data_ports.last,
        ),
        mtu: cluster.taskmanager.mtu.bytes(),
    };
    write_private(join_file, &serde_json::to_vec(&join).map_err(anyhow::Error::new)?)?;
    tracing::info!(address = %ready.address, join_file = %join_file.display(), "JobManager is up");
    session.serve(handle).await;
    // It opens nothing any more.
    let _absent = std::fs::remove_file(join_file);
    Ok(())
}

/// Whether the JobManager that made this session directory is still there.
fn is_served(directory: &Path) -> bool {
    let record = std::fs::read(directory.join(SESSION_RECORD)).ok();
    let record = record.and_then(|bytes| serde_json::from_slice::<SessionRecord>(&bytes).ok());
    record.is_some_and(|record| record.process.is_alive())
}

/// Runs a TaskManager in the foreground until its JobManager ends it, SIGTERM or SIGINT.
///
/// # Errors
/// When the join file is unusable, or the JobManager refuses it or stays away.
pub(super) fn run_taskmanager(args: &TaskManagerArgs) -> Result<(), UserError> {
    let unusable = |why: String| {
        UserError::new(
            "join.unusable",
            ExitCode::Usage,
            format!("the join file {} cannot be used", args.join.display()),
        )
        .detail(why)
        .help("copy it anew from where `flinkctl jobmanager --join-file FILE` wrote it")
    };
    let bytes = std::fs::read(&args.join).map_err(|error| unusable(error.to_string()))?;
    let join: JoinFile = serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
    if join.protocol != PROTOCOL_VERSION {
        return Err(unusable(format!(
            "it is of protocol {}, this flinkctl speaks {PROTOCOL_VERSION}",
            join.protocol
        )));
    }
    let startup = startup(join, args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::new)?;
    let exit = runtime.block_on(async {
        let (registered, wait) = tokio::sync::oneshot::channel();
        let running = taskmanager::run(startup, registered);
        tokio::pin!(running);
        tokio::select! {
            exit = &mut running => return exit,
            Ok(()) = wait => tracing::info!("registered with the JobManager"),
        }
        running.await
    });
    match exit {
        Ok(exit) => {
            tracing::info!(?exit, "TaskManager ends");
            Ok(())
        }
        Err(error) => Err(UserError::new(
            taskmanager::code(&error),
            ExitCode::Internal,
            error.to_string(),
        )),
    }
}

fn startup(join: JoinFile, args: &TaskManagerArgs) -> Result<TaskManagerStartup, UserError> {
    let base = expand(&args.base)?;
    let layout = Layout::of(&join.cluster_name);
    let tag_prefix = layout.tag(&join.session);
    let host = args
        .name
        .clone()
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    Ok(TaskManagerStartup {
        protocol: join.protocol,
        cluster: join.cluster,
        id: TaskManagerId::random(),
        slots: args.slots,
        job_manager: join.job_manager,
        identity: join.identity,
        heartbeat: join.heartbeat,
        death_timeout_ms: join.death_timeout_ms,
        stop_grace_ms: join.stop_grace_ms,
        data_address: args.data_address.map_or_else(|| route_to(join.job_manager), Ok)?,
        data_ports: join.data_ports,
        mtu: join.mtu,
        blob_dir: base.join(Layout::BLOBS),
        work_dir: base.join(layout.task_manager(&join.session, &host, std::process::id())),
        tmp_dir: expand(&args.tmp)?.join(tmp::fresh_name(&tag_prefix)),
        worker_env: Vec::new(),
        tag_prefix,
        host,
    })
}

/// The address of this machine from which `peer` is reached.
fn route_to(peer: SocketAddr) -> Result<IpAddr, UserError> {
    let any: SocketAddr = if peer.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    // Connecting a UDP socket sends nothing; it only asks the routing table.
    let socket = std::net::UdpSocket::bind(any).and_then(|socket| socket.connect(peer).map(|()| socket));
    let address = socket
        .and_then(|socket| socket.local_addr())
        .with_context(|| format!("find the way to {peer}"))?;
    Ok(address.ip())
}

fn expand(path: &str) -> Result<PathBuf, UserError> {
    Ok(std::path::absolute(expand_home(Path::new(path))).map_err(anyhow::Error::new)?)
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! The hosts of an inventory, ready to be reached: SSH settings, the binary that runs there, one link per host.

use std::{path::PathBuf, time::Duration};

use flink_rpc::messages::HostFault;

use crate::{
    agent::AgentClient,
    config::{Cluster, Host, HostKeys},
    error::{HostFailure, UserError},
    exit_code::ExitCode,
    ssh::{
        self, Binary, BootstrapError, BootstrapFailure, Connector, ConnectorSettings, HostConnection, SshError,
        SshErrorKind, SshTarget,
    },
};

/// What `config_file` of an inventory is when it is not set.
const DEFAULT_CONFIG_FILE: &str = "~/.ssh/config";

/// Reaches hosts of one inventory.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    connector: Connector,
    binary: Binary,
    settings: crate::config::Ssh,
    /// The host that this process runs on: no SSH is needed to get there.
    here: Option<String>,
}

/// A host with an agent on it. Dropping it ends the agent.
#[derive(Debug)]
pub(crate) struct HostLink {
    /// Does there what it is asked.
    pub(crate) agent: AgentClient,
    connection: HostConnection,
}

impl HostLink {
    /// Ends the agent and the connection and waits until both are gone.
    pub(crate) async fn close(self) {
        self.agent.close().await;
        self.connection.close().await;
    }

    /// Ends the connection at once; the agent there ends by itself.
    pub(crate) async fn hang_up(self) {
        drop(self.agent);
        self.connection.close().await;
    }
}

/// Why a host could not be reached, or not be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{cause}")]
pub(crate) struct HostError {
    /// Where the connection was to go: `[user@]address[:port]`.
    endpoint: String,
    /// The host that the connection was tried from, unless it is the operator's.
    from: Option<String>,
    /// Why.
    #[source]
    cause: Cause,
}

#[derive(Debug, Clone, thiserror::Error)]
enum Cause {
    /// SSH failed.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// Our binary does not run there.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
}

impl Hosts {
    /// Reaches them from the operator's machine.
    ///
    /// # Errors
    /// When the running binary cannot be read.
    pub(crate) fn from_here(cluster: &Cluster) -> std::io::Result<Self> {
        let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
        Self::new(cluster, cache.map(|cache| cache.join("flinkctl/digests")), None)
    }

    /// Reaches them from the JobManager on `host`.
    ///
    /// # Errors
    /// When the running binary cannot be read.
    pub(crate) async fn on_jobmanager(cluster: &Cluster, host: &str) -> std::io::Result<Self> {
        let (cluster, host) = (cluster.clone(), host.to_owned());
        tokio::task::spawn_blocking(move || Self::new(&cluster, None, Some(host)))
            .await
            .map_err(std::io::Error::other)?
    }

    /// The same, which waits no longer than `limit` for a host to accept a connection.
    #[must_use]
    pub(crate) fn connect_timeout(mut self, limit: Duration) -> Self {
        self.settings.connect_timeout = self.settings.connect_timeout.min(limit);
        self
    }

    fn new(cluster: &Cluster, cache: Option<PathBuf>, here: Option<String>) -> std::io::Result<Self> {
        let settings = ConnectorSettings {
            concurrency: cluster.ssh.concurrency as usize,
            concurrency_per_endpoint: cluster.ssh.concurrency_per_endpoint as usize,
            uploads: cluster.ssh.uploads as usize,
            ..ConnectorSettings::default()
        };
        Ok(Self {
            connector: Connector::new(settings),
            binary: Binary::running(cache.as_deref())?,
            settings: cluster.ssh.clone(),
            here,
        })
    }

    /// Connects to a host and has an agent there; `uploading` is told bytes sent and in all, if the binary has to be sent.
    ///
    /// # Errors
    /// See [`HostError`]; nothing is left on the host then.
    pub(crate) async fn connect(&self, host: &Host, uploading: impl FnMut(u64, u64)) -> Result<HostLink, HostError> {
        let target = self.target(host);
        self.connect_to(&target, host, uploading)
            .await
            .map_err(|cause| HostError {
                endpoint: target.endpoint().to_string(),
                from: self.here.clone(),
                cause,
            })
    }

    async fn connect_to(
        &self,
        target: &SshTarget,
        host: &Host,
        mut uploading: impl FnMut(u64, u64),
    ) -> Result<HostLink, Cause> {
        let connection = self.connector.connect(target).await?;
        let agent = connection
            .agent(&self.binary, &host.base_dir, |progress| {
                uploading(progress.sent, progress.size)
            })
            .await?;
        Ok(HostLink { agent, connection })
    }

    fn target(&self, host: &Host) -> SshTarget {
        let local = host.is_local || self.here.as_deref() == Some(host.name.as_str());
        let address = if local { "localhost" } else { host.address.as_str() };
        let mut target = SshTarget::new(host.name.clone(), address);
        let ssh = &self.settings;
        target.user.clone_from(&host.user);
        target.port = host.port;
        target.identity_file = host.identity_file.as_deref().map(PathBuf::from);
        // The user's own file is read anyway, and then the system's as well; `-F` would leave that out.
        target.config_file = (ssh.config_file != DEFAULT_CONFIG_FILE).then(|| PathBuf::from(&ssh.config_file));
        // The JobManager is among the hosts: what the operator needs a bastion for, it reaches directly.
        target.jump = if self.here.is_some() {
            Vec::new()
        } else {
            ssh.jump.clone()
        };
        target.host_keys = match ssh.host_keys {
            HostKeys::Strict => ssh::HostKeys::Strict,
            HostKeys::AcceptNew => ssh::HostKeys::AcceptNew,
            HostKeys::Off => ssh::HostKeys::Off,
        };
        target.known_hosts = ssh.known_hosts.as_deref().map(PathBuf::from);
        target.connect_timeout = ssh.connect_timeout;
        target.auth_timeout = ssh.auth_timeout;
        target.keepalive = ssh.keepalive;
        target.options = ssh.options.clone();
        target
    }
}

impl HostError {
    /// Stable code.
    pub(crate) const fn code(&self) -> &'static str {
        match &self.cause {
            Cause::Ssh(error) => error.code(),
            Cause::Bootstrap(error) => error.code(),
        }
    }

    /// What to do about it.
    pub(crate) fn help(&self) -> Option<String> {
        let error = match &self.cause {
            Cause::Ssh(error) => error,
            Cause::Bootstrap(error) => return error.help(),
        };
        let Some(from) = &self.from else {
            return error.help();
        };
        match &error.kind {
            SshErrorKind::Auth { .. } | SshErrorKind::MissingKeyFile { .. } => Some(format!(
                "the JobManager logs in with the keys of {from}: identity_file in [ssh] names a file there"
            )),
            SshErrorKind::HostKeyChanged { .. } | SshErrorKind::HostKeyUnknown | SshErrorKind::NoSshBinary => {
                error.help().map(|help| format!("on {from}: {help}"))
            }
            _ => error.help(),
        }
    }

    /// What happened, without the host's name, with what the host or ssh said.
    pub(crate) fn text(&self) -> String {
        let error = match &self.cause {
            Cause::Ssh(error) => error,
            Cause::Bootstrap(BootstrapError {
                failure: BootstrapFailure::Ssh(error),
                ..
            }) => error,
            Cause::Bootstrap(error) => return error.failure.to_string(),
        };
        let headline = match &self.from {
            Some(from) => format!("{} (from {from} to {})", error.kind, self.endpoint),
            None => error.kind.to_string(),
        };
        std::iter::once(headline)
            .chain(error.details())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// As the JobManager reports it to its clients.
    pub(crate) fn into_fault(self, host: &str) -> HostFault {
        HostFault {
            host: host.to_owned(),
            code: self.code().to_owned(),
            message: self.text(),
            help: self.help(),
        }
    }

    /// As a command that works on many hosts reports it.
    pub(crate) fn into_failure(self, host: &str) -> HostFailure {
        HostFailure {
            host: host.to_owned(),
            message: self.text(),
            hint: self.help(),
        }
    }

    /// As a command of its own reports it.
    pub(crate) fn into_user_error(self, host: &str) -> UserError {
        let what = match &self.cause {
            Cause::Ssh(_) => format!("{host} cannot be reached over SSH"),
            Cause::Bootstrap(_) => format!("{host} cannot run flinkctl"),
        };
        let error = UserError::new(self.code(), ExitCode::Unreachable, what)
            .at(self.endpoint.as_str())
            .host(host, self.text());
        match self.help() {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

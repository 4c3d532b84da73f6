//! Opens connections: bounded in number, patient with busy servers, never stubborn with wrong keys.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::classify::Failure;
use super::connection::HostConnection;
use super::control;
use super::error::{SshError, SshErrorKind};
use super::jump::{self, Hops};
use super::master::{Master, MasterPrograms};
use super::target::{Endpoint, SshTarget, expand_home};

/// Most attempts at a server that drops connections before the login.
const ATTEMPTS: u32 = 4;
/// Shortest and longest pause before a further attempt.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// How connections are opened.
#[derive(Debug, Clone)]
pub struct ConnectorSettings {
    /// Connections that are opened at the same time. Default 30.
    pub concurrency: usize,
    /// The same for one sshd; below its `MaxStartups` (10 by default). Default 8.
    pub concurrency_per_endpoint: usize,
    /// Binaries that are uploaded at the same time: they share this machine's uplink. Default 5.
    pub uploads: usize,
    /// This very binary. Default `/proc/self/exe`.
    pub helper: PathBuf,
    /// OpenSSH's client. Default `ssh`, found in `PATH`.
    pub ssh: PathBuf,
    /// Where control sockets live. Default: `$XDG_RUNTIME_DIR/flinkctl` or `/tmp/flinkctl-UID`.
    pub control_directory: Option<PathBuf>,
}

impl Default for ConnectorSettings {
    fn default() -> Self {
        Self {
            concurrency: 30,
            concurrency_per_endpoint: 8,
            uploads: 5,
            helper: "/proc/self/exe".into(),
            ssh: "ssh".into(),
            control_directory: None,
        }
    }
}

/// Opens connections to hosts. Cheap to clone; jump hosts stay connected until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Connector(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) programs: MasterPrograms,
    pub(super) hops: Hops,
    control_directory: Result<PathBuf, String>,
    permits: Semaphore,
    uploads: Arc<Semaphore>,
    per_endpoint: usize,
    endpoints: Mutex<Vec<(EndpointKey, Arc<Semaphore>)>>,
}

/// One sshd: the same address behind two bastions is two.
type EndpointKey = (Endpoint, Vec<String>);

impl Connector {
    /// A connector. What is wrong with the control directory shows at the first connection that needs it.
    #[must_use]
    pub fn new(settings: ConnectorSettings) -> Self {
        Self(Arc::new(Inner {
            control_directory: control::directory(settings.control_directory.as_deref()),
            programs: MasterPrograms {
                helper: settings.helper,
                ssh: settings.ssh,
            },
            hops: Hops::default(),
            permits: Semaphore::new(settings.concurrency.max(1)),
            uploads: Arc::new(Semaphore::new(settings.uploads.max(1))),
            per_endpoint: settings.concurrency_per_endpoint.max(1),
            endpoints: Mutex::default(),
        }))
    }

    /// Connects to a host and logs in. Dropping the future ends what it has started.
    ///
    /// # Errors
    /// See [`SshErrorKind`].
    pub async fn connect(&self, target: &SshTarget) -> Result<HostConnection, SshError> {
        if target.is_local() {
            return Ok(HostConnection::local(target, self.0.uploads.clone()));
        }
        let inner = &self.0;
        let hop = jump::through(inner, target).await?;
        let proxy = hop
            .as_ref()
            .map(|master| jump::proxy_command(&inner.programs.ssh, master.control()));
        let master = inner.connect_master(target, proxy.as_deref()).await?;
        Ok(HostConnection::ssh(target, master, hop, inner.uploads.clone()))
    }
}

impl Inner {
    /// Starts a master within the limits, again if the server only was busy.
    pub(super) async fn connect_master(&self, target: &SshTarget, proxy: Option<&str>) -> Result<Master, SshError> {
        check_files(target)?;
        let directory = self
            .control_directory
            .as_ref()
            .map_err(|reason| error_of(target, SshErrorKind::ControlDirectory(reason.clone())))?;
        let endpoint = self.endpoint_permits(target);
        let started = Instant::now();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let failure = {
                // The narrow gate first: who waits there must not hold up hosts behind other gates. Neither is ever closed.
                let _endpoint = endpoint.acquire().await;
                let _any = self.permits.acquire().await;
                match Master::start(&self.programs, target, control::socket(directory), proxy).await {
                    Ok(master) => return Ok(master),
                    Err(failure) => failure,
                }
            };
            if !failure.kind.is_retryable() || attempts >= ATTEMPTS {
                return Err(finish(failure, attempts, started.elapsed(), target).await);
            }
            sleep(pause(attempts)).await;
        }
    }

    fn endpoint_permits(&self, target: &SshTarget) -> Arc<Semaphore> {
        let mut key: EndpointKey = (target.endpoint(), target.jump.clone());
        // The user makes no difference to the server's limit.
        key.0.user = None;
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, permits)) = endpoints.iter().find(|(known, _)| *known == key) {
            return permits.clone();
        }
        let permits = Arc::new(Semaphore::new(self.per_endpoint));
        endpoints.push((key, permits.clone()));
        permits
    }
}

pub(super) fn error_of(target: &SshTarget, kind: SshErrorKind) -> SshError {
    SshError {
        host: target.name.clone(),
        endpoint: target.endpoint().to_string(),
        kind,
        text: Box::default(),
    }
}

/// Completes what one attempt cannot know.
async fn finish(failure: Failure, attempts: u32, elapsed: Duration, target: &SshTarget) -> SshError {
    let kind = match failure.kind {
        SshErrorKind::Throttled { .. } => SshErrorKind::Throttled { attempts, elapsed },
        SshErrorKind::Auth { accepts, .. } => SshErrorKind::Auth {
            accepts,
            tried: tried_keys(target).await,
        },
        kind => kind,
    };
    SshError {
        text: failure.text.into(),
        ..error_of(target, kind)
    }
}

/// ssh says "permission denied" of a missing key file too, after a needless login attempt that the server may count.
fn check_files(target: &SshTarget) -> Result<(), SshError> {
    let unreadable = |path: &Path| {
        let path = expand_home(path);
        std::fs::File::open(&path).err().map(|error| (path, error.to_string()))
    };
    if let Some((path, reason)) = target.identity_file.as_deref().and_then(unreadable) {
        return Err(error_of(target, SshErrorKind::MissingKeyFile { path, reason }));
    }
    if let Some((path, reason)) = target.config_file.as_deref().and_then(unreadable) {
        let text = format!("{}: {reason}", path.display());
        return Err(error_of(target, SshErrorKind::Invalid(text)));
    }
    Ok(())
}

/// What was offered at a login that was refused, for the message.
async fn tried_keys(target: &SshTarget) -> Vec<String> {
    if let Some(file) = &target.identity_file {
        return vec![file.display().to_string()];
    }
    let agent = if std::env::var_os("SSH_AUTH_SOCK").is_none() {
        "no agent".to_owned()
    } else {
        let keys = Command::new("ssh-add")
            .arg("-l")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        match timeout(Duration::from_secs(2), keys).await {
            Ok(Ok(output)) if output.status.success() => {
                let count = String::from_utf8_lossy(&output.stdout).lines().count();
                format!("agent ({count} keys)")
            }
            Ok(Ok(output)) if output.status.code() == Some(1) => "agent (0 keys)".to_owned(),
            _ => "agent (no answer)".to_owned(),
        }
    };
    vec!["the default keys in ~/.ssh".to_owned(), agent]
}

/// Longer from attempt to attempt, and different for every host: those that were dropped together must not come back together.
fn pause(attempt: u32) -> Duration {
    let (shortest, longest) = PAUSE;
    let ceiling = shortest.saturating_mul(2_u32.saturating_pow(attempt)).min(longest);
    // A hash with a fresh random key is all the randomness a jitter needs.
    let random = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), attempt);
    let share = f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX);
    shortest + (ceiling - shortest).mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_within_their_limits_and_differ() {
        for attempt in 1..ATTEMPTS {
            let pause = pause(attempt);
            assert!(pause >= PAUSE.0 && pause <= PAUSE.1, "{attempt}: {pause:?}");
        }
        assert_ne!(pause(3), pause(3));
    }

    #[test]
    fn missing_files_are_found_before_anything_is_tried() {
        let mut target = SshTarget::new("tm01", "127.0.0.1");
        target.identity_file = Some("/nonexistent/key".into());
        let error = check_files(&target).expect_err("missing");
        assert_eq!(error.code(), "ssh.key-file");
        target.identity_file = None;
        target.config_file = Some("/nonexistent/config".into());
        assert_eq!(check_files(&target).expect_err("missing").code(), "ssh.target");
    }

    #[test]
    fn one_gate_per_sshd() {
        let connector = Connector::new(ConnectorSettings::default());
        let gate = |address: &str, user: &str, jump: &[&str]| {
            let mut target = SshTarget::new("x", address);
            target.user = Some(user.to_owned());
            target.jump = jump.iter().map(|&hop| hop.to_owned()).collect();
            Arc::as_ptr(&connector.0.endpoint_permits(&target))
        };
        assert_eq!(gate("a", "u", &[]), gate("a", "v", &[]));
        assert_ne!(gate("a", "u", &[]), gate("b", "u", &[]));
        assert_ne!(gate("a", "u", &["j"]), gate("a", "u", &["k"]));
    }
}

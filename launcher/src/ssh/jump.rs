//! Jump hosts: one shared master per hop, so that a bastion sees one login however many hosts are behind it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Instant;

use tokio::sync::Mutex;

use super::connector::{Inner, error_of};
use super::error::{SshError, SshErrorKind};
use super::master::Master;
use super::target::{Endpoint, SshTarget, escape_percent};

/// The hops of a [`super::Connector`], kept until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Hops(StdMutex<HashMap<SshTarget, Arc<Hop>>>);

/// One hop; the lock is held while somebody connects to it, and the others wait for that result.
#[derive(Debug, Default)]
struct Hop(Mutex<HopState>);

#[derive(Debug, Default)]
struct HopState {
    master: Option<Arc<Master>>,
    failed: Option<(Instant, SshError)>,
}

/// Connects to the hops of `target` in turn, or finds them connected. Returns the last one's master.
pub(super) async fn through(inner: &Inner, target: &SshTarget) -> Result<Option<Arc<Master>>, SshError> {
    let mut last: Option<Arc<Master>> = None;
    for (index, text) in target.jump.iter().enumerate() {
        let endpoint: Endpoint = text
            .parse()
            .map_err(|error: super::InvalidTarget| error_of(target, SshErrorKind::Invalid(error.to_string())))?;
        let hop = SshTarget {
            name: text.clone(),
            address: endpoint.host,
            user: endpoint.user,
            port: endpoint.port,
            jump: target.jump[..index].to_vec(),
            ..target.clone()
        };
        let master = connect(inner, &hop, last.as_deref()).await.map_err(|error| {
            let reason = error.kind.to_string();
            SshError {
                host: target.name.clone(),
                kind: SshErrorKind::JumpFailed {
                    hop: text.clone(),
                    reason,
                },
                ..error
            }
        })?;
        last = Some(master);
    }
    Ok(last)
}

async fn connect(inner: &Inner, hop: &SshTarget, via: Option<&Master>) -> Result<Arc<Master>, SshError> {
    let arrived = Instant::now();
    let slot = {
        let mut hops = inner.hops.0.lock().unwrap_or_else(PoisonError::into_inner);
        hops.entry(hop.clone()).or_default().clone()
    };
    let mut state = slot.0.lock().await;
    if let Some(master) = state.master.as_ref().filter(|master| master.is_alive()) {
        return Ok(master.clone());
    }
    // Who waited while somebody else failed shares the failure: forty hosts must not fail at a bastion forty times.
    if let Some((at, error)) = &state.failed
        && *at >= arrived
    {
        return Err(error.clone());
    }
    let proxy = via.map(|master| proxy_command(&inner.programs.ssh, master.control()));
    match inner.connect_master(hop, proxy.as_deref()).await {
        Ok(master) => {
            let master = Arc::new(master);
            state.master = Some(master.clone());
            Ok(master)
        }
        Err(error) => {
            state.failed = Some((Instant::now(), error.clone()));
            Err(error)
        }
    }
}

/// A ProxyCommand that goes through the control socket of a hop.
pub(super) fn proxy_command(ssh: &Path, control: &Path) -> String {
    let quoted = |path: &Path| escape_percent(&super::script::quote(&path.to_string_lossy()));
    format!("{} -F none -S {} -W '[%h]:%p' none", quoted(ssh), quoted(control))
}

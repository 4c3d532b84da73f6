//! The agent's end of a check.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::packet::{self, Packet};
use super::probing::Probing;
use super::sockets::Sockets;
use super::{MeshSpec, Target};
use crate::agent::protocol::{AgentError, Bytes, Downstream, Output, Reply};
use crate::agent::server::Call;

/// Longest that the sockets stay open, whatever the caller does.
const LIMIT: Duration = Duration::from_secs(60);

/// Opens the sockets, answers, probes, and closes them when the caller has said everything. Dropping the future closes them too.
pub(in crate::agent) async fn serve(spec: MeshSpec, mut call: Call) -> Result<Reply, AgentError> {
    let internal = |error: std::io::Error| AgentError::Internal(error.to_string());
    let runtime = tokio::runtime::Handle::current();
    let asked = spec.clone();
    let (sockets, opened) = spawn_blocking(move || {
        // A large range takes a while; tokio's sockets have to be made in its context.
        let _context = runtime.enter();
        Sockets::open(&asked)
    })
    .await
    .map_err(|error| AgentError::Internal(error.to_string()))?
    .map_err(internal)?;
    say(&call, &opened).await?;
    let mut mesh = Serving {
        spec,
        sockets,
        targets: Vec::new(),
        probing: None,
        began: Instant::now(),
    };
    let limit = Instant::now() + LIMIT;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let wake = mesh.wake();
        tokio::select! {
            piece = call.data.recv() => match piece {
                None => return Ok(Reply::Done),
                Some(piece) => mesh.take_targets(&piece)?,
            },
            (length, from, socket) = poll_fn(|context| mesh.sockets.poll_receive(context, &mut buffer)) => {
                mesh.arrived(&buffer[..length], from, socket);
            }
            () = sleep_until(wake.unwrap_or(limit)), if wake.is_some() => mesh.round(),
            () = sleep_until(limit) => return Err(AgentError::Cancelled),
        }
        if let Some(answers) = mesh.finished() {
            say(&call, &answers).await?;
        }
    }
}

async fn say(call: &Call, what: &impl Serialize) -> Result<(), AgentError> {
    let bytes = postcard::to_stdvec(what).map_err(|error| AgentError::Internal(error.to_string()))?;
    let frame = Downstream::Output(call.id, Output::Stdout, Bytes(bytes));
    call.outgoing.send(frame).await.map_err(|_closed| AgentError::Cancelled)
}

struct Serving {
    spec: MeshSpec,
    sockets: Sockets,
    targets: Vec<Target>,
    probing: Option<Probing>,
    began: Instant,
}

impl Serving {
    fn take_targets(&mut self, piece: &[u8]) -> Result<(), AgentError> {
        let bad = |text: String| AgentError::BadRequest(text);
        if !self.targets.is_empty() || self.probing.is_some() {
            return Err(bad("targets twice".to_owned()));
        }
        self.targets = postcard::from_bytes(piece).map_err(|error| bad(error.to_string()))?;
        self.sockets
            .open_client(&self.targets)
            .map_err(|error| AgentError::Internal(error.to_string()))?;
        self.probing = Some(Probing::new(&self.targets, self.spec.payload));
        self.began = Instant::now();
        Ok(())
    }

    fn wake(&self) -> Option<Instant> {
        Some(self.began + self.probing.as_ref()?.next()?)
    }

    fn round(&mut self) {
        let Some(probing) = &mut self.probing else {
            return;
        };
        for probe in probing.round() {
            let target = usize::try_from(probe.target).ok().and_then(|at| self.targets.get(at));
            let Some(target) = target else {
                continue;
            };
            let bytes = packet::probe(&self.spec.nonce, probe);
            if let Err(error) = self.sockets.send(target.from, &bytes, target.address) {
                probing.failed(probe, error.to_string());
            }
        }
    }

    fn arrived(&mut self, bytes: &[u8], from: SocketAddr, socket: usize) {
        match packet::read(&self.spec.nonce, bytes) {
            Some(Packet::Probe(probe)) => {
                let answer = packet::answer(&self.spec.nonce, probe);
                // The prober asks again, and reports it if that does not help.
                let _lost = self.sockets.send_on(socket, &answer, from);
            }
            Some(Packet::Answer(probe)) => {
                if let Some(probing) = &mut self.probing {
                    probing.answered(self.began.elapsed(), probe);
                }
            }
            None => {}
        }
    }

    /// The answers, once, when there is nothing left to wait for.
    fn finished(&mut self) -> Option<Vec<super::Answer>> {
        let over = self.probing.as_ref().is_some_and(|probing| probing.next().is_none());
        self.probing.take_if(|_| over).map(Probing::finish)
    }
}

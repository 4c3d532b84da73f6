//! The caller's end of a check.

use serde::de::DeserializeOwned;

use super::{Answer, MeshSpec, Opened, Target};
use crate::agent::client::{AgentClient, Call, CallError};
use crate::agent::protocol::{AgentError, Bytes, Request, Upstream};
use crate::agent::wire::Event;

/// A host whose sockets are open. Dropping it closes them.
#[derive(Debug)]
pub struct Mesh<'a> {
    call: Call<'a>,
    client: &'a AgentClient,
}

impl AgentClient {
    /// Opens sockets on the host for others to probe, and says what could be opened.
    ///
    /// # Errors
    /// See [`CallError`]; that a port is taken is no error.
    pub async fn mesh(&self, spec: MeshSpec) -> Result<(Mesh<'_>, Opened), CallError> {
        let call = self.start(Request::Mesh(spec)).await?;
        let mut mesh = Mesh { call, client: self };
        let opened = mesh.hear().await?;
        Ok((mesh, opened))
    }
}

impl Mesh<'_> {
    /// Probes the sockets of other hosts, once; an answer for each target.
    ///
    /// # Errors
    /// See [`CallError`]; that a target is silent is no error.
    pub async fn probe(&mut self, targets: &[Target]) -> Result<Vec<Answer>, CallError> {
        let bytes = postcard::to_stdvec(targets).map_err(|error| self.failed(&error))?;
        self.client.send(Upstream::Data(self.call.id, Bytes(bytes))).await?;
        let answers: Vec<Answer> = self.hear().await?;
        if answers.len() == targets.len() {
            Ok(answers)
        } else {
            Err(self.client.unexpected(&answers))
        }
    }

    async fn hear<T: DeserializeOwned>(&mut self) -> Result<T, CallError> {
        match self.call.next().await? {
            Event::Output(_, bytes) => postcard::from_bytes(&bytes).map_err(|error| self.failed(&error)),
            Event::Reply(Ok(reply)) => Err(self.client.unexpected(&reply)),
            Event::Reply(Err(error)) => Err(self.client.agent_error(error)),
        }
    }

    fn failed(&self, error: &postcard::Error) -> CallError {
        self.client.agent_error(AgentError::Internal(error.to_string()))
    }
}

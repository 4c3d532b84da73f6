//! The caller's end of a call to a session's JobManager.

use std::marker::PhantomData;

use flink_rpc::messages::{ClientRequest, Fault};
use serde::de::DeserializeOwned;

use super::client::{AgentClient, Call, CallError};
use super::protocol::{AgentError, Bytes, Reply, Request};
use super::wire::Event;

/// A call to a JobManager failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ClientError {
    /// The JobManager refused or failed, and says why.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The JobManager, its host, or the way there is gone.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// The replies to one call. Dropping them cancels the call.
#[derive(Debug)]
pub(crate) struct Replies<'a, T> {
    call: Call<'a>,
    client: &'a AgentClient,
    item: PhantomData<fn() -> T>,
}

impl AgentClient {
    /// Makes a call with one reply to the JobManager of the session with this directory.
    ///
    /// # Errors
    /// The JobManager's fault, or that it does not answer.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        session: &str,
        request: &ClientRequest,
    ) -> Result<T, ClientError> {
        let reply = self.watch(session, request).await?.next().await?;
        reply.ok_or_else(|| self.failed("the JobManager gave no answer").into())
    }

    /// Makes a call with a stream of replies.
    ///
    /// # Errors
    /// That the agent is gone.
    pub(crate) async fn watch<T: DeserializeOwned>(
        &self,
        session: &str,
        request: &ClientRequest,
    ) -> Result<Replies<'_, T>, ClientError> {
        let request = postcard::to_stdvec(request).map_err(|error| self.failed(&error.to_string()))?;
        let call = self
            .start(Request::JobManager {
                session: session.to_owned(),
                request: Bytes(request),
            })
            .await?;
        Ok(Replies {
            call,
            client: self,
            item: PhantomData,
        })
    }

    fn failed(&self, text: &str) -> CallError {
        self.agent_error(AgentError::JobManager(text.to_owned()))
    }
}

impl<T: DeserializeOwned> Replies<'_, T> {
    /// The next reply; `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// The JobManager's fault, or that the way to it broke.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, ClientError> {
        let event = self.call.next().await?;
        match event {
            Event::Output(_, frame) => {
                let reply: Result<T, Fault> =
                    postcard::from_bytes(&frame).map_err(|error| self.client.failed(&error.to_string()))?;
                Ok(Some(reply?))
            }
            Event::Reply(Ok(Reply::Done)) => Ok(None),
            Event::Reply(Ok(other)) => Err(self.client.unexpected(&other).into()),
            Event::Reply(Err(error)) => Err(self.client.agent_error(error).into()),
        }
    }
}

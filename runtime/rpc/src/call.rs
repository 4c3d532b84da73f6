//! A call: one request frame, then one reply or a stream of them, each a `Result<_, Fault>`.

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    frame::{FrameError, FrameReader, FrameWriter},
    messages::Fault,
};

/// A call did not get its answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The other side refused or failed, and says why.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The way to the other side broke.
    #[error("lost the connection: {0}")]
    Broken(String),
}

impl From<FrameError> for CallError {
    fn from(error: FrameError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// The answering side of one call.
#[derive(Debug)]
pub struct Responder<W>(FrameWriter<W>);

impl<W: AsyncWrite + Unpin> Responder<W> {
    /// Answers on `stream`.
    pub fn new(stream: W) -> Self {
        Self(FrameWriter::new(stream))
    }

    /// Sends one reply, or one item of a stream of replies.
    ///
    /// # Errors
    /// When the caller is gone.
    pub async fn send<T: Serialize>(&mut self, reply: &T) -> Result<(), FrameError> {
        self.0.send(&Ok::<_, Fault>(reply)).await
    }

    /// Sends the failure; nothing may follow.
    ///
    /// # Errors
    /// When the caller is gone.
    pub async fn fail(&mut self, fault: &Fault) -> Result<(), FrameError> {
        self.0.send(&Err::<(), _>(fault)).await
    }

    /// Sends the one reply that a result stands for.
    ///
    /// # Errors
    /// When the caller is gone.
    pub async fn answer<T: Serialize>(&mut self, result: &Result<T, Fault>) -> Result<(), FrameError> {
        match result {
            Ok(reply) => self.send(reply).await,
            Err(fault) => self.fail(fault).await,
        }
    }

    /// The stream below.
    pub fn get_mut(&mut self) -> &mut W {
        self.0.get_mut()
    }
}

/// Reads one reply of type `T` from a call's stream; `None` at its end.
///
/// # Errors
/// The other side's [`Fault`], or that the stream broke.
pub async fn read_reply<T: DeserializeOwned>(
    reader: &mut FrameReader<impl AsyncRead + Unpin>,
) -> Result<Option<T>, CallError> {
    match reader.next::<Result<T, Fault>>().await? {
        Some(reply) => Ok(Some(reply?)),
        None => Ok(None),
    }
}

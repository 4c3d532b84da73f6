//! Messages on a byte stream: `[u32 length, big endian][postcard]`, or raw bytes in the same framing.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

/// Longest frame, bytes. Bounds what a peer can make a process allocate.
pub const MAX_FRAME: usize = 64 << 20;

/// A stream of frames broke.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The stream failed, ended inside a frame, or carried a frame over [`MAX_FRAME`].
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A frame is no such message: the peer is of another version, or no peer of ours.
    #[error("unexpected message: {0}")]
    Decode(#[from] postcard::Error),
    /// The stream ended where a message was due.
    #[error("the connection was closed")]
    Closed,
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME).new_codec()
}

/// Reads frames. All its methods are cancel safe.
#[derive(Debug)]
pub struct FrameReader<R>(FramedRead<R, LengthDelimitedCodec>);

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Frames of `stream`.
    pub fn new(stream: R) -> Self {
        Self(FramedRead::new(stream, codec()))
    }

    /// The next message; `None` when the stream ended between two.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        match self.next_bytes().await? {
            Some(bytes) => Ok(Some(postcard::from_bytes(&bytes)?)),
            None => Ok(None),
        }
    }

    /// The next message, which must be there.
    ///
    /// # Errors
    /// See [`FrameError`]; [`FrameError::Closed`] when the stream has ended.
    pub async fn expect<T: DeserializeOwned>(&mut self) -> Result<T, FrameError> {
        self.next().await?.ok_or(FrameError::Closed)
    }

    /// The next frame as it is.
    ///
    /// # Errors
    /// When the stream fails or ends inside a frame.
    pub async fn next_bytes(&mut self) -> Result<Option<Bytes>, FrameError> {
        Ok(self.0.next().await.transpose()?.map(Into::into))
    }
}

/// Writes frames. A send that is dropped half way leaves the stream broken: close it then.
#[derive(Debug)]
pub struct FrameWriter<W>(FramedWrite<W, LengthDelimitedCodec>);

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Frames to `stream`.
    pub fn new(stream: W) -> Self {
        Self(FramedWrite::new(stream, codec()))
    }

    /// Sends one message, waiting until the stream has taken it.
    ///
    /// # Errors
    /// When the stream fails, or the message is over [`MAX_FRAME`].
    pub async fn send<T: Serialize + ?Sized>(&mut self, message: &T) -> Result<(), FrameError> {
        self.send_bytes(postcard::to_stdvec(message)?.into()).await
    }

    /// Sends one raw frame.
    ///
    /// # Errors
    /// When the stream fails, or the frame is over [`MAX_FRAME`].
    pub async fn send_bytes(&mut self, bytes: Bytes) -> Result<(), FrameError> {
        Ok(self.0.send(bytes).await?)
    }

    /// The stream below, for what only it can do (finish, reset).
    pub fn get_mut(&mut self) -> &mut W {
        self.0.get_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_arrive_in_order_and_then_the_end() {
        let (near, far) = tokio::io::duplex(64);
        let (mut writer, mut reader) = (FrameWriter::new(near), FrameReader::new(far));
        let sending = tokio::spawn(async move {
            for number in 0..100_u64 {
                writer.send(&(number, "x".repeat(number as usize))).await.unwrap();
            }
        });
        for number in 0..100_u64 {
            assert_eq!(
                reader.next().await.unwrap(),
                Some((number, "x".repeat(number as usize)))
            );
        }
        assert!(reader.next::<u64>().await.unwrap().is_none());
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn a_torn_frame_and_a_huge_one_are_errors() {
        let torn: &[u8] = &[0, 0, 0, 9, 1, 2];
        assert!(matches!(
            FrameReader::new(torn).next::<u64>().await,
            Err(FrameError::Io(_))
        ));
        let huge: &[u8] = &[0xff; 8];
        assert!(matches!(
            FrameReader::new(huge).next::<u64>().await,
            Err(FrameError::Io(_))
        ));
    }

    #[tokio::test]
    async fn another_message_is_refused() {
        let wrong: &[u8] = &[0, 0, 0, 1, 9];
        assert!(matches!(
            FrameReader::new(wrong).next::<Option<u8>>().await,
            Err(FrameError::Decode(_))
        ));
    }
}

//! The blob server: artifacts, on their way from this host's blob store to TaskManagers.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::BytesMut;
use flink_rpc::{
    FrameError, FrameWriter, Responder,
    messages::{BlobDigest, BlobHeader, Fault},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncWrite},
};

/// Bytes in one frame of a blob.
const CHUNK: usize = 256 << 10;

/// The blob store of this host: files named by their SHA-256, put there by the launcher over SSH. Who fetches one
/// checks it.
#[derive(Debug, Clone)]
pub(crate) struct BlobStore {
    dir: PathBuf,
}

impl BlobStore {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn path(&self, digest: BlobDigest) -> PathBuf {
        self.dir.join(digest.to_string())
    }

    /// Whether a blob is there.
    ///
    /// # Errors
    /// A fault for the caller when it is not.
    pub(crate) async fn require(&self, digest: BlobDigest) -> Result<(), Fault> {
        let path = self.path(digest);
        match tokio::fs::metadata(&path).await {
            Ok(metadata) if metadata.is_file() => Ok(()),
            Ok(_) => Err(fault(&path, &io::ErrorKind::InvalidInput.into())),
            Err(error) => Err(fault(&path, &error)),
        }
    }

    /// Answers a request for a blob: its header, then its bytes.
    ///
    /// # Errors
    /// When the caller is gone. A file that fails to be read after the header breaks the stream off.
    pub(crate) async fn serve(
        &self,
        digest: BlobDigest,
        responder: &mut Responder<impl AsyncWrite + Unpin>,
    ) -> Result<(), FrameError> {
        let path = self.path(digest);
        let (mut file, size) = match open(&path).await {
            Ok(opened) => opened,
            Err(error) => return responder.fail(&fault(&path, &error)).await,
        };
        responder.send(&BlobHeader { size }).await?;
        let mut writer = FrameWriter::new(responder.get_mut());
        let mut left = size;
        while left > 0 {
            let mut chunk = BytesMut::with_capacity(CHUNK.min(usize::try_from(left).unwrap_or(CHUNK)));
            if file.read_buf(&mut chunk).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            // A file that has grown since is served as announced; it is not what it is named after anyway.
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= chunk.len() as u64;
            writer.send_bytes(chunk.freeze()).await?;
        }
        Ok(())
    }
}

async fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path).await?;
    let size = file.metadata().await?.len();
    Ok((file, size))
}

fn fault(path: &Path, error: &io::Error) -> Fault {
    let message = format!(
        "the program is not in the JobManager's blob store: {}: {error}",
        path.display()
    );
    Fault::new("blob.not-found", message)
}

//! The artifact cache: `<blob_dir>/<sha256>`, shared by all TaskManagers, clusters and uploads of one user on a host.
//!
//! # What is executed was verified
//! A file gets its name only after its bytes gave its digest. A file that is found under a digest is taken at its
//! word when nobody but us can have written it since: it is a regular file of ours without a write bit, in a
//! directory that only we may write to, and its inode was last changed after this machine was booted. (A name that
//! was given just before a crash can, after the reboot, stand for a file whose data never reached the disk. Checking
//! the boot is cheaper than an `fsync` of every artifact on every host.) Any other file is hashed first, about 10 ms
//! for 15 MB, and either marked as good (its mode is set again, which changes the inode) or replaced.
//!
//! # Writing
//! Bytes go to `.<digest>.<pid>-<n>.part`, which is locked while it is written, then the name is given by rename:
//! whoever races here replaces equal bytes by equal bytes. Parts that nobody holds a lock on are remains of a killed
//! process, and removed before the next fetch. Hashing and writing happen on a blocking thread, a bounded number of
//! chunks behind the network.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use flink_rpc::{
    FrameReader, FrameWriter,
    messages::{BlobDigest, BlobHeader, BlobRequest, TaskManagerRequest},
    read_reply,
};
use sha2::{Digest, Sha256};
use tokio::{sync::mpsc, task::JoinError};

/// Mode of an artifact: may be executed by us, written by nobody.
const ARTIFACT_MODE: u32 = 0o500;

/// Chunks between the network and the disk, each at most a frame.
const CHUNKS_AHEAD: usize = 8;

/// An artifact could not be got.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The file system that holds the cache is full, or our share of it.
    #[error("no space left on the disk while writing {path}")]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// A file or directory of the cache could not be used.
    #[error("could not {doing} {path}: {source}")]
    Io {
        /// A verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others could put a program of theirs in the place of ours.
    #[error("{path} is not safe to execute programs from: {reason}")]
    Unsafe {
        /// The cache directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The bytes are not those that were asked for.
    #[error("the program that the JobManager sent is damaged: expected SHA-256 {expected}, got {got}")]
    Damaged {
        /// Asked for.
        expected: BlobDigest,
        /// Received.
        got: BlobDigest,
    },
    /// Fewer or more bytes than announced.
    #[error("the program that the JobManager sent has {got} bytes or more instead of {expected}")]
    Length {
        /// Announced.
        expected: u64,
        /// Received so far.
        got: u64,
    },
    /// The JobManager refused, or the connection to it broke.
    #[error("could not fetch the program from the JobManager: {0}")]
    Fetch(String),
    /// The thread that writes the file panicked.
    #[error("the thread that writes the program file failed: {0}")]
    Thread(#[from] JoinError),
}

impl BlobError {
    fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path: path.to_owned() },
            _ => Self::Io {
                doing,
                path: path.to_owned(),
                source,
            },
        }
    }
}

/// The cache. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BlobCache {
    dir: PathBuf,
}

impl BlobCache {
    /// The cache in `dir`, which is made (0700) if it does not exist.
    ///
    /// # Errors
    /// When the directory cannot be made, or others may write to it.
    pub fn open(dir: &Path) -> Result<Self, BlobError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(BlobError::io("create", dir))?;
        let metadata = fs::metadata(dir).map_err(BlobError::io("inspect", dir))?;
        let refuse = |reason: String| {
            Err(BlobError::Unsafe {
                path: dir.to_owned(),
                reason,
            })
        };
        if metadata.uid() != our_uid() {
            return refuse(format!("it belongs to user {}", metadata.uid()));
        }
        if metadata.mode() & 0o022 != 0 {
            return refuse(format!("others may write to it (mode {:o})", metadata.mode() & 0o7777));
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// Where the artifact is, or will be.
    pub fn path(&self, digest: BlobDigest) -> PathBuf {
        self.dir.join(digest.to_string())
    }

    /// The artifact's file, if it is here and good. Blocks.
    ///
    /// # Errors
    /// When the file is there and can be neither used nor replaced.
    pub fn find(&self, digest: BlobDigest) -> Result<Option<PathBuf>, BlobError> {
        let path = self.path(digest);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BlobError::io("inspect", &path)(error)),
        };
        if is_ours(&metadata) && metadata.mode() & 0o777 == ARTIFACT_MODE && changed_since_boot(&metadata) {
            return Ok(Some(path));
        }
        if !is_ours(&metadata) || hash_file(&path)? != digest {
            tracing::warn!(path = %path.display(), "cached program is damaged or not ours; fetching it again");
            return Ok(None);
        }
        set_mode(&path)?;
        Ok(Some(path))
    }

    /// The artifact's file: from the cache, else fetched over `connection`. Dropped half way, it leaves nothing.
    ///
    /// # Errors
    /// See [`BlobError`].
    pub async fn get(self, digest: BlobDigest, connection: quinn::Connection) -> Result<PathBuf, BlobError> {
        let cache = self.clone();
        let found = tokio::task::spawn_blocking(move || {
            let found = cache.find(digest);
            if matches!(found, Ok(None)) {
                cache.remove_stale_parts();
            }
            found
        });
        match found.await?? {
            Some(path) => Ok(path),
            None => self.fetch(digest, &connection).await,
        }
    }

    async fn fetch(self, digest: BlobDigest, connection: &quinn::Connection) -> Result<PathBuf, BlobError> {
        let broken = |error: &dyn std::fmt::Display| BlobError::Fetch(error.to_string());
        let (send, receive) = connection.open_bi().await.map_err(|error| broken(&error))?;
        let request = TaskManagerRequest::FetchBlob(BlobRequest { digest });
        FrameWriter::new(send)
            .send(&request)
            .await
            .map_err(|error| broken(&error))?;
        let mut reader = FrameReader::new(receive);
        let header: Option<BlobHeader> = read_reply(&mut reader).await.map_err(|error| broken(&error))?;
        let BlobHeader { size } = header.ok_or_else(|| broken(&"the connection was closed"))?;

        let (chunks, received) = mpsc::channel(CHUNKS_AHEAD);
        let path = self.path(digest);
        let writing = tokio::task::spawn_blocking(move || self.write(digest, received));
        let read = receive_chunks(reader, size, chunks).await;
        // Also after a failure: then nothing is left of the file when it is reported.
        writing.await??;
        read?;
        tracing::debug!(%digest, size, path = %path.display(), "fetched program");
        Ok(path)
    }

    /// Writes what arrives until [`Chunk::End`], and gives the file its name if it is what it should be.
    fn write(&self, digest: BlobDigest, mut chunks: mpsc::Receiver<Chunk>) -> Result<(), BlobError> {
        let mut part = Part::create(&self.dir, digest)?;
        let mut hasher = Sha256::new();
        loop {
            match chunks.blocking_recv() {
                Some(Chunk::Bytes(bytes)) => {
                    hasher.update(&bytes);
                    part.file
                        .write_all(&bytes)
                        .map_err(BlobError::io("write", &part.path))?;
                }
                Some(Chunk::End) => break,
                // The fetch was given up; `part` removes itself.
                None => return Ok(()),
            }
        }
        let got = BlobDigest(hasher.finalize().into());
        if got != digest {
            return Err(BlobError::Damaged { expected: digest, got });
        }
        part.publish(&self.path(digest))
    }

    /// Removes what killed processes left. Errors are not worth a failure: it is tried again with the next fetch.
    fn remove_stale_parts(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_part = name
                .to_str()
                .is_some_and(|name| name.starts_with('.') && name.ends_with(".part"));
            if is_part && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
                let _raced = fs::remove_file(entry.path());
            }
        }
    }
}

/// Hands on `size` bytes and the end. Stops early when nobody takes them: the writer has failed then, and says why.
async fn receive_chunks(
    mut reader: FrameReader<quinn::RecvStream>,
    size: u64,
    chunks: mpsc::Sender<Chunk>,
) -> Result<(), BlobError> {
    let mut got = 0;
    while got < size {
        let next = reader
            .next_bytes()
            .await
            .map_err(|error| BlobError::Fetch(error.to_string()))?;
        let chunk = next.ok_or(BlobError::Length { expected: size, got })?;
        got += chunk.len() as u64;
        if got > size {
            return Err(BlobError::Length { expected: size, got });
        }
        if chunks.send(Chunk::Bytes(chunk)).await.is_err() {
            return Ok(());
        }
    }
    let _failed = chunks.send(Chunk::End).await;
    Ok(())
}

enum Chunk {
    Bytes(Bytes),
    End,
}

/// A file that is being written; removed unless it is published.
struct Part {
    path: PathBuf,
    file: File,
    published: bool,
}

impl Part {
    fn create(dir: &Path, digest: BlobDigest) -> Result<Self, BlobError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!(".{digest}.{}-{number}.part", std::process::id()));
            let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let file = match opened {
                // The remains of a process that had our pid; its removal is a matter of the lock.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                opened => opened.map_err(BlobError::io("create", &path))?,
            };
            let part = Self {
                path,
                file,
                published: false,
            };
            match part.file.try_lock() {
                // A file without a name was taken for a stale part between its making and its locking.
                Ok(()) if part.file.metadata().is_ok_and(|metadata| metadata.nlink() == 1) => return Ok(part),
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(BlobError::io("lock", &part.path)(error)),
            }
        }
    }

    fn publish(mut self, path: &Path) -> Result<(), BlobError> {
        set_mode(&self.path)?;
        fs::rename(&self.path, path).map_err(BlobError::io("rename to", path))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.published {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

fn set_mode(path: &Path) -> Result<(), BlobError> {
    let mode = fs::Permissions::from_mode(ARTIFACT_MODE);
    fs::set_permissions(path, mode).map_err(BlobError::io("make executable", path))
}

fn hash_file(path: &Path) -> Result<BlobDigest, BlobError> {
    let mut file = File::open(path).map_err(BlobError::io("open", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer).map_err(BlobError::io("read", path))? {
            0 => return Ok(BlobDigest(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn our_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn is_ours(metadata: &fs::Metadata) -> bool {
    metadata.is_file() && metadata.uid() == our_uid()
}

fn changed_since_boot(metadata: &fs::Metadata) -> bool {
    let up = u64::try_from(rustix::system::sysinfo().uptime).unwrap_or(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let boot = now.as_secs().saturating_sub(up);
    u64::try_from(metadata.ctime()).is_ok_and(|changed| changed > boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(bytes: &[u8]) -> BlobDigest {
        BlobDigest(Sha256::digest(bytes).into())
    }

    fn cache() -> (tempfile::TempDir, BlobCache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(&dir.path().join("a/blobs")).unwrap();
        (dir, cache)
    }

    #[test]
    fn a_new_cache_is_private_and_empty() {
        let (_dir, cache) = cache();
        assert_eq!(fs::metadata(&cache.dir).unwrap().mode() & 0o777, 0o700);
        assert_eq!(cache.find(digest(b"x")).unwrap(), None);
    }

    #[test]
    fn a_file_that_was_not_marked_is_hashed_and_then_marked() {
        let (_dir, cache) = cache();
        let (good, damaged) = (cache.path(digest(b"good")), cache.path(digest(b"bad")));
        fs::write(&good, b"good").unwrap();
        fs::write(&damaged, b"not what it should be").unwrap();
        assert_eq!(cache.find(digest(b"good")).unwrap(), Some(good.clone()));
        assert_eq!(fs::metadata(&good).unwrap().mode() & 0o777, ARTIFACT_MODE);
        assert_eq!(cache.find(digest(b"bad")).unwrap(), None);
        assert!(changed_since_boot(&fs::metadata(&good).unwrap()));
    }

    #[test]
    fn a_link_is_never_followed() {
        let (dir, cache) = cache();
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, b"good").unwrap();
        std::os::unix::fs::symlink(&elsewhere, cache.path(digest(b"good"))).unwrap();
        assert_eq!(cache.find(digest(b"good")).unwrap(), None);
    }

    #[test]
    fn only_parts_that_nobody_writes_are_removed() {
        let (_dir, cache) = cache();
        let part = Part::create(&cache.dir, digest(b"x")).unwrap();
        let stale = cache.dir.join(".00.1-0.part");
        fs::write(&stale, b"half").unwrap();
        cache.remove_stale_parts();
        assert!(part.path.exists() && !stale.exists());
        let path = part.path.clone();
        drop(part);
        assert!(!path.exists());
    }
}

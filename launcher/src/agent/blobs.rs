//! The content-addressed store of a host: `<base>/blobs/sha256/<hex>`, files that are complete, verified and executable.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flink_rpc::messages::BlobDigest;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::files::make_directory;
use super::protocol::{AgentError, Reply};

/// Uploads that somebody abandoned (power failure) are removed after this time.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);
/// Every temporary file of an upload has this prefix, also those of the bootstrap script.
const INCOMING: &str = ".incoming.";

fn directory(base: &Path) -> PathBuf {
    base.join("blobs/sha256")
}

fn path(base: &Path, digest: BlobDigest) -> PathBuf {
    directory(base).join(digest.to_string())
}

/// Which blobs are there: regular files of their full size. One that a power failure cut is sent again, and then replaced.
pub(super) fn present(base: &Path, blobs: &[(BlobDigest, u64)]) -> Reply {
    let there = |&(digest, size): &(BlobDigest, u64)| {
        fs::symlink_metadata(path(base, digest)).is_ok_and(|file| file.is_file() && file.len() == size)
    };
    Reply::Present(blobs.iter().map(there).collect())
}

/// Stores the bytes that arrive on `data`. Under its final name the blob appears only when complete and verified; otherwise
/// nothing stays; what was there under its name is replaced. No fsync: a blob that a power failure cut has another size, is not
/// taken for present, and is sent again.
pub(super) fn put(
    base: &Path,
    digest: BlobDigest,
    size: u64,
    mut data: mpsc::Receiver<Vec<u8>>,
) -> Result<Reply, AgentError> {
    let directory = directory(base);
    let target = path(base, digest);
    let file_error = |error: io::Error| AgentError::file(target.display(), &error);
    make_directory(&directory)?;
    remove_abandoned(&directory);
    let mut file = tempfile::Builder::new()
        .prefix(INCOMING)
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(&directory)
        .map_err(file_error)?;
    let mut hash = Sha256::new();
    let mut arrived = 0;
    while let Some(chunk) = data.blocking_recv() {
        arrived += chunk.len() as u64;
        if arrived > size {
            break;
        }
        hash.update(&chunk);
        file.write_all(&chunk).map_err(file_error)?;
    }
    let found = BlobDigest(hash.finalize().into());
    if arrived != size || found != digest {
        let found = format!("{arrived} of {size} bytes, sha256 {found}");
        return Err(AgentError::Damaged {
            expected: digest,
            found,
        });
    }
    file.as_file()
        .set_permissions(Permissions::from_mode(0o500))
        .map_err(file_error)?;
    if fs::symlink_metadata(&target).is_ok_and(|there| there.is_dir()) {
        // Nothing of ours; a file cannot be renamed over it.
        fs::remove_dir_all(&target).map_err(file_error)?;
    }
    file.persist(&target).map_err(|error| file_error(error.error))?;
    Ok(Reply::Done)
}

fn remove_abandoned(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let incoming = entry.file_name().to_string_lossy().starts_with(INCOMING);
        let old = entry
            .metadata()
            .and_then(|file| file.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ABANDONED));
        if incoming && old {
            // Another agent may be removing it too.
            let _gone = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(base: &Path, digest: BlobDigest, size: u64, pieces: &[&[u8]]) -> Result<Reply, AgentError> {
        let (sender, receiver) = mpsc::channel(pieces.len().max(1));
        for piece in pieces {
            sender.try_send(piece.to_vec()).expect("room");
        }
        drop(sender);
        put(base, digest, size, receiver)
    }

    fn names(base: &Path) -> usize {
        fs::read_dir(directory(base)).map_or(0, Iterator::count)
    }

    #[test]
    fn a_complete_blob_is_stored_executable() {
        let base = tempfile::tempdir().expect("tempdir");
        let digest = BlobDigest(Sha256::digest(b"hello world").into());
        assert_eq!(present(base.path(), &[(digest, 11)]), Reply::Present(vec![false]));
        store(base.path(), digest, 11, &[b"hello ", b"world"]).expect("stores");
        store(base.path(), digest, 11, &[b"hello world"]).expect("stores again");
        assert_eq!(present(base.path(), &[(digest, 11)]), Reply::Present(vec![true]));
        let mode = fs::metadata(path(base.path(), digest))
            .expect("stat")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o500);
        assert_eq!(names(base.path()), 1);
    }

    #[test]
    fn what_is_wrong_under_a_blobs_name_is_missing_and_replaced() {
        let base = tempfile::tempdir().expect("tempdir");
        let digest = BlobDigest(Sha256::digest(b"hello world").into());
        let target = path(base.path(), digest);
        let spoil: [fn(&Path) -> io::Result<()>; 4] = [
            |path| fs::write(path, b"hello"),
            |path| fs::write(path, b""),
            |path| fs::create_dir(path).and_then(|()| fs::write(path.join("x"), b"")),
            |path| std::os::unix::fs::symlink("/etc/hostname", path),
        ];
        for spoil in spoil {
            fs::create_dir_all(directory(base.path())).expect("makes");
            spoil(&target).expect("spoils");
            assert_eq!(present(base.path(), &[(digest, 11)]), Reply::Present(vec![false]));
            store(base.path(), digest, 11, &[b"hello world"]).expect("stores");
            assert_eq!(present(base.path(), &[(digest, 11)]), Reply::Present(vec![true]));
            assert_eq!(fs::read(&target).expect("reads"), b"hello world");
            fs::remove_dir_all(directory(base.path())).expect("removes");
        }
    }

    #[test]
    fn cut_long_and_altered_blobs_leave_nothing() {
        let base = tempfile::tempdir().expect("tempdir");
        let digest = BlobDigest(Sha256::digest(b"hello world").into());
        for pieces in [&[&b"hello "[..]][..], &[b"hello world", b"!"], &[b"hello_world"], &[]] {
            let error = store(base.path(), digest, 11, pieces).expect_err("damaged");
            assert!(matches!(error, AgentError::Damaged { .. }), "{error}");
            assert_eq!(names(base.path()), 0);
        }
    }

    #[test]
    fn full_disk_is_named_and_nothing_stays() {
        // /dev/full has no directory to put a blob in; a size limit of tmpfs needs root, so the error's sorting is tested in
        // `protocol` and the whole road in the integration test.
        let base = Path::new("/proc/self/flinkctl");
        let digest = BlobDigest([0; 32]);
        assert!(store(base, digest, 1, &[b"x"]).is_err());
    }
}

//! Where control sockets live: a short, private directory with nothing left in it.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A path of a Unix socket has 108 bytes with its final NUL; ssh first binds `PATH.` and 16 random letters.
const LONGEST_DIRECTORY: usize = 108 - 1 - 17 - LONGEST_NAME - 1;
/// `<pid>-<n>`.
const LONGEST_NAME: usize = 21;
/// Sockets of a master that nobody could clean up after (SIGKILL of both) are removed after this time.
const ABANDONED: Duration = Duration::from_secs(60);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The directory of control sockets: `$XDG_RUNTIME_DIR/flinkctl`, or `/tmp/flinkctl-UID` where that is missing or too long.
///
/// # Errors
/// A text that says what is wrong with either.
pub(super) fn directory(wanted: Option<&Path>) -> Result<PathBuf, String> {
    let uid = rustix::process::getuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    let candidates = match wanted {
        Some(path) => vec![path.to_owned()],
        None => runtime
            .map(|path| PathBuf::from(path).join("flinkctl"))
            .into_iter()
            .chain([PathBuf::from(format!("/tmp/flinkctl-{uid}"))])
            .collect(),
    };
    let mut problems = Vec::new();
    for candidate in candidates {
        match prepare(&candidate, uid) {
            Ok(()) => {
                remove_abandoned(&candidate);
                return Ok(candidate);
            }
            Err(reason) => problems.push(format!("{}: {reason}", candidate.display())),
        }
    }
    Err(problems.join("; "))
}

fn prepare(path: &Path, uid: u32) -> Result<(), String> {
    let length = path.as_os_str().len();
    if length > LONGEST_DIRECTORY {
        return Err(format!(
            "{length} bytes, at most {LONGEST_DIRECTORY} leave room for a socket's name"
        ));
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.to_string()),
        _ => {}
    }
    // Somebody else may have been first in /tmp: a directory of theirs, or a link to anywhere.
    let metadata = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_dir() {
        return Err("not a directory".to_owned());
    }
    if metadata.uid() != uid {
        return Err(format!("belongs to uid {}", metadata.uid()));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(format!("open to other users (mode {:o})", metadata.mode() & 0o777));
    }
    Ok(())
}

/// A name that no other master uses.
pub(super) fn socket(directory: &Path) -> PathBuf {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    directory.join(format!("{}-{number}", std::process::id()))
}

fn remove_abandoned(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let old = metadata
            .modified()
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ABANDONED));
        if metadata.file_type().is_socket() && old && UnixStream::connect(entry.path()).is_err() {
            // Another process may be removing it too.
            let _gone = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn directory_must_be_short_and_private() {
        let parent = tempfile::tempdir().expect("tempdir");
        let fine = parent.path().join("c");
        assert_eq!(directory(Some(&fine)), Ok(fine.clone()));
        assert_eq!(directory(Some(&fine)), Ok(fine.clone()));
        fs::set_permissions(&fine, fs::Permissions::from_mode(0o755)).expect("chmod");
        assert!(directory(Some(&fine)).is_err_and(|text| text.contains("open to other users")));
        let link = parent.path().join("link");
        std::os::unix::fs::symlink("/tmp", &link).expect("symlink");
        assert!(directory(Some(&link)).is_err_and(|text| text.contains("not a directory")));
        let long = parent.path().join("x".repeat(100));
        assert!(directory(Some(&long)).is_err_and(|text| text.contains("leave room")));
    }

    #[test]
    fn names_fit_and_differ() {
        let (a, b) = (socket(Path::new("/d")), socket(Path::new("/d")));
        assert_ne!(a, b);
        assert!(format!("{}-{}", i32::MAX, u32::MAX).len() <= LONGEST_NAME);
    }
}

//! Files below the base directory: session records and logs.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::protocol::{AgentError, Bytes, DirEntry, MAX_CHUNK, Reply};

/// Most entries of a directory that are returned.
const MAX_ENTRIES: usize = 10_000;

/// A path below the base directory; anything that could leave it is refused.
pub(super) fn below(base: &Path, path: &str) -> Result<PathBuf, AgentError> {
    let relative = Path::new(path);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain {
        return Err(AgentError::OutsideBase { path: path.to_owned() });
    }
    Ok(base.join(relative))
}

/// A path as a user's configuration gives it: absolute, `~/...`, or relative to the base directory.
pub(super) fn resolve(base: &Path, path: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    match path.strip_prefix('~') {
        Some("") => home(),
        Some(rest) if rest.starts_with('/') => home().join(rest.trim_start_matches('/')),
        _ => base.join(path),
    }
}

/// Makes a directory and those above it, closed to other users.
pub(super) fn make_directory(path: &Path) -> Result<(), AgentError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| AgentError::file(path.display(), &error))
}

pub(super) fn read(base: &Path, path: &str, offset: u64, max: u32) -> Result<Reply, AgentError> {
    let file_error = |error: io::Error| AgentError::file(path, &error);
    let mut file = fs::File::open(below(base, path)?).map_err(file_error)?;
    let size = file.metadata().map_err(file_error)?.len();
    file.seek(SeekFrom::Start(offset)).map_err(file_error)?;
    let max = u64::from(max).min(MAX_CHUNK as u64);
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes).map_err(file_error)?;
    Ok(Reply::Bytes {
        bytes: Bytes(bytes),
        size,
    })
}

pub(super) fn list(base: &Path, path: &str) -> Result<Reply, AgentError> {
    let entries = fs::read_dir(below(base, path)?).map_err(|error| AgentError::file(path, &error))?;
    let mut names: Vec<_> = entries
        .flatten()
        .take(MAX_ENTRIES)
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            Some(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                directory: metadata.is_dir(),
                size: metadata.len(),
                modified_ms: u64::try_from(modified.as_millis()).unwrap_or(u64::MAX),
            })
        })
        .collect();
    names.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Reply::Entries(names))
}

/// Removes a file or a tree, and then the directories above it that are empty. What is not there counts as removed.
pub(super) fn remove(base: &Path, path: &str) -> Result<Reply, AgentError> {
    let target = below(base, path)?;
    let result = match fs::symlink_metadata(&target) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&target),
        Ok(_) => fs::remove_file(&target),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(AgentError::file(target.display(), &error)),
        _ => {
            remove_empty_parents(base, &target);
            Ok(Reply::Done)
        }
    }
}

/// Removes the directories above `path` that are empty, up to `base`, which stays.
pub(crate) fn remove_empty_parents(base: &Path, path: &Path) {
    let parents = path.ancestors().skip(1);
    for parent in parents.take_while(|parent| parent.starts_with(base) && *parent != base) {
        match fs::remove_dir(parent) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // It holds something else.
            Err(_) => return,
        }
    }
}

/// The last lines of what was written to a file since `start`, at most 8 KiB, lossily decoded.
pub(super) fn tail(path: &Path, start: u64) -> String {
    const TAIL: u64 = 8 << 10;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let end = file.metadata()?.len();
        let from = start.max(end.saturating_sub(TAIL));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        if from > start {
            // The first line is cut: leave it out.
            let cut = bytes.iter().position(|byte| *byte == b'\n');
            bytes.drain(..cut.map_or(0, |at| at + 1));
        }
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_base_are_refused() {
        let base = Path::new("/base");
        assert_eq!(
            below(base, "clusters/c/session.json").ok(),
            Some(PathBuf::from("/base/clusters/c/session.json"))
        );
        for path in ["", "..", "a/../b", "/etc/passwd", "./a", "."] {
            assert!(
                matches!(below(base, path), Err(AgentError::OutsideBase { .. })),
                "{path:?}"
            );
        }
    }

    #[test]
    fn files_are_listed_read_and_removed() {
        let base = tempfile::tempdir().expect("tempdir");
        let path = "clusters/a b/session.json";
        make_directory(&base.path().join("clusters/a b")).expect("makes");
        fs::write(base.path().join(path), b"second").expect("writes");
        let Ok(Reply::Bytes { bytes, size }) = read(base.path(), path, 1, 3) else {
            panic!("reads");
        };
        assert_eq!((bytes.0.as_slice(), size), (&b"eco"[..], 6));
        let Ok(Reply::Entries(entries)) = list(base.path(), "clusters/a b") else {
            panic!("lists");
        };
        assert_eq!(entries.len(), 1, "{entries:?}");
        remove(base.path(), "clusters").expect("removes");
        remove(base.path(), "clusters").expect("nothing to remove");
        assert!(matches!(
            read(base.path(), path, 0, 1),
            Err(AgentError::NotFound { .. })
        ));
    }

    #[test]
    fn tail_gives_whole_lines_of_this_run_only() {
        let file = tempfile::NamedTempFile::new().expect("tempfile");
        fs::write(file.path(), "old\nnew 1\nnew 2\n").expect("writes");
        assert_eq!(tail(file.path(), 4), "new 1\nnew 2\n");
        let long = format!("{}\nlast\n", "x".repeat(20_000));
        fs::write(file.path(), long).expect("writes");
        assert_eq!(tail(file.path(), 0), "last\n");
        assert_eq!(tail(Path::new("/nonexistent"), 0), "");
    }
}

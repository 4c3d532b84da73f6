//! Which files a path names.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::FileError;

/// A file as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedFile {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    /// When it was last modified, nanoseconds since 1970.
    pub(super) modified_ns: i128,
}

/// What becomes of an entry of a directory that is not there when it is looked at: it was removed meanwhile, or is a link to
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// An error: of what is to be read nothing may be missing.
    Refused,
    /// It is left out: whoever looks again finds it when it is back.
    LeftOut,
}

/// The files that `path` names, sorted.
pub(super) fn list(path: &Path, missing: Missing) -> Result<Vec<ListedFile>, FileError> {
    let mut files = Vec::new();
    match fs::metadata(path) {
        Ok(_) => add(path.to_owned(), missing, &mut Vec::new(), &mut files)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_pattern(path) => {
            add_matches(path, missing, &mut files)?;
        }
        Err(source) => {
            return Err(FileError::Read {
                path: path.to_owned(),
                source,
            });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    // A pattern may match a directory and, by itself, what lies in it.
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}

fn is_pattern(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .any(|byte| b"*?[".contains(byte))
}

fn add_matches(pattern: &Path, missing: Missing, files: &mut Vec<ListedFile>) -> Result<(), FileError> {
    let text = pattern.to_string_lossy();
    let paths = glob::glob(&text).map_err(|source| FileError::Pattern {
        path: pattern.to_owned(),
        source,
    })?;
    let mut matched = false;
    for path in paths {
        matched = true;
        let path = path.map_err(|error| FileError::Read {
            path: error.path().to_owned(),
            source: error.into(),
        })?;
        if !is_hidden(&path) {
            add(path, missing, &mut Vec::new(), files)?;
        }
    }
    if matched {
        Ok(())
    } else {
        Err(FileError::NoMatch {
            path: pattern.to_owned(),
        })
    }
}

/// Adds a file, or the files of a directory. `above` are the directories it lies in, by device and inode.
fn add(
    path: PathBuf,
    missing: Missing,
    above: &mut Vec<(u64, u64)>,
    files: &mut Vec<ListedFile>,
) -> Result<(), FileError> {
    let failed = |path: &Path, source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let is_left_out = |error: &io::Error| missing == Missing::LeftOut && error.kind() == io::ErrorKind::NotFound;
    let metadata = match fs::metadata(&path) {
        Err(error) if is_left_out(&error) => return Ok(()),
        metadata => metadata.map_err(|error| failed(&path, error))?,
    };
    if !metadata.is_dir() {
        files.push(ListedFile {
            path,
            size: metadata.len(),
            modified_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        });
        return Ok(());
    }
    let id = (metadata.dev(), metadata.ino());
    if above.contains(&id) {
        return Err(FileError::Cycle { path });
    }
    let entries = match fs::read_dir(&path) {
        Err(error) if is_left_out(&error) => return Ok(()),
        entries => entries.map_err(|error| failed(&path, error))?,
    };
    above.push(id);
    for entry in entries {
        let entry = entry.map_err(|error| failed(&path, error))?.path();
        if !is_hidden(&entry) {
            add(entry, missing, above, files)?;
        }
    }
    above.pop();
    Ok(())
}

/// Files that other tools leave beside the data: in progress, or markers of success.
fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| matches!(name.as_encoded_bytes().first(), Some(b'.' | b'_')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path, files: &[ListedFile]) -> Vec<String> {
        files
            .iter()
            .map(|file| file.path.strip_prefix(root).unwrap().display().to_string())
            .collect()
    }

    fn directory() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("b")).unwrap();
        for name in ["c.txt", "a.txt", "b/x.txt", ".hidden", "_SUCCESS", "b/.part.inprogress"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        root
    }

    #[test]
    fn a_directory_has_its_files_sorted_and_without_hidden_ones() {
        let root = directory();
        assert_eq!(
            names(root.path(), &list(root.path(), Missing::Refused).unwrap()),
            ["a.txt", "b/x.txt", "c.txt"]
        );
    }

    #[test]
    fn a_file_is_itself_even_when_hidden_or_named_like_a_pattern() {
        let root = directory();
        assert_eq!(
            names(
                root.path(),
                &list(&root.path().join(".hidden"), Missing::Refused).unwrap()
            ),
            [".hidden"]
        );
        fs::write(root.path().join("a[1].txt"), "x").unwrap();
        assert_eq!(
            names(
                root.path(),
                &list(&root.path().join("a[1].txt"), Missing::Refused).unwrap()
            ),
            ["a[1].txt"]
        );
    }

    #[test]
    fn a_pattern_has_what_matches() {
        let root = directory();
        assert_eq!(
            names(
                root.path(),
                &list(&root.path().join("*.txt"), Missing::Refused).unwrap()
            ),
            ["a.txt", "c.txt"]
        );
        assert_eq!(
            names(
                root.path(),
                &list(&root.path().join("[ab]*"), Missing::Refused).unwrap()
            ),
            ["a.txt", "b/x.txt"]
        );
    }

    #[test]
    fn what_is_not_there_is_named() {
        let root = directory();
        let error = list(&root.path().join("none.txt"), Missing::Refused)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("could not read /") && error.ends_with("No such file or directory (os error 2)"));
        let error = list(&root.path().join("*.csv"), Missing::Refused)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("no file matches `/"), "{error}");
    }

    #[test]
    fn what_vanishes_is_refused_or_left_out() {
        let root = directory();
        std::os::unix::fs::symlink(root.path().join("gone"), root.path().join("latest")).unwrap();
        let error = list(root.path(), Missing::Refused).unwrap_err().to_string();
        assert!(error.contains("/latest: No such file or directory"), "{error}");
        let files = list(root.path(), Missing::LeftOut).unwrap();
        assert_eq!(names(root.path(), &files), ["a.txt", "b/x.txt", "c.txt"]);
        assert!(list(&root.path().join("none"), Missing::LeftOut).is_err());
    }

    #[test]
    fn a_directory_in_itself_is_refused() {
        let root = directory();
        std::os::unix::fs::symlink(root.path(), root.path().join("b/up")).unwrap();
        assert!(matches!(
            list(root.path(), Missing::Refused),
            Err(FileError::Cycle { .. })
        ));
    }
}

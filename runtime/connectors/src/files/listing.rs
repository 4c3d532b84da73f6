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

/// The files that `path` names, sorted.
pub(super) fn list(path: &Path) -> Result<Vec<ListedFile>, FileError> {
    let mut files = Vec::new();
    match fs::metadata(path) {
        Ok(_) => add(path.to_owned(), &mut Vec::new(), &mut files)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_pattern(path) => {
            add_matches(path, &mut files)?;
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

fn add_matches(pattern: &Path, files: &mut Vec<ListedFile>) -> Result<(), FileError> {
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
            add(path, &mut Vec::new(), files)?;
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
fn add(path: PathBuf, above: &mut Vec<(u64, u64)>, files: &mut Vec<ListedFile>) -> Result<(), FileError> {
    let failed = |path: &Path, source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(&path).map_err(|error| failed(&path, error))?;
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
    above.push(id);
    for entry in fs::read_dir(&path).map_err(|error| failed(&path, error))? {
        let entry = entry.map_err(|error| failed(&path, error))?.path();
        if !is_hidden(&entry) {
            add(entry, above, files)?;
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
            names(root.path(), &list(root.path()).unwrap()),
            ["a.txt", "b/x.txt", "c.txt"]
        );
    }

    #[test]
    fn a_file_is_itself_even_when_hidden_or_named_like_a_pattern() {
        let root = directory();
        assert_eq!(
            names(root.path(), &list(&root.path().join(".hidden")).unwrap()),
            [".hidden"]
        );
        fs::write(root.path().join("a[1].txt"), "x").unwrap();
        assert_eq!(
            names(root.path(), &list(&root.path().join("a[1].txt")).unwrap()),
            ["a[1].txt"]
        );
    }

    #[test]
    fn a_pattern_has_what_matches() {
        let root = directory();
        assert_eq!(
            names(root.path(), &list(&root.path().join("*.txt")).unwrap()),
            ["a.txt", "c.txt"]
        );
        assert_eq!(
            names(root.path(), &list(&root.path().join("[ab]*")).unwrap()),
            ["a.txt", "b/x.txt"]
        );
    }

    #[test]
    fn what_is_not_there_is_named() {
        let root = directory();
        let error = list(&root.path().join("none.txt")).unwrap_err().to_string();
        assert!(error.starts_with("could not read /") && error.ends_with("No such file or directory (os error 2)"));
        let error = list(&root.path().join("*.csv")).unwrap_err().to_string();
        assert!(error.starts_with("no file matches `/"), "{error}");
    }

    #[test]
    fn a_directory_in_itself_is_refused() {
        let root = directory();
        std::os::unix::fs::symlink(root.path(), root.path().join("b/up")).unwrap();
        assert!(matches!(list(root.path()), Err(FileError::Cycle { .. })));
    }
}

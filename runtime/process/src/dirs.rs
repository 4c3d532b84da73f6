//! The directories of a process that starts others, and theirs in it.
//!
//! ```text
//! <work_dir>/                    0700
//!     <role>-<job>.log           standard output and error of the job's processes, one after the other
//!     <role>-<job>-<n>/          current directory of one process
//! <tmp_dir>/                     0700, made with the first process
//!     <role>-<job>-<n>/          TMPDIR of one process
//! ```

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use flink_graph::JobId;
use tracing::{debug, warn};

/// The directories, which are removed with everything in them when this is dropped.
#[derive(Debug)]
pub struct WorkDir {
    role: &'static str,
    path: PathBuf,
    tmp: PathBuf,
    tmp_made: bool,
}

/// The directories of one process.
#[derive(Debug, Clone)]
pub struct ProcessDirs {
    /// Its current directory.
    pub work: PathBuf,
    /// For its temporary files.
    pub tmp: PathBuf,
}

impl ProcessDirs {
    /// Removes them, which may hold much.
    pub async fn remove(self) {
        for dir in [self.work, self.tmp] {
            if let Err(error) = tokio::fs::remove_dir_all(&dir).await {
                debug!(dir = %dir.display(), %error, "could not remove a directory of a process yet");
            }
        }
    }
}

/// A directory could not be made.
#[derive(Debug, thiserror::Error)]
#[error("could not make the directory {path}: {source}")]
pub struct WorkDirError {
    /// The directory.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl WorkDir {
    /// Makes the directory at `path`, or takes it over if it is there (what started us may have put its log into it), for
    /// processes in this role. The one at `tmp` is made later.
    ///
    /// # Errors
    /// When it cannot be made, or is not ours.
    pub fn create(role: &'static str, path: &Path, tmp: PathBuf) -> Result<Self, WorkDirError> {
        let failed = |source| WorkDirError {
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
        Ok(Self {
            role,
            path: path.to_owned(),
            tmp,
            tmp_made: false,
        })
    }

    /// The file for what the job's processes print.
    pub fn log(&self, job: JobId) -> PathBuf {
        self.path.join(format!("{}-{job}.log", self.role))
    }

    /// Makes the directories of the job's process with this number.
    ///
    /// # Errors
    /// Which cannot be made, and why.
    pub fn create_process(&mut self, job: JobId, number: u64) -> Result<ProcessDirs, String> {
        let name = format!("{}-{job}-{number}", self.role);
        let failed = |path: &Path, error| format!("could not make the directory {}: {error}", path.display());
        // What cleans up after users may have taken it away; whatever is there in its place is not ours.
        if !self.tmp_made || !is_private(&self.tmp) {
            make_fresh(&self.tmp)
                .map_err(|error| format!("{} (where it lies is set by [dirs] tmp)", failed(&self.tmp, error)))?;
            self.tmp_made = true;
        }
        let dirs = ProcessDirs {
            work: self.path.join(&name),
            tmp: self.tmp.join(name),
        };
        for path in [&dirs.work, &dirs.tmp] {
            let made = DirBuilder::new().mode(0o700).create(path);
            made.map_err(|error| failed(path, error))?;
        }
        Ok(dirs)
    }
}

/// Makes a directory that must not be there yet: what others have put into a directory of everybody's is not ours.
fn make_fresh(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    if let Some(parent) = path.parent() {
        builder.recursive(true).create(parent)?;
    }
    builder.recursive(false).create(path)
}

/// Whether this is a directory that only we can look into.
fn is_private(path: &Path) -> bool {
    let ours = rustix::process::getuid().as_raw();
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == ours && found.mode() & 0o077 == 0)
}

fn remove(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(path = %path.display(), %error, "could not remove a directory");
        }
        _ => {}
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        remove(&self.path);
        if self.tmp_made {
            remove(&self.tmp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_files_have_a_directory_of_their_own_that_nobody_had_before() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let job = JobId::random();
        let mut dirs = WorkDir::create("worker", &at("work"), at("tmp/tm")).unwrap();
        assert!(!at("tmp").exists(), "no process, no directory");
        let made = dirs.create_process(job, 1).unwrap();
        assert!(made.work.is_dir() && made.tmp.is_dir() && made.tmp.starts_with(at("tmp/tm")));
        assert_eq!(fs::metadata(at("tmp/tm")).unwrap().permissions().mode() & 0o777, 0o700);
        fs::remove_dir_all(at("tmp/tm")).unwrap();
        let again = dirs.create_process(job, 2).unwrap();
        assert!(again.tmp.is_dir(), "it is made anew when something took it away");
        let mut other = WorkDir::create("worker", &at("other"), at("tmp/tm")).unwrap();
        let refused = other.create_process(job, 1).unwrap_err();
        assert!(
            refused.contains("File exists") && refused.contains("[dirs] tmp"),
            "{refused}"
        );
        drop(other);
        assert!(again.tmp.is_dir(), "it is not the other's");
        drop(dirs);
        assert!(!at("work").exists() && !at("tmp/tm").exists() && at("tmp").is_dir());
    }
}

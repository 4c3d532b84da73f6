//! A TaskManager's own directory.
//!
//! ```text
//! <work_dir>/                    0700
//!     worker-<job>.log           standard output and error of the job's workers, one after the other
//!     worker-<job>-<n>/          current directory of one worker
//!         tmp/                   its TMPDIR
//! ```

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use flink_graph::JobId;
use tracing::warn;

use crate::{error::TaskManagerError, supervision::WorkerId};

/// The directory, which is removed with everything in it when this is dropped.
#[derive(Debug)]
pub(crate) struct WorkDir {
    path: PathBuf,
}

impl WorkDir {
    /// Makes the directory, or takes it over if it is there (what started us may have put its log into it).
    pub(crate) fn create(path: &Path) -> Result<Self, TaskManagerError> {
        let failed = |source| TaskManagerError::WorkDir {
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
        Ok(Self { path: path.to_owned() })
    }

    pub(crate) fn log(&self, job: JobId) -> PathBuf {
        self.path.join(format!("worker-{job}.log"))
    }

    pub(crate) fn worker(&self, job: JobId, worker: WorkerId) -> PathBuf {
        self.path.join(format!("worker-{job}-{worker}"))
    }

    /// Makes a worker's directories; returns the one for temporary files.
    pub(crate) fn create_worker(&self, job: JobId, worker: WorkerId) -> Result<PathBuf, String> {
        let tmp = self.worker(job, worker).join("tmp");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&tmp);
        made.map_err(|error| format!("could not make the directory {}: {error}", tmp.display()))?;
        Ok(tmp)
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(path = %self.path.display(), %error, "could not remove the work directory");
            }
            _ => {}
        }
    }
}

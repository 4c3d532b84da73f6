//! What stays of detached jobs when their cluster is gone: `<archive_dir>/<job>.json`, and `<archive_dir>/<job>.output`
//! if the job printed anything.
//!
//! Written when the job has ended, before its cluster does. The [`RETAINED_JOBS`] that ended last are kept.

use std::{
    io,
    path::{Path, PathBuf},
};

use flink_graph::JobId;
use flink_rpc::messages::JobReport;
use serde::{Deserialize, Serialize};
use tracing::warn;

/// How many ended jobs are remembered; those that ended first are forgotten, with what they printed.
const RETAINED_JOBS: usize = 256;

/// The record of one ended job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArchivedJob {
    /// The cluster's name.
    pub cluster: String,
    /// The session's name, if it had one.
    pub session: Option<String>,
    /// The job and how it ended.
    pub report: JobReport,
}

/// The archive could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A file or directory could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A record is damaged, or of another version.
    #[error("{path} is not the record of a job: {source}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl ArchiveError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        |source| Self::Io { path, source }
    }
}

/// The record's file.
fn record_path(archive_dir: &Path, job: JobId) -> PathBuf {
    archive_dir.join(format!("{job}.json"))
}

/// The file with what an archived job printed. It exists only if the job printed anything.
pub fn output_path(archive_dir: &Path, job: JobId) -> PathBuf {
    archive_dir.join(format!("{job}.output"))
}

/// The record of a job; `None` when there is none.
///
/// # Errors
/// When it cannot be read or understood.
pub fn read(archive_dir: &Path, job: JobId) -> Result<Option<ArchivedJob>, ArchiveError> {
    let path = record_path(archive_dir, job);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ArchiveError::Io { path, source }),
    };
    let record = serde_json::from_slice(&bytes).map_err(|source| ArchiveError::Malformed { path, source })?;
    Ok(Some(record))
}

/// The ids of all archived jobs, oldest first.
///
/// # Errors
/// When the directory cannot be read. One that does not exist is empty.
pub fn list(archive_dir: &Path) -> Result<Vec<JobId>, ArchiveError> {
    let entries = match std::fs::read_dir(archive_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(ArchiveError::Io {
                path: archive_dir.to_owned(),
                source,
            });
        }
    };
    let mut jobs = Vec::new();
    for entry in entries {
        let name = entry.map_err(ArchiveError::io(archive_dir))?.file_name();
        let job: Option<JobId> = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse().ok());
        jobs.extend(job);
    }
    // Ids sort by the time of submission.
    jobs.sort_unstable();
    Ok(jobs)
}

/// Moves what a job printed from `output` (if it exists) into the archive, then writes the job's record. The record
/// appears whole or not at all, and last: where it is, the output is too.
pub(crate) async fn write(archive_dir: &Path, output: &Path, record: &ArchivedJob) -> Result<(), ArchiveError> {
    let job = record.report.details.summary.id;
    create_private_dir(archive_dir)
        .await
        .map_err(ArchiveError::io(archive_dir))?;
    move_file(output, &output_path(archive_dir, job)).await?;
    let path = record_path(archive_dir, job);
    let bytes = serde_json::to_vec(record).map_err(|source| ArchiveError::Malformed {
        path: path.clone(),
        source,
    })?;
    let part = archive_dir.join(format!(".{job}.json.part"));
    tokio::fs::write(&part, bytes).await.map_err(ArchiveError::io(&part))?;
    tokio::fs::rename(&part, &path).await.map_err(ArchiveError::io(&path))?;
    let archive_dir = archive_dir.to_owned();
    let pruned = tokio::task::spawn_blocking(move || prune(&archive_dir, RETAINED_JOBS)).await;
    if let Ok(Err(error)) = pruned {
        warn!(%error, "the archive could not be pruned");
    }
    Ok(())
}

/// Removes all but the `retained` jobs that ended last. Two JobManagers may do so at once.
fn prune(archive_dir: &Path, retained: usize) -> Result<(), ArchiveError> {
    let mut ended = Vec::new();
    for job in list(archive_dir)? {
        let path = record_path(archive_dir, job);
        match std::fs::metadata(&path).and_then(|metadata| metadata.modified()) {
            Ok(at) => ended.push((at, job)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ArchiveError::Io { path, source }),
        }
    }
    ended.sort_unstable();
    let surplus = ended.len().saturating_sub(retained);
    for (_, job) in &ended[..surplus] {
        // The record last: without it, nobody would come for the output again.
        for path in [output_path(archive_dir, *job), record_path(archive_dir, *job)] {
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                // It printed nothing, or another JobManager was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(ArchiveError::Io { path, source }),
            }
        }
    }
    Ok(())
}

/// Makes a directory, and those above it, that only its owner may look into.
pub(crate) async fn create_private_dir(path: &Path) -> io::Result<()> {
    tokio::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .await
}

async fn move_file(from: &Path, to: &Path) -> Result<(), ArchiveError> {
    match tokio::fs::rename(from, to).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            tokio::fs::copy(from, to).await.map_err(ArchiveError::io(to))?;
            tokio::fs::remove_file(from).await.map_err(ArchiveError::io(from))
        }
        Err(source) => Err(ArchiveError::Io {
            path: from.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_jobs_that_ended_first_are_forgotten_with_what_they_printed() {
        let directory = tempfile::tempdir().unwrap();
        let mut jobs: Vec<_> = (0..5).map(|_| JobId::random()).collect();
        jobs.sort_unstable();
        // The job that was submitted first ends last.
        let by_end = [jobs[1], jobs[2], jobs[3], jobs[4], jobs[0]];
        for (minute, job) in by_end.iter().enumerate() {
            let record = std::fs::File::create(record_path(directory.path(), *job)).unwrap();
            let ended = UNIX_EPOCH + Duration::from_secs(60 * minute as u64);
            record.set_modified(ended).unwrap();
            std::fs::write(output_path(directory.path(), *job), b"x").unwrap();
        }
        prune(directory.path(), 5).unwrap();
        assert_eq!(list(directory.path()).unwrap(), jobs);
        prune(directory.path(), 2).unwrap();
        assert_eq!(list(directory.path()).unwrap(), [jobs[0], jobs[4]]);
        assert!(!output_path(directory.path(), jobs[1]).exists());
        assert!(output_path(directory.path(), jobs[0]).exists());
    }

    #[test]
    fn what_is_not_there_is_empty_and_what_is_damaged_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let job = JobId::random();
        assert!(list(&missing).unwrap().is_empty());
        assert!(read(&missing, job).unwrap().is_none());
        std::fs::write(record_path(directory.path(), job), b"{").unwrap();
        std::fs::write(directory.path().join("README"), b"x").unwrap();
        assert_eq!(list(directory.path()).unwrap(), [job]);
        assert!(matches!(
            read(directory.path(), job),
            Err(ArchiveError::Malformed { .. })
        ));
    }
}

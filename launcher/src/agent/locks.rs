//! Locks that live as long as the channel: `flock`, so that the kernel releases them however the agent ends.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::time::{Instant, sleep};

use super::files::{below, make_directory};
use super::protocol::{AgentError, Reply};

/// Pause between two tries for a lock that somebody holds. `flock` can wait by itself, but then could not be cancelled.
const RETRY: Duration = Duration::from_millis(100);

/// The locks of one channel.
#[derive(Debug, Default)]
pub(super) struct Locks(Mutex<HashMap<PathBuf, File>>);

impl Locks {
    /// Takes the lock and writes `holder` into it for others to read; waits at most `wait` for the present holder.
    pub(super) async fn take(
        &self,
        base: &Path,
        path: &str,
        holder: &str,
        wait: Duration,
    ) -> Result<Reply, AgentError> {
        let target = below(base, path)?;
        let deadline = Instant::now() + wait;
        loop {
            match self.try_take(&target, holder)? {
                None => return Ok(Reply::Done),
                Some(holder) if Instant::now() >= deadline => {
                    return Err(AgentError::LockHeld {
                        path: target.display().to_string(),
                        holder,
                    });
                }
                Some(_) => sleep(RETRY).await,
            }
        }
    }

    /// Takes the lock, or says who holds it.
    fn try_take(&self, target: &Path, holder: &str) -> Result<Option<String>, AgentError> {
        let file_error = |error: io::Error| AgentError::file(target.display(), &error);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains_key(target) {
            return Ok(Some(holder_of(target)));
        }
        make_directory(target.parent().unwrap_or_else(|| Path::new("/")))?;
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(target)
                .map_err(file_error)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Some(holder_of(target))),
                Err(errno) => return Err(file_error(errno.into())),
            }
            // Somebody may have removed the file between the opening and the locking: then this lock guards nothing.
            let ours = file.metadata().map_err(file_error)?;
            if fs::metadata(target).is_ok_and(|now| now.ino() == ours.ino() && now.dev() == ours.dev()) {
                file.set_len(0).map_err(file_error)?;
                file.write_all(holder.as_bytes()).map_err(file_error)?;
                held.insert(target.to_owned(), file);
                return Ok(None);
            }
        }
    }

    pub(super) fn release(&self, base: &Path, path: &str) -> Result<Reply, AgentError> {
        let target = below(base, path)?;
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Closing the file releases the lock.
        held.remove(&target)
            .map(|_closed| Reply::Done)
            .ok_or_else(|| AgentError::BadRequest(format!("{path} is not locked")))
    }
}

fn holder_of(target: &Path) -> String {
    let text = fs::read_to_string(target).unwrap_or_default();
    let text = text.trim();
    if text.is_empty() {
        "somebody".to_owned()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn second_taker_learns_who_holds_it_and_gets_it_after_the_release() {
        let base = tempfile::tempdir().expect("tempdir");
        let (first, second) = (Locks::default(), Locks::default());
        let path = "clusters/c/lock";
        first
            .take(base.path(), path, "ops@a pid 1", Duration::ZERO)
            .await
            .expect("free");
        let error = second.take(base.path(), path, "ops@b pid 2", Duration::ZERO).await;
        assert_eq!(
            error,
            Err(AgentError::LockHeld {
                path: base.path().join(path).display().to_string(),
                holder: "ops@a pid 1".to_owned()
            })
        );
        assert!(first.take(base.path(), path, "again", Duration::ZERO).await.is_err());
        let waiting = second.take(base.path(), path, "ops@b pid 2", Duration::from_secs(10));
        let (taken, released) = tokio::join!(waiting, async { first.release(base.path(), path) });
        assert_eq!((taken, released), (Ok(Reply::Done), Ok(Reply::Done)));
        assert_eq!(holder_of(&base.path().join(path)), "ops@b pid 2");
        drop(second);
        first
            .take(base.path(), path, "x", Duration::ZERO)
            .await
            .expect("released by the end");
    }

    #[tokio::test]
    async fn a_removed_lock_file_is_made_anew() {
        let base = tempfile::tempdir().expect("tempdir");
        let locks = Locks::default();
        locks.take(base.path(), "l", "a", Duration::ZERO).await.expect("free");
        fs::remove_file(base.path().join("l")).expect("removes");
        let other = Locks::default();
        other
            .take(base.path(), "l", "b", Duration::ZERO)
            .await
            .expect("a new file is free");
    }
}

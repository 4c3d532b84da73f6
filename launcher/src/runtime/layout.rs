//! Where things are below a host's base directory. Paths are relative to it, with `/` between their parts.

use std::{fmt::Display, path::Path};

use crate::agent::remove_empty_parents;

/// The directories of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    cluster: String,
}

impl Layout {
    /// Content-addressed files, kept across clusters.
    pub(crate) const BLOBS: &'static str = "blobs/sha256";

    /// The directories of the cluster with this name.
    pub(crate) fn of(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
        }
    }

    /// A directory per live session or per-job cluster.
    pub(crate) fn sessions(&self) -> String {
        format!("clusters/{}/sessions", self.cluster)
    }

    /// The directory of one session, on every host that it uses.
    pub(crate) fn session(&self, session: &str) -> String {
        format!("{}/{session}", self.sessions())
    }

    /// The directory of a session's TaskManager on one host. `which` tells it from the one before it, which may still be
    /// cleaning up.
    pub(crate) fn task_manager(&self, session: &str, host: &str, which: impl Display) -> String {
        format!("{}/tm-{host}-{which}", self.session(session))
    }

    /// Records of detached jobs whose cluster is gone.
    pub(crate) fn archive(&self) -> String {
        format!("clusters/{}/archive", self.cluster)
    }

    /// Locked by whoever starts or stops this session.
    pub(crate) fn session_lock(&self, session: &str) -> String {
        format!("locks/{}.{session}", self.cluster)
    }

    /// The tag of all processes of one session, for their environment (`FLINKCTL=<tag>/<role>`).
    pub(crate) fn tag(&self, session: &str) -> String {
        format!("{}/{session}", self.cluster)
    }

    /// Cluster, session and role of a process with such a tag; what may follow the role (a host, a job) is left out.
    pub(crate) fn parse_tag(tag: &str) -> Option<(&str, &str, &str)> {
        let mut parts = tag.split('/');
        Some((parts.next()?, parts.next()?, parts.next()?))
    }
}

/// Removes `directory` and then those above it that have become empty, up to `base`. What cannot be removed stays:
/// others still use it, or it was never there.
pub(crate) fn remove_with_empty_parents(base: &Path, directory: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(directory = %directory.display(), %error, "could not be removed");
    }
    remove_empty_parents(base, directory);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_parents_go_and_others_stay() {
        let base = tempfile::tempdir().unwrap();
        let layout = Layout::of("c");
        let (one, two) = (
            base.path().join(layout.session("one")),
            base.path().join(layout.session("two")),
        );
        std::fs::create_dir_all(one.join("tm-h1")).unwrap();
        std::fs::create_dir_all(&two).unwrap();
        remove_with_empty_parents(base.path(), &one.join("tm-h1"));
        assert!(!one.exists() && two.exists());
        remove_with_empty_parents(base.path(), &two);
        assert!(base.path().exists() && !base.path().join("clusters").exists());
    }
}

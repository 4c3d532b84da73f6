//! What is left on the hosts when nothing should be: processes, files, directories, sockets.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::bed::Bed;

/// Below a home directory: where flinkctl keeps its things.
const BASE: &str = "root/.local/share/flinkctl";

/// What may stay besides the cache of uploaded files and the (unlocked) lock files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traces {
    /// Nothing.
    None,
    /// Records of ended jobs: a detached job's result must be there for whoever asks later.
    Archive,
}

/// The files of all hosts at some time.
#[derive(Debug, Default)]
pub(crate) struct Snapshot(BTreeSet<PathBuf>);

impl Snapshot {
    pub(crate) fn take(bed: &Bed) -> Self {
        let mut paths = BTreeSet::new();
        for host in all_hosts(bed.hosts().iter().map(String::as_str)) {
            walk(&disk(bed, host), &mut paths);
        }
        Self(paths)
    }
}

/// What is left on these hosts and the operator's, a line each.
pub(crate) fn find(bed: &Bed, hosts: &[&str], traces: Traces) -> Vec<String> {
    let mut left = Vec::new();
    for host in all_hosts(hosts.iter().copied()) {
        for process in bed.processes(host) {
            let ours = if host == "ops" {
                matches!(process.name.as_str(), "ssh" | "flinkctl" | "drive")
            } else {
                !process.belongs_to_the_host()
            };
            if ours && process.state != "Z" {
                left.push(format!("{host}: process {} {}", process.pid, process.args.join(" ")));
            }
        }
        let mut paths = BTreeSet::new();
        let disk = disk(bed, host);
        walk(&disk, &mut paths);
        let new = paths.difference(&bed.before().0);
        let below = new.filter_map(|path| path.strip_prefix(&disk).ok());
        left.extend(
            below
                .filter(|path| !may_stay(path, traces))
                .map(|path| format!("{host}: file {}", path.display())),
        );
    }
    left
}

fn all_hosts<'a>(hosts: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    hosts.chain(["ops"])
}

/// The base directory of flinkctl on a host.
pub(crate) fn base(bed: &Bed, host: &str) -> PathBuf {
    disk(bed, host).join(BASE)
}

/// A host's disk, with its home directory `root`, its `tmp` and `var-tmp`.
fn disk(bed: &Bed, host: &str) -> PathBuf {
    bed.directory().join("disks").join(host)
}

/// Collects all files and the directories that stand for something.
fn walk(directory: &Path, paths: &mut BTreeSet<PathBuf>) {
    // Things come and go while we look.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            paths.insert(path);
            continue;
        }
        if !matches!(
            entry.file_name().to_str(),
            Some("overlay" | "root-mount" | "etc" | "ssh" | "nothing")
        ) {
            walk(&path, paths);
            paths.insert(path);
        }
    }
}

/// Whether a new file may be there at the end; its path is relative to its host's disk.
fn may_stay(path: &Path, traces: Traces) -> bool {
    let Some(path) = path.to_str() else { return false };
    if let Some(path) = path.strip_prefix(BASE) {
        return match path.trim_start_matches('/').split('/').collect::<Vec<_>>()[..] {
            [""] | ["blobs"] | ["blobs", "sha256"] | ["locks"] | ["locks", _] => true,
            ["blobs", "sha256", name] => name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()),
            ["clusters"] | ["clusters", _] | ["clusters", _, "archive"] => traces == Traces::Archive,
            ["clusters", _, "archive", _] => traces == Traces::Archive,
            _ => false,
        };
    }
    // The directory of ssh's control sockets is for the next command; what is in it is not.
    let parents = [
        "root/.local",
        "root/.local/share",
        "root/.cache",
        "root/.cache/flinkctl",
        "tmp/flinkctl-0",
    ];
    parents.contains(&path) || path.starts_with("root/.ssh/") || path.starts_with("root/.cache/flinkctl/digests")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_stay() {
        let hash = "5d97bd8bd83d93d8e5f6478a690d72190e2859eb9f4f89a7aa03239d14e5650d";
        for (path, never, archive) in [
            (format!("{BASE}/blobs/sha256/{hash}"), true, true),
            (format!("{BASE}/blobs/sha256/.{hash}.part"), false, false),
            (format!("{BASE}/locks/testbed.etl"), true, true),
            (format!("{BASE}/clusters"), false, true),
            (format!("{BASE}/clusters/testbed/archive/1.json"), false, true),
            (
                format!("{BASE}/clusters/testbed/sessions/job-1/jobmanager.log"),
                false,
                false,
            ),
            ("tmp/flinkctl-0".to_owned(), true, true),
            ("tmp/flinkctl-0/17-0".to_owned(), false, false),
            ("var-tmp/x".to_owned(), false, false),
            ("root/.ssh/known_hosts".to_owned(), true, true),
        ] {
            assert_eq!(may_stay(Path::new(&path), Traces::None), never, "{path}");
            assert_eq!(may_stay(Path::new(&path), Traces::Archive), archive, "{path}");
        }
    }
}

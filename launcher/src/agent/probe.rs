//! What `cluster check` and the scheduler want to know about a host.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, StatVfsMountFlags};
use rustix::process::{Resource, getrlimit, getuid};

use super::files::resolve;
use super::protocol::{DirectoryFacts, HostFacts, Interface, ProbeRequest};
use crate::process;

/// Collects the facts. What cannot be found out is left empty: a probe never fails.
pub(super) fn probe(base: &Path, request: &ProbeRequest) -> HostFacts {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let limits = getrlimit(Resource::Nofile);
    let uid = getuid().as_raw();
    let user = user_name(uid);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let directories = std::iter::once(base.to_owned())
        .chain(request.directories.iter().map(|path| resolve(base, path)))
        .map(|path| directory(&path, &mounts))
        .collect();
    HostFacts {
        boot_id: process::boot_id().unwrap_or_default(),
        machine_id: line("/etc/machine-id"),
        hostname: text(uname.nodename()),
        arch: text(uname.machine()),
        kernel: text(uname.release()),
        os: os_name(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
        glibc: glibc(),
        cpus: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory: memory_limit(meminfo_bytes(&meminfo, "MemTotal")),
        memory_available: meminfo_bytes(&meminfo, "MemAvailable"),
        directories,
        clock_ms: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX)),
        rmem_max: number("/proc/sys/net/core/rmem_max"),
        wmem_max: number("/proc/sys/net/core/wmem_max"),
        interfaces: interfaces(Path::new("/sys/class/net")),
        open_files: (limits.current, limits.maximum),
        killed_at_logout: killed_at_logout(user.as_deref()),
        user: (uid, user, std::env::var("HOME").ok()),
        tagged: process::list_tagged(&request.tag_prefix),
    }
}

fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn number(path: &str) -> Option<u64> {
    line(path)?.parse().ok()
}

fn os_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches('"').to_owned())
}

/// The C library's version by asking `getconf`, which is part of it.
fn glibc() -> Option<String> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().strip_prefix("glibc ")?.to_owned())
}

/// A value of `/proc/meminfo`, which counts in KiB.
fn meminfo_bytes(meminfo: &str, key: &str) -> u64 {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        .saturating_mul(1024)
}

/// The smallest of the machine's memory and the limits of the cgroups (version 2) that this process is in.
fn memory_limit(total: u64) -> u64 {
    let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = cgroup.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return total;
    };
    let root = Path::new("/sys/fs/cgroup");
    root.join(path)
        .ancestors()
        .take_while(|group| group.starts_with(root))
        .filter_map(|group| line(&group.join("memory.max").to_string_lossy())?.parse().ok())
        .fold(total, u64::min)
}

fn interfaces(root: &Path) -> Vec<Interface> {
    const LOOPBACK: u32 = 0x8;
    const UP: u32 = 0x1;
    let mut found: Vec<_> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let flags = line(&entry.path().join("flags").to_string_lossy())?;
            let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
            let mtu = line(&entry.path().join("mtu").to_string_lossy())?.parse().ok()?;
            (flags & UP != 0 && flags & LOOPBACK == 0).then(|| Interface {
                name: entry.file_name().to_string_lossy().into_owned(),
                mtu,
            })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn user_name(uid: u32) -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let listed = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    // Users of a directory service are not in the file.
    listed.or_else(|| std::env::var("USER").ok())
}

/// `KillUserProcesses=yes` of logind, unless the user lingers. Only where logind runs at all.
fn killed_at_logout(user: Option<&str>) -> bool {
    if !Path::new("/run/systemd/seats").exists() {
        return false;
    }
    let lingers = user.is_some_and(|user| Path::new("/var/lib/systemd/linger").join(user).exists());
    let mut files = vec![PathBuf::from("/etc/systemd/logind.conf")];
    let mut parts: Vec<_> = fs::read_dir("/etc/systemd/logind.conf.d")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    parts.sort();
    files.extend(parts);
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    !lingers && texts.fold(false, |before, text| kills_user_processes(&text).unwrap_or(before))
}

fn kills_user_processes(logind_conf: &str) -> Option<bool> {
    logind_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("KillUserProcesses"))
        .filter_map(|rest| rest.trim_start().strip_prefix('='))
        .map(|value| matches!(value.trim(), "yes" | "true" | "1" | "on"))
        .next_back()
}

fn directory(path: &Path, mountinfo: &str) -> DirectoryFacts {
    let existing = path
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or_else(|| Path::new("/"));
    let existing = existing.canonicalize().unwrap_or_else(|_| existing.to_owned());
    let space = rustix::fs::statvfs(&existing).ok();
    let mount = mount_of(&existing, mountinfo);
    DirectoryFacts {
        path: path.display().to_string(),
        exists: path.is_dir(),
        writable: writable(&existing).is_ok(),
        mount_point: mount.as_ref().map(|(point, _)| point.clone()),
        filesystem: mount.map(|(_, filesystem)| filesystem),
        noexec: space
            .as_ref()
            .is_some_and(|space| space.f_flag.contains(StatVfsMountFlags::NOEXEC)),
        free: space
            .as_ref()
            .map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize)),
        // btrfs and others count no inodes and say zero of zero.
        free_inodes: space.filter(|space| space.f_files > 0).map(|space| space.f_favail),
    }
}

fn writable(directory: &Path) -> io::Result<()> {
    if !directory.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK)?;
    Ok(())
}

/// Mount point and type of the file system that holds an absolute path: of all mounts above it the deepest, and of several at the
/// same place the last.
fn mount_of(path: &Path, mountinfo: &str) -> Option<(String, String)> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let point = unescape(left.split(' ').nth(4)?);
            let filesystem = right.split(' ').next()?.to_owned();
            path.starts_with(&point).then_some((point, filesystem))
        })
        .max_by_key(|(point, _)| Path::new(point).components().count())
}

/// Undoes the octal escapes of mountinfo (space, tab, newline, backslash).
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_plausible_facts() {
        let base = tempfile::tempdir().expect("tempdir");
        let request = ProbeRequest {
            directories: vec!["/nonexistent/deep".to_owned(), "~".to_owned()],
            tag_prefix: "no/such/cluster".to_owned(),
        };
        let facts = probe(base.path(), &request);
        assert_eq!(facts.arch, std::env::consts::ARCH);
        assert!(facts.cpus >= 1 && facts.memory > 1 << 20, "{facts:?}");
        assert!(facts.clock_ms > 1_600_000_000_000);
        assert_eq!(facts.directories.len(), 3);
        assert!(facts.directories[0].exists && facts.directories[0].writable);
        assert!(!facts.directories[1].exists);
        assert!(
            facts
                .directories
                .iter()
                .all(|directory| directory.mount_point.is_some())
        );
        assert_eq!(facts.tagged, []);
    }

    #[test]
    fn meminfo_counts_kib() {
        let text = "MemTotal:       16316412 kB\nMemFree:  1 kB\nMemAvailable:   12 kB\n";
        assert_eq!(meminfo_bytes(text, "MemTotal"), 16_316_412 * 1024);
        assert_eq!(meminfo_bytes(text, "MemAvailable"), 12 * 1024);
        assert_eq!(meminfo_bytes(text, "Swap"), 0);
    }

    #[test]
    fn deepest_and_last_mount_wins() {
        let text = "22 1 0:20 / / rw - ext4 /dev/a rw\n\
                    23 22 0:21 / /mnt/my\\040disk rw - xfs /dev/b rw\n\
                    24 22 0:22 / /mnt/my\\040disk rw shared:3 - tmpfs tmpfs rw\n";
        let of = |path: &str| mount_of(Path::new(path), text);
        assert_eq!(of("/home"), Some(("/".to_owned(), "ext4".to_owned())));
        assert_eq!(
            of("/mnt/my disk/x"),
            Some(("/mnt/my disk".to_owned(), "tmpfs".to_owned()))
        );
        assert_eq!(of("/mnt/my diskette"), Some(("/".to_owned(), "ext4".to_owned())));
    }

    #[test]
    fn logind_switch_is_read_where_it_is_set() {
        assert_eq!(kills_user_processes("[Login]\n#KillUserProcesses=yes\n"), None);
        assert_eq!(
            kills_user_processes("KillUserProcesses=yes\nKillUserProcesses = no\n"),
            Some(false)
        );
        assert_eq!(kills_user_processes("KillUserProcesses=yes\n"), Some(true));
    }
}

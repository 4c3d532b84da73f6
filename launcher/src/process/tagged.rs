//! Finds our processes on a host by the tag in their environment.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::identity::{ProcessIdentity, boot_id, environment_tag, read_stat};

/// One of our processes, found by its tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaggedProcess {
    /// Who it is.
    pub identity: ProcessIdentity,
    /// Its command line, each argument lossily decoded.
    pub arguments: Vec<String>,
    /// How long it has been running.
    pub age: Duration,
}

/// All live processes of this host whose tag starts with `prefix`, ordered by tag and pid.
///
/// Processes of other users are invisible unless the caller is root. Zombies are left out. Children inherit the tag, so one tag
/// may stand for several processes.
#[must_use]
pub fn list_tagged(prefix: &str) -> Vec<TaggedProcess> {
    let Ok(boot_id) = boot_id() else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let uptime = uptime();
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| inspect(pid, prefix, &boot_id, uptime))
        .collect();
    found.sort_by(|a, b| (&a.identity.tag, a.identity.pid).cmp(&(&b.identity.tag, b.identity.pid)));
    found
}

fn inspect(pid: u32, prefix: &str, boot_id: &str, uptime: Duration) -> Option<TaggedProcess> {
    let tag = environment_tag(pid).filter(|tag| tag.starts_with(prefix))?;
    let stat = read_stat(pid).ok().filter(|stat| !stat.is_dead())?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let started = Duration::from_millis(stat.start_time.saturating_mul(1000) / ticks);
    Some(TaggedProcess {
        identity: ProcessIdentity {
            boot_id: boot_id.to_owned(),
            pid,
            start_time: stat.start_time,
            tag: Some(tag),
        },
        arguments: split_arguments(&arguments),
        age: uptime.saturating_sub(started),
    })
}

fn split_arguments(cmdline: &[u8]) -> Vec<String> {
    let trimmed = cmdline.strip_suffix(b"\0").unwrap_or(cmdline);
    if trimmed.is_empty() {
        return Vec::new();
    }
    trimmed
        .split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
}

/// Time since boot, of the clock that process start times count in.
fn uptime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_tagged_child_is_found_with_its_arguments() {
        let prefix = format!("test-{}/", std::process::id());
        let mut child = Command::new("cat")
            .arg("-")
            .env("FLINKCTL", format!("{prefix}s/role/7"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cat starts");
        // `spawn` returns from within the exec, a moment before the kernel shows the new arguments and environment.
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut found = list_tagged(&prefix);
        while !found.iter().any(|process| process.arguments == ["cat", "-"]) && Instant::now() < deadline {
            std::thread::yield_now();
            found = list_tagged(&prefix);
        }
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].identity.pid, child.id());
        assert_eq!(found[0].arguments, ["cat", "-"]);
        assert!(found[0].age < Duration::from_secs(60));
        assert!(list_tagged(&prefix).is_empty());
    }

    #[test]
    fn arguments_keep_empty_ones() {
        assert_eq!(split_arguments(b"a\0\0b c\0"), ["a", "", "b c"]);
        assert!(split_arguments(b"").is_empty());
    }
}

//! What makes a host fit for a cluster.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::agent::protocol::{DirectoryFacts, HostFacts};

/// Least free space, bytes, and files in a directory of ours.
const FREE_BYTES: u64 = 1 << 30;
const FREE_INODES: u64 = 10_000;
/// Least limit of open files: a connection per peer, a file per part, and some.
const OPEN_FILES: u64 = 4096;
/// UDP socket buffers that the data plane asks for, bytes.
const SOCKET_BUFFER: u64 = 4 << 20;
/// Clock offsets from the median of all hosts, ms.
const SKEW_WARN: i128 = 1_000;
const SKEW_FAIL: i128 = 30_000;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Verdict {
    /// As it should be.
    Pass,
    /// It works, but not well.
    Warn,
    /// It will not work.
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        })
    }
}

/// One judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    pub(super) message: String,
}

/// What a host said about itself.
#[derive(Debug)]
pub(super) struct Facts {
    /// Its clock minus ours, ms.
    pub(super) offset_ms: i128,
    pub(super) host: HostFacts,
}

/// A host that was asked.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    /// `Err`: why it could not be asked.
    pub(super) facts: Result<Facts, String>,
}

/// All findings, host by host.
pub(super) fn judge(hosts: &[Host], mtu: u16) -> Vec<(String, Finding)> {
    let median = median(
        hosts
            .iter()
            .filter_map(|host| Some(host.facts.as_ref().ok()?.offset_ms))
            .collect(),
    );
    let mut machines: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for host in hosts {
        if let Some(id) = host
            .facts
            .as_ref()
            .ok()
            .and_then(|facts| facts.host.machine_id.as_deref())
        {
            machines.entry(id).or_default().push(&host.name);
        }
    }
    let mut findings = Vec::new();
    for host in hosts {
        let own = match &host.facts {
            Err(reason) => vec![finding("ssh", Verdict::Fail, reason.clone())],
            Ok(facts) => {
                let same = facts.host.machine_id.as_deref().and_then(|id| machines.get(id));
                judge_one(&host.name, facts, median, same.map_or(&[], Vec::as_slice), mtu)
            }
        };
        findings.extend(own.into_iter().map(|finding| (host.name.clone(), finding)));
    }
    findings
}

fn finding(check: &'static str, verdict: Verdict, message: impl Into<String>) -> Finding {
    Finding {
        check,
        verdict,
        message: message.into(),
    }
}

fn median(mut offsets: Vec<i128>) -> i128 {
    offsets.sort_unstable();
    offsets.get(offsets.len() / 2).copied().unwrap_or(0)
}

fn judge_one(name: &str, facts: &Facts, median: i128, same_machine: &[&str], mtu: u16) -> Vec<Finding> {
    let host = &facts.host;
    let system = host.os.as_deref().unwrap_or("an unknown system");
    let mut findings = vec![
        finding(
            "ssh",
            Verdict::Pass,
            format!("{} on {} ({}), {} CPUs", system, host.kernel, host.arch, host.cpus),
        ),
        clock(facts.offset_ms - median),
        open_files(host.open_files.0),
        buffers(host),
        network(host, mtu),
    ];
    findings.extend(host.directories.iter().map(directory));
    if host.killed_at_logout {
        let message = "logind kills the user's processes at logout (KillUserProcesses): loginctl enable-linger";
        findings.push(finding("logout", Verdict::Fail, message));
    }
    let others: Vec<&str> = same_machine.iter().copied().filter(|other| *other != name).collect();
    if !others.is_empty() {
        let message = format!(
            "the same machine-id as {}: one machine listed twice, or a clone",
            others.join(", ")
        );
        findings.push(finding("machine-id", Verdict::Warn, message));
    }
    if !host.tagged.is_empty() {
        let message = format!(
            "{} processes of this cluster run here; those that belong to no session: flinkctl cluster clean --orphans",
            host.tagged.len()
        );
        findings.push(finding("processes", Verdict::Pass, message));
    }
    findings
}

fn clock(skew: i128) -> Finding {
    let verdict = match skew.abs() {
        skew if skew >= SKEW_FAIL => Verdict::Fail,
        skew if skew >= SKEW_WARN => Verdict::Warn,
        _ => Verdict::Pass,
    };
    finding("clock", verdict, format!("{skew} ms from the median of the hosts"))
}

fn open_files(limit: Option<u64>) -> Finding {
    match limit {
        Some(limit) if limit < OPEN_FILES => finding(
            "open-files",
            Verdict::Warn,
            format!("limit {limit}; {OPEN_FILES} or more are advised (ulimit -n)"),
        ),
        Some(limit) => finding("open-files", Verdict::Pass, format!("limit {limit}")),
        None => finding("open-files", Verdict::Pass, "unlimited"),
    }
}

fn buffers(host: &HostFacts) -> Finding {
    let least = host.rmem_max.into_iter().chain(host.wmem_max).min();
    match least {
        Some(least) if least < SOCKET_BUFFER => {
            let advice = format!("sysctl -w net.core.rmem_max={SOCKET_BUFFER} net.core.wmem_max={SOCKET_BUFFER}");
            finding(
                "udp-buffers",
                Verdict::Warn,
                format!("at most {least} bytes: QUIC will lose packets under load; {advice}"),
            )
        }
        Some(least) => finding("udp-buffers", Verdict::Pass, format!("up to {least} bytes")),
        None => finding("udp-buffers", Verdict::Pass, "limit unknown"),
    }
}

fn network(host: &HostFacts, mtu: u16) -> Finding {
    let largest = host.interfaces.iter().map(|interface| interface.mtu).max();
    match largest {
        None => finding("mtu", Verdict::Warn, "no network interface but the loopback"),
        Some(largest) if largest < u32::from(mtu) => finding(
            "mtu",
            Verdict::Fail,
            format!("{largest}, but [taskmanager] mtu = {mtu}"),
        ),
        Some(largest) => finding("mtu", Verdict::Pass, largest.to_string()),
    }
}

fn directory(directory: &DirectoryFacts) -> Finding {
    let path = &directory.path;
    let free = crate::output::bytes(directory.free);
    let (verdict, message) = if !directory.writable {
        (Verdict::Fail, format!("{path} cannot be written"))
    } else if directory.noexec {
        (
            Verdict::Fail,
            format!("{path} is mounted noexec: nothing can be started there"),
        )
    } else if directory.free < FREE_BYTES {
        (Verdict::Warn, format!("{path}: only {free} free"))
    } else if directory.free_inodes.is_some_and(|inodes| inodes < FREE_INODES) {
        (Verdict::Warn, format!("{path}: hardly any inodes left"))
    } else {
        (Verdict::Pass, format!("{path}: {free} free"))
    };
    finding("disk", verdict, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(findings: &[(String, Finding)], check: &str) -> Vec<Verdict> {
        findings
            .iter()
            .filter(|(_, finding)| finding.check == check)
            .map(|(_, finding)| finding.verdict)
            .collect()
    }

    fn host(name: &str, offset_ms: i128, change: impl FnOnce(&mut HostFacts)) -> Host {
        let mut facts = HostFacts {
            boot_id: String::new(),
            machine_id: Some(name.to_owned()),
            hostname: name.to_owned(),
            arch: "x86_64".to_owned(),
            kernel: "6.1".to_owned(),
            os: None,
            glibc: Some("2.36".to_owned()),
            cpus: 2,
            memory: 1 << 34,
            memory_available: 1 << 33,
            directories: Vec::new(),
            clock_ms: 0,
            rmem_max: Some(SOCKET_BUFFER),
            wmem_max: Some(SOCKET_BUFFER),
            interfaces: vec![crate::agent::protocol::Interface {
                name: "eth0".to_owned(),
                mtu: 1500,
            }],
            open_files: (Some(OPEN_FILES), None),
            user: (0, None, None),
            killed_at_logout: false,
            tagged: Vec::new(),
        };
        change(&mut facts);
        Host {
            name: name.to_owned(),
            facts: Ok(Facts { offset_ms, host: facts }),
        }
    }

    #[test]
    fn clocks_are_compared_with_the_median_not_with_ours() {
        let hosts = [
            host("a", 100_000, |_| ()),
            host("b", 100_400, |_| ()),
            host("c", 131_000, |_| ()),
        ];
        assert_eq!(
            verdicts(&judge(&hosts, 1500), "clock"),
            [Verdict::Pass, Verdict::Pass, Verdict::Fail]
        );
    }

    #[test]
    fn each_defect_is_found() {
        let hosts = [
            host("buffers", 0, |facts| facts.rmem_max = Some(212_992)),
            host("files", 0, |facts| facts.open_files.0 = Some(1024)),
            host("logout", 0, |facts| facts.killed_at_logout = true),
            host("clone", 0, |facts| facts.machine_id = Some("buffers".to_owned())),
        ];
        let findings = judge(&hosts, 9000);
        assert_eq!(verdicts(&findings, "udp-buffers")[0], Verdict::Warn);
        assert_eq!(verdicts(&findings, "open-files")[1], Verdict::Warn);
        assert_eq!(verdicts(&findings, "logout"), [Verdict::Fail]);
        assert_eq!(verdicts(&findings, "machine-id"), [Verdict::Warn, Verdict::Warn]);
        assert_eq!(verdicts(&findings, "mtu"), [Verdict::Fail; 4]);
    }

    #[test]
    fn a_host_that_cannot_be_reached_fails() {
        let hosts = [Host {
            name: "gone".to_owned(),
            facts: Err("connection refused".to_owned()),
        }];
        assert_eq!(verdicts(&judge(&hosts, 1500), "ssh"), [Verdict::Fail]);
    }
}

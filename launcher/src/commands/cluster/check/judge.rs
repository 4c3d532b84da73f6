//! What makes a host fit for a cluster.

mod network;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;

pub(super) use self::network::{Login, Probed, Udp};
use crate::{
    agent::protocol::{DirectoryFacts, HostFacts},
    config::Cluster,
    error::count,
    runtime::Layout,
};

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
    /// What to do about it.
    pub(super) help: Option<String>,
}

/// Why something cannot be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// Its stable code, such as `ssh.refused`.
    pub(super) code: String,
    pub(super) message: String,
    /// What to do about it, as other commands say.
    pub(super) help: Option<String>,
}

impl Failure {
    /// What to do about it. Other commands send the reader here where there is no more to say.
    fn help(&self, host: &str) -> Option<String> {
        let advice = match self.code.as_str() {
            "ssh.refused" => format!("start sshd on {host}, or correct its address and port"),
            "ssh.timeout" | "ssh.unreachable" => {
                format!("see that {host} is up and its address right, and that no firewall drops what goes to its sshd")
            }
            "ssh.unresolvable" => format!("correct the address of {host}"),
            _ => return self.help.clone(),
        };
        Some(advice)
    }
}

/// What a host said about itself.
#[derive(Debug)]
pub(super) struct Facts {
    /// Its clock minus ours, ms.
    pub(super) offset_ms: i128,
    /// The first line that its login files print.
    pub(super) noise: Option<String>,
    pub(super) host: HostFacts,
}

/// A host that was asked.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    /// `Err`: why it could not be asked.
    pub(super) facts: Result<Facts, Failure>,
    /// What came of UDP from and to it, if that was tried.
    pub(super) udp: Option<Udp>,
    /// What came of the JobManager's login there.
    pub(super) login: Login,
}

impl Host {
    fn known(&self) -> Option<&Facts> {
        self.facts.as_ref().ok()
    }
}

/// All findings, host by host.
pub(super) fn judge(hosts: &[Host], cluster: &Cluster) -> Vec<(String, Finding)> {
    let known = || {
        hosts
            .iter()
            .filter_map(|host| Some((host.name.as_str(), host.known()?)))
    };
    let mut machines: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, facts) in known() {
        if let Some(id) = facts.host.machine_id.as_deref() {
            machines.entry(id).or_default().push(name);
        }
    }
    let common = Common {
        cluster,
        median: median(known().map(|(_, facts)| facts.offset_ms).collect()),
        machines,
        served: served(hosts, &cluster.jobmanager_host().name),
    };
    let mut findings = Vec::new();
    for host in hosts {
        let own = judge_one(host, &common);
        findings.extend(own.into_iter().map(|finding| (host.name.clone(), finding)));
    }
    findings
}

/// What concerns several hosts.
struct Common<'a> {
    cluster: &'a Cluster,
    median: i128,
    /// The hosts that have a machine-id.
    machines: BTreeMap<&'a str, Vec<&'a str>>,
    /// The sessions that have a JobManager; `None` when its host could not be asked.
    served: Option<BTreeSet<&'a str>>,
}

fn finding(check: &'static str, verdict: Verdict, message: impl Into<String>) -> Finding {
    Finding {
        check,
        verdict,
        message: message.into(),
        help: None,
    }
}

impl Finding {
    fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

fn median(mut offsets: Vec<i128>) -> i128 {
    offsets.sort_unstable();
    offsets.get(offsets.len() / 2).copied().unwrap_or(0)
}

fn judge_one(host: &Host, common: &Common<'_>) -> Vec<Finding> {
    let mut findings = match &host.facts {
        Err(failure) => vec![Finding {
            help: failure.help(&host.name),
            ..finding("ssh", Verdict::Fail, failure.message.clone())
        }],
        Ok(facts) => vec![reached(facts)],
    };
    findings.extend(network::login(&host.name, &host.login));
    let Some(facts) = host.known() else {
        return findings;
    };
    findings.extend(shell(facts));
    findings.extend([
        clock(facts.offset_ms - common.median),
        open_files(facts.host.open_files.0),
        buffers(&facts.host),
        mtu(&facts.host, common.cluster.taskmanager.mtu.bytes()),
    ]);
    if let Some(udp) = &host.udp {
        findings.extend(network::udp(
            &host.name,
            udp,
            !facts.host.tagged.is_empty(),
            common.cluster,
        ));
    }
    let directories = facts.host.directories.iter().enumerate();
    // The base directory comes first; in the other, nothing is started.
    findings.extend(directories.map(|(index, it)| directory(it, index == 0)));
    findings.extend(logout(&facts.host));
    findings.extend(same_machine(&host.name, &facts.host, common));
    findings.extend(processes(&facts.host, common.served.as_ref()));
    findings
}

fn reached(facts: &Facts) -> Finding {
    let host = &facts.host;
    let system = host.os.as_deref().unwrap_or("an unknown system");
    let message = format!(
        "{system} on {} ({}), {}",
        host.kernel,
        host.arch,
        count(host.cpus as usize, "CPU")
    );
    finding("ssh", Verdict::Pass, message)
}

fn shell(facts: &Facts) -> Option<Finding> {
    let noise = facts.noise.as_deref()?;
    let message = format!("the login files print something before every command: \"{noise}\"");
    Some(
        finding("shell", Verdict::Warn, message)
            .help("flinkctl skips it, but sftp and rsync break: print in interactive shells only"),
    )
}

fn logout(host: &HostFacts) -> Option<Finding> {
    let message = "logind kills the user's processes at logout (KillUserProcesses)";
    host.killed_at_logout
        .then(|| finding("logout", Verdict::Fail, message).help("loginctl enable-linger"))
}

fn same_machine(name: &str, host: &HostFacts, common: &Common<'_>) -> Option<Finding> {
    let same = common.machines.get(host.machine_id.as_deref()?)?;
    let others: Vec<&str> = same.iter().copied().filter(|other| *other != name).collect();
    let message = format!(
        "the same machine-id as {}: one machine listed twice, or a clone",
        others.join(", ")
    );
    (!others.is_empty()).then(|| finding("machine-id", Verdict::Warn, message))
}

/// Sessions and roles of our processes.
fn roles(host: &HostFacts) -> impl Iterator<Item = (&str, &str)> {
    let tags = host.tagged.iter().filter_map(|process| process.identity.tag.as_deref());
    tags.filter_map(|tag| Layout::parse_tag(tag).map(|(_, session, role)| (session, role)))
}

/// The sessions whose JobManager runs; `None` when its host could not be asked.
fn served<'a>(hosts: &'a [Host], jobmanager: &str) -> Option<BTreeSet<&'a str>> {
    let host = &hosts.iter().find(|host| host.name == jobmanager)?.known()?.host;
    let jobmanagers = roles(host).filter(|(_, role)| *role == "jobmanager");
    Some(jobmanagers.map(|(session, _)| session).collect())
}

/// Processes of this cluster. A TaskManager that an agent has started belongs to a JobManager that an agent has started.
fn processes(host: &HostFacts, served: Option<&BTreeSet<&str>>) -> Option<Finding> {
    let left: BTreeSet<&str> = roles(host)
        .filter(|(session, role)| *role == "taskmanager" && served.is_some_and(|served| !served.contains(session)))
        .map(|(session, _)| session)
        .collect();
    if !left.is_empty() {
        let names: Vec<&str> = left.into_iter().collect();
        let message = format!(
            "left over, without a JobManager: the TaskManager of {}",
            names.join(", ")
        );
        return Some(
            finding("processes", Verdict::Warn, message).help(
                "it ends by itself after [supervise] death_timeout, or at once: flinkctl cluster clean --orphans",
            ),
        );
    }
    let running = match host.tagged.len() {
        0 => return None,
        1 => "1 process of this cluster runs here".to_owned(),
        many => format!("{many} processes of this cluster run here"),
    };
    Some(finding("processes", Verdict::Pass, running))
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

fn mtu(host: &HostFacts, mtu: u16) -> Finding {
    let largest = host.interfaces.iter().map(|interface| interface.mtu).max();
    match largest {
        None => finding("mtu", Verdict::Warn, "no network interface but the loopback"),
        Some(largest) if largest < u32::from(mtu) => finding(
            "mtu",
            Verdict::Warn,
            format!("{largest}, but [taskmanager] mtu = {mtu}: jobs run with smaller packets"),
        ),
        Some(largest) => finding("mtu", Verdict::Pass, largest.to_string()),
    }
}

fn directory(directory: &DirectoryFacts, is_base: bool) -> Finding {
    let path = &directory.path;
    let free = crate::output::bytes(directory.free);
    let (verdict, message) = if !directory.writable {
        (Verdict::Fail, format!("{path} cannot be written"))
    } else if directory.noexec && is_base {
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
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::{
        config::{Inventory, Request},
        process::{ProcessIdentity, TaggedProcess},
    };

    /// A cluster whose JobManager is on h1.
    pub(super) fn cluster(mtu: u16) -> Cluster {
        let text = format!("schema = 1\n[[host]]\nname = \"h[1-3]\"\n[taskmanager]\nmtu = {mtu}\n");
        Inventory::parse(Path::new("cluster.toml"), text, &Request::default())
            .expect("valid")
            .cluster
    }

    fn judge_all(hosts: &[Host], mtu: u16) -> Vec<(String, Finding)> {
        judge(hosts, &cluster(mtu))
    }

    fn tagged(tag: &str) -> TaggedProcess {
        TaggedProcess {
            identity: ProcessIdentity {
                boot_id: String::new(),
                pid: 7,
                start_time: 1,
                tag: Some(tag.to_owned()),
            },
            arguments: Vec::new(),
            age: Duration::ZERO,
        }
    }

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
            facts: Ok(Facts {
                offset_ms,
                noise: None,
                host: facts,
            }),
            udp: None,
            login: Login::NotNeeded,
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
            verdicts(&judge_all(&hosts, 1500), "clock"),
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
        let findings = judge_all(&hosts, 9000);
        assert_eq!(verdicts(&findings, "udp-buffers")[0], Verdict::Warn);
        assert_eq!(verdicts(&findings, "open-files")[1], Verdict::Warn);
        assert_eq!(verdicts(&findings, "logout"), [Verdict::Fail]);
        assert_eq!(verdicts(&findings, "machine-id"), [Verdict::Warn, Verdict::Warn]);
        assert_eq!(verdicts(&findings, "mtu"), [Verdict::Warn; 4]);
    }

    #[test]
    fn a_host_that_cannot_be_reached_fails_alone() {
        let failure = Failure {
            code: "ssh.refused".to_owned(),
            message: "connection refused".to_owned(),
            help: Some("flinkctl cluster check -H h2".to_owned()),
        };
        let hosts = [
            host("h1", 0, |_| ()),
            Host {
                name: "h2".to_owned(),
                facts: Err(failure),
                udp: None,
                login: Login::Fine,
            },
        ];
        let findings = judge_all(&hosts, 1500);
        assert_eq!(verdicts(&findings, "ssh"), [Verdict::Pass, Verdict::Fail]);
        // Nobody who runs this command wants to be sent to it.
        let help = findings.iter().find_map(|(_, finding)| finding.help.as_deref());
        assert_eq!(help, Some("start sshd on h2, or correct its address and port"));
        let of_h2: Vec<&str> = findings
            .iter()
            .filter(|(host, _)| host == "h2")
            .map(|(_, finding)| finding.check)
            .collect();
        assert_eq!(of_h2, ["ssh", "jobmanager-ssh"]);
    }

    #[test]
    fn a_task_manager_without_its_job_manager_is_left_over() {
        let with = |name: &str, tags: &[&str]| {
            host(name, 0, |facts| {
                facts.tagged = tags.iter().map(|tag| tagged(tag)).collect()
            })
        };
        let task_managers = |name: &str| {
            let (dead, alive) = (
                format!("c/dead/taskmanager/{name}"),
                format!("c/alive/taskmanager/{name}"),
            );
            // Workers of a standalone session: who started their TaskManager is unknown.
            with(name, &[&dead, &alive, "c/standalone/worker/1"])
        };
        let hosts = [with("h1", &["c/alive/jobmanager"]), task_managers("h2")];
        let findings = judge_all(&hosts, 1500);
        assert_eq!(verdicts(&findings, "processes"), [Verdict::Pass, Verdict::Warn]);
        let left = findings
            .iter()
            .find(|(_, finding)| finding.verdict == Verdict::Warn && finding.check == "processes");
        assert!(left.is_some_and(|(_, finding)| finding.message.ends_with("the TaskManager of dead")));
        // Without word from the JobManager's host nothing is known.
        let findings = judge_all(&[task_managers("h2")], 1500);
        assert_eq!(verdicts(&findings, "processes"), [Verdict::Pass]);
    }

    #[test]
    fn noisy_login_files_are_shown() {
        let mut noisy = host("h1", 0, |_| ());
        if let Ok(facts) = &mut noisy.facts {
            facts.noise = Some("Welcome to h1".to_owned());
        }
        let findings = judge_all(&[noisy], 1500);
        assert_eq!(verdicts(&findings, "shell"), [Verdict::Warn]);
    }
}

//! What came of trying the network.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{Failure, Finding, Verdict, finding};
use crate::{
    agent::mesh::{Answer, BindFailure, DataSockets, LEAST_PAYLOAD, Opened, Source, Target},
    config::Cluster,
    error::count,
};

/// How many peers are written out.
const NAMES: usize = 5;

/// The JobManager's login on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Login {
    /// It needs none: it runs there, or no TaskManager ever does.
    NotNeeded,
    /// It could not be tried, and why.
    NotTried(String),
    /// It works.
    Fine,
    /// It does not.
    Failed(Failure),
}

/// UDP from and to a host.
#[derive(Debug)]
pub(in super::super) enum Udp {
    /// Its data address has no address.
    Unresolvable(String),
    /// The agent there could not try.
    Failed(String),
    /// It was tried.
    Tried {
        /// Its data address.
        address: IpAddr,
        opened: Opened,
        probed: Vec<Probed>,
    },
}

/// A socket of a peer that was probed.
#[derive(Debug)]
pub(in super::super) struct Probed {
    /// The peer's name.
    pub(in super::super) peer: String,
    pub(in super::super) target: Target,
    pub(in super::super) answer: Answer,
}

pub(super) fn login(name: &str, login: &Login) -> Option<Finding> {
    const CHECK: &str = "jobmanager-ssh";
    match login {
        Login::NotNeeded => None,
        Login::NotTried(reason) => Some(finding(CHECK, Verdict::Warn, format!("not tried: {reason}"))),
        Login::Fine => Some(finding(CHECK, Verdict::Pass, "the JobManager can log in")),
        Login::Failed(failure) => Some(Finding {
            help: failure.help(name),
            ..finding(
                CHECK,
                Verdict::Fail,
                format!("the JobManager cannot log in: {}", failure.message),
            )
        }),
    }
}

/// `running`: processes of this cluster run on the host; ports that are taken may be theirs.
pub(super) fn udp(name: &str, udp: &Udp, running: bool, cluster: &Cluster) -> Vec<Finding> {
    let (address, opened, probed) = match udp {
        Udp::Unresolvable(reason) => {
            let data_address = cluster.host(name).map_or("", |host| host.data_address.as_str());
            let message = format!("data_address `{data_address}`: {reason}");
            let help = format!("set data_address of {name} to an address that the other hosts can reach");
            return vec![finding("data-address", Verdict::Fail, message).help(help)];
        }
        Udp::Failed(reason) => return vec![finding("udp", Verdict::Fail, format!("not tried: {reason}"))],
        Udp::Tried {
            address,
            opened,
            probed,
        } => (*address, opened, probed),
    };
    let mut findings = Vec::new();
    findings.extend(opened.rpc.as_ref().map(|rpc| rpc_port(name, rpc, running, cluster)));
    if let Some(data) = &opened.data {
        findings.push(data_ports(name, address, data, running, cluster));
    }
    if !probed.is_empty() {
        findings.push(peers(address, probed, cluster));
        findings.extend(pieces(probed, cluster));
    }
    findings
}

/// A port that is taken is the fault of nobody while sessions of this cluster run.
fn taken(running: bool) -> Verdict {
    if running { Verdict::Warn } else { Verdict::Fail }
}

fn rpc_port(name: &str, rpc: &Result<u16, BindFailure>, running: bool, cluster: &Cluster) -> Finding {
    const CHECK: &str = "rpc-port";
    let port = cluster.jobmanager.rpc_port;
    match rpc {
        Ok(_) if port == 0 => finding(CHECK, Verdict::Pass, "any UDP port"),
        Ok(_) => finding(CHECK, Verdict::Pass, format!("UDP port {port} is free")),
        Err(BindFailure::Taken) => {
            let help = format!("rpc_port = 0 means any; who has this one: flinkctl cluster exec -H {name} -- ss -ulpn");
            let owner = if running {
                " (a session of this cluster may have it)"
            } else {
                ""
            };
            let message = format!("UDP port {port} is taken{owner}: [jobmanager] rpc_port");
            finding(CHECK, taken(running), message).help(help)
        }
        Err(BindFailure::NotOurs) => finding(CHECK, Verdict::Fail, "the host has no address of that kind"),
        Err(BindFailure::Other(reason)) => finding(CHECK, Verdict::Fail, format!("UDP port {port}: {reason}")),
    }
}

fn data_ports(
    name: &str,
    address: IpAddr,
    data: &Result<DataSockets, BindFailure>,
    running: bool,
    cluster: &Cluster,
) -> Finding {
    const CHECK: &str = "data-ports";
    let range = cluster.taskmanager.data_ports;
    match (data, range.len()) {
        (Ok(_), None) => finding(CHECK, Verdict::Pass, format!("any UDP port of {address}")),
        (Ok(sockets), Some(all)) => {
            let message = format!("{} of {all} free: UDP {range} of {address}", sockets.free);
            finding(CHECK, Verdict::Pass, message)
        }
        (Err(BindFailure::Taken), _) => {
            let message = format!("none free: UDP {range} of {address}");
            let help = format!(
                "every worker process needs one, widen [taskmanager] data_ports; who has them: \
                 flinkctl cluster exec -H {name} -- ss -ulpn"
            );
            finding(CHECK, taken(running), message).help(help)
        }
        (Err(BindFailure::NotOurs), _) => {
            let message = format!("data_address {address} is none of this host's addresses");
            let help = format!("set data_address of {name} (default: its address) to one of: ip -br address");
            finding(CHECK, Verdict::Fail, message).help(help)
        }
        (Err(BindFailure::Other(reason)), _) => {
            finding(CHECK, Verdict::Fail, format!("UDP {range} of {address}: {reason}"))
        }
    }
}

/// Whether the peers answer at all.
fn peers(address: IpAddr, probed: &[Probed], cluster: &Cluster) -> Finding {
    let silent = by_peer(probed.iter().filter(|probed| probed.answer.round_trip.is_none()));
    let all = by_peer(probed.iter());
    if silent.is_empty() {
        let slowest = probed.iter().filter_map(|probed| probed.answer.round_trip).max();
        let names: Vec<&str> = all.keys().copied().collect();
        let who = if names.len() <= NAMES {
            names.join(", ")
        } else {
            format!("all {} hosts that were asked", names.len())
        };
        let message = format!("{who}: answered within {}", round_trip(slowest.unwrap_or_default()));
        return finding("udp", Verdict::Pass, message);
    }
    let mut listed: Vec<String> = silent
        .iter()
        .take(NAMES)
        .map(|(peer, probed)| format!("{peer} at {}", sockets(probed)))
        .collect();
    if silent.len() > NAMES {
        listed.push(format!("{} more", silent.len() - NAMES));
    }
    let message = format!(
        "{address} gets no answer from {} ({} of {})",
        listed.join(", "),
        silent.len(),
        count(all.len(), "host")
    );
    let ports = cluster.taskmanager.data_ports;
    let open = if ports.is_any() {
        "any port, unless [taskmanager] data_ports and [jobmanager] rpc_port are set".to_owned()
    } else {
        format!("ports {ports}, and [jobmanager] rpc_port to the JobManager")
    };
    finding("udp", Verdict::Fail, message).help(format!(
        "open the firewalls between the hosts for UDP ({open}), or correct data_address"
    ))
}

/// The sockets of one peer, and what kept probes from being sent.
fn sockets(probed: &[&Probed]) -> String {
    let one = |probed: &&Probed| {
        let role = match probed.target.from {
            Source::Worker => "",
            Source::Client => " (JobManager)",
        };
        let error = probed
            .answer
            .error
            .as_ref()
            .map_or_else(String::new, |error| format!(" ({error})"));
        let address: SocketAddr = probed.target.address;
        format!("{address}{role}{error}")
    };
    probed.iter().map(one).collect::<Vec<_>>().join(" and ")
}

/// Whether packets of the configured size arrive in one piece where smaller ones do.
fn pieces(probed: &[Probed], cluster: &Cluster) -> Option<Finding> {
    let cut = by_peer(probed.iter().filter(|probed| {
        probed.target.from == Source::Worker && probed.answer.round_trip.is_some() && !probed.answer.whole
    }));
    if cut.is_empty() {
        return None;
    }
    let mut names: Vec<String> = cut.keys().take(NAMES).map(|&name| name.to_owned()).collect();
    if cut.len() > NAMES {
        names.push(format!("{} more", cut.len() - NAMES));
    }
    let mtu = cluster.taskmanager.mtu.bytes();
    let message = format!(
        "packets of {mtu} bytes do not get through to {}, those of {LEAST_PAYLOAD} do: jobs run, but slower",
        names.join(", ")
    );
    let help = if mtu > 1500 {
        "set [taskmanager] mtu to what every link between the hosts carries"
    } else {
        "look for a tunnel or a link with a smaller MTU between the hosts"
    };
    Some(finding("path-mtu", Verdict::Warn, message).help(help))
}

fn by_peer<'a>(probed: impl Iterator<Item = &'a Probed>) -> BTreeMap<&'a str, Vec<&'a Probed>> {
    let mut peers: BTreeMap<&str, Vec<&Probed>> = BTreeMap::new();
    for probed in probed {
        peers.entry(&probed.peer).or_default().push(probed);
    }
    peers
}

fn round_trip(time: Duration) -> String {
    match time.as_millis() {
        0 => "1ms".to_owned(),
        _ => crate::output::duration(time),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::cluster, *};

    fn probed(peer: &str, from: Source, round_trip: Option<u64>, whole: bool) -> Probed {
        Probed {
            peer: peer.to_owned(),
            target: Target {
                address: ([10, 0, 0, 2], 40_000).into(),
                from,
            },
            answer: Answer {
                round_trip: round_trip.map(Duration::from_millis),
                whole,
                error: None,
            },
        }
    }

    fn tried(opened: Opened, probed: Vec<Probed>) -> Udp {
        Udp::Tried {
            address: [10, 0, 0, 1].into(),
            opened,
            probed,
        }
    }

    const NOTHING: Opened = Opened { data: None, rpc: None };

    fn one(of: &Udp, running: bool) -> Finding {
        let mut found = udp("h1", of, running, &cluster(1500));
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn a_silent_peer_is_named_with_its_addresses() {
        let peers = vec![
            probed("h2", Source::Worker, None, false),
            probed("h2", Source::Client, None, false),
            probed("h3", Source::Worker, Some(2), true),
        ];
        let found = one(&tried(NOTHING, peers), false);
        assert_eq!((found.check, found.verdict), ("udp", Verdict::Fail));
        assert_eq!(
            found.message,
            "10.0.0.1 gets no answer from h2 at 10.0.0.2:40000 and 10.0.0.2:40000 (JobManager) (1 of 2 hosts)"
        );
        assert!(found.help.is_some_and(|help| help.contains("firewall")));
    }

    #[test]
    fn many_silent_peers_are_folded() {
        let peers = (10..42).map(|number| probed(&format!("h{number}"), Source::Worker, None, false));
        let found = one(&tried(NOTHING, peers.collect()), false);
        assert!(
            found.message.contains("h14 at") && !found.message.contains("h15"),
            "{found:?}"
        );
        assert!(found.message.contains("27 more (32 of 32 hosts)"), "{found:?}");
    }

    #[test]
    fn what_cannot_be_sent_says_why() {
        let mut peer = probed("h2", Source::Worker, None, false);
        peer.answer.error = Some("Network is unreachable".to_owned());
        let found = one(&tried(NOTHING, vec![peer]), false);
        assert!(
            found.message.contains("10.0.0.2:40000 (Network is unreachable)"),
            "{found:?}"
        );
    }

    #[test]
    fn peers_that_answer_pass_and_cut_packets_warn() {
        let fine = vec![
            probed("h2", Source::Worker, Some(0), true),
            probed("h2", Source::Client, Some(3), false),
        ];
        let found = one(&tried(NOTHING, fine), false);
        assert_eq!(
            (found.verdict, found.message.as_str()),
            (Verdict::Pass, "h2: answered within 3ms")
        );
        let cut = vec![probed("h2", Source::Worker, Some(0), false)];
        let found = udp("h1", &tried(NOTHING, cut), false, &cluster(1500));
        assert_eq!((found[0].verdict, found[1].check), (Verdict::Pass, "path-mtu"));
        assert_eq!(found[1].verdict, Verdict::Warn);
    }

    #[test]
    fn ports_are_judged_by_who_may_have_them() {
        let opened = |data| Opened {
            data: Some(data),
            rpc: None,
        };
        let verdict = |data, running| one(&tried(opened(data), Vec::new()), running).verdict;
        let free = DataSockets {
            ports: vec![1],
            free: 1,
        };
        assert_eq!(verdict(Ok(free), false), Verdict::Pass);
        assert_eq!(verdict(Err(BindFailure::Taken), false), Verdict::Fail);
        assert_eq!(verdict(Err(BindFailure::Taken), true), Verdict::Warn);
        assert_eq!(verdict(Err(BindFailure::NotOurs), true), Verdict::Fail);
        let rpc = Opened {
            data: None,
            rpc: Some(Err(BindFailure::Taken)),
        };
        assert_eq!(one(&tried(rpc, Vec::new()), false).verdict, Verdict::Fail);
    }

    #[test]
    fn logins_that_were_not_tried_do_not_fail() {
        assert_eq!(login("h2", &Login::NotNeeded), None);
        let verdict = |of: Login| login("h2", &of).map(|finding| finding.verdict);
        assert_eq!(verdict(Login::Fine), Some(Verdict::Pass));
        assert_eq!(verdict(Login::NotTried("x".to_owned())), Some(Verdict::Warn));
        let failure = Failure {
            code: "ssh.auth".to_owned(),
            message: "x".to_owned(),
            help: None,
        };
        assert_eq!(verdict(Login::Failed(failure)), Some(Verdict::Fail));
    }
}

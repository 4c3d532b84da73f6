//! Which host probes which: everybody everybody while that is cheap, else a ring and a few at random.

use std::net::{IpAddr, SocketAddr};

use crate::agent::mesh::{Source, Target};

/// Most hosts of which each probes all others.
const FULL_MESH: usize = 32;
/// Neighbours on the ring, and others, that a host of a larger cluster probes.
const NEIGHBOURS: usize = 2;
const AT_RANDOM: usize = 4;

/// The sockets that a host has opened.
#[derive(Debug, Clone, Default)]
pub(super) struct Sockets {
    /// Where its workers would listen.
    pub(super) data: Vec<SocketAddr>,
    /// Where its JobManager would listen.
    pub(super) rpc: Option<SocketAddr>,
    /// Whether it may run a TaskManager, which calls the JobManager.
    pub(super) calls: bool,
}

impl Sockets {
    /// The sockets in the place of workers at these ports.
    pub(super) fn data(address: IpAddr, ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|&port| SocketAddr::new(address, port)).collect()
    }
}

/// For each host the targets it probes, each with the index of the host that it is on. `random` gives a number below its argument.
pub(super) fn plan(hosts: &[Sockets], mut random: impl FnMut(usize) -> usize) -> Vec<Vec<(usize, Target)>> {
    let listening: Vec<usize> = (0..hosts.len())
        .filter(|&index| !hosts[index].data.is_empty())
        .collect();
    let mut plan: Vec<Vec<(usize, Target)>> = vec![Vec::new(); hosts.len()];
    for (place, &index) in listening.iter().enumerate() {
        for step in steps(listening.len(), &mut random) {
            let peer = listening[(place + step) % listening.len()];
            let targets = hosts[peer].data.iter().map(|&address| Target {
                address,
                from: Source::Worker,
            });
            plan[index].extend(targets.map(|target| (peer, target)));
        }
    }
    for index in (0..hosts.len()).filter(|&index| hosts[index].calls) {
        let others = hosts.iter().enumerate().filter(|&(peer, _)| peer != index);
        let targets = others.filter_map(|(peer, other)| {
            let target = Target {
                address: other.rpc?,
                from: Source::Client,
            };
            Some((peer, target))
        });
        plan[index].extend(targets);
    }
    plan
}

/// How many places further on the ring the peers of a host are, each once.
fn steps(hosts: usize, random: &mut impl FnMut(usize) -> usize) -> Vec<usize> {
    if hosts <= FULL_MESH {
        return (1..hosts).collect();
    }
    let mut steps: Vec<usize> = (1..=NEIGHBOURS).collect();
    while steps.len() < NEIGHBOURS + AT_RANDOM {
        let step = 1 + random(hosts - 1);
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u16, rpc: bool) -> Sockets {
        let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
        Sockets {
            data: vec![address(number)],
            rpc: rpc.then(|| address(10_000 + number)),
            calls: true,
        }
    }

    fn peers(targets: &[(usize, Target)], from: Source) -> Vec<usize> {
        let chosen = targets.iter().filter(|(_, target)| target.from == from);
        chosen.map(|(peer, _)| *peer).collect()
    }

    #[test]
    fn few_hosts_probe_each_other_and_call_the_jobmanager() {
        let hosts: Vec<_> = (0..3).map(|number| host(number, number == 0)).collect();
        let plan = plan(&hosts, |_| 0);
        assert_eq!(peers(&plan[1], Source::Worker), [2, 0]);
        assert_eq!(peers(&plan[1], Source::Client), [0]);
        assert_eq!(peers(&plan[0], Source::Worker), [1, 2]);
        assert_eq!(peers(&plan[0], Source::Client), [0_usize; 0]);
    }

    #[test]
    fn a_host_of_a_jobmanager_alone_is_called_and_calls_nobody() {
        let mut hosts: Vec<_> = (0..2).map(|number| host(number, number == 0)).collect();
        hosts[0].data.clear();
        hosts[0].calls = false;
        let plan = plan(&hosts, |_| 0);
        assert!(plan[0].is_empty());
        assert_eq!((plan[1].len(), peers(&plan[1], Source::Client)), (1, vec![0]));
    }

    #[test]
    fn each_port_of_a_peer_is_probed() {
        let mut hosts: Vec<_> = (0..2).map(|number| host(number, false)).collect();
        hosts[1].data = Sockets::data([10, 0, 0, 2].into(), &[40_000, 40_009]);
        assert_eq!(plan(&hosts, |_| 0)[0].len(), 2);
    }

    #[test]
    fn many_hosts_probe_a_few_each_and_never_themselves() {
        let hosts: Vec<_> = (0..200).map(|number| host(number, number == 7)).collect();
        let mut seed = 1_usize;
        let plan = plan(&hosts, |bound| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % bound
        });
        for (index, targets) in plan.iter().enumerate() {
            let mut chosen = peers(targets, Source::Worker);
            assert!(chosen.contains(&((index + 1) % 200)) && !chosen.contains(&index));
            chosen.sort_unstable();
            chosen.dedup();
            assert_eq!(chosen.len(), NEIGHBOURS + AT_RANDOM);
            assert_eq!(peers(targets, Source::Client).len(), usize::from(index != 7));
        }
    }
}

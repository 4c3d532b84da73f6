//! What the hosts can do together: UDP between them, and the JobManager's logins.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use super::{
    judge::{self, Probed},
    pairs::{self, Sockets},
};
use crate::{
    agent::{
        CallError,
        mesh::{Answer, DataPorts, MeshSpec, Opened, Target},
    },
    config::{Cluster, Host},
    hosts::HostLink,
    progress::{Phase, Progress},
};

/// Bytes of IP and UDP headers in a packet.
const PACKET_HEADERS: u16 = 48;
/// Longest that hosts may take to look names up, to open their sockets, and to probe their peers.
const TURN: Duration = Duration::from_secs(10);

/// A host with an agent on it.
#[derive(Debug, Clone)]
pub(super) struct Linked {
    pub(super) host: Host,
    pub(super) link: Arc<HostLink>,
}

/// Tries UDP between the hosts, as a JobManager, TaskManagers and workers there would use it.
pub(super) async fn udp(cluster: &Cluster, hosts: &[Linked], progress: &Progress) -> HashMap<String, judge::Udp> {
    let mut found = HashMap::new();
    let mut members = Vec::new();
    let nonce = uuid::Uuid::now_v7().into_bytes();
    for (linked, address) in hosts.iter().zip(addresses(cluster, hosts).await) {
        match address {
            Ok(address) => members.push(Member {
                linked: linked.clone(),
                address,
                spec: spec(cluster, &linked.host, address, nonce),
            }),
            Err(reason) => {
                progress.failed(Phase::Checking, &linked.host.name, &reason);
                found.insert(linked.host.name.clone(), judge::Udp::Unresolvable(reason));
            }
        }
    }
    let names: Vec<String> = members.iter().map(|member| member.linked.host.name.clone()).collect();
    let tried = Conduct::begin(members, progress).run().await;
    found.extend(names.into_iter().zip(tried));
    found
}

/// The data addresses of the hosts as the JobManager resolves them; without a JobManager's host, as any of them does.
async fn addresses(cluster: &Cluster, hosts: &[Linked]) -> Vec<Result<IpAddr, String>> {
    let jobmanager = &cluster.jobmanager_host().name;
    let asked = hosts
        .iter()
        .find(|linked| linked.host.name == *jobmanager)
        .or_else(|| hosts.first());
    let Some(asked) = asked else {
        return Vec::new();
    };
    let names = hosts.iter().map(|linked| linked.host.data_address.clone()).collect();
    let failed = |reason: String| vec![Err(reason); hosts.len()];
    match timeout(TURN, asked.link.agent.resolve(names)).await {
        Ok(Ok(addresses)) if addresses.len() == hosts.len() => addresses,
        Ok(Ok(_)) => failed("the answer is incomplete".to_owned()),
        Ok(Err(error)) => failed(error.to_string()),
        Err(_elapsed) => failed(format!("no answer within {TURN:?}")),
    }
}

fn spec(cluster: &Cluster, host: &Host, address: IpAddr, nonce: [u8; 16]) -> MeshSpec {
    let ports = cluster.taskmanager.data_ports;
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    MeshSpec {
        nonce,
        data: host.roles.taskmanager.then_some(DataPorts {
            address,
            first: ports.first,
            last: ports.last,
        }),
        rpc: (cluster.jobmanager_host().name == host.name).then(|| SocketAddr::new(any, cluster.jobmanager.rpc_port)),
        payload: cluster.taskmanager.mtu.bytes().saturating_sub(PACKET_HEADERS),
    }
}

/// A host that takes part.
#[derive(Debug)]
struct Member {
    linked: Linked,
    address: IpAddr,
    spec: MeshSpec,
}

/// What a host says meanwhile.
#[derive(Debug)]
enum Said {
    Opened(Opened),
    Answers(Vec<Answer>),
    Failed(String),
}

/// Brings all hosts through their turns together: none is probed before its sockets are open, none closes them before the last
/// one has probed.
struct Conduct<'a> {
    progress: &'a Progress,
    members: Vec<(String, IpAddr)>,
    calls: Vec<bool>,
    tasks: JoinSet<()>,
    said: mpsc::Receiver<(usize, Said)>,
    targets: Vec<Option<oneshot::Sender<Vec<Target>>>>,
    over: watch::Sender<bool>,
}

impl<'a> Conduct<'a> {
    fn begin(members: Vec<Member>, progress: &'a Progress) -> Self {
        // Each member says two things at most.
        let (say, said) = mpsc::channel(2 * members.len().max(1));
        let (over, wait) = watch::channel(false);
        let mut conduct = Self {
            progress,
            members: Vec::new(),
            calls: Vec::new(),
            tasks: JoinSet::new(),
            said,
            targets: Vec::new(),
            over,
        };
        for (index, member) in members.into_iter().enumerate() {
            let (targets, wait_targets) = oneshot::channel();
            conduct.targets.push(Some(targets));
            conduct.members.push((member.linked.host.name.clone(), member.address));
            conduct.calls.push(member.linked.host.roles.taskmanager);
            progress.step(Phase::Checking, &member.linked.host.name, "UDP");
            let (say, wait) = (say.clone(), wait.clone());
            conduct.tasks.spawn(async move {
                if let Err(error) = take_part(index, &member, &say, wait_targets, wait).await {
                    // The queue has room for it; when nobody listens any more it is too late anyway.
                    let _late = say.try_send((index, Said::Failed(error.to_string())));
                }
            });
        }
        conduct
    }

    /// What came of it, in the order of the members.
    async fn run(mut self) -> Vec<judge::Udp> {
        let opened = self.hear_opened().await;
        let sockets: Vec<Sockets> = (opened.iter().enumerate())
            .map(|(index, opened)| self.sockets(index, opened.as_ref()))
            .collect();
        let plan = pairs::plan(&sockets, random);
        for (index, peers) in plan.iter().enumerate() {
            if let Some(sender) = self.targets[index].take() {
                // One that has failed meanwhile has said so.
                let _gone = sender.send(peers.iter().map(|(_, target)| *target).collect());
            }
        }
        let answers = self.hear_answers(&opened).await;
        // Nobody waits for it when all have failed.
        let _gone = self.over.send(true);
        if timeout(TURN, async { while self.tasks.join_next().await.is_some() {} })
            .await
            .is_err()
        {
            self.tasks.shutdown().await;
        }
        opened
            .into_iter()
            .zip(answers)
            .zip(plan)
            .enumerate()
            .map(|(index, ((opened, answers), peers))| self.tried(index, opened, answers, peers))
            .collect()
    }

    async fn hear_opened(&mut self) -> Vec<Result<Opened, String>> {
        let mut opened = vec![Err(format!("no answer within {TURN:?}")); self.members.len()];
        let mut missing = self.members.len();
        let deadline = Instant::now() + TURN;
        while missing > 0
            && let Ok(Some((index, said))) = timeout_at(deadline, self.said.recv()).await
        {
            missing -= 1;
            opened[index] = match said {
                Said::Opened(sockets) => Ok(sockets),
                Said::Failed(reason) => Err(reason),
                Said::Answers(_) => Err("answers before any question".to_owned()),
            };
        }
        for (index, opened) in opened.iter().enumerate() {
            if let Err(reason) = opened {
                self.progress.failed(Phase::Checking, &self.members[index].0, reason);
                // Whoever is late is told that there is nothing to do.
                self.targets[index] = None;
            }
        }
        opened
    }

    async fn hear_answers(&mut self, opened: &[Result<Opened, String>]) -> Vec<Result<Vec<Answer>, String>> {
        let mut answers = vec![Err(format!("no answer within {TURN:?}")); self.members.len()];
        let mut missing = opened.iter().filter(|opened| opened.is_ok()).count();
        let deadline = Instant::now() + TURN;
        while missing > 0
            && let Ok(Some((index, said))) = timeout_at(deadline, self.said.recv()).await
        {
            let name = &self.members[index].0;
            match said {
                Said::Answers(heard) => {
                    self.progress.done(Phase::Checking, name);
                    answers[index] = Ok(heard);
                }
                Said::Failed(reason) => {
                    self.progress.failed(Phase::Checking, name, &reason);
                    answers[index] = Err(reason);
                }
                // From one who was late for the turn before.
                Said::Opened(_) => continue,
            }
            missing -= usize::from(opened[index].is_ok());
        }
        answers
    }

    fn sockets(&self, index: usize, opened: Result<&Opened, &String>) -> Sockets {
        let Ok(opened) = opened else {
            return Sockets::default();
        };
        let address = self.members[index].1;
        let data = opened.data.as_ref().and_then(|data| data.as_ref().ok());
        let rpc = opened.rpc.as_ref().and_then(|rpc| rpc.as_ref().ok());
        Sockets {
            data: data.map_or_else(Vec::new, |data| Sockets::data(address, &data.ports)),
            rpc: rpc.map(|&port| SocketAddr::new(address, port)),
            calls: self.calls[index],
        }
    }

    fn tried(
        &self,
        index: usize,
        opened: Result<Opened, String>,
        answers: Result<Vec<Answer>, String>,
        peers: Vec<(usize, Target)>,
    ) -> judge::Udp {
        let address = self.members[index].1;
        let opened = match opened {
            Ok(opened) => opened,
            Err(reason) => return judge::Udp::Failed(reason),
        };
        let answers = match answers {
            Ok(answers) => answers,
            Err(reason) => return judge::Udp::Failed(reason),
        };
        let probed = peers.into_iter().zip(answers).map(|((peer, target), answer)| Probed {
            peer: self.members[peer].0.clone(),
            target,
            answer,
        });
        judge::Udp::Tried {
            address,
            opened,
            probed: probed.collect(),
        }
    }
}

/// One host's part, from its first socket to its last.
async fn take_part(
    index: usize,
    member: &Member,
    say: &mpsc::Sender<(usize, Said)>,
    targets: oneshot::Receiver<Vec<Target>>,
    mut over: watch::Receiver<bool>,
) -> Result<(), CallError> {
    let (mut mesh, opened) = member.linked.link.agent.mesh(member.spec.clone()).await?;
    // There is room for it; the conductor outlives its tasks.
    let _late = say.try_send((index, Said::Opened(opened)));
    let Ok(targets) = targets.await else {
        return Ok(());
    };
    let answers = mesh.probe(&targets).await?;
    let _late = say.try_send((index, Said::Answers(answers)));
    // That there is no conductor any more means the same.
    let _over = over.wait_for(|over| *over).await;
    Ok(())
}

/// A number below `bound`: a hash with a fresh random key is all the randomness this needs.
fn random(bound: usize) -> usize {
    let hash = std::collections::hash_map::RandomState::new().hash_one(bound);
    usize::try_from(hash >> 32).unwrap_or(0) % bound.max(1)
}

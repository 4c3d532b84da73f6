//! Two workers of one job, in one process, over loopback.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "every test binary uses its own part of this")]

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use flink_exchange::{
    ChannelId, ExchangeError, GateStatus, InputGate, NetworkConfig, NetworkEnvironment, Peer, TaskSignal,
};
use flink_graph::{ClusterId, JobId};
use flink_record::Record;
use flink_rpc::{ClusterCa, Role};

/// Everything here is over in milliseconds; this is for machines that are busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn config() -> NetworkConfig {
    NetworkConfig::new(Ipv4Addr::LOCALHOST.into())
}

pub(crate) fn ca() -> ClusterCa {
    ClusterCa::generate(ClusterId::random(), Duration::from_secs(3600)).unwrap()
}

pub(crate) fn worker(ca: &ClusterCa, job: JobId, config: NetworkConfig) -> NetworkEnvironment {
    NetworkEnvironment::start(config, &ca.issue(Role::Worker(job)).unwrap(), job).unwrap()
}

pub(crate) fn pair() -> (NetworkEnvironment, NetworkEnvironment) {
    pair_with(config())
}

pub(crate) fn pair_with(config: NetworkConfig) -> (NetworkEnvironment, NetworkEnvironment) {
    let (ca, job) = (ca(), JobId::random());
    (worker(&ca, job, config.clone()), worker(&ca, job, config))
}

pub(crate) fn remote(environment: &NetworkEnvironment) -> Peer {
    Peer::Remote(environment.local_address())
}

pub(crate) fn channel(edge: u32) -> ChannelId {
    ChannelId {
        edge,
        producer: 0,
        consumer: 0,
        attempt: 1,
    }
}

pub(crate) fn gate<T: Record>(environment: &NetworkEnvironment, id: ChannelId, peer: Peer) -> InputGate<T> {
    InputGate::new(environment, vec![(id, peer)], TaskSignal::new()).unwrap()
}

/// Reads until the gate is finished or fails.
pub(crate) fn drain<T: Record>(gate: &mut InputGate<T>) -> Result<Vec<T>, ExchangeError> {
    let mut records = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = gate.next(Some(deadline), &mut |record, _| {
            records.push(record);
            Ok::<(), ExchangeError>(())
        })?;
        match status {
            GateStatus::Finished => return Ok(records),
            GateStatus::Woken if Instant::now() >= deadline => panic!("no end after {} records", records.len()),
            _ => {}
        }
    }
}

/// Waits for a condition that other threads bring about.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

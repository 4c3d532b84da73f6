//! The data plane itself, through its public interface only.

use std::{
    io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use flink_exchange::{
    ChannelId, ChannelSelector, DEFAULT_BUFFER_TIMEOUT, ExchangeError, First, GateStatus, InputGate, NetworkConfig,
    NetworkEnvironment, Peer, RecordWriter, TaskSignal,
};
use flink_graph::{key_group, operator_index};
use flink_record::{Key, NO_TIMESTAMP, Record};

use crate::{
    case::{CHANNELS, Kind, Outcome, Setup},
    clock::cpu,
    ping::{self, Latencies},
    record::{Large, Row, Small},
};

/// Tasks that keep [`CHANNELS`] channels busy in the latency case.
const LATENCY_EDGE: u32 = 2;

/// Max parallelism: far above the channels, so that they get equal shares.
const KEY_GROUPS: u32 = 4096;

/// As after a `key_by`.
struct ByKey;

impl<const N: usize> ChannelSelector<Row<N>> for ByKey {
    #[inline]
    fn select(&mut self, row: &Row<N>, channels: u32) -> u32 {
        operator_index(key_group(row.key.stable_hash(), KEY_GROUPS), KEY_GROUPS, channels)
    }
}

pub(crate) struct Worker {
    setup: Setup,
    environment: NetworkEnvironment,
}

impl Worker {
    pub(crate) fn start(setup: Setup) -> io::Result<Self> {
        let default = NetworkConfig::new(setup.bind);
        let config = NetworkConfig {
            udp_payload: setup.udp_payload,
            in_flight_cap: setup.in_flight_cap.unwrap_or(default.in_flight_cap),
            stream_window: setup.stream_window.unwrap_or(default.stream_window),
            ..default
        };
        let environment = NetworkEnvironment::start(config, &setup.identity, setup.job).map_err(io::Error::other)?;
        Ok(Self { setup, environment })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.environment.local_address()
    }
}

fn channels(edge: u32, count: u32, peer: SocketAddr) -> Vec<(ChannelId, Peer)> {
    let id = |consumer| ChannelId {
        edge,
        producer: 0,
        consumer,
        attempt: 0,
    };
    (0..count).map(|consumer| (id(consumer), Peer::Remote(peer))).collect()
}

/// The sender's side of a case.
pub(crate) fn send(worker: &Worker, peer: SocketAddr) -> io::Result<Outcome> {
    let (environment, setup) = (&worker.environment, &worker.setup);
    let end = Instant::now() + setup.duration;
    let (start, cpu_before) = (Instant::now(), cpu());
    let sent = match setup.kind {
        Kind::Tls | Kind::TlsLatency => Ok(()),
        Kind::Small { channels } => hash::<95>(environment, peer, channels, end),
        Kind::Large { channels } => hash::<1016>(environment, peer, channels, end),
        Kind::Stalled { stalled } => pairs(environment, peer, stalled, end),
        Kind::Latency => thread::scope(|scope| {
            let bulk = scope.spawn(|| hash::<1016>(environment, peer, CHANNELS, end));
            pings(environment, peer, end)?;
            join(bulk)
        }),
    };
    sent.map_err(io::Error::other)?;
    environment.shutdown();
    Ok(Outcome {
        elapsed: start.elapsed(),
        cpu: cpu() - cpu_before,
        ..Outcome::default()
    })
}

fn join(task: thread::ScopedJoinHandle<'_, Result<(), ExchangeError>>) -> Result<(), ExchangeError> {
    task.join().unwrap_or(Err(ExchangeError::Cancelled))
}

/// One task, one writer, many channels.
fn hash<const N: usize>(
    environment: &NetworkEnvironment,
    peer: SocketAddr,
    count: u32,
    end: Instant,
) -> Result<(), ExchangeError> {
    let mut writer: RecordWriter<Row<N>> = RecordWriter::new(
        environment,
        channels(0, count, peer),
        ByKey,
        TaskSignal::new(),
        DEFAULT_BUFFER_TIMEOUT,
    )?;
    write_until(&mut writer, end)?;
    writer.finish()
}

fn write_until<const N: usize>(writer: &mut RecordWriter<Row<N>>, end: Instant) -> Result<(), ExchangeError> {
    let mut key = 0u64;
    while Instant::now() < end {
        for _ in 0..1024 {
            key = key.wrapping_add(1);
            writer.write(Row::new(key), NO_TIMESTAMP)?;
        }
        writer.flush_if_due()?;
    }
    Ok(())
}

/// Many tasks with a channel each. Those whose consumer is stalled, the last ones, are cancelled once the others are done.
fn pairs(environment: &NetworkEnvironment, peer: SocketAddr, stalled: u32, end: Instant) -> Result<(), ExchangeError> {
    thread::scope(|scope| {
        let mut tasks = Vec::new();
        for channel in channels(0, CHANNELS, peer) {
            let signal = TaskSignal::new();
            let mut writer = RecordWriter::<Large>::new(
                environment,
                vec![channel],
                First,
                signal.clone(),
                DEFAULT_BUFFER_TIMEOUT,
            )?;
            let task = scope.spawn(move || {
                write_until(&mut writer, end)?;
                writer.finish()
            });
            tasks.push((signal, task));
        }
        let stalled = tasks.split_off((CHANNELS - stalled) as usize);
        let moved = tasks.into_iter().try_for_each(|(_, task)| join(task));
        stalled.iter().for_each(|(signal, _)| signal.cancel());
        for (_, task) in stalled {
            match join(task) {
                // How the stalled ones end: whoever is first.
                Ok(())
                | Err(ExchangeError::Cancelled | ExchangeError::ConsumerGone { .. } | ExchangeError::PeerLost { .. }) =>
                    {}
                Err(error) => return Err(error),
            }
        }
        moved
    })
}

fn pings(environment: &NetworkEnvironment, peer: SocketAddr, end: Instant) -> Result<(), ExchangeError> {
    let outputs = channels(LATENCY_EDGE, 1, peer);
    let mut writer = RecordWriter::new(environment, outputs, First, TaskSignal::new(), Duration::ZERO)?;
    ping::send_until(end, |sent| writer.write(sent, NO_TIMESTAMP))?;
    writer.finish()
}

/// The receiver's side of a case.
pub(crate) fn receive(worker: &Worker, peer: SocketAddr) -> io::Result<Outcome> {
    let environment = &worker.environment;
    let received = match worker.setup.kind {
        Kind::Tls | Kind::TlsLatency => Ok(Outcome::default()),
        Kind::Small { channels } => drain::<Small>(environment, peer, channels),
        Kind::Large { channels } => drain::<Large>(environment, peer, channels),
        Kind::Stalled { stalled } => drain_beside_stalled(worker, peer, stalled),
        Kind::Latency => thread::scope(|scope| {
            let bulk = scope.spawn(|| drain::<Large>(environment, peer, CHANNELS));
            let latencies = take_pings(environment, peer)?;
            let outcome = bulk.join().unwrap_or(Err(ExchangeError::Cancelled))?;
            Ok(Outcome { latencies, ..outcome })
        }),
    };
    let outcome = received.map_err(io::Error::other)?;
    environment.shutdown();
    Ok(outcome)
}

fn drain<T: Record>(environment: &NetworkEnvironment, peer: SocketAddr, count: u32) -> Result<Outcome, ExchangeError> {
    let mut gate = InputGate::<T>::new(environment, channels(0, count, peer), TaskSignal::new())?;
    read(&mut gate, None)
}

/// Reads to the end, or until `end`. Time counts from the first record on.
fn read<T: Record>(gate: &mut InputGate<T>, end: Option<Instant>) -> Result<Outcome, ExchangeError> {
    let mut sink = |row: T, _| {
        std::hint::black_box(&row);
        Ok::<(), ExchangeError>(())
    };
    gate.next(None, &mut sink)?;
    let (start, cpu_before) = (Instant::now(), cpu());
    loop {
        let status = gate.next(end, &mut sink)?;
        if status == GateStatus::Finished || end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
    }
    let (elapsed, cpu) = (start.elapsed(), cpu() - cpu_before);
    let per_channel: Vec<u64> = gate.metrics().iter().map(|channel| channel.bytes()).collect();
    let records = gate.metrics().iter().map(|channel| channel.records()).sum();
    Ok(Outcome {
        bytes: per_channel.iter().sum(),
        records,
        elapsed,
        cpu,
        per_channel,
        ..Outcome::default()
    })
}

/// One task reads all channels but the last `stalled`; those have a gate that is never asked.
fn drain_beside_stalled(worker: &Worker, peer: SocketAddr, stalled: u32) -> Result<Outcome, ExchangeError> {
    let mut moving = channels(0, CHANNELS, peer);
    let idle = moving.split_off((CHANNELS - stalled) as usize);
    let idle = InputGate::<Large>::new(&worker.environment, idle, TaskSignal::new())?;
    let mut moving = InputGate::<Large>::new(&worker.environment, moving, TaskSignal::new())?;
    let outcome = read(&mut moving, Some(Instant::now() + worker.setup.duration))?;
    // Not before: the end of this process's connections is what the senders must not see too early.
    read(&mut moving, None)?;
    drop(idle);
    Ok(outcome)
}

fn take_pings(environment: &NetworkEnvironment, peer: SocketAddr) -> Result<Vec<u64>, ExchangeError> {
    let inputs = channels(LATENCY_EDGE, 1, peer);
    let mut gate = InputGate::<u64>::new(environment, inputs, TaskSignal::new())?;
    let mut latencies = Latencies::default();
    loop {
        let status = gate.next(None, &mut |sent, _| {
            latencies.arrived(sent);
            Ok::<(), ExchangeError>(())
        })?;
        if status == GateStatus::Finished {
            return Ok(latencies.sorted());
        }
    }
}

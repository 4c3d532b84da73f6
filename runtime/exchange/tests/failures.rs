//! Slow, cancelled, failed and lost ends; strangers.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::{PATIENCE, ca, channel, config, drain, gate, pair, remote, wait_until, worker};
use flink_exchange::{
    ChannelId, DEFAULT_BUFFER_TIMEOUT, ExchangeError, First, GateStatus, InputGate, NetworkConfig, NetworkEnvironment,
    Peer, RecordWriter, StartError, TaskSignal,
};
use flink_graph::JobId;
use flink_record::NO_TIMESTAMP;
use flink_rpc::Role;

fn writer(environment: &NetworkEnvironment, id: ChannelId, peer: Peer, signal: TaskSignal) -> RecordWriter<u64> {
    RecordWriter::new(environment, vec![(id, peer)], First, signal, DEFAULT_BUFFER_TIMEOUT).unwrap()
}

/// Writes until that fails.
fn write_on(writer: &mut RecordWriter<u64>) -> ExchangeError {
    let mut value = 0;
    loop {
        value += 1;
        if let Err(error) = writer.write(value, NO_TIMESTAMP) {
            return error;
        }
    }
}

/// Both kinds of channel, as (edge, producer's peer, consumer's peer, consumer's worker).
fn both_kinds<'a>(
    a: &'a NetworkEnvironment,
    b: &'a NetworkEnvironment,
) -> [(ChannelId, Peer, Peer, &'a NetworkEnvironment); 2] {
    [
        (channel(1), remote(b), remote(a), b),
        (channel(2), Peer::Local, Peer::Local, a),
    ]
}

#[test]
fn a_stalled_consumer_holds_up_its_own_producer_only_and_bounds_memory() {
    let (a, b) = pair();
    for (id, to, from, reader) in both_kinds(&a, &b) {
        let (signal, written) = (TaskSignal::new(), Arc::new(AtomicU64::new(0)));
        let mut stalled = gate::<u64>(reader, id, from);
        let mut writer = writer(&a, id, to, signal.clone());
        let producer = thread::spawn({
            let written = Arc::clone(&written);
            move || loop {
                if let Err(error) = writer.write(1, NO_TIMESTAMP) {
                    return error;
                }
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut last = u64::MAX;
        wait_until("the producer is held up", || {
            thread::park_timeout(Duration::from_millis(50));
            let now = written.load(Ordering::Relaxed);
            std::mem::replace(&mut last, now) == now && now > 0
        });
        // The window, and what the two ends hold beside it.
        assert!(
            last * 8 <= (256 << 10) + 3 * (32 << 10),
            "{} bytes are on the way",
            last * 8
        );

        let other = ChannelId { consumer: 9, ..id };
        let mut moving = gate::<u64>(reader, other, from);
        let mut second = self::writer(&a, other, to, TaskSignal::new());
        let second = thread::spawn(move || {
            for value in 0..200_000 {
                second.write(value, NO_TIMESTAMP).unwrap();
            }
            second.finish().unwrap();
        });
        assert_eq!(drain(&mut moving).unwrap().len(), 200_000);
        second.join().unwrap();

        let mut resumed = 0;
        while resumed <= last {
            stalled
                .next(Some(Instant::now() + PATIENCE), &mut |_, _| {
                    resumed += 1;
                    Ok::<(), ExchangeError>(())
                })
                .unwrap();
        }
        signal.cancel();
        assert!(matches!(producer.join().unwrap(), ExchangeError::Cancelled));
    }
}

#[test]
fn cancelling_unblocks_a_writer_and_a_reader() {
    let (a, b) = pair();
    for (id, to, from, reader) in both_kinds(&a, &b) {
        let signal = TaskSignal::new();
        let _stalled = gate::<u64>(reader, id, from);
        let mut blocked = writer(&a, id, to, signal.clone());
        let metrics = Arc::clone(&blocked.metrics()[0]);
        let producer = thread::spawn(move || write_on(&mut blocked));
        wait_until("something is sent", || metrics.buffers() > 2);
        signal.cancel();
        assert!(matches!(producer.join().unwrap(), ExchangeError::Cancelled));

        let signal = TaskSignal::new();
        let inputs = vec![(ChannelId { edge: 9, ..id }, from)];
        let mut gate = InputGate::<u64>::new(reader, inputs, signal.clone()).unwrap();
        let consumer = thread::spawn(move || drain(&mut gate));
        signal.wake();
        signal.cancel();
        assert!(matches!(consumer.join().unwrap(), Err(ExchangeError::Cancelled)));
    }
}

#[test]
fn waking_and_deadlines_end_a_wait() {
    let (a, b) = pair();
    let signal = TaskSignal::new();
    let mut gate = InputGate::<u64>::new(&b, vec![(channel(1), remote(&a))], signal.clone()).unwrap();
    let mut sink = |_, _| Ok::<(), ExchangeError>(());
    let soon = Instant::now() + Duration::from_millis(5);
    assert_eq!(gate.next(Some(soon), &mut sink).unwrap(), GateStatus::Woken);
    assert!(Instant::now() >= soon);
    let waker = thread::spawn(move || signal.wake());
    assert_eq!(gate.next(None, &mut sink).unwrap(), GateStatus::Woken);
    waker.join().unwrap();
}

#[test]
fn a_producer_that_does_not_finish_has_failed() {
    let (a, b) = pair();
    for (id, to, from, reader) in both_kinds(&a, &b) {
        // The four orders: dropped before or after the consumer came, with and without data before.
        for (edge, records, consumer_first) in [(10, 0, true), (20, 0, false), (30, 50_000, true), (40, 100, false)] {
            let id = ChannelId {
                edge: id.edge + edge,
                ..id
            };
            let gate = consumer_first.then(|| gate::<u64>(reader, id, from));
            let mut writer = writer(&a, id, to, TaskSignal::new());
            let producer = thread::spawn(move || {
                for value in 0..records {
                    if writer.write(value, NO_TIMESTAMP).is_err() {
                        break;
                    }
                }
            });
            if !consumer_first {
                producer.join().unwrap();
                let mut gate = common::gate::<u64>(reader, id, from);
                let end = drain(&mut gate);
                assert!(
                    matches!(end, Err(ExchangeError::ProducerFailed { .. })),
                    "{id}: {end:?}"
                );
                continue;
            }
            let end = drain(&mut gate.unwrap());
            assert!(
                matches!(end, Err(ExchangeError::ProducerFailed { .. })),
                "{id}: {end:?}"
            );
            producer.join().unwrap();
        }
    }
}

#[test]
fn a_consumer_that_goes_away_fails_its_producer() {
    let (a, b) = pair();
    for (id, to, from, reader) in both_kinds(&a, &b) {
        let mut running = writer(&a, id, to, TaskSignal::new());
        let metrics = Arc::clone(&running.metrics()[0]);
        let gate = gate::<u64>(reader, id, from);
        let producer = thread::spawn(move || write_on(&mut running));
        wait_until("something is sent", || metrics.buffers() > 2);
        drop(gate);
        let end = producer.join().unwrap();
        assert!(matches!(end, ExchangeError::ConsumerGone { .. }), "{end}");

        let early = ChannelId {
            edge: id.edge + 10,
            ..id
        };
        drop(common::gate::<u64>(reader, early, from));
        let end = write_on(&mut writer(&a, early, to, TaskSignal::new()));
        assert!(matches!(end, ExchangeError::ConsumerGone { .. }), "{end}");
    }
}

#[test]
fn a_lost_peer_fails_every_channel_to_it() {
    let (a, b) = pair();
    let mut reading = gate::<u64>(&b, channel(1), remote(&a));
    let mut waiting = gate::<u64>(&b, channel(2), remote(&a));
    let mut first = writer(&a, channel(1), remote(&b), TaskSignal::new());
    first.write(1, NO_TIMESTAMP).unwrap();
    first.flush().unwrap();
    let status = reading.next(None, &mut |_, _| Ok::<(), ExchangeError>(())).unwrap();
    assert_eq!(status, GateStatus::Progress);
    let mut blocked = writer(&b, channel(3), remote(&a), TaskSignal::new());
    let metrics = Arc::clone(&blocked.metrics()[0]);
    let producer = thread::spawn(move || write_on(&mut blocked));
    wait_until("the producer is connected", || metrics.buffers() > 0);
    a.shutdown();
    for error in [
        drain(&mut reading).unwrap_err(),
        drain(&mut waiting).unwrap_err(),
        producer.join().unwrap(),
    ] {
        let ExchangeError::PeerLost { peer, cause } = &error else {
            panic!("{error}")
        };
        assert_eq!(*peer, a.local_address());
        assert!(cause.contains("worker shut down"), "{cause}");
    }
    let refused = RecordWriter::<u64>::new(&a, vec![(channel(4), Peer::Local)], First, TaskSignal::new(), PATIENCE);
    assert!(matches!(refused.err(), Some(ExchangeError::ShutDown)));
}

#[test]
fn a_worker_that_nobody_hears_of_cannot_be_connected_to() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let peer = Peer::Remote(silent.local_addr().unwrap());
    let config = NetworkConfig {
        connect_timeout: Duration::from_millis(200),
        ..config()
    };
    let (a, _) = common::pair_with(config);
    let end = write_on(&mut writer(&a, channel(1), peer, TaskSignal::new()));
    assert!(matches!(end, ExchangeError::Connect { .. }), "{end}");
    assert!(end.to_string().contains("no answer within 200ms"), "{end}");
}

#[test]
fn strangers_are_refused_in_both_directions() {
    let (cluster, job) = (ca(), JobId::random());
    let ours = worker(&cluster, job, config());
    let start = |ca: &flink_rpc::ClusterCa, role, job| {
        NetworkEnvironment::start(config(), &ca.issue(role).unwrap(), job).unwrap()
    };
    let other_job = JobId::random();
    let strangers = [
        ("another cluster", start(&ca(), Role::Worker(job), job)),
        ("another job", start(&cluster, Role::Worker(other_job), other_job)),
        (
            "a worker of another job that claims ours",
            start(&cluster, Role::Worker(other_job), job),
        ),
        ("another role", start(&cluster, Role::TaskManager, job)),
    ];
    for (what, stranger) in strangers {
        for (from, to) in [(&stranger, &ours), (&ours, &stranger)] {
            let end = write_on(&mut writer(from, channel(1), remote(to), TaskSignal::new()));
            assert!(matches!(end, ExchangeError::Connect { .. }), "{what}: {end}");
        }
    }
}

#[test]
fn workers_that_connect_to_each_other_at_once_share_one_connection() {
    for round in 0..10 {
        let (a, b) = pair();
        thread::scope(|scope| {
            for (me, other) in [(&a, &b), (&b, &a)] {
                scope.spawn(move || {
                    let mut writer = writer(me, channel(round), remote(other), TaskSignal::new());
                    for value in 0..10_000 {
                        writer.write(value, NO_TIMESTAMP).unwrap();
                    }
                    writer.finish().unwrap();
                });
                scope.spawn(move || {
                    let values = drain(&mut gate::<u64>(me, channel(round), remote(other))).unwrap();
                    assert_eq!(values.len(), 10_000);
                });
            }
        });
        wait_until("one connection is left", || {
            a.connections() == 1 && b.connections() == 1
        });
    }
}

#[test]
fn a_worker_that_restarts_its_channels_connects_again() {
    let (cluster, job) = (ca(), JobId::random());
    let a = worker(&cluster, job, config());
    let b = worker(&cluster, job, config());
    let address: SocketAddr = b.local_address();
    let mut lost = writer(&a, channel(1), remote(&b), TaskSignal::new());
    lost.write(1, NO_TIMESTAMP).unwrap();
    lost.flush().unwrap();
    b.shutdown();
    let end = write_on(&mut lost);
    assert!(matches!(end, ExchangeError::PeerLost { .. }), "{end}");

    let again = NetworkConfig {
        ports: address.port()..=address.port(),
        ..config()
    };
    let b = worker(&cluster, job, again);
    let next = ChannelId {
        attempt: 2,
        ..channel(1)
    };
    let mut writer = writer(&a, next, remote(&b), TaskSignal::new());
    writer.write(2, NO_TIMESTAMP).unwrap();
    writer.finish().unwrap();
    assert_eq!(drain(&mut gate::<u64>(&b, next, remote(&a))).unwrap(), [2]);
}

#[test]
fn a_taken_port_range_is_named() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let identity = ca().issue(Role::Worker(JobId::random())).unwrap();
    let config = NetworkConfig {
        ports: port..=port,
        ..config()
    };
    // A worker process starts it from a task of its own runtime.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime
        .block_on(async { NetworkEnvironment::start(config, &identity, JobId::random()) })
        .unwrap_err();
    assert!(matches!(error, StartError::NoFreePort { .. }));
    assert_eq!(
        error.to_string(),
        format!("no free UDP port in {port}-{port} on 127.0.0.1")
    );
}

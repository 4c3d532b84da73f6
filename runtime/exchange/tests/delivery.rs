//! Records arrive exactly once, in order, and completely.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{
    thread,
    time::{Duration, Instant},
};

use common::{channel, drain, gate, pair, remote};
use flink_exchange::{
    ChannelId, DEFAULT_BUFFER_TIMEOUT, Event, ExchangeError, First, GateStatus, InputGate, NetworkEnvironment, Peer,
    RecordWriter, RoundRobin, TaskSignal, Transport,
};
use flink_record::NO_TIMESTAMP;

fn writer<T: flink_record::Record>(
    environment: &NetworkEnvironment,
    id: ChannelId,
    peer: Peer,
    timeout: Duration,
) -> RecordWriter<T> {
    RecordWriter::new(environment, vec![(id, peer)], First, TaskSignal::new(), timeout).unwrap()
}

type Row = (u32, u64, String);

/// Subtask `index` runs in worker `index % 2`.
fn peer_of(workers: &[NetworkEnvironment; 2], me: u32, other: u32) -> Peer {
    if me % 2 == other % 2 {
        Peer::Local
    } else {
        remote(&workers[other as usize % 2])
    }
}

#[test]
fn a_shuffle_delivers_every_record_once_and_in_order() {
    const SUBTASKS: u32 = 6;
    const RECORDS: u64 = 20_000;
    let workers: [NetworkEnvironment; 2] = pair().into();
    let id = |producer, consumer| ChannelId {
        edge: 7,
        producer,
        consumer,
        attempt: 0,
    };
    let received: Vec<Vec<Row>> = thread::scope(|scope| {
        for producer in 0..SUBTASKS {
            let workers = &workers;
            scope.spawn(move || {
                let outputs = (0..SUBTASKS)
                    .map(|to| (id(producer, to), peer_of(workers, producer, to)))
                    .collect();
                let environment = &workers[producer as usize % 2];
                let mut writer = RecordWriter::new(
                    environment,
                    outputs,
                    RoundRobin::new(),
                    TaskSignal::new(),
                    DEFAULT_BUFFER_TIMEOUT,
                )
                .unwrap();
                for sequence in 0..RECORDS {
                    writer
                        .write((producer, sequence, format!("payload {sequence}")), NO_TIMESTAMP)
                        .unwrap();
                }
                let metrics = writer.metrics().to_vec();
                writer.finish().unwrap();
                assert_eq!(metrics.iter().map(|channel| channel.records()).sum::<u64>(), RECORDS);
            });
        }
        let consumers: Vec<_> = (0..SUBTASKS)
            .map(|consumer| {
                let workers = &workers;
                scope.spawn(move || {
                    let inputs = (0..SUBTASKS)
                        .map(|from| (id(from, consumer), peer_of(workers, consumer, from)))
                        .collect();
                    let mut gate = InputGate::new(&workers[consumer as usize % 2], inputs, TaskSignal::new()).unwrap();
                    let rows = drain::<Row>(&mut gate).unwrap();
                    assert_eq!(
                        gate.metrics().iter().map(|channel| channel.records()).sum::<u64>(),
                        rows.len() as u64
                    );
                    rows
                })
            })
            .collect();
        consumers.into_iter().map(|consumer| consumer.join().unwrap()).collect()
    });
    let mut seen = vec![vec![false; RECORDS as usize]; SUBTASKS as usize];
    for rows in received {
        let mut last = [None; SUBTASKS as usize];
        for (producer, sequence, payload) in rows {
            assert!(last[producer as usize] < Some(sequence), "order within a channel");
            last[producer as usize] = Some(sequence);
            assert_eq!(payload, format!("payload {sequence}"));
            assert!(
                !std::mem::replace(&mut seen[producer as usize][sequence as usize], true),
                "once only"
            );
        }
    }
    assert!(seen.iter().flatten().all(|seen| *seen), "every record arrived");
    // Both connected at once; the one that was turned away takes a moment to close.
    common::wait_until("one connection is left", || {
        workers.iter().all(|worker| worker.connections() == 1)
    });
}

#[test]
fn channels_by_the_thousand_share_one_connection() {
    const CHANNELS: u32 = 1000;
    let (a, b) = pair();
    let id = |consumer| ChannelId {
        edge: 1,
        producer: 0,
        consumer,
        attempt: 0,
    };
    let inputs = (0..CHANNELS).map(|index| (id(index), remote(&a))).collect();
    let mut gate = InputGate::<u64>::new(&b, inputs, TaskSignal::new()).unwrap();
    let outputs = (0..CHANNELS).map(|index| (id(index), remote(&b))).collect();
    let mut writer = RecordWriter::new(
        &a,
        outputs,
        RoundRobin::new(),
        TaskSignal::new(),
        DEFAULT_BUFFER_TIMEOUT,
    )
    .unwrap();
    let producer = thread::spawn(move || {
        for value in 0..100_000u64 {
            writer.write(value, NO_TIMESTAMP).unwrap();
        }
        writer.finish().unwrap();
    });
    let mut values = drain(&mut gate).unwrap();
    producer.join().unwrap();
    values.sort_unstable();
    assert!(values.into_iter().eq(0..100_000));
}

#[test]
fn a_record_may_be_larger_than_buffer_and_window() {
    let (a, b) = pair();
    let sizes = [10usize, 5_000_000, 0, 40_000, 1];
    let producer = thread::spawn({
        let peer = remote(&b);
        let a = a.clone();
        move || {
            let mut writer = writer(&a, channel(1), peer, DEFAULT_BUFFER_TIMEOUT);
            for size in sizes {
                writer.write(vec![7u8; size], NO_TIMESTAMP).unwrap();
            }
            let error = writer.write(vec![0u8; (64 << 20) + 1], NO_TIMESTAMP).unwrap_err();
            assert!(matches!(error, ExchangeError::RecordTooLarge { .. }), "{error}");
            writer.finish().unwrap();
        }
    });
    let records = drain::<Vec<u8>>(&mut gate(&b, channel(1), remote(&a))).unwrap();
    producer.join().unwrap();
    assert_eq!(records.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
}

#[test]
fn a_broadcast_reaches_local_and_remote_consumers() {
    let (a, b) = pair();
    let outputs = vec![
        (channel(1), Peer::Local),
        (channel(2), remote(&b)),
        (channel(3), remote(&b)),
    ];
    let mut gates = [
        gate::<String>(&a, channel(1), Peer::Local),
        gate(&b, channel(2), remote(&a)),
        gate(&b, channel(3), remote(&a)),
    ];
    let producer = thread::spawn(move || {
        let mut writer = RecordWriter::broadcast(&a, outputs, TaskSignal::new(), DEFAULT_BUFFER_TIMEOUT).unwrap();
        for value in 0..10_000 {
            writer.write(value.to_string(), NO_TIMESTAMP).unwrap();
        }
        writer.finish().unwrap();
        a
    });
    thread::scope(|scope| {
        for gate in &mut gates {
            scope.spawn(move || {
                let values = drain(gate).unwrap();
                assert!(values.into_iter().eq((0..10_000).map(|value: i32| value.to_string())));
            });
        }
    });
    assert_eq!(gates[0].metrics()[0].transport, Transport::Local);
    assert_eq!(gates[1].metrics()[0].transport, Transport::Quic);
    producer.join().unwrap();
}

#[test]
fn an_event_comes_after_the_records_before_it_and_before_those_after_it() {
    let (a, b) = pair();
    for (edge, peer_a, peer_b, reader) in [(1, remote(&a), remote(&b), &b), (2, Peer::Local, Peer::Local, &a)] {
        let mut writer = writer(&a, channel(edge), peer_b, DEFAULT_BUFFER_TIMEOUT);
        let mut gate = gate::<u32>(reader, channel(edge), peer_a);
        for value in 0..3u32 {
            writer.write(value, NO_TIMESTAMP).unwrap();
        }
        writer.broadcast_event(Event::EndOfData).unwrap();
        writer.write(3, NO_TIMESTAMP).unwrap();
        writer.finish().unwrap();
        let mut log = Vec::new();
        loop {
            let mut records = Vec::new();
            let status = gate
                .next(None, &mut |record, _| {
                    records.push(record);
                    Ok::<(), ExchangeError>(())
                })
                .unwrap();
            log.extend(records.into_iter().map(|record| record.to_string()));
            match status {
                GateStatus::Event {
                    channel: 0,
                    event: Event::EndOfData,
                } => log.push("end of data".to_owned()),
                GateStatus::Finished => break,
                _ => {}
            }
        }
        assert_eq!(log, ["0", "1", "2", "end of data", "3"], "edge {edge}");
    }
}

#[test]
fn shutting_down_loses_nothing_that_was_finished() {
    let (a, b) = pair();
    let mut writer = writer(&a, channel(1), remote(&b), DEFAULT_BUFFER_TIMEOUT);
    // Fits into the stream's window: the consumer has not even come when the producer's worker is gone.
    for value in 0..20_000u64 {
        writer.write(value, NO_TIMESTAMP).unwrap();
    }
    writer.finish().unwrap();
    a.shutdown();
    let values = drain::<u64>(&mut gate(&b, channel(1), remote(&a))).unwrap();
    assert!(values.into_iter().eq(0..20_000));
}

#[test]
fn a_lone_record_is_due_after_the_buffer_timeout() {
    let (a, b) = pair();
    let mut gate = gate::<u32>(&b, channel(1), remote(&a));
    let signal = TaskSignal::new();
    let outputs = vec![(channel(1), remote(&b))];
    let mut writer = RecordWriter::new(&a, outputs, First, signal.clone(), Duration::from_millis(20)).unwrap();
    let start = Instant::now();
    writer.write(42u32, NO_TIMESTAMP).unwrap();
    writer.flush_if_due().unwrap();
    let mut received = None;
    // Other events may wake the task earlier; only the timeout makes the record due.
    common::wait_until("the record arrives", || {
        if signal.take_woken() {
            writer.flush_if_due().unwrap();
        }
        gate.poll_next(&mut |record, _| {
            received = Some(record);
            Ok::<(), ExchangeError>(())
        })
        .unwrap();
        received.is_some()
    });
    assert!(start.elapsed() >= Duration::from_millis(15));
    assert_eq!(received, Some(42));
}

#[test]
fn a_timeout_of_zero_sends_every_record_at_once() {
    let (a, b) = pair();
    for (edge, peer_a, peer_b, reader) in [(1, remote(&a), remote(&b), &b), (2, Peer::Local, Peer::Local, &a)] {
        let mut gate = gate::<u32>(reader, channel(edge), peer_a);
        let mut writer = writer(&a, channel(edge), peer_b, Duration::ZERO);
        for value in 0..100 {
            writer.write(value, NO_TIMESTAMP).unwrap();
            let mut received = None;
            while received.is_none() {
                gate.next(None, &mut |record, _| {
                    received = Some(record);
                    Ok::<(), ExchangeError>(())
                })
                .unwrap();
            }
            assert_eq!(received, Some(value));
        }
    }
}

#[test]
fn one_task_can_wait_for_two_gates() {
    let (a, b) = pair();
    let signal = TaskSignal::new();
    let open = |edge| vec![(channel(edge), remote(&a))];
    let mut numbers = InputGate::<u32>::new(&b, open(1), signal.clone()).unwrap();
    let mut texts = InputGate::<String>::new(&b, open(2), signal.clone()).unwrap();
    let producer = thread::spawn({
        let peer = remote(&b);
        move || {
            let mut texts = writer::<String>(&a, channel(2), peer, Duration::ZERO);
            let mut numbers = writer::<u32>(&a, channel(1), peer, Duration::ZERO);
            for value in 0..1000 {
                numbers.write(value, NO_TIMESTAMP).unwrap();
                texts.write(value.to_string(), NO_TIMESTAMP).unwrap();
            }
            numbers.finish().unwrap();
            texts.finish().unwrap();
            a
        }
    });
    let (mut sum, mut length, mut open) = (0u64, 0, [true; 2]);
    while open.contains(&true) {
        signal.bind();
        let left = numbers.poll_next(&mut |value, _| {
            sum += u64::from(value);
            Ok::<(), ExchangeError>(())
        });
        let right = texts.poll_next(&mut |text, _| {
            length += text.len();
            Ok::<(), ExchangeError>(())
        });
        let (left, right) = (left.unwrap(), right.unwrap());
        open = [left != Some(GateStatus::Finished), right != Some(GateStatus::Finished)];
        let idle = |status: Option<GateStatus>| matches!(status, None | Some(GateStatus::Finished));
        if idle(left) && idle(right) && open.contains(&true) {
            signal.park(None);
        }
    }
    assert_eq!((sum, length), (499_500, 10 + 90 * 2 + 900 * 3));
    producer.join().unwrap();
}

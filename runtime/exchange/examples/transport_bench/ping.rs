//! The messages whose latency is measured: the same pace, clock and warm-up over either transport.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::clock::now_nanos;

/// Time before the latencies count: handshake, MTU discovery, slow start.
const WARM_UP: Duration = Duration::from_millis(500);

/// A message per millisecond that carries the time at which it was given to the transport. After `end`, when there is no bulk
/// any more, messages that are overdue are not made up for: they would be fast.
pub(crate) fn send_until<E>(end: Instant, mut send: impl FnMut(u64) -> Result<(), E>) -> Result<(), E> {
    let mut due = Instant::now();
    while due < end && Instant::now() < end {
        due += Duration::from_millis(1);
        while Instant::now() < due {
            thread::park_timeout(due.saturating_duration_since(Instant::now()));
        }
        send(now_nanos())?;
    }
    Ok(())
}

/// How long the messages took.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    start: Option<Instant>,
    nanos: Vec<u64>,
}

impl Latencies {
    pub(crate) fn arrived(&mut self, sent: u64) {
        let start = *self.start.get_or_insert_with(Instant::now);
        if start.elapsed() > WARM_UP {
            self.nanos.push(now_nanos().saturating_sub(sent));
        }
    }

    pub(crate) fn sorted(mut self) -> Vec<u64> {
        self.nanos.sort_unstable();
        self.nanos
    }
}

//! The measure of latency: many sources share one TCP+TLS connection, as an ordinary multiplexing sender would have them do.
//!
//! The sender has the threads of the data plane's case: one serves all bulk sources in turn, one the messages. Both write whole
//! frames under a mutex. A frame is `[u32 length][u8 kind][payload]`, big-endian; the length is that of the payload.
//!
//! The mutex is first come, first served. With one that is not, bulk takes it again before the woken thread gets to it: messages
//! are held up for a large part of a second, then leave in a burst, and their send times do not show it. With a thread per bulk
//! source every message queues behind 64 frames, and one per millisecond does not get through. Neither would measure the wire.

use std::{
    io::{self, BufRead, Write},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::{
    case::{CHANNELS, Outcome},
    clock::cpu,
    ping::{self, Latencies},
    tls::BUFFER,
};

const HEADER: usize = 5;
const BULK: u8 = 0;
const MESSAGE: u8 = 1;

/// Bulk from [`CHANNELS`] sources and the messages, for the duration.
pub(crate) fn send<W: Write + Send>(stream: &mut W, duration: Duration) -> io::Result<()> {
    let end = Instant::now() + duration;
    let stream = Mutex::new(stream);
    let write = |frame: &[u8]| stream.blocking_lock().write_all(frame);
    thread::scope(|scope| {
        let bulk = scope.spawn(|| {
            let sources: Vec<_> = (0..CHANNELS).map(|_| frame(BULK, &[7; BUFFER - HEADER])).collect();
            let mut turns = sources.iter().cycle().take_while(|_| Instant::now() < end);
            turns.try_for_each(|frame| write(frame))
        });
        ping::send_until(end, |sent| write(&frame(MESSAGE, &sent.to_be_bytes())))?;
        bulk.join()
            .unwrap_or_else(|_| Err(io::Error::other("the bulk sources panicked")))
    })
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    [&length.to_be_bytes(), &[kind][..], payload].concat()
}

/// Reads to the end. Time counts from the first frame on.
pub(crate) fn receive<R: BufRead>(stream: &mut R) -> io::Result<Outcome> {
    let mut payload = Vec::with_capacity(BUFFER);
    let mut latencies = Latencies::default();
    let mut bytes = 0;
    stream.fill_buf()?;
    let (start, cpu_before) = (Instant::now(), cpu());
    while !stream.fill_buf()?.is_empty() {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header)?;
        let [length @ .., kind] = header;
        payload.resize(u32::from_be_bytes(length) as usize, 0);
        stream.read_exact(&mut payload)?;
        match (kind, <[u8; 8]>::try_from(payload.as_slice())) {
            (BULK, _) => bytes += (HEADER + payload.len()) as u64,
            (MESSAGE, Ok(sent)) => latencies.arrived(u64::from_be_bytes(sent)),
            _ => return Err(io::Error::other("a frame of no known kind")),
        }
    }
    Ok(Outcome {
        bytes,
        elapsed: start.elapsed(),
        cpu: cpu() - cpu_before,
        latencies: latencies.sorted(),
        ..Outcome::default()
    })
}

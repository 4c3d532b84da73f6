//! The two tasks below an [`super::AgentClient`]: one hands out what the agent says, one writes what the callers say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flink_rpc::{FrameReader, FrameWriter};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::protocol::{AgentError, Downstream, Output, PING_INTERVAL, Reply, Upstream};
use crate::ssh::{BoxReader, BoxWriter};

/// What comes of a call.
#[derive(Debug)]
pub(super) enum Event {
    /// A piece of output.
    Output(Output, Vec<u8>),
    /// The end.
    Reply(Result<Reply, AgentError>),
}

/// The calls that wait for something.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Where what comes of each goes.
    pub(super) waiting: HashMap<u32, mpsc::Sender<Event>>,
    /// Set once, when the channel has ended: no call can be made any more.
    pub(super) lost: Option<String>,
}

/// No thread panics while it holds the calls, but if one did they would still be whole.
pub(super) fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands answers to their callers until the channel ends; then all of them learn it by the end of their events.
pub(super) async fn receive(mut reader: FrameReader<BoxReader>, mut stderr: BoxReader, calls: Arc<Mutex<Calls>>) {
    let mut last_words = LastWords::default();
    let mut listening = true;
    let mut piece = [0; 1024];
    let reason = loop {
        let message = tokio::select! {
            message = reader.next() => message,
            // The agent is silent there unless it fails; what it says explains the end.
            read = stderr.read(&mut piece), if listening => {
                match read {
                    Ok(count @ 1..) => last_words.add(&piece[..count]),
                    _ => listening = false,
                }
                continue;
            }
        };
        let (id, event) = match message {
            Ok(Some(Downstream::Output(id, output, bytes))) => (id, Event::Output(output, bytes.0)),
            Ok(Some(Downstream::Reply(id, result))) => (id, Event::Reply(result)),
            Ok(Some(Downstream::Hello(_))) => continue,
            Ok(None) => break "the agent ended".to_owned(),
            Err(error) => break error.to_string(),
        };
        let waiting = lock(&calls).waiting.get(&id).cloned();
        if let Some(caller) = waiting {
            // A caller that has gone away in the meantime wants no answer.
            let _gone = caller.send(event).await;
        }
    };
    let reason = last_words.explain(reason);
    let mut calls = lock(&calls);
    calls.lost = Some(reason);
    calls.waiting.clear();
}

/// The end of what came on stderr, at most 4 KiB.
#[derive(Debug, Default)]
struct LastWords(Vec<u8>);

impl LastWords {
    fn add(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
        let excess = self.0.len().saturating_sub(4096);
        self.0.drain(..excess);
    }

    fn explain(&self, reason: String) -> String {
        let text = String::from_utf8_lossy(&self.0);
        match text.trim() {
            "" => reason,
            words => format!("{reason}: {words}"),
        }
    }
}

/// Writes frames, and a ping when there was nothing to write for a while.
pub(super) async fn transmit(mut queue: mpsc::Receiver<Upstream>, mut writer: FrameWriter<BoxWriter>) {
    let mut pings = interval(PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            message = queue.recv() => match message {
                Some(message) => message,
                None => return,
            },
            _ = pings.tick() => Upstream::Ping,
        };
        if writer.send(&message).await.is_err() {
            // Callers learn of it at the reading side.
            return;
        }
    }
}

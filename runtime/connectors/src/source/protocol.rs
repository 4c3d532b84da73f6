//! What readers and their enumerator say to each other, as two state machines without clock and queues.
//!
//! ```text
//!     reader                                  enumerator
//!       |  --- RequestSplit ------------------->  |     when it starts, and when it has read all that it has
//!       |  <-- AddSplit ------------------------  |     also unasked
//!       |  --- SplitFinished ------------------>  |     it will not have to be read again
//!       |  <-- NoMoreSplits --------------------  |     the reader ends when it has read all that it has
//!       |  --- Watermark ---------------------->  |     of the subtask, when its source is aligned with others
//!       |  <-- MaxWatermark --------------------  |     a reader whose watermark is beyond waits
//! ```
//! Messages of one direction arrive in order. A reader asks once and then waits for an answer. A split that was assigned is with its reader until that has
//! finished it, or has failed: then it goes back to the enumerator.

use std::{collections::BTreeMap, time::Instant};

use flink_record::{DecodeError, Record, Timestamp};
use flink_worker::TaskError;

use super::{
    Split,
    enumerator::{EnumeratorContext, Order, SplitEnumerator},
};

/// Reader to enumerator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReaderMessage {
    RequestSplit,
    SplitFinished(String),
    Watermark(Timestamp),
}

/// Enumerator to reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EnumeratorMessage {
    /// The split, encoded.
    AddSplit(Vec<u8>),
    NoMoreSplits,
    MaxWatermark(Timestamp),
}

impl Record for ReaderMessage {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::RequestSplit => out.push(0),
            Self::SplitFinished(id) => {
                out.push(1);
                id.encode(out);
            }
            Self::Watermark(watermark) => {
                out.push(2);
                watermark.encode(out);
            }
        }
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(Self::RequestSplit),
            1 => Ok(Self::SplitFinished(Record::decode(input)?)),
            2 => Ok(Self::Watermark(Record::decode(input)?)),
            _ => Err(DecodeError::Invalid("message of a reader")),
        }
    }
}

impl Record for EnumeratorMessage {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::AddSplit(split) => {
                out.push(0);
                split.encode(out);
            }
            Self::NoMoreSplits => out.push(1),
            Self::MaxWatermark(watermark) => {
                out.push(2);
                watermark.encode(out);
            }
        }
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(Self::AddSplit(Record::decode(input)?)),
            1 => Ok(Self::NoMoreSplits),
            2 => Ok(Self::MaxWatermark(Record::decode(input)?)),
            _ => Err(DecodeError::Invalid("message of an enumerator")),
        }
    }
}

pub(crate) fn encode(record: &impl Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

pub(crate) fn decode<T: Record>(mut bytes: &[u8]) -> Result<T, TaskError> {
    T::decode(&mut bytes).map_err(TaskError::runtime)
}

/// The reader's side: when to ask, when to wait, when it is over.
#[derive(Debug, Default)]
pub(crate) struct SplitRequests {
    requested: bool,
    no_more: bool,
}

/// What a reader does that has read all that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenDry {
    /// It asks.
    Request,
    /// It has asked.
    Wait,
    /// It ends.
    End,
}

impl SplitRequests {
    /// That of a reader whose splits are all known.
    pub(crate) fn none() -> Self {
        Self {
            requested: false,
            no_more: true,
        }
    }

    /// A split has come.
    pub(crate) fn split_added(&mut self) {
        self.requested = false;
    }

    /// There will be none any more.
    pub(crate) fn no_more_splits(&mut self) {
        self.no_more = true;
    }

    /// The reader has read all that it has.
    pub(crate) fn dry(&mut self) -> WhenDry {
        if self.no_more {
            WhenDry::End
        } else if std::mem::replace(&mut self.requested, true) {
            WhenDry::Wait
        } else {
            WhenDry::Request
        }
    }
}

/// The enumerator's side: what is with whom.
pub(crate) struct SplitAssignment<S: Split> {
    enumerator: Box<dyn SplitEnumerator<S>>,
    context: EnumeratorContext<S>,
    readers: Vec<Reader>,
    /// Subtask and message.
    messages: Vec<(u32, EnumeratorMessage)>,
}

#[derive(Debug, Default)]
struct Reader {
    /// Splits that it has and has not finished, by id, encoded.
    splits: BTreeMap<String, Vec<u8>>,
    no_more: bool,
}

impl<S: Split> SplitAssignment<S> {
    pub(crate) fn new(enumerator: Box<dyn SplitEnumerator<S>>, parallelism: u32, now: Instant) -> Self {
        Self {
            enumerator,
            context: EnumeratorContext::new(parallelism, now),
            readers: (0..parallelism).map(|_| Reader::default()).collect(),
            messages: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self, now: Instant) -> Result<(), TaskError> {
        self.decide(now, |enumerator, context| enumerator.start(context))
    }

    pub(crate) fn wake(&mut self, now: Instant) -> Result<(), TaskError> {
        self.decide(now, |enumerator, context| enumerator.wake(context))
    }

    /// A reader has read all that it has.
    pub(crate) fn split_requested(&mut self, now: Instant, subtask: u32) -> Result<(), TaskError> {
        if self.reader(subtask)?.no_more {
            // It was told, or will be: the message is on its way.
            return Ok(());
        }
        self.context.add_waiting(subtask);
        self.decide(now, |enumerator, context| {
            enumerator.handle_split_request(subtask, context)
        })
    }

    pub(crate) fn split_finished(&mut self, subtask: u32, id: &str) -> Result<(), TaskError> {
        match self.reader(subtask)?.splits.remove(id) {
            Some(_) => Ok(()),
            None => Err(TaskError::runtime(format!(
                "subtask {subtask} has finished split `{id}`, which it does not have"
            ))),
        }
    }

    /// A reader has failed; its next attempt begins with nothing.
    pub(crate) fn reader_failed(&mut self, now: Instant, subtask: u32) -> Result<(), TaskError> {
        let splits = std::mem::take(self.reader(subtask)?).splits;
        self.context.remove_waiting(subtask);
        self.messages.retain(|(to, _)| *to != subtask);
        let splits = splits
            .values()
            .map(|split| decode(split))
            .collect::<Result<Vec<S>, _>>()?;
        if splits.is_empty() {
            return Ok(());
        }
        self.decide(now, |enumerator, context| enumerator.add_splits_back(splits, context))
    }

    /// The next message to send.
    pub(crate) fn take_messages(&mut self) -> Vec<(u32, EnumeratorMessage)> {
        std::mem::take(&mut self.messages)
    }

    /// When the enumerator wants to be woken, if it has said so since the last call.
    pub(crate) fn take_wake(&mut self) -> Option<Instant> {
        self.context.take_wake()
    }

    fn decide(
        &mut self,
        now: Instant,
        decide: impl FnOnce(&mut dyn SplitEnumerator<S>, &mut EnumeratorContext<S>) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        self.context.set_now(now);
        decide(&mut *self.enumerator, &mut self.context)?;
        while let Some(order) = self.context.take_order() {
            self.carry_out(order)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, order: Order<S>) -> Result<(), TaskError> {
        match order {
            Order::NoMoreSplits(subtask) => {
                let reader = self.reader(subtask)?;
                if !std::mem::replace(&mut reader.no_more, true) {
                    self.messages.push((subtask, EnumeratorMessage::NoMoreSplits));
                }
            }
            Order::Assign(subtask, split) => {
                let id = split.split_id();
                if self.readers.iter().any(|reader| reader.splits.contains_key(&id)) {
                    return Err(TaskError::operator(format!("split `{id}` was assigned twice")));
                }
                let reader = self.reader(subtask)?;
                if reader.no_more {
                    return Err(TaskError::operator(format!(
                        "split `{id}` was assigned to subtask {subtask}, which was told that there are no more"
                    )));
                }
                let bytes = encode(&split);
                reader.splits.insert(id, bytes.clone());
                self.messages.push((subtask, EnumeratorMessage::AddSplit(bytes)));
            }
        }
        Ok(())
    }

    fn reader(&mut self, subtask: u32) -> Result<&mut Reader, TaskError> {
        let parallelism = self.readers.len();
        self.readers
            .get_mut(subtask as usize)
            .ok_or_else(|| TaskError::operator(format!("there is no subtask {subtask} of {parallelism}")))
    }
}

#[cfg(test)]
#[path = "protocol/tests.rs"]
mod tests;

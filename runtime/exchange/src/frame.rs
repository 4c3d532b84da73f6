//! Frames of a QUIC channel: `[u32 length of the payload][u8 kind][payload]`.
//!
//! A data frame holds whole records, so a frame is as long as its buffer plus at most one record that did not fit. An event
//! has a frame of its own. Chunks arrive cut at packet borders.
//!
//! Records with timestamps and records without are in frames of different kinds, so that a stream pays for event time only
//! if it has some. A timestamp precedes its record, as the zigzag LEB128 of its distance from the one before (in the
//! first record of a frame, from 0): one byte for most.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use flink_record::{DecodeError, NO_TIMESTAMP, Record, Timestamp};

use crate::{channel::Event, pool::BufferPool};

/// Bytes at which a buffer counts as full and is sent.
pub(crate) const BUFFER_BYTES: usize = 32 << 10;

/// Room beyond a full buffer, so that the last record of usual size does not make it grow (which would copy it).
const BUFFER_SLACK: usize = 2 << 10;

/// Largest encoded record: 64 MiB.
pub(crate) const MAX_RECORD_BYTES: usize = 64 << 20;

/// Largest payload that a reader accepts: a nearly full buffer and a record of maximum size.
const MAX_FRAME_BYTES: usize = BUFFER_BYTES + MAX_RECORD_BYTES;

/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 5;

const KIND_DATA: u8 = 0;
const KIND_EVENT: u8 = 1;
const KIND_TIMED_DATA: u8 = 2;

/// The buffers of one writer.
pub(crate) fn buffer_pool() -> Arc<BufferPool> {
    BufferPool::new(BUFFER_BYTES + BUFFER_SLACK)
}

/// A data frame that is being filled.
#[derive(Debug)]
pub(crate) struct FrameBuilder {
    pool: Arc<BufferPool>,
    /// Empty, or frames: complete ones, then one with a header to be completed and its records so far.
    buffer: Vec<u8>,
    /// Where the last of them begins.
    frame: usize,
    records: u64,
    /// Whether the records of the last frame have timestamps; and that of its last record.
    timed: bool,
    previous: Timestamp,
}

impl FrameBuilder {
    pub(crate) fn new(pool: &Arc<BufferPool>) -> Self {
        Self {
            pool: Arc::clone(pool),
            buffer: Vec::new(),
            frame: 0,
            records: 0,
            timed: false,
            previous: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Appends a record; `Ok(true)` when the buffer is full then.
    ///
    /// # Errors
    /// The encoded size, when that is more than [`MAX_RECORD_BYTES`]; the record is not appended.
    #[inline]
    pub(crate) fn push<T: Record>(&mut self, record: &T, timestamp: Timestamp) -> Result<bool, usize> {
        let timed = timestamp != NO_TIMESTAMP;
        if self.buffer.is_empty() || timed != self.timed {
            self.begin_frame(timed);
        }
        let start = self.buffer.len();
        if timed {
            encode_distance(timestamp.wrapping_sub(self.previous), &mut self.buffer);
        }
        record.encode(&mut self.buffer);
        self.records += 1;
        if self.buffer.len() < BUFFER_BYTES {
            self.previous = timestamp;
            return Ok(false);
        }
        self.check_size(start)?;
        self.previous = timestamp;
        Ok(true)
    }

    fn begin_frame(&mut self, timed: bool) {
        if self.buffer.is_empty() {
            self.buffer = self.pool.take();
        } else {
            self.complete_frame();
        }
        self.frame = self.buffer.len();
        let kind = if timed { KIND_TIMED_DATA } else { KIND_DATA };
        self.buffer.extend_from_slice(&[0, 0, 0, 0, kind]);
        (self.timed, self.previous) = (timed, 0);
    }

    fn complete_frame(&mut self) {
        let length = (self.buffer.len() - self.frame - HEADER_BYTES) as u32;
        self.buffer[self.frame..self.frame + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn check_size(&mut self, start: usize) -> Result<(), usize> {
        let size = self.buffer.len() - start;
        if size > MAX_RECORD_BYTES {
            self.buffer.truncate(start);
            self.records -= 1;
            return Err(size);
        }
        Ok(())
    }

    /// The buffer's frames and their number of records; nothing when there are none.
    pub(crate) fn take(&mut self) -> Option<(Bytes, u64)> {
        if self.is_empty() {
            return None;
        }
        self.complete_frame();
        let buffer = std::mem::take(&mut self.buffer);
        Some((self.pool.share(buffer), std::mem::take(&mut self.records)))
    }
}

/// Writes a distance between timestamps.
#[inline]
fn encode_distance(distance: i64, out: &mut Vec<u8>) {
    let mut zigzag = ((distance << 1) ^ (distance >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

/// Reads a distance between timestamps.
#[inline]
fn decode_distance(input: &mut &[u8]) -> Result<i64, DecodeError> {
    let mut zigzag = 0;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = input.split_first() else {
            return Err(DecodeError::UnexpectedEnd);
        };
        *input = rest;
        zigzag |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
        }
    }
    Err(DecodeError::Invalid("timestamp"))
}

/// The frame of an event.
pub(crate) fn event_frame(event: Event) -> Bytes {
    let mut payload = Vec::with_capacity(1);
    event.encode(&mut payload);
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.push(KIND_EVENT);
    frame.extend_from_slice(&payload);
    Bytes::from(frame)
}

/// What one step of a [`FrameReader`] came to; with the number of records that it handed over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The chunk is used up within a frame.
    NeedMore(u64),
    /// A data frame ended.
    FrameEnd(u64),
    /// An event.
    Event(Event),
}

/// Decodes the frames of one stream from its chunks.
///
/// Records are decoded where they lie. Only one that is cut by the end of a chunk is copied, together with as much of the
/// next chunk as it takes: with records far smaller than packets, next to nothing is copied.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that are there; all of them while inside a payload.
    have: usize,
    /// Bytes of the payload that were not yet taken from a chunk. Meaningful inside a payload.
    left: usize,
    /// Start of a record that was cut. Grows as data arrive, never by what a header announces.
    partial: Vec<u8>,
    /// Timestamp of the record before, in a frame that has any.
    previous: Timestamp,
}

/// Bytes that are first added to a record that was cut; doubled until it is complete.
const FIRST_HELP: usize = 128;

impl FrameReader {
    /// True between two frames: the only place where a stream may end.
    pub(crate) fn at_boundary(&self) -> bool {
        self.have == 0
    }

    /// Reads on from `chunk`, to its end or to the end of a frame; records go to `sink`.
    ///
    /// # Errors
    /// What `malformed` makes of a decoding error, or what `sink` returned. The reader must not be used afterwards.
    pub(crate) fn step<T: Record, E>(
        &mut self,
        chunk: &mut Bytes,
        malformed: impl Fn(DecodeError) -> E,
        sink: &mut impl FnMut(T, Timestamp) -> Result<(), E>,
    ) -> Result<Step, E> {
        if self.have < HEADER_BYTES {
            if !self.read_header(chunk) {
                return Ok(Step::NeedMore(0));
            }
            let [l0, l1, l2, l3, _] = self.header;
            self.left = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
            if self.left > MAX_FRAME_BYTES {
                return Err(malformed(DecodeError::Invalid("frame length")));
            }
        }
        match self.header[HEADER_BYTES - 1] {
            KIND_DATA | KIND_TIMED_DATA => self.read_records(chunk, malformed, sink),
            KIND_EVENT => self.read_event(chunk).map_err(malformed),
            _ => Err(malformed(DecodeError::Invalid("frame kind"))),
        }
    }

    /// True when the header is complete.
    fn read_header(&mut self, chunk: &mut Bytes) -> bool {
        let count = (HEADER_BYTES - self.have).min(chunk.len());
        self.header[self.have..self.have + count].copy_from_slice(&chunk[..count]);
        chunk.advance(count);
        self.have += count;
        self.have == HEADER_BYTES
    }

    fn read_event(&mut self, chunk: &mut Bytes) -> Result<Step, DecodeError> {
        self.take_partial(chunk, usize::MAX);
        if self.left > 0 {
            return Ok(Step::NeedMore(0));
        }
        let mut payload = self.partial.as_slice();
        let event = Event::decode(&mut payload)?;
        if !payload.is_empty() {
            return Err(DecodeError::Invalid("event"));
        }
        self.end_frame();
        Ok(Step::Event(event))
    }

    fn read_records<T: Record, E>(
        &mut self,
        chunk: &mut Bytes,
        malformed: impl Fn(DecodeError) -> E,
        sink: &mut impl FnMut(T, Timestamp) -> Result<(), E>,
    ) -> Result<Step, E> {
        let mut records = 0;
        if !self.partial.is_empty() {
            let Some((record, timestamp)) = self.complete_partial(chunk).map_err(&malformed)? else {
                return Ok(Step::NeedMore(0));
            };
            sink(record, timestamp)?;
            records += 1;
        }
        let timed = self.is_timed();
        let available = self.left.min(chunk.len());
        let mut input = &chunk[..available];
        while !input.is_empty() {
            let record_start = input;
            match decode::<T>(timed, self.previous, &mut input) {
                Ok((record, timestamp)) => {
                    self.previous = timestamp;
                    sink(record, timestamp)?;
                }
                // Any error may come from the cut; a record that is really malformed fails once its frame is complete.
                Err(_) if available < self.left => {
                    self.partial.extend_from_slice(record_start);
                    break;
                }
                Err(error) => return Err(malformed(error)),
            }
            records += 1;
        }
        self.left -= available;
        chunk.advance(available);
        if self.left > 0 {
            return Ok(Step::NeedMore(records));
        }
        self.end_frame();
        Ok(Step::FrameEnd(records))
    }

    /// Completes the record that was cut, from the chunk's start; `None` when the chunk does not suffice.
    fn complete_partial<T: Record>(&mut self, chunk: &mut Bytes) -> Result<Option<(T, Timestamp)>, DecodeError> {
        loop {
            let before = self.partial.len();
            let (left_before, mut ahead) = (self.left, chunk.clone());
            self.take_partial(&mut ahead, before.max(FIRST_HELP));
            let mut input = self.partial.as_slice();
            match decode(self.is_timed(), self.previous, &mut input) {
                Ok((record, timestamp)) => {
                    // What was added beyond the record stays in the chunk.
                    let used = self.partial.len() - before - input.len();
                    chunk.advance(used);
                    self.left = left_before - used;
                    self.clear_partial();
                    self.previous = timestamp;
                    return Ok(Some((record, timestamp)));
                }
                Err(error) if self.left == 0 => return Err(error),
                Err(_) => *chunk = ahead,
            }
            if chunk.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Moves at most `limit` bytes of the payload from the chunk to the partial record.
    fn take_partial(&mut self, chunk: &mut Bytes, limit: usize) {
        let count = self.left.min(chunk.len()).min(limit);
        self.partial.extend_from_slice(&chunk[..count]);
        chunk.advance(count);
        self.left -= count;
    }

    fn clear_partial(&mut self) {
        self.partial.clear();
        // One huge record must not pin its memory for the rest of the job.
        self.partial.shrink_to(BUFFER_BYTES);
    }

    fn is_timed(&self) -> bool {
        self.header[HEADER_BYTES - 1] == KIND_TIMED_DATA
    }

    fn end_frame(&mut self) {
        (self.have, self.previous) = (0, 0);
        self.clear_partial();
    }
}

/// Reads a record with the timestamp that goes before it in a frame of timed records.
#[inline]
fn decode<T: Record>(timed: bool, previous: Timestamp, input: &mut &[u8]) -> Result<(T, Timestamp), DecodeError> {
    let timestamp = if timed {
        previous.wrapping_add(decode_distance(input)?)
    } else {
        NO_TIMESTAMP
    };
    Ok((T::decode(input)?, timestamp))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Item = Option<(Vec<u8>, Timestamp)>;

    /// What a stream cut into these chunks decodes to: records, with `None` for an event.
    fn read(chunks: impl IntoIterator<Item = Bytes>) -> Result<Vec<Item>, DecodeError> {
        let mut reader = FrameReader::default();
        let mut log = Vec::new();
        for mut chunk in chunks {
            while !chunk.is_empty() {
                let mut records = Vec::new();
                let step = reader.step(&mut chunk, |error| error, &mut |record, timestamp| {
                    records.push(Some((record, timestamp)));
                    Ok(())
                })?;
                match step {
                    Step::FrameEnd(count) => assert_eq!(count, records.len() as u64),
                    Step::Event(event) => {
                        assert_eq!(event, Event::Watermark(-1));
                        records.push(None);
                    }
                    Step::NeedMore(count) => assert_eq!((count, chunk.len()), (records.len() as u64, 0)),
                }
                log.append(&mut records);
            }
        }
        assert!(reader.at_boundary());
        Ok(log)
    }

    /// A stream of these records and events, a frame ending wherever a buffer is full.
    fn write(items: &[Item]) -> Vec<u8> {
        let mut builder = FrameBuilder::new(&buffer_pool());
        let mut stream = Vec::new();
        for item in items {
            match item {
                Some((record, timestamp)) if !builder.push(record, *timestamp).unwrap() => continue,
                _ => stream.extend_from_slice(&builder.take().unwrap_or_default().0),
            }
            if item.is_none() {
                stream.extend_from_slice(&event_frame(Event::Watermark(-1)));
            }
        }
        stream.extend_from_slice(&builder.take().unwrap_or_default().0);
        stream
    }

    /// A record of any size, with content that shows where it was torn.
    fn record() -> impl Strategy<Value = Vec<u8>> {
        (0..5000usize, any::<u8>()).prop_map(|(size, start)| (0..size).map(|i| start.wrapping_add(i as u8)).collect())
    }

    fn timestamp() -> impl Strategy<Value = Timestamp> {
        prop_oneof![Just(NO_TIMESTAMP), 1000..2000i64, any::<Timestamp>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_cut_of_the_stream_gives_the_same_records(
            items in prop::collection::vec(prop::option::weighted(0.9, (record(), timestamp())), 0..40),
            cuts in prop::collection::vec(1usize..9000, 1..20),
        ) {
            let mut stream = Bytes::from(write(&items));
            let chunks = cuts.iter().cycle().map_while(|cut| {
                (!stream.is_empty()).then(|| stream.split_to((*cut).min(stream.len())))
            });
            prop_assert_eq!(read(chunks), Ok(items));
        }

        #[test]
        fn hostile_streams_do_not_panic(bytes: Vec<u8>, kind in 0..4u8) {
            let mut stream = vec![bytes.len() as u8, 0, 0, 0, kind];
            stream.extend_from_slice(&bytes);
            let mut chunk = Bytes::from(stream);
            let mut reader = FrameReader::default();
            let mut sink = |_: (u16, String), _| Ok(());
            while !chunk.is_empty() && reader.step(&mut chunk, |error| error, &mut sink).is_ok() {}
        }
    }

    #[test]
    fn a_frame_is_full_buffer_plus_at_most_one_record() {
        let mut builder = FrameBuilder::new(&buffer_pool());
        assert_eq!(builder.push(&vec![0u8; BUFFER_BYTES - 9], NO_TIMESTAMP), Ok(true));
        let (frame, records) = builder.take().unwrap();
        assert_eq!((frame.len(), records), (BUFFER_BYTES, 1));
        assert!(builder.take().is_none());
    }

    #[test]
    fn an_oversized_record_leaves_the_buffer_as_it_was() {
        let mut builder = FrameBuilder::new(&buffer_pool());
        builder.push(&1u8, NO_TIMESTAMP).unwrap();
        assert_eq!(
            builder.push(&vec![0u8; MAX_RECORD_BYTES], NO_TIMESTAMP),
            Err(MAX_RECORD_BYTES + 4)
        );
        let (frame, records) = builder.take().unwrap();
        assert_eq!((&frame[..], records), (&[1, 0, 0, 0, KIND_DATA, 1][..], 1));
    }

    #[test]
    fn broken_frames_are_refused() {
        let kind = Bytes::from_static(&[1, 0, 0, 0, 9, 0]);
        assert_eq!(read([kind]), Err(DecodeError::Invalid("frame kind")));
        let length = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0]);
        let mut reader = FrameReader::default();
        let step = reader.step::<u8, _>(&mut length.clone(), |error| error, &mut |_, _| Ok(()));
        assert_eq!(step, Err(DecodeError::Invalid("frame length")));
        let event = Bytes::from_static(&[2, 0, 0, 0, KIND_EVENT, 0, 0]);
        assert_eq!(read([event]), Err(DecodeError::Invalid("event")));
    }
}

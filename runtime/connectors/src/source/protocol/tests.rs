//! Readers and enumerator talking to each other, in any order.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::{generated::NumberRange, source::QueueEnumerator};

fn split(number: u64) -> NumberRange {
    NumberRange {
        from: number,
        to: number,
    }
}

fn assignment(splits: u64, parallelism: u32) -> SplitAssignment<NumberRange> {
    let enumerator = QueueEnumerator::new((0..splits).map(split));
    SplitAssignment::new(Box::new(enumerator), parallelism, Instant::now())
}

#[test]
fn messages_survive_their_journey() {
    for message in [
        ReaderMessage::RequestSplit,
        ReaderMessage::SplitFinished("a".to_owned()),
        ReaderMessage::Watermark(-5),
    ] {
        assert_eq!(decode::<ReaderMessage>(&encode(&message)).unwrap(), message);
    }
    for message in [
        EnumeratorMessage::AddSplit(vec![1, 2]),
        EnumeratorMessage::NoMoreSplits,
        EnumeratorMessage::MaxWatermark(7),
    ] {
        assert_eq!(decode::<EnumeratorMessage>(&encode(&message)).unwrap(), message);
    }
    assert!(decode::<ReaderMessage>(&[9]).is_err());
}

#[test]
fn a_split_cannot_be_in_two_places() {
    struct Twice;
    impl SplitEnumerator<NumberRange> for Twice {
        fn handle_split_request(
            &mut self,
            subtask: u32,
            context: &mut EnumeratorContext<NumberRange>,
        ) -> Result<(), TaskError> {
            context.assign_split(subtask, split(1));
            Ok(())
        }

        fn add_splits_back(
            &mut self,
            _: Vec<NumberRange>,
            _: &mut EnumeratorContext<NumberRange>,
        ) -> Result<(), TaskError> {
            Ok(())
        }
    }
    let now = Instant::now();
    let mut assignment = SplitAssignment::new(Box::new(Twice), 2, now);
    assignment.split_requested(now, 0).unwrap();
    let error = assignment.split_requested(now, 1).unwrap_err();
    assert_eq!(error.to_string(), "split `1-1` was assigned twice");
    let error = assignment.split_requested(now, 2).unwrap_err();
    assert_eq!(error.to_string(), "there is no subtask 2 of 2");
}

/// A reader that reads one split after another, and its two channels.
#[derive(Default)]
struct Reader {
    requests: SplitRequests,
    to_enumerator: VecDeque<ReaderMessage>,
    from_enumerator: VecDeque<EnumeratorMessage>,
    has: VecDeque<NumberRange>,
    read: Vec<u64>,
    ended: bool,
}

impl Reader {
    fn step(&mut self) {
        if let Some(split) = self.has.pop_front() {
            self.read.push(split.from);
            self.to_enumerator
                .push_back(ReaderMessage::SplitFinished(split.split_id()));
            return;
        }
        match self.requests.dry() {
            WhenDry::Request => self.to_enumerator.push_back(ReaderMessage::RequestSplit),
            WhenDry::Wait => {}
            WhenDry::End => self.ended = true,
        }
    }

    fn receive(&mut self) {
        match self.from_enumerator.pop_front() {
            Some(EnumeratorMessage::AddSplit(split)) => {
                self.requests.split_added();
                self.has.push_back(decode(&split).unwrap());
            }
            Some(EnumeratorMessage::NoMoreSplits) => self.requests.no_more_splits(),
            _ => {}
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Turn {
    Step,
    Receive,
    Deliver,
    Fail,
}

fn turn() -> impl Strategy<Value = (usize, Turn)> {
    let turn = prop_oneof![
        6 => Just(Turn::Step),
        6 => Just(Turn::Receive),
        6 => Just(Turn::Deliver),
        1 => Just(Turn::Fail),
    ];
    (0..3_usize, turn)
}

struct World {
    assignment: SplitAssignment<NumberRange>,
    readers: Vec<Reader>,
    /// Splits that were read by attempts that failed before the enumerator knew.
    lost: Vec<u64>,
}

impl World {
    fn turn(&mut self, index: usize, turn: Turn) {
        let (now, reader) = (Instant::now(), &mut self.readers[index]);
        match turn {
            Turn::Step if !reader.ended => reader.step(),
            Turn::Receive => reader.receive(),
            Turn::Deliver => match reader.to_enumerator.pop_front() {
                Some(ReaderMessage::RequestSplit) => self.assignment.split_requested(now, index as u32).unwrap(),
                Some(ReaderMessage::SplitFinished(id)) => self.assignment.split_finished(index as u32, &id).unwrap(),
                _ => {}
            },
            Turn::Fail if !reader.ended => {
                // What it has read and has not told is read again by another attempt, and its own work is undone.
                for message in reader.to_enumerator.drain(..) {
                    if let ReaderMessage::SplitFinished(id) = message {
                        let number: u64 = id.split('-').next().unwrap().parse().unwrap();
                        reader.read.retain(|read| *read != number);
                        self.lost.push(number);
                    }
                }
                let read = std::mem::take(&mut reader.read);
                *reader = Reader {
                    read,
                    ..Reader::default()
                };
                self.assignment.reader_failed(now, index as u32).unwrap();
            }
            _ => {}
        }
        for (subtask, message) in self.assignment.take_messages() {
            self.readers[subtask as usize].from_enumerator.push_back(message);
        }
    }
}

proptest! {
    #[test]
    fn every_split_is_read_exactly_once(splits in 0..12_u64, turns in prop::collection::vec(turn(), 0..120)) {
        let readers = (0..3).map(|_| Reader::default()).collect();
        let mut world = World { assignment: assignment(splits, 3), readers, lost: Vec::new() };
        for (index, turn) in turns {
            world.turn(index, turn);
        }
        // From here on nobody fails.
        for _ in 0..200 {
            for index in 0..3 {
                for turn in [Turn::Step, Turn::Deliver, Turn::Receive] {
                    world.turn(index, turn);
                }
            }
        }
        prop_assert!(world.readers.iter().all(|reader| reader.ended));
        let mut read: Vec<u64> = world.readers.iter().flat_map(|reader| reader.read.clone()).collect();
        read.sort_unstable();
        prop_assert_eq!(read, (0..splits).collect::<Vec<_>>());
    }
}

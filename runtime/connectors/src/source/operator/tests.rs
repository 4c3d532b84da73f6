//! A reader of several splits at once, whose records the test decides.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use flink_exchange::{Event, WatermarkStatus};
use flink_record::NO_TIMESTAMP;
use flink_worker::ProcessingTimeService;

use super::*;
use crate::{
    generated::NumberRange,
    source::testing::{Emitted, log},
};

/// What is still to be read, by split: timestamps, which are the records, too; `None` is the split's end.
type Script = Rc<RefCell<BTreeMap<String, VecDeque<Option<i64>>>>>;

struct Scripted {
    script: Script,
    splits: Vec<String>,
}

impl SourceReader for Scripted {
    type Record = i64;
    type Split = NumberRange;

    fn add_splits(&mut self, splits: Vec<NumberRange>) -> Result<(), TaskError> {
        self.splits.extend(splits.iter().map(Split::split_id));
        Ok(())
    }

    fn poll_next(&mut self, output: &mut ReaderOutput<'_, i64>) -> Result<Availability, TaskError> {
        for id in self.splits.clone() {
            while let Some(next) = self.script.borrow_mut().get_mut(&id).and_then(VecDeque::pop_front) {
                match next {
                    Some(record) => output.split(&id)?.collect_with_timestamp(record, record)?,
                    None => {
                        output.finish_split(&id)?;
                        self.splits.retain(|split| *split != id);
                    }
                }
            }
        }
        let over = self.splits.is_empty();
        Ok(if over {
            Availability::End
        } else {
            Availability::Later(None)
        })
    }
}

#[derive(Clone, Default)]
struct Link {
    sent: Rc<RefCell<Vec<ReaderMessage>>>,
    received: Rc<RefCell<VecDeque<EnumeratorMessage>>>,
}

impl CoordinatorLink for Link {
    fn send(&self, message: Vec<u8>) -> Result<(), TaskError> {
        self.sent.borrow_mut().push(decode(&message)?);
        Ok(())
    }

    fn try_receive(&self) -> Option<Vec<u8>> {
        self.received.borrow_mut().pop_front().map(|message| encode(&message))
    }
}

struct Bench {
    operator: ReaderOperator<Scripted>,
    outputs: Outputs<i64>,
    emitted: Rc<RefCell<Vec<Emitted<i64>>>>,
    script: Script,
    clock: ProcessingTimeService,
    link: Link,
}

impl Bench {
    fn new(strategy: WatermarkStrategy<i64>, requests: SplitRequests, linked: bool) -> Self {
        let (clock, script, link) = (ProcessingTimeService::manual(0), Script::default(), Link::default());
        let reader = Scripted {
            script: Rc::clone(&script),
            splits: Vec::new(),
        };
        let watermarks = (!strategy.does_nothing()).then(|| SplitWatermarks::new(strategy, &clock, 100));
        let to_link: Option<Box<dyn CoordinatorLink>> = if linked { Some(Box::new(link.clone())) } else { None };
        let (outputs, emitted) = log();
        Self {
            operator: ReaderOperator::new(reader, requests, to_link, watermarks),
            outputs,
            emitted,
            script,
            clock,
            link,
        }
    }

    /// With these splits from the start.
    fn with_splits(strategy: WatermarkStrategy<i64>, splits: &[u64]) -> Self {
        let mut bench = Self::new(strategy, SplitRequests::none(), false);
        bench
            .operator
            .add_splits(splits.iter().map(|number| split(*number)).collect())
            .unwrap();
        bench
    }

    fn script(&self, number: u64, records: impl IntoIterator<Item = Option<i64>>) {
        let mut script = self.script.borrow_mut();
        script.entry(split(number).split_id()).or_default().extend(records);
    }

    fn poll(&mut self) -> Availability {
        self.operator.poll_next(100, &mut self.outputs).unwrap().next
    }

    /// What comes of a poll, and of the clock reaching a time.
    fn at(&mut self, now: i64) -> Vec<Emitted<i64>> {
        self.poll();
        self.clock.set(now);
        self.operator.processing_time(now, &mut self.outputs).unwrap();
        self.emitted.take()
    }

    /// The same, without records.
    fn events_at(&mut self, now: i64) -> Vec<Event> {
        let emitted = self.at(now).into_iter();
        let events = emitted.filter_map(|emitted| match emitted {
            Emitted::Event(event) => Some(event),
            Emitted::Record(..) => None,
        });
        events.collect()
    }
}

fn split(number: u64) -> NumberRange {
    NumberRange {
        from: number,
        to: number,
    }
}

fn monotonous() -> WatermarkStrategy<i64> {
    WatermarkStrategy::for_monotonous_timestamps()
}

#[test]
fn without_a_strategy_records_come_as_they_are() {
    let mut bench = Bench::with_splits(WatermarkStrategy::no_watermarks(), &[1]);
    bench.script(1, [Some(5), Some(7), None]);
    let strategy = WatermarkStrategy::<i64>::no_watermarks();
    assert!(strategy.does_nothing() && !strategy.with_idleness(Duration::ZERO).does_nothing());
    assert_eq!(bench.at(1000), [Emitted::Record(5, 5), Emitted::Record(7, 7)]);
    assert_eq!(bench.poll(), Availability::End);
}

#[test]
fn an_assigner_alone_gives_timestamps() {
    let strategy = WatermarkStrategy::no_watermarks().with_timestamp_assigner(|record, timestamp| {
        assert_eq!(*record, timestamp);
        if *record == 5 { NO_TIMESTAMP } else { record * 10 }
    });
    let mut bench = Bench::with_splits(strategy, &[1]);
    bench.script(1, [Some(5), Some(7)]);
    assert_eq!(
        bench.at(1000),
        [Emitted::Record(5, NO_TIMESTAMP), Emitted::Record(7, 70)]
    );
}

#[test]
fn the_slowest_split_that_is_not_finished_decides() {
    let mut bench = Bench::with_splits(monotonous(), &[1, 2, 3]);
    bench.script(1, [Some(100)]);
    bench.script(2, [Some(50)]);
    assert_eq!(bench.events_at(100), [], "nothing has come of the third");
    bench.script(3, [Some(70)]);
    assert_eq!(bench.events_at(200), [Event::Watermark(49)]);
    bench.script(2, [None]);
    assert_eq!(bench.events_at(300), [Event::Watermark(69)]);
    bench.script(3, [Some(60), Some(90), None]);
    bench.script(1, [Some(110), None]);
    assert_eq!(bench.events_at(400), [Event::Watermark(89)], "its last word");
    assert_eq!(bench.poll(), Availability::End);
}

#[test]
fn splits_that_are_idle_are_not_waited_for() {
    let mut bench = Bench::with_splits(monotonous().with_idleness(Duration::from_millis(150)), &[1, 2]);
    bench.script(1, [Some(100)]);
    assert_eq!(
        bench.events_at(100),
        [],
        "the second waits to be read, which is not being idle"
    );
    assert_eq!(bench.events_at(200), []);
    bench.script(2, [Some(50)]);
    bench.script(1, [Some(200)]);
    assert_eq!(bench.events_at(300), [Event::Watermark(49)]);
    bench.script(1, [Some(200)]);
    assert_eq!(bench.events_at(400), []);
    assert_eq!(bench.events_at(500), [Event::Watermark(199)], "the second is idle");
    let idle = Event::WatermarkStatus(WatermarkStatus::Idle);
    assert_eq!(bench.events_at(600), [idle]);
    bench.script(2, [Some(150)]);
    let active = Emitted::Event(Event::WatermarkStatus(WatermarkStatus::Active));
    assert_eq!(bench.at(700), [active, Emitted::Record(150, 150)]);
    bench.script(2, [Some(300)]);
    assert_eq!(bench.events_at(800), [Event::Watermark(299)]);
}

#[test]
fn a_punctuated_watermark_is_behind_its_record() {
    use flink_worker::{WatermarkGenerator, WatermarkOutput};

    struct Punctuated;
    impl WatermarkGenerator<i64> for Punctuated {
        fn on_event(&mut self, event: &i64, _: i64, output: &mut WatermarkOutput) {
            output.emit_watermark(*event);
        }
        fn on_periodic_emit(&mut self, _: &mut WatermarkOutput) {}
    }
    let mut bench = Bench::with_splits(WatermarkStrategy::for_generator(|| Punctuated), &[1, 2]);
    bench.script(1, [Some(5), Some(7)]);
    bench.script(2, [Some(6), None]);
    let (record, watermark) = (
        |record| Emitted::Record(record, record),
        |watermark| Emitted::Event(Event::Watermark(watermark)),
    );
    assert_eq!(
        bench.at(1),
        [record(5), record(7), record(6), watermark(6), watermark(7)]
    );
}

#[test]
fn a_reader_asks_waits_and_ends() {
    let mut bench = Bench::new(monotonous(), SplitRequests::default(), true);
    let (sent, received) = (Rc::clone(&bench.link.sent), Rc::clone(&bench.link.received));
    assert_eq!(
        (bench.poll(), bench.poll()),
        (Availability::Later(None), Availability::Later(None))
    );
    assert_eq!(sent.take(), [ReaderMessage::RequestSplit], "once");
    bench.script(1, [Some(5), None]);
    received
        .borrow_mut()
        .push_back(EnumeratorMessage::AddSplit(encode(&split(1))));
    assert_eq!(bench.poll(), Availability::Later(None));
    assert_eq!(
        sent.take(),
        [
            ReaderMessage::SplitFinished("1-1".to_owned()),
            ReaderMessage::RequestSplit
        ]
    );
    received.borrow_mut().push_back(EnumeratorMessage::NoMoreSplits);
    assert_eq!(bench.poll(), Availability::End);
    assert_eq!(
        bench.emitted.take(),
        [Emitted::Record(5, 5), Emitted::Event(Event::Watermark(4))]
    );
}

#[test]
fn a_reader_without_splits_is_idle_after_a_time() {
    let mut bench = Bench::new(
        monotonous().with_idleness(Duration::from_millis(150)),
        SplitRequests::default(),
        true,
    );
    assert_eq!(bench.events_at(100), []);
    assert_eq!(bench.events_at(200), [Event::WatermarkStatus(WatermarkStatus::Idle)]);
    bench.script(1, [Some(5)]);
    let add = EnumeratorMessage::AddSplit(encode(&split(1)));
    bench.link.received.borrow_mut().push_back(add);
    assert_eq!(
        bench.events_at(300),
        [Event::WatermarkStatus(WatermarkStatus::Active), Event::Watermark(4)]
    );
}

#[test]
fn a_reader_that_is_ahead_waits() {
    let mut bench = Bench::new(monotonous(), SplitRequests::none(), true);
    bench.operator.add_splits(vec![split(1)]).unwrap();
    let (sent, received) = (Rc::clone(&bench.link.sent), Rc::clone(&bench.link.received));
    bench.script(1, [Some(500)]);
    bench.at(100);
    assert_eq!(sent.take(), [ReaderMessage::Watermark(499)]);
    received.borrow_mut().push_back(EnumeratorMessage::MaxWatermark(400));
    bench.script(1, [Some(600)]);
    assert_eq!(bench.at(200), []);
    assert_eq!(sent.take(), [ReaderMessage::Watermark(499)], "the answer");
    received.borrow_mut().push_back(EnumeratorMessage::MaxWatermark(499));
    assert_eq!(
        bench.at(300),
        [Emitted::Record(600, 600), Emitted::Event(Event::Watermark(599))]
    );
}

#[test]
fn splits_must_differ_and_be_known() {
    let mut bench = Bench::with_splits(monotonous(), &[1]);
    let error = bench.operator.add_splits(vec![split(1)]).unwrap_err();
    assert_eq!(error.to_string(), "there are two splits `1-1`");
    bench.script(1, [None]);
    bench.poll();
    bench.operator.reader.splits.push("1-1".to_owned());
    bench.script(1, [Some(1)]);
    let error = bench.operator.poll_next(1, &mut bench.outputs).unwrap_err();
    assert_eq!(error.to_string(), "there is no split `1-1` to emit records of");
}

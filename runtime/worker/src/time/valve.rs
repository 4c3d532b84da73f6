//! Event time of a task with many input channels.
//!
//! The rules are those of Flink 1.20, `StatusWatermarkValve.java`: the task's watermark is the smallest of the channels that
//! are active and have caught up with it; while all are idle, it is the largest. Other than there, a channel that has
//! ended does not count beside others that are only idle.

use flink_exchange::{Event, WatermarkStatus};
use flink_record::Timestamp;

/// Merges the watermarks of input channels.
#[derive(Debug)]
pub(crate) struct WatermarkValve {
    channels: Vec<Channel>,
    watermark: Timestamp,
    status: WatermarkStatus,
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    watermark: Timestamp,
    status: WatermarkStatus,
    /// Whether its watermark counts: not while it is idle, nor when it is active again but behind the task's.
    aligned: bool,
}

impl WatermarkValve {
    /// For so many channels, all active and without a watermark.
    pub(crate) fn new(channels: usize) -> Self {
        let channel = Channel {
            watermark: Timestamp::MIN,
            status: WatermarkStatus::Active,
            aligned: true,
        };
        Self {
            channels: vec![channel; channels],
            watermark: Timestamp::MIN,
            status: WatermarkStatus::Active,
        }
    }

    /// An event of a channel; what the task makes of it, in this order.
    pub(crate) fn handle(&mut self, channel: usize, event: Event) -> impl Iterator<Item = Event> + use<> {
        let (first, second) = match event {
            Event::Watermark(watermark) => self.watermark(channel, watermark),
            Event::WatermarkStatus(status) => self.status(channel, status),
            // Nothing older can follow any more.
            Event::EndOfData => self.watermark(channel, Timestamp::MAX),
            // It does not concern event time.
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }

    fn watermark(&mut self, index: usize, watermark: Timestamp) -> (Option<Event>, Option<Event>) {
        let channel = &mut self.channels[index];
        // A watermark that runs backwards is ignored, and so is one of a channel that claims to be idle; its end is not.
        let ignored = channel.status == WatermarkStatus::Idle && watermark != Timestamp::MAX;
        if ignored || watermark <= channel.watermark {
            return (None, None);
        }
        channel.watermark = watermark;
        channel.aligned |= channel.status == WatermarkStatus::Active && watermark >= self.watermark;
        self.settle()
    }

    fn status(&mut self, index: usize, status: WatermarkStatus) -> (Option<Event>, Option<Event>) {
        let channel = &mut self.channels[index];
        if channel.status == status {
            return (None, None);
        }
        channel.status = status;
        channel.aligned = status == WatermarkStatus::Active && channel.watermark >= self.watermark;
        self.settle()
    }

    /// The task's event time after a change. Channels that have ended have no say in it, as long as others have not: one that
    /// is idle for a while may speak again, and what it says must not be late for the sake of those that never will.
    fn settle(&mut self) -> (Option<Event>, Option<Event>) {
        let open = || {
            self.channels
                .iter()
                .filter(|channel| channel.watermark != Timestamp::MAX)
        };
        if open().next().is_none() {
            return (self.advance(Timestamp::MAX), None);
        }
        if open().any(|channel| channel.status == WatermarkStatus::Active) {
            let aligned = open().filter(|channel| channel.aligned);
            let smallest = aligned.map(|channel| channel.watermark).min();
            let advanced = smallest.and_then(|smallest| self.advance(smallest));
            return (advanced, self.change_status(WatermarkStatus::Active));
        }
        // Nobody is waited for any more, so that everything that was seen counts.
        let largest = open().map(|channel| channel.watermark).max();
        let advanced = largest.and_then(|largest| self.advance(largest));
        (advanced, self.change_status(WatermarkStatus::Idle))
    }

    fn advance(&mut self, watermark: Timestamp) -> Option<Event> {
        (watermark > self.watermark).then(|| {
            self.watermark = watermark;
            Event::Watermark(watermark)
        })
    }

    fn change_status(&mut self, status: WatermarkStatus) -> Option<Event> {
        (self.status != status).then(|| {
            self.status = status;
            Event::WatermarkStatus(status)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ACTIVE: Event = Event::WatermarkStatus(WatermarkStatus::Active);
    const IDLE: Event = Event::WatermarkStatus(WatermarkStatus::Idle);

    fn handle(valve: &mut WatermarkValve, channel: usize, event: Event) -> Vec<Event> {
        valve.handle(channel, event).collect()
    }

    #[test]
    fn the_slowest_channel_decides() {
        let mut valve = WatermarkValve::new(2);
        assert_eq!(handle(&mut valve, 0, Event::Watermark(10)), []);
        assert_eq!(handle(&mut valve, 1, Event::Watermark(5)), [Event::Watermark(5)]);
        assert_eq!(handle(&mut valve, 1, Event::Watermark(4)), []);
        assert_eq!(handle(&mut valve, 1, Event::Watermark(20)), [Event::Watermark(10)]);
        assert_eq!(handle(&mut valve, 0, Event::EndOfData), [Event::Watermark(20)]);
        assert_eq!(
            handle(&mut valve, 1, Event::EndOfData),
            [Event::Watermark(Timestamp::MAX)]
        );
    }

    #[test]
    fn idle_channels_are_not_waited_for() {
        let mut valve = WatermarkValve::new(2);
        assert_eq!(handle(&mut valve, 0, Event::Watermark(10)), []);
        assert_eq!(handle(&mut valve, 1, IDLE), [Event::Watermark(10)]);
        assert_eq!(handle(&mut valve, 0, Event::Watermark(12)), [Event::Watermark(12)]);
        // Active again, but behind: it must catch up first.
        assert_eq!(handle(&mut valve, 1, ACTIVE), []);
        assert_eq!(handle(&mut valve, 1, Event::Watermark(11)), []);
        assert_eq!(handle(&mut valve, 0, Event::Watermark(14)), [Event::Watermark(14)]);
        assert_eq!(handle(&mut valve, 1, Event::Watermark(15)), []);
        assert_eq!(handle(&mut valve, 0, Event::Watermark(16)), [Event::Watermark(15)]);
    }

    #[test]
    fn when_all_are_idle_all_that_was_seen_counts() {
        let mut valve = WatermarkValve::new(2);
        assert_eq!(handle(&mut valve, 0, Event::Watermark(10)), []);
        assert_eq!(handle(&mut valve, 0, IDLE), []);
        assert_eq!(handle(&mut valve, 1, IDLE), [Event::Watermark(10), IDLE]);
        assert_eq!(handle(&mut valve, 1, IDLE), []);
        assert_eq!(handle(&mut valve, 0, ACTIVE), [ACTIVE]);
    }

    #[test]
    fn channels_that_end_while_idle_end_the_task() {
        let mut valve = WatermarkValve::new(2);
        assert_eq!(handle(&mut valve, 0, IDLE), []);
        assert_eq!(handle(&mut valve, 1, Event::EndOfData), [IDLE]);
        assert_eq!(
            handle(&mut valve, 0, Event::EndOfData),
            [Event::Watermark(Timestamp::MAX)]
        );
        let mut valve = WatermarkValve::new(1);
        assert_eq!(handle(&mut valve, 0, IDLE), [IDLE]);
        assert_eq!(
            handle(&mut valve, 0, Event::EndOfData),
            [Event::Watermark(Timestamp::MAX)]
        );
    }

    #[test]
    fn the_end_of_one_channel_is_not_the_end_of_one_that_is_idle() {
        let mut valve = WatermarkValve::new(2);
        assert_eq!(handle(&mut valve, 1, Event::Watermark(5)), []);
        assert_eq!(handle(&mut valve, 0, Event::EndOfData), [Event::Watermark(5)]);
        assert_eq!(handle(&mut valve, 1, IDLE), [IDLE]);
        assert_eq!(handle(&mut valve, 1, ACTIVE), [ACTIVE]);
        assert_eq!(handle(&mut valve, 1, Event::Watermark(9)), [Event::Watermark(9)]);
        assert_eq!(
            handle(&mut valve, 1, Event::EndOfData),
            [Event::Watermark(Timestamp::MAX)]
        );
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (-50..50i64).prop_map(Event::Watermark),
            1 => Just(IDLE),
            1 => Just(ACTIVE),
        ]
    }

    proptest! {
        #[test]
        fn watermarks_ascend_and_never_pass_an_aligned_channel(
            events in prop::collection::vec((0..3usize, event()), 0..60),
        ) {
            let mut valve = WatermarkValve::new(3);
            let mut emitted = Timestamp::MIN;
            // By channel: its own watermark, and whether it is active.
            let mut seen = [(Timestamp::MIN, true); 3];
            for (index, event) in events {
                match event {
                    Event::Watermark(watermark) if seen[index].1 => seen[index].0 = watermark.max(seen[index].0),
                    Event::WatermarkStatus(status) => seen[index].1 = status == WatermarkStatus::Active,
                    _ => {}
                }
                let before = emitted;
                for event in valve.handle(index, event) {
                    if let Event::Watermark(watermark) = event {
                        prop_assert!(watermark > emitted);
                        emitted = watermark;
                    }
                }
                if emitted > before {
                    // A channel that is behind what was emitted before has not caught up; the others hold.
                    let held = seen.iter().filter(|(watermark, active)| *active && *watermark >= before);
                    prop_assert!(held.clone().all(|(watermark, _)| emitted <= *watermark));
                }
            }
        }
    }
}

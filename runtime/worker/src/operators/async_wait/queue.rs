//! Which results of asynchronous requests may leave, and when: decisions only, without a future or a clock.
//!
//! ```text
//!            first segment          second segment               last segment
//! ready <-  [open 2] watermark 10 | [open 0, done: b] active |  [open 1, done: d]
//! ```
//!
//! Requests stand in segments. An event (a watermark, a watermark status) ends its segment, and a segment's results may
//! leave when all segments before it are over. So nothing overtakes an event in either direction, and inside of a
//! segment results leave as they come. Keeping the order of the input is the same with segments of one request. Refused:
//! a queue for each of the two modes, as one is a special case of the other.

use std::collections::VecDeque;

use flink_exchange::Event;
use flink_record::Timestamp;

/// In which order results leave an [`AsyncWait`](super::AsyncWait).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsyncOutputMode {
    /// In the order of the records they are made from.
    Ordered,
    /// As requests complete; but none leaves before a watermark that came before its record, or after one that came after it.
    Unordered,
}

/// Requests that have not completed, results that may not leave yet, and the events between them.
pub(super) struct WaitQueue<O> {
    mode: AsyncOutputMode,
    capacity: usize,
    /// The first has open requests, and its results have left for `ready`. Only the last may be without an end, or, in
    /// ordered mode, any.
    segments: VecDeque<Segment<O>>,
    /// Number of the first segment, counted from the first ever.
    first: u64,
    ready: VecDeque<Emission<O>>,
    /// Requests that were pushed and have not left.
    requests: usize,
    /// Events that were pushed and have not left.
    events: usize,
}

struct Segment<O> {
    /// Requests that have not completed.
    open: usize,
    done: Vec<(Timestamp, Vec<O>)>,
    end: Option<Event>,
}

/// A request's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    segment: u64,
    timestamp: Timestamp,
}

/// What leaves the queue.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Emission<O> {
    /// The results of one request, with the timestamp of its record.
    Results(Timestamp, Vec<O>),
    Event(Event),
}

impl<O> WaitQueue<O> {
    /// An empty queue for so many requests, and as many events.
    pub(super) fn new(mode: AsyncOutputMode, capacity: usize) -> Self {
        Self {
            mode,
            capacity,
            segments: VecDeque::new(),
            first: 0,
            ready: VecDeque::new(),
            requests: 0,
            events: 0,
        }
    }

    /// True while another request may be pushed.
    pub(super) fn takes_request(&self) -> bool {
        self.requests < self.capacity
    }

    /// True while this event may be pushed.
    pub(super) fn takes_event(&self, event: Event) -> bool {
        let last = self.segments.back().and_then(|last| last.end);
        self.events < self.capacity || last.is_some_and(|last| merged(last, event).is_some())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.ready.is_empty()
    }

    /// A request for a record with this timestamp has begun.
    pub(super) fn push_request(&mut self, timestamp: Timestamp) -> Ticket {
        self.requests += 1;
        match self.segments.back_mut() {
            Some(last) if last.end.is_none() && self.mode == AsyncOutputMode::Unordered => last.open += 1,
            _ => self.segments.push_back(Segment {
                open: 1,
                done: Vec::new(),
                end: None,
            }),
        }
        Ticket {
            segment: self.first + self.segments.len() as u64 - 1,
            timestamp,
        }
    }

    /// An event has come. Of two watermarks without a record between them the later one says it all, so that a request that
    /// takes long does not pile them up.
    pub(super) fn push_event(&mut self, event: Event) {
        let Some(last) = self.segments.back_mut() else {
            self.events += 1;
            return self.ready.push_back(Emission::Event(event));
        };
        match last.end {
            None => last.end = Some(event),
            Some(end) => match merged(end, event) {
                Some(merged) => {
                    last.end = Some(merged);
                    return;
                }
                None => self.segments.push_back(Segment {
                    open: 0,
                    done: Vec::new(),
                    end: Some(event),
                }),
            },
        }
        self.events += 1;
    }

    /// A request has completed: once for each ticket.
    pub(super) fn complete(&mut self, ticket: Ticket, results: Vec<O>) {
        let index = (ticket.segment - self.first) as usize;
        let Some(segment) = self.segments.get_mut(index) else {
            return;
        };
        segment.open -= 1;
        segment.done.push((ticket.timestamp, results));
        if index == 0 {
            self.advance();
        }
    }

    /// Takes what leaves next.
    pub(super) fn pop(&mut self) -> Option<Emission<O>> {
        let emission = self.ready.pop_front()?;
        match emission {
            Emission::Results(..) => self.requests -= 1,
            Emission::Event(_) => self.events -= 1,
        }
        Some(emission)
    }

    /// Lets go what nothing stands before any more.
    fn advance(&mut self) {
        while let Some(front) = self.segments.front_mut() {
            let done = front.done.drain(..);
            self.ready
                .extend(done.map(|(timestamp, results)| Emission::Results(timestamp, results)));
            if front.open > 0 {
                return;
            }
            self.ready.extend(front.end.map(Emission::Event));
            self.segments.pop_front();
            self.first += 1;
        }
    }
}

/// The one event that says as much as these two, one after the other.
fn merged(earlier: Event, later: Event) -> Option<Event> {
    match (earlier, later) {
        (Event::Watermark(earlier), Event::Watermark(later)) => Some(Event::Watermark(earlier.max(later))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use flink_exchange::WatermarkStatus;
    use proptest::prelude::*;

    use super::*;

    fn drain<O>(queue: &mut WaitQueue<O>) -> Vec<Emission<O>> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    fn results(timestamp: Timestamp, result: u32) -> Emission<u32> {
        Emission::Results(timestamp, vec![result])
    }

    const fn watermark(timestamp: Timestamp) -> Event {
        Event::Watermark(timestamp)
    }

    #[test]
    fn ordered_results_wait_for_those_before_them() {
        let mut queue = WaitQueue::new(AsyncOutputMode::Ordered, 3);
        let (first, second) = (queue.push_request(10), queue.push_request(20));
        queue.push_event(watermark(5));
        let third = queue.push_request(30);
        assert!(!queue.takes_request());
        queue.complete(third, vec![3]);
        queue.complete(second, vec![2]);
        assert_eq!(drain(&mut queue), []);
        assert!(!queue.takes_request(), "results that wait take room, too");
        queue.complete(first, vec![1]);
        let event = Emission::Event(watermark(5));
        assert_eq!(
            drain(&mut queue),
            [results(10, 1), results(20, 2), event, results(30, 3)]
        );
        assert!(queue.is_empty() && queue.takes_request());
    }

    #[test]
    fn unordered_results_leave_at_once_but_for_the_watermark_before_them() {
        let mut queue = WaitQueue::new(AsyncOutputMode::Unordered, 9);
        let (first, second) = (queue.push_request(1), queue.push_request(2));
        queue.push_event(watermark(5));
        let third = queue.push_request(6);
        queue.complete(second, vec![2]);
        assert_eq!(drain(&mut queue), [results(2, 2)]);
        queue.complete(third, vec![3]);
        assert_eq!(drain(&mut queue), []);
        queue.complete(first, vec![1]);
        assert_eq!(
            drain(&mut queue),
            [results(1, 1), Emission::Event(watermark(5)), results(6, 3)]
        );
        queue.push_event(watermark(7));
        assert_eq!(
            drain(&mut queue),
            [Emission::Event(watermark(7))],
            "nothing to wait for"
        );
    }

    #[test]
    fn events_are_bounded_and_watermarks_in_a_row_are_one() {
        let mut queue = WaitQueue::new(AsyncOutputMode::Unordered, 2);
        let request = queue.push_request(0);
        queue.push_event(watermark(1));
        let idle = Event::WatermarkStatus(WatermarkStatus::Idle);
        assert!(queue.takes_event(idle));
        queue.push_event(idle);
        assert!(!queue.takes_event(watermark(2)));
        queue.complete(request, vec![0]);
        let events = [Emission::Event(watermark(1)), Emission::Event(idle)];
        assert_eq!(drain(&mut queue), [vec![results(0, 0)], events.to_vec()].concat());

        let request = queue.push_request(0);
        for time in 1..100 {
            assert!(queue.takes_event(watermark(time)));
            queue.push_event(watermark(time));
        }
        queue.complete(request, vec![0]);
        assert_eq!(drain(&mut queue), [results(0, 0), Emission::Event(watermark(99))]);
        assert!(queue.is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Request,
        Watermark,
        Status(WatermarkStatus),
        /// Of one of those that are open.
        Complete(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Request),
            1 => Just(Step::Watermark),
            1 => prop_oneof![Just(WatermarkStatus::Idle), Just(WatermarkStatus::Active)].prop_map(Step::Status),
            4 => any::<prop::sample::Index>().prop_map(Step::Complete),
        ]
    }

    /// What went in and what came out, both in order. Requests are numbered; that is their timestamp and their result.
    fn run(
        mode: AsyncOutputMode,
        capacity: usize,
        steps: &[Step],
    ) -> (Vec<Emission<u32>>, Vec<Emission<u32>>, Vec<u32>) {
        let mut queue = WaitQueue::new(mode, capacity);
        let (mut pushed, mut left, mut completed, mut open) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut next = 0_u32;
        let push_event = |queue: &mut WaitQueue<u32>, pushed: &mut Vec<_>, event| {
            if queue.takes_event(event) {
                queue.push_event(event);
                pushed.push(Emission::Event(event));
            }
        };
        for step in steps {
            match step {
                Step::Request if queue.takes_request() => {
                    open.push((queue.push_request(next.into()), next));
                    pushed.push(results(next.into(), next));
                    next += 1;
                }
                Step::Request => {}
                Step::Watermark => push_event(&mut queue, &mut pushed, watermark(next.into())),
                Step::Status(status) => push_event(&mut queue, &mut pushed, Event::WatermarkStatus(*status)),
                Step::Complete(_) if open.is_empty() => {}
                Step::Complete(index) => {
                    let (ticket, number) = open.swap_remove(index.index(open.len()));
                    queue.complete(ticket, vec![number]);
                    completed.push(number);
                    left.extend(drain(&mut queue));
                }
            }
            assert!(open.len() <= capacity && queue.segments.len() <= 2 * capacity);
        }
        for (ticket, number) in open.drain(..).rev() {
            queue.complete(ticket, vec![number]);
            completed.push(number);
        }
        left.extend(drain(&mut queue));
        assert!(queue.is_empty() && queue.takes_request());
        (pushed, left, completed)
    }

    /// The numbers of the requests between each two events that stayed.
    fn segments(emissions: &[Emission<u32>], events: &[Event]) -> Vec<Vec<u32>> {
        let (mut segments, mut events) = (vec![Vec::new()], events.iter());
        let mut next = events.next();
        for emission in emissions {
            match emission {
                Emission::Results(_, numbers) => segments.last_mut().unwrap().extend(numbers),
                Emission::Event(event) if Some(event) == next => {
                    segments.push(Vec::new());
                    next = events.next();
                }
                // A watermark that a later one has replaced.
                Emission::Event(event) => assert!(matches!(event, Event::Watermark(_))),
            }
        }
        assert_eq!(next, None);
        segments
    }

    fn events(emissions: &[Emission<u32>]) -> Vec<Event> {
        let events = emissions.iter().filter_map(|emission| match emission {
            Emission::Results(..) => None,
            Emission::Event(event) => Some(*event),
        });
        events.collect()
    }

    proptest! {
        #[test]
        fn ordered_is_the_order_of_the_input(capacity in 1_usize..8, steps in prop::collection::vec(step(), 0..200)) {
            let (pushed, left, _) = run(AsyncOutputMode::Ordered, capacity, &steps);
            let events = events(&left);
            prop_assert_eq!(segments(&pushed, &events), segments(&left, &events));
        }

        #[test]
        fn unordered_is_the_order_of_completion_in_each_segment(
            capacity in 1_usize..8,
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let (pushed, left, completed) = run(AsyncOutputMode::Unordered, capacity, &steps);
            let events = events(&left);
            let mut expected = segments(&pushed, &events);
            for segment in &mut expected {
                segment.sort_by_key(|number| completed.iter().position(|other| other == number));
            }
            prop_assert_eq!(expected, segments(&left, &events));
        }
    }
}

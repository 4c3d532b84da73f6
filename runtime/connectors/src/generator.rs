//! Records that a closure makes, at a rate.

use std::time::{Duration, Instant};

use flink_record::Timestamp;
use flink_worker::{ProcessingTimeService, TaskError};

use crate::{
    generated::SubtaskSplit,
    source::{
        Availability, Boundedness, Enumeration, SequentialReader, Source, SourceOutput, SourceReaderContext,
        SplitReader,
    },
};

/// Records that a closure makes from their index, 0, 1, 2 ... For tests, for measuring, for trying out a job before its input is there.
///
/// The subtasks take turns: of two, one makes the records with even indexes, the other those with odd ones, each in order.
///
/// ```
/// use flink_connectors::DataGeneratorSource;
///
/// let readings = DataGeneratorSource::new(|index| (index % 10, 20.0 + index as f64 / 100.0));
/// let ten_a_second = readings.clone().records_per_second(10.0);
/// let a_million = readings.count(1_000_000);
/// ```
#[derive(Debug, Clone)]
pub struct DataGeneratorSource<F> {
    make: F,
    count: Option<u64>,
    per_second: Option<f64>,
}

impl<T, F: FnMut(u64) -> T + Clone + Send + 'static> DataGeneratorSource<F> {
    /// Without end, as fast as they are taken. The closure is cloned for each subtask.
    pub fn new(make: F) -> Self {
        Self {
            make,
            count: None,
            per_second: None,
        }
    }

    /// Ends after so many records, those of all subtasks together.
    #[must_use]
    pub fn count(mut self, records: u64) -> Self {
        self.count = Some(records);
        self
    }

    /// Makes so many records per second, all subtasks together, in steps of a millisecond. What back-pressure holds up is
    /// made up for, but for no more than 100 ms. A rate that is not above 0 fails the job.
    #[must_use]
    pub fn records_per_second(mut self, records: f64) -> Self {
        self.per_second = Some(records);
        self
    }
}

impl<T: 'static, F: FnMut(u64) -> T + Clone + Send + 'static> Source for DataGeneratorSource<F> {
    type Record = T;
    type Split = SubtaskSplit;
    type Reader = SequentialReader<GeneratorReader<F>>;

    fn name(&self) -> String {
        "generator".to_owned()
    }

    fn boundedness(&self) -> Boundedness {
        match self.count {
            Some(_) => Boundedness::Bounded,
            None => Boundedness::Unbounded,
        }
    }

    fn enumeration(&self) -> Enumeration<Self> {
        SubtaskSplit::enumeration()
    }

    fn create_reader(&self, context: &SourceReaderContext) -> Result<Self::Reader, TaskError> {
        let rate = self
            .per_second
            .map(|rate| Rate::new(rate / f64::from(context.parallelism()), context.clock().now()));
        let rate = rate.transpose()?;
        let (make, count, clock) = (self.make.clone(), self.count, context.clock().clone());
        Ok(SequentialReader::new(move |split: SubtaskSplit| {
            Ok(GeneratorReader {
                make: make.clone(),
                next: u64::from(split.subtask),
                step: u64::from(split.parallelism),
                end: count.unwrap_or(u64::MAX),
                rate,
                clock: clock.clone(),
            })
        }))
    }
}

/// Makes the records of one subtask.
pub struct GeneratorReader<F> {
    make: F,
    next: u64,
    step: u64,
    end: u64,
    rate: Option<Rate>,
    clock: ProcessingTimeService,
}

impl<T: 'static, F: FnMut(u64) -> T> SplitReader for GeneratorReader<F> {
    type Record = T;
    type Split = SubtaskSplit;

    fn poll_next(&mut self, output: &mut SourceOutput<'_, T>) -> Result<Availability, TaskError> {
        // One look at the clock per poll.
        let now = self.rate.map(|_| self.clock.now());
        let mut allowed = match (&mut self.rate, now) {
            (Some(rate), Some(now)) => rate.due(now),
            _ => u64::MAX,
        };
        while output.wants_more() {
            if self.next >= self.end {
                return Ok(Availability::End);
            }
            if allowed == 0 {
                let wait = self.rate.map_or(1, |rate| rate.wait(now.unwrap_or(0)));
                return Ok(Availability::Later(Some(Instant::now() + Duration::from_millis(wait))));
            }
            allowed -= 1;
            if let Some(rate) = &mut self.rate {
                rate.made += 1;
            }
            let record = (self.make)(self.next);
            self.next = self.next.saturating_add(self.step);
            output.collect(record)?;
        }
        Ok(Availability::Now)
    }
}

/// How many records are due.
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_ms: f64,
    start: Timestamp,
    /// The last time that was seen.
    last: Timestamp,
    made: u64,
}

/// What was not made in time is made up for, as far as it is not older, ms.
const MAX_BEHIND_MS: f64 = 100.0;

impl Rate {
    fn new(per_second: f64, start: Timestamp) -> Result<Self, TaskError> {
        if !(per_second > 0.0 && per_second.is_finite()) {
            return Err(TaskError::operator("the rate of a generator must be above 0"));
        }
        Ok(Self {
            per_ms: per_second / 1000.0,
            start,
            last: start,
            made: 0,
        })
    }

    /// Records that may be made now. The first is due at once.
    fn due(&mut self, now: Timestamp) -> u64 {
        if now < self.last {
            // The clock was set back: as if it had always been.
            self.start -= self.last - now;
        }
        self.last = now;
        let elapsed = (now - self.start).max(0) as f64;
        let behind = elapsed - self.made as f64 / self.per_ms;
        if behind > MAX_BEHIND_MS.max(2.0 / self.per_ms) {
            // From here on it is as if the records that were missed had been made.
            self.made = ((elapsed - MAX_BEHIND_MS).max(0.0) * self.per_ms) as u64;
        }
        (1 + (elapsed * self.per_ms) as u64).saturating_sub(self.made)
    }

    /// How long until the next is due, ms.
    fn wait(&self, now: Timestamp) -> u64 {
        let due_at = self.start as f64 + self.made as f64 / self.per_ms;
        (due_at - now as f64).ceil().max(1.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{Subtask, read_all};

    #[test]
    fn subtasks_take_turns() {
        let source = DataGeneratorSource::new(|index| index).count(10);
        assert_eq!(read_all(&source, 3).unwrap(), [0, 3, 6, 9, 1, 4, 7, 2, 5, 8]);
        assert_eq!(source.boundedness(), Boundedness::Bounded);
        assert_eq!(read_all(&source.count(0), 2).unwrap(), [0; 0]);
    }

    #[test]
    fn the_rate_is_that_of_the_job_by_its_clock() {
        let clock = ProcessingTimeService::manual(5_000);
        let source = DataGeneratorSource::new(|index| index).records_per_second(2000.0);
        let mut subtasks = [0, 1].map(|subtask| Subtask::new(&source, subtask, 2, &clock).unwrap());
        let mut made = 0;
        for now in 5_000..=6_000 {
            clock.set(now);
            for subtask in &mut subtasks {
                while subtask.poll(3).unwrap().next == Availability::Now {}
                made += subtask.take().len() as i64;
            }
            assert_eq!(made, 2 * (now - 5_000 + 1));
        }
    }

    #[test]
    fn a_stall_is_made_up_for_in_part() {
        let clock = ProcessingTimeService::manual(0);
        let source = DataGeneratorSource::new(|index| index).records_per_second(1000.0);
        let mut subtask = Subtask::new(&source, 0, 1, &clock).unwrap();
        let mut made = |now| {
            clock.set(now);
            while subtask.poll(1000).unwrap().next == Availability::Now {}
            subtask.take().len()
        };
        assert_eq!(made(0), 1);
        assert_eq!(made(50), 50);
        assert_eq!(made(10_050), 101);
        assert_eq!(made(10_060), 10);
        // The clock is set back by an hour.
        assert_eq!(made(10_060 - 3_600_000), 0);
        assert_eq!(made(10_070 - 3_600_000), 10);
    }

    #[test]
    fn slow_rates_are_kept_and_senseless_ones_refused() {
        let clock = ProcessingTimeService::manual(0);
        let source = DataGeneratorSource::new(|index| index).records_per_second(0.5);
        let mut subtask = Subtask::new(&source, 0, 1, &clock).unwrap();
        for (now, made) in [(0, 1), (1_999, 0), (2_000, 1), (4_000, 1), (60_000, 2)] {
            clock.set(now);
            while subtask.poll(1000).unwrap().next == Availability::Now {}
            assert!(subtask.take().len() <= made.max(1), "{now}");
        }
        let source = source.records_per_second(0.0);
        assert!(Subtask::new(&source, 0, 1, &clock).is_err());
    }
}

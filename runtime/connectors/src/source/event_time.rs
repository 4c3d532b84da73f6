//! Timestamps and watermarks of a source, split by split.
//!
//! The rules are those of Flink, `WatermarkOutputMultiplexer.java`: the watermark of the subtask is the smallest of its splits that are
//! not idle; while all are idle, so is the subtask, and its watermark stays. A split that is finished says its last word, and is gone.

use flink_exchange::{Event, WatermarkStatus};
use flink_record::Timestamp;
use flink_worker::{EventTime, Output, ProcessingTimeService, SideOutputs, TaskError, WatermarkStrategy};

/// The event time of a subtask's splits.
pub(crate) struct SplitWatermarks<T> {
    strategy: WatermarkStrategy<T>,
    clock: ProcessingTimeService,
    /// Between two periodic watermarks, ms.
    interval: Timestamp,
    next_emit: Timestamp,
    splits: Vec<SplitTime<T>>,
    /// Since when there has been no split; after the strategy's time the subtask is idle.
    empty_since: Timestamp,
    emitted: Timestamp,
    idle: bool,
}

struct SplitTime<T> {
    id: String,
    time: EventTime<T>,
    /// It is being read, or was.
    begun: bool,
}

impl<T: 'static> SplitWatermarks<T> {
    /// Without splits yet. `interval` is the time between two periodic watermarks, ms.
    pub(crate) fn new(strategy: WatermarkStrategy<T>, clock: &ProcessingTimeService, interval: Timestamp) -> Self {
        let (now, interval) = (clock.now(), interval.max(1));
        let next_emit = now.saturating_add(interval);
        clock.call_at(next_emit);
        Self {
            strategy,
            clock: clock.clone(),
            interval,
            next_emit,
            splits: Vec::new(),
            empty_since: now,
            emitted: Timestamp::MIN,
            idle: false,
        }
    }

    pub(crate) fn add(&mut self, id: String) {
        let time = self.strategy.instantiate(self.clock.now());
        let begun = false;
        self.splits.push(SplitTime { id, time, begun });
    }

    /// A split is read to its end. What it has to say about event time is said before it goes: a small file would never say
    /// anything otherwise.
    pub(crate) fn finish(
        &mut self,
        id: &str,
        main: &mut dyn Output<T>,
        sides: &mut SideOutputs,
    ) -> Result<(), TaskError> {
        let Some(index) = self.index(id) else { return Ok(()) };
        let now = self.clock.now();
        self.splits[index].time.on_periodic_emit(now);
        self.emit(main, sides)?;
        self.splits.remove(index);
        if self.splits.is_empty() {
            self.empty_since = now;
        }
        self.emit(main, sides)
    }

    /// Where a split is that is being read.
    pub(crate) fn index(&mut self, id: &str) -> Option<usize> {
        let index = self.splits.iter().position(|split| split.id == id)?;
        if !self.splits[index].begun {
            self.splits[index].begun = true;
            // What waits to be read is not idle: only from here on can it be.
            self.splits[index].time = self.strategy.instantiate(self.clock.now());
        }
        Some(index)
    }

    /// What the subtask has let its consumers know.
    pub(crate) fn emitted(&self) -> Timestamp {
        self.emitted
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }

    /// Emits a record of a split, and the watermark that it gives cause to.
    #[inline]
    pub(crate) fn collect(
        &mut self,
        split: usize,
        record: T,
        timestamp: Timestamp,
        main: &mut dyn Output<T>,
        sides: &mut SideOutputs,
    ) -> Result<(), TaskError> {
        let time = &mut self.splits[split].time;
        let before = (time.output().watermark(), time.output().is_idle());
        let timestamp = time.on_event(&record, timestamp);
        let after = (time.output().watermark(), time.output().is_idle());
        if self.idle && !after.1 {
            // The subtask is active again before its record comes.
            self.change_status(false, main, sides)?;
        }
        main.collect(record, timestamp)?;
        if before == after {
            Ok(())
        } else {
            self.emit(main, sides)
        }
    }

    /// The clock has reached a time for which somebody has set an alarm.
    pub(crate) fn processing_time(
        &mut self,
        now: Timestamp,
        main: &mut dyn Output<T>,
        sides: &mut SideOutputs,
    ) -> Result<(), TaskError> {
        if now >= self.next_emit {
            let begun = self.splits.iter_mut().filter(|split| split.begun);
            begun.for_each(|split| split.time.on_periodic_emit(now));
            self.emit(main, sides)?;
            self.next_emit = now.saturating_add(self.interval);
        }
        self.clock.call_at(self.next_emit);
        Ok(())
    }

    /// Lets consumers know what has changed.
    pub(crate) fn emit(&mut self, main: &mut dyn Output<T>, sides: &mut SideOutputs) -> Result<(), TaskError> {
        let active = self.splits.iter().map(|split| split.time.output());
        let smallest = active
            .filter(|output| !output.is_idle())
            .map(|output| output.watermark())
            .min();
        let idle = smallest.is_none() && (!self.splits.is_empty() || self.is_long_empty());
        if idle != self.idle && (idle || smallest.is_some()) {
            self.change_status(idle, main, sides)?;
        }
        match smallest {
            Some(watermark) if watermark > self.emitted => {
                self.emitted = watermark;
                send(Event::Watermark(watermark), main, sides)
            }
            _ => Ok(()),
        }
    }

    /// A subtask without splits is idle after the same time as one without records.
    fn is_long_empty(&self) -> bool {
        self.strategy.idleness().is_some_and(|timeout| {
            let empty_for = self.clock.now().saturating_sub(self.empty_since);
            u128::try_from(empty_for).is_ok_and(|empty_for| empty_for >= timeout.as_millis())
        })
    }

    fn change_status(
        &mut self,
        idle: bool,
        main: &mut dyn Output<T>,
        sides: &mut SideOutputs,
    ) -> Result<(), TaskError> {
        self.idle = idle;
        let status = if idle {
            WatermarkStatus::Idle
        } else {
            WatermarkStatus::Active
        };
        send(Event::WatermarkStatus(status), main, sides)
    }
}

fn send<T>(event: Event, main: &mut dyn Output<T>, sides: &mut SideOutputs) -> Result<(), TaskError> {
    main.event(event)?;
    sides.event(event)
}

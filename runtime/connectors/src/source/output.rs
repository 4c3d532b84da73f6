//! What readers emit to.

use flink_record::{NO_TIMESTAMP, Timestamp};
use flink_worker::{Output, Outputs, SideOutputs, TaskError};

use super::event_time::SplitWatermarks;

/// Takes what a [`SourceReader`](super::SourceReader) emits, split by split.
pub struct ReaderOutput<'a, T> {
    main: &'a mut dyn Output<T>,
    sides: &'a mut SideOutputs,
    /// `None` without a strategy.
    watermarks: Option<&'a mut SplitWatermarks<T>>,
    finished: &'a mut Vec<String>,
    emitted: u32,
    budget: u32,
}

impl<'a, T: 'static> ReaderOutput<'a, T> {
    pub(crate) fn new(
        outputs: &'a mut Outputs<T>,
        watermarks: Option<&'a mut SplitWatermarks<T>>,
        finished: &'a mut Vec<String>,
        budget: u32,
    ) -> Self {
        let (main, sides) = outputs.parts();
        Self {
            main,
            sides,
            watermarks,
            finished,
            emitted: 0,
            budget,
        }
    }

    /// Records emitted.
    pub(crate) fn emitted(&self) -> u32 {
        self.emitted
    }

    /// False once the reader should return: the task has other things to do, too.
    #[inline]
    pub fn wants_more(&self) -> bool {
        self.emitted < self.budget
    }

    /// Where the records of a split go. From the first call on the split counts as being read: one that then has no records for
    /// long is idle, where the strategy says so. Call it also for splits that are looked at and have none yet.
    ///
    /// # Errors
    /// When the reader was not given such a split, or has finished it.
    pub fn split(&mut self, id: &str) -> Result<SourceOutput<'_, T>, TaskError> {
        let stamper = match &mut self.watermarks {
            None => None,
            Some(watermarks) => {
                let split = watermarks
                    .index(id)
                    .ok_or_else(|| TaskError::operator(format!("there is no split `{id}` to emit records of")))?;
                Some(Stamper { watermarks, split })
            }
        };
        Ok(SourceOutput {
            main: &mut *self.main,
            sides: &mut *self.sides,
            stamper,
            emitted: self.emitted,
            budget: self.budget,
            totals: (&mut self.emitted, &mut self.budget),
        })
    }

    /// A split is read to its end: its watermark holds nothing back any more. When the reader has read all splits, it needs not
    /// say so of each.
    ///
    /// # Errors
    /// When the task cannot go on.
    pub fn finish_split(&mut self, id: &str) -> Result<(), TaskError> {
        if let Some(watermarks) = &mut self.watermarks {
            watermarks.finish(id, self.main, self.sides)?;
        }
        self.finished.push(id.to_owned());
        Ok(())
    }
}

/// Takes the records of one split.
pub struct SourceOutput<'a, T> {
    main: &'a mut dyn Output<T>,
    sides: &'a mut SideOutputs,
    stamper: Option<Stamper<'a, T>>,
    /// Counted here, where it can stay in a register, and only in the end told to the reader's output.
    emitted: u32,
    budget: u32,
    totals: (&'a mut u32, &'a mut u32),
}

struct Stamper<'a, T> {
    watermarks: &'a mut SplitWatermarks<T>,
    split: usize,
}

impl<T: 'static> SourceOutput<'_, T> {
    /// False once the reader should return: the task has other things to do, too.
    #[inline]
    pub fn wants_more(&self) -> bool {
        self.emitted < self.budget
    }

    /// Emits a record that has no timestamp of its own. Blocks under back-pressure.
    ///
    /// # Errors
    /// When the task cannot go on.
    #[inline]
    pub fn collect(&mut self, record: T) -> Result<(), TaskError> {
        self.collect_with_timestamp(record, NO_TIMESTAMP)
    }

    /// Emits a record with its timestamp, milliseconds since 1970. A strategy with a timestamp assigner replaces it.
    ///
    /// # Errors
    /// When the task cannot go on.
    #[inline]
    pub fn collect_with_timestamp(&mut self, record: T, timestamp: Timestamp) -> Result<(), TaskError> {
        self.emitted += 1;
        match &mut self.stamper {
            None => self.main.collect(record, timestamp),
            Some(Stamper { watermarks, split }) => watermarks.collect(*split, record, timestamp, self.main, self.sides),
        }
    }

    /// Something was read and is left out, such as a blank line: that takes time, too, and counts as a record for
    /// [`wants_more`](Self::wants_more).
    pub fn leave_out(&mut self) {
        self.budget = self.budget.saturating_sub(1);
    }

    /// Emits a record to the side output of that tag; it is dropped when nobody consumes that.
    ///
    /// # Errors
    /// When the task cannot go on, also when the consumers of the side output expect records of another type.
    pub fn collect_side<S: 'static>(&mut self, tag: &str, record: S) -> Result<(), TaskError> {
        self.leave_out();
        self.sides.collect(tag, record, NO_TIMESTAMP)
    }
}

impl<T> Drop for SourceOutput<'_, T> {
    #[inline]
    fn drop(&mut self) {
        *self.totals.0 = self.emitted;
        *self.totals.1 = self.budget;
    }
}

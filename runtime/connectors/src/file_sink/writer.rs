//! Writes the parts of one subtask.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    path::PathBuf,
};

use flink_record::Timestamp;
use flink_worker::{ProcessingTimeService, TaskError};

use super::{
    BucketAssigner, BucketContext, Encoder, FileCommittable, FileSink, FileSinkError, RollingPolicy, bucket, part::Part,
};
use crate::sink::{SinkWriter, SinkWriterContext, WriteContext};

/// Parts that may be being written at a time.
const MAX_OPEN_PARTS: usize = 256;

/// Writes the parts of one subtask.
pub struct FileWriter<E, B> {
    directory: PathBuf,
    encoder: E,
    rolling: RollingPolicy,
    buckets: B,
    subtask: u32,
    attempt: u32,
    clock: ProcessingTimeService,
    /// When to look at the time again; `None` when it does not matter.
    next_check: Option<Timestamp>,
    /// Number of the next part, in whichever bucket it is.
    next_part: u64,
    /// Without buckets.
    single: Option<Part<E>>,
    /// By bucket: when it was begun, counted in parts, and the part.
    open: BTreeMap<String, (u64, Part<E>)>,
    /// Closed, and not handed over yet.
    complete: Vec<FileCommittable>,
}

impl<E, B> FileWriter<E, B> {
    pub(super) fn open<T>(sink: &FileSink<E, B>, context: &SinkWriterContext<'_>) -> Result<Self, FileSinkError>
    where
        E: Encoder<T>,
        B: BucketAssigner<T>,
    {
        let clock = context.clock().clone();
        let check_interval = sink.rolling.check_interval();
        let next_check = check_interval.map(|interval| clock.now().saturating_add(interval));
        next_check.into_iter().for_each(|time| clock.call_at(time));
        let mut writer = Self {
            directory: sink.directory.clone(),
            encoder: sink.encoder.clone(),
            rolling: sink.rolling,
            buckets: sink.buckets.clone(),
            subtask: context.subtask(),
            attempt: context.attempt(),
            clock,
            next_check,
            next_part: 0,
            single: None,
            open: BTreeMap::new(),
            complete: Vec::new(),
        };
        if !B::HAS_BUCKETS {
            // Every subtask has a file, also one without records.
            writer.single = Some(writer.begin("")?);
        }
        Ok(writer)
    }

    fn begin<T>(&mut self, bucket: &str) -> Result<Part<E>, FileSinkError>
    where
        E: Encoder<T>,
    {
        let name = format!("part-{}-{}", self.subtask, self.next_part);
        let directory = self.directory.join(bucket);
        let part = Part::begin(&directory, &name, self.attempt, self.encoder.clone(), self.clock.now())?;
        self.next_part += 1;
        Ok(part)
    }

    fn complete<T>(&mut self, part: Part<E>) -> Result<(), FileSinkError>
    where
        E: Encoder<T>,
    {
        self.complete.push(part.close()?);
        Ok(())
    }

    #[inline]
    fn write_single<T>(&mut self, record: &T) -> Result<(), FileSinkError>
    where
        E: Encoder<T>,
    {
        let part = match &mut self.single {
            Some(part) => part,
            None => {
                let part = self.begin("")?;
                self.single.insert(part)
            }
        };
        let bytes = part.write(record)?;
        if self.rolling.is_full(bytes)
            && let Some(part) = self.single.take()
        {
            self.complete(part)?;
        }
        Ok(())
    }

    fn write_to_bucket<T>(&mut self, record: &T, context: WriteContext) -> Result<(), FileSinkError>
    where
        E: Encoder<T>,
        B: BucketAssigner<T>,
    {
        let context = BucketContext::new(context, &self.clock);
        let bucket = self.buckets.bucket(record, &context);
        let bucket = bucket.map_err(FileSinkError::NoBucket)?;
        if !self.open.contains_key(&bucket) {
            bucket::check(&bucket)?;
            self.make_room()?;
            let part = (self.next_part, self.begin(&bucket)?);
            self.open.insert(bucket.clone(), part);
        }
        let Entry::Occupied(mut entry) = self.open.entry(bucket) else {
            return Ok(());
        };
        let bytes = entry.get_mut().1.write(record)?;
        if self.rolling.is_full(bytes) {
            let (_, part) = entry.remove();
            self.complete(part)?;
        }
        Ok(())
    }

    /// Completes the part that was begun first when there are too many.
    fn make_room<T>(&mut self) -> Result<(), FileSinkError>
    where
        E: Encoder<T>,
    {
        if self.open.len() < MAX_OPEN_PARTS {
            return Ok(());
        }
        let first = self.open.iter().min_by_key(|(_, (number, _))| *number);
        let first = first.map(|(bucket, _)| bucket.clone());
        match first.and_then(|bucket| self.open.remove(&bucket)) {
            Some((_, part)) => self.complete(part),
            None => Ok(()),
        }
    }

    /// Completes the parts whose time is over.
    fn check_time<T>(&mut self, now: Timestamp) -> Result<(), FileSinkError>
    where
        E: Encoder<T>,
    {
        let rolling = self.rolling;
        let mut is_over = |part: &mut Part<E>| {
            part.activity.look(now);
            rolling.is_over(&part.activity, now)
        };
        let single = self.single.take_if(&mut is_over);
        let over: Vec<String> = self
            .open
            .iter_mut()
            .filter_map(|(bucket, (_, part))| is_over(part).then(|| bucket.clone()))
            .collect();
        let over = over
            .iter()
            .filter_map(|bucket| self.open.remove(bucket))
            .map(|(_, part)| part);
        let over: Vec<Part<E>> = single.into_iter().chain(over).collect();
        over.into_iter().try_for_each(|part| self.complete(part))
    }

    fn complete_all<T>(&mut self) -> Result<(), FileSinkError>
    where
        E: Encoder<T>,
    {
        let open = std::mem::take(&mut self.open).into_values().map(|(_, part)| part);
        let parts: Vec<Part<E>> = self.single.take().into_iter().chain(open).collect();
        parts.into_iter().try_for_each(|part| self.complete(part))
    }
}

impl<T, E: Encoder<T>, B: BucketAssigner<T>> SinkWriter<T> for FileWriter<E, B> {
    type Committable = FileCommittable;

    #[inline]
    fn write(&mut self, record: T, context: WriteContext) -> Result<(), TaskError> {
        let written = if B::HAS_BUCKETS {
            self.write_to_bucket(&record, context)
        } else {
            self.write_single(&record)
        };
        written.map_err(TaskError::operator)
    }

    fn flush(&mut self, end_of_input: bool) -> Result<(), TaskError> {
        if end_of_input {
            self.complete_all().map_err(TaskError::operator)?;
        }
        Ok(())
    }

    fn has_committables(&self) -> bool {
        !self.complete.is_empty()
    }

    fn prepare_commit(&mut self) -> Result<Vec<FileCommittable>, TaskError> {
        Ok(std::mem::take(&mut self.complete))
    }

    fn processing_time(&mut self, now: Timestamp) -> Result<(), TaskError> {
        let Some(next_check) = self.next_check else {
            return Ok(());
        };
        if now >= next_check {
            self.check_time(now).map_err(TaskError::operator)?;
            let interval = self.rolling.check_interval();
            self.next_check = interval.map(|interval| now.saturating_add(interval));
        }
        self.next_check.into_iter().for_each(|time| self.clock.call_at(time));
        Ok(())
    }
}

impl<E, B> Drop for FileWriter<E, B> {
    fn drop(&mut self) {
        for file in &self.complete {
            // Nothing more can be done about a file that cannot be removed; it stays hidden.
            let _left = fs::remove_file(&file.hidden);
        }
    }
}

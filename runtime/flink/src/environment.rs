//! Where a job begins: the environment in which its streams are declared.

use std::{ops::RangeInclusive, path::Path, time::Duration};

use flink_connectors::{
    CollectionSource, IteratorSource, SequenceSource, TextFileSource,
    source::{AlignmentGroups, Boundedness, Source, source_factory},
};
use flink_record::Record;
use flink_worker::{JobProgram, WatermarkStrategy, operators::Emission};

use crate::{DataStream, Error, Result, declared::Declared};

/// Whether a job treats its input as endless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RuntimeMode {
    /// The input may never end: keyed aggregations emit each new result, as records come.
    #[default]
    Streaming,
    /// The input ends (sources that do not are refused): keyed aggregations emit the last result of each key, once, at the end. Faster, since most
    /// results are never made.
    Batch,
}

/// Declares the streams of one job.
///
/// A program gets one in its `build` function. Nothing runs while a job is being declared.
pub struct StreamExecutionEnvironment {
    declared: Declared,
    alignment_groups: AlignmentGroups,
    mode: RuntimeMode,
    /// Sources that never end, by name.
    unbounded: Vec<String>,
}

impl StreamExecutionEnvironment {
    pub(crate) fn new(job_name: String, default_parallelism: u32) -> Self {
        Self {
            declared: Declared::new(job_name, default_parallelism),
            alignment_groups: AlignmentGroups::default(),
            mode: RuntimeMode::default(),
            unbounded: Vec::new(),
        }
    }

    pub(crate) fn finish(&self) -> Result<JobProgram> {
        if let (RuntimeMode::Batch, Some(source)) = (self.mode, self.unbounded.first()) {
            return Err(Error::msg(format!(
                "the source `{source}` never ends, and in batch mode results are emitted at the end"
            )));
        }
        self.declared.finish()
    }

    /// Names the job. Without it, the job has the name of the program's file.
    pub fn set_job_name(&mut self, name: impl Into<String>) -> &mut Self {
        self.declared.set_name(name.into());
        self
    }

    /// Sets whether the job treats its input as endless; see [`RuntimeMode`]. Default: [`RuntimeMode::Streaming`]. To be called
    /// before keyed aggregations are declared: which operators these are made of depends on it.
    pub fn set_runtime_mode(&mut self, mode: RuntimeMode) -> &mut Self {
        self.mode = mode;
        let emission = match mode {
            RuntimeMode::Streaming => Emission::Rolling,
            RuntimeMode::Batch => Emission::Final,
        };
        self.declared.set_emission(emission);
        self
    }

    /// The parallelism of operators that set none: what the job was started with, unless the program has set it.
    pub fn parallelism(&self) -> u32 {
        self.declared.parallelism()
    }

    /// Sets the parallelism of operators that are declared from now on and set none. Overrides what the job is started with
    /// (`-p`): a program does better to leave it alone.
    pub fn set_parallelism(&mut self, parallelism: u32) -> &mut Self {
        self.declared.set_parallelism(parallelism);
        self
    }

    /// Sets the number of key groups of operators that are declared from now on and set none, 1 to 32768: the highest parallelism
    /// that the job can ever be rescaled to. Default: derived from the parallelism, 128 at least.
    pub fn set_max_parallelism(&mut self, max_parallelism: u32) -> &mut Self {
        self.declared.set_max_parallelism(max_parallelism);
        self
    }

    /// Sets how long a record may wait in a buffer that does not fill up. Default: 100 ms. Zero sends each record at once,
    /// at a high price in throughput; `Duration::MAX` waits for full buffers.
    pub fn set_buffer_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.declared.configure(|config| config.buffer_timeout = timeout);
        self
    }

    /// Sets the time between two periodic watermarks of an operator. Default: 200 ms. Every watermark goes to all consumers and
    /// makes them flush their buffers: below some milliseconds that costs throughput.
    pub fn set_auto_watermark_interval(&mut self, interval: Duration) -> &mut Self {
        self.declared
            .configure(|config| config.auto_watermark_interval = interval);
        self
    }

    /// Runs every operator in a task of its own: for finding out where time goes.
    pub fn disable_operator_chaining(&mut self) -> &mut Self {
        self.declared.disable_chaining();
        self
    }

    /// The lines of text files, without their ends (`\n` or `\r\n`). The files are split by bytes among the subtasks;
    /// each line is read exactly once. Lines of one subtask come in their order, files in the order of their names.
    ///
    /// `path` is a file, a directory (with all directories below it, without files whose names begin with `.` or `_`), or, when
    /// there is no such thing, a pattern with `*`, `?` or `[`. It is read on the hosts of the workers: each must see the same files,
    /// which must not change while the job starts. Text that is not UTF-8, a line over 64 MiB and a path that
    /// cannot be read fail the job.
    pub fn read_text_file(&mut self, path: impl AsRef<Path>) -> DataStream<String> {
        self.add_source(TextFileSource::new(path))
    }

    /// The numbers from the first to the last, both included, split evenly among the subtasks.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// env.from_sequence(1..=1_000_000).filter(|number| number % 2 == 0).discard();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn from_sequence(&mut self, numbers: RangeInclusive<u64>) -> DataStream<u64> {
        self.add_source(SequenceSource::new(*numbers.start(), *numbers.end()))
    }

    /// The elements of a collection, in their order, from one subtask. The collection is part of the program: use it for
    /// small things.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// env.from_collection(["to", "be"].map(String::from)).print();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn from_collection<T: Record + Clone>(&mut self, records: impl IntoIterator<Item = T>) -> DataStream<T> {
        self.add_source(CollectionSource(records.into_iter().collect()))
    }

    /// What an iterator per subtask yields: `make(subtask, parallelism)` makes it, with the subtask counted from 0. The closure
    /// must make the same iterator whenever it is asked for the same subtask.
    ///
    /// An iterator that waits inside `next` holds up its task: what it yielded before may be sent late.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// let multiples = |subtask, parallelism| (u64::from(subtask)..1000).step_by(parallelism as usize);
    /// env.from_parallel_iterator(multiples).discard();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn from_parallel_iterator<T, I, F>(&mut self, make: F) -> DataStream<T>
    where
        T: Record,
        I: Iterator<Item = T> + 'static,
        F: Fn(u32, u32) -> I + Send + 'static,
    {
        self.add_source(IteratorSource::new(make))
    }

    /// The records of a source, with the timestamps and watermarks of a strategy, which are made for each of its splits by itself:
    /// one that is slow holds back the watermark, and none makes the records of another late. The name is for people.
    ///
    /// [`WatermarkStrategy::no_watermarks`] leaves records as they come and costs nothing.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// use std::time::Duration;
    ///
    /// use flink::{DataGeneratorSource, WatermarkStrategy};
    ///
    /// // Timestamps 0, 10, 20 ... ms, a thousand records a second.
    /// let source = DataGeneratorSource::new(|index| index * 10).count(100).records_per_second(1000.0);
    /// let strategy = WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_millis(50))
    ///     .with_timestamp_assigner(|millis: &u64, _| *millis as i64);
    /// env.from_source(source, strategy, "clock").discard();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn from_source<S: Source>(
        &mut self,
        source: S,
        strategy: WatermarkStrategy<S::Record>,
        name: impl Into<String>,
    ) -> DataStream<S::Record>
    where
        S::Record: Record,
    {
        self.add_source_as(source, strategy, name.into())
    }

    fn add_source<S: Source>(&mut self, source: S) -> DataStream<S::Record>
    where
        S::Record: Record,
    {
        let name = source.name();
        self.add_source_as(source, WatermarkStrategy::no_watermarks(), name)
    }

    fn add_source_as<S: Source>(
        &mut self,
        source: S,
        strategy: WatermarkStrategy<S::Record>,
        name: String,
    ) -> DataStream<S::Record>
    where
        S::Record: Record,
    {
        let parallelism = source.fixed_parallelism();
        if source.boundedness() == Boundedness::Unbounded {
            self.unbounded.push(name.clone());
        }
        let factory = source_factory(source, strategy, &mut self.alignment_groups);
        let node = self.declared.add_source::<S::Record>(name, parallelism, factory);
        DataStream::of_node(self.declared.clone(), node)
    }
}

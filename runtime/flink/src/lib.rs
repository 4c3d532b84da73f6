//! Stream processing jobs as ordinary Rust programs.
//!
//! A job program declares its dataflow in a `build` function and hands it to [`run`], its whole `main`:
//!
//! ```
//! use std::process::ExitCode;
//!
//! use flink::{Result, RuntimeMode, StreamExecutionEnvironment};
//!
//! fn build(env: &mut StreamExecutionEnvironment) -> Result<()> {
//!     env.set_runtime_mode(RuntimeMode::Batch);
//!     env.from_collection(["to be or", "not to be"].map(String::from))
//!         .flat_map_with(|line, out| out.extend(line.split(' ').map(str::to_owned)))
//!         .key_by_ref(|word| word)
//!         .count()
//!         .map(|(word, count)| format!("{word},{count}"))
//!         .print();
//!     Ok(())
//! }
//!
//! fn main() -> ExitCode {
//!     flink::run(build)
//! }
//! ```
//!
//! Started by itself (`cargo run`), the program runs its job in a local cluster inside the process. Started by
//! `flinkctl job run`, the same program file declares the job for the cluster and runs its tasks on the workers' hosts.
//! `build` is called in each of these processes and must declare the same job everywhere: it depends on nothing but its
//! arguments, and changes nothing. Arguments are the program's own clap type; see [`run`]. A program with several jobs is an
//! [`Application`].
//!
//! The names are those of Apache Flink's DataStream API: [`StreamExecutionEnvironment`], [`DataStream`], [`KeyedStream`].
//! Records are values of types that implement [`Record`]: numbers, strings, tuples, vectors, options of such.

mod application;
mod declared;
mod environment;
mod error;
mod run;
mod stream;

pub use application::{Application, ApplicationContext, Driver, JobClient, JobError, JobExecutionResult, Refusal};
pub use environment::{RuntimeMode, StreamExecutionEnvironment};
pub use error::{Error, Result};
pub use flink_connectors::{
    BucketAssigner, BucketContext, DataGeneratorSource, DateTimeBuckets, Encoder, FileSink, FileSource,
    MalformedRecord, OnParseError, RollingPolicy, SocketTextSource, TextFileSource, sink, sink::Sink, source,
    source::Source,
};
#[cfg(feature = "csv")]
pub use flink_connectors::{CsvEncoder, CsvSource};
#[cfg(feature = "json")]
pub use flink_connectors::{JsonLinesEncoder, JsonLinesSource};
#[cfg(feature = "parquet")]
pub use flink_connectors::{ParquetEncoder, ParquetSchemaError, ParquetSource};
pub use flink_graph::{AccumulatorConflict, AccumulatorNumber, AccumulatorValue, Accumulators, JobId, JobStatus};
pub use flink_record::{DecodeError, Key, NO_TIMESTAMP, Record, RecordView, Schema, Serde, Timestamp, schema};
pub use flink_state::{
    AggregateFunction, AggregatingState, AggregatingStateDescriptor, BroadcastState, ListState, ListStateDescriptor,
    MapState, MapStateDescriptor, ReadOnlyBroadcastState, ReducingState, ReducingStateDescriptor, StateTtlConfig,
    StateVisibility, UpdateType, ValueState, ValueStateDescriptor,
};
pub use flink_worker::functions::{
    Accumulator, AccumulatorError, AverageAccumulator, BroadcastContext, BroadcastProcessFunction, CoProcessFunction,
    DoubleCounter, DoubleMaximum, DoubleMinimum, FunctionError, FunctionResult, KeyedBroadcastProcessFunction,
    KeyedCoProcessFunction, KeyedContext, KeyedProcessFunction, KeyedRuntimeContext, LongCounter, LongMaximum,
    LongMinimum, OnTimerContext, OutputTag, ProcessContext, ProcessFunction, RuntimeContext, SendFunction, TimeDomain,
    TimerService,
};
pub use flink_worker::functions::{Gauge, MetricError, MetricGroup};
pub use flink_worker::operators::{
    AsyncRetryStrategy, Collector, IntervalJoinContext, KeyBy, KeyByRef, KeySelector, Summable,
};
pub use flink_worker::windows::{
    ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountEvictor, CountTrigger, DeltaEvictor,
    DeltaTrigger, EventTimeSessionWindows, EventTimeTrigger, Evictor, GlobalWindow, GlobalWindows, NeverTrigger,
    ProcessWindowFunction, ProcessingTimeSessionWindows, ProcessingTimeTrigger, ProcessingTimeoutTrigger,
    PurgingTrigger, SlidingEventTimeWindows, SlidingProcessingTimeWindows, TimeEvictor, TimeWindow, TimestampedValue,
    Trigger, TriggerContext, TriggerOutcome, TriggerResult, TumblingEventTimeWindows, TumblingProcessingTimeWindows,
    Window, WindowAssigner, WindowAssignerContext, WindowContext, WindowRuntimeContext,
};
pub use flink_worker::{Counter, Either, TaskError, WatermarkGenerator, WatermarkOutput, WatermarkStrategy};
pub use run::{Build, run};
pub use stream::{
    AllWindowedStream, AsyncDataStream, BroadcastConnectedStream, CoGroup, CoGroupedStreams, ConnectedStreams,
    DataStream, DataStreamSink, IntervalJoined, Join, JoinedStreams, KeyedBroadcastConnectedStream,
    KeyedConnectedStreams, KeyedStream, PairedEqualTo, PairedStreams, PairedWhere, Printable, WindowedPair,
    WindowedStream,
};

#[doc(hidden)]
pub use run::{doc_test, run_for_test};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The snippets of the user guide are compiled, and run where they can be.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-a-job.md")]
struct WritingAJob;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/quickstart.md")]
struct QuickStart;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/event-time.md")]
struct EventTime;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/windows.md")]
struct Windows;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/state.md")]
struct State;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/connecting-streams.md")]
struct ConnectingStreams;

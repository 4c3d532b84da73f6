//! The data plane: records from task to task, between the workers of one job.
//!
//! A [`NetworkEnvironment`] is one worker's UDP endpoint. A producer subtask writes through a [`RecordWriter`], a consumer
//! subtask reads through an [`InputGate`]; between them lies one logical channel per pair of subtasks:
//!
//! - **Between workers** a channel is one unidirectional QUIC stream on the one connection of the two workers. The stream's
//!   window is the channel's credit, so a slow consumer stalls its own channel and no other. Task threads encode, write to
//!   and read from their streams themselves; the I/O thread only moves packets.
//! - **Inside a worker** a channel passes batches of typed records through a bounded queue, without serialization.
//!
//! Records of a channel arrive exactly once and in order, or the channel fails at both ends: a producer that does not
//! [`finish`](RecordWriter::finish) is never mistaken for one that did. Nothing is sent again after a failure; replay is
//! the checkpoints' business.
//!
//! Alternatives refused: one task and queue per stream (twice the wake-ups, 20 % more CPU, measured), credits of our own over
//! TCP (QUIC has them), one multiplexed stream per pair (head-of-line blocking between channels).
//!
//! Everything that waits is bounded: a channel by its stream window (256 KiB by default) or four batches, streams whose consumer has
//! not come by 64 per connection beyond the expected ones, a connection's unacknowledged data by 16 MiB.

mod channel;
mod config;
mod environment;
mod error;
mod flush;
mod frame;
mod gate;
mod local;
mod pool;
mod registry;
mod remote;
mod selector;
mod signal;
mod transport;
mod writer;

pub use channel::{ChannelId, ChannelMetrics, Event, Peer, Transport, WatermarkStatus};
pub use config::NetworkConfig;
pub use environment::NetworkEnvironment;
pub use error::{ExchangeError, StartError};
pub use gate::{GateStatus, InputGate};
pub use selector::{ChannelSelector, First, RoundRobin, Shuffle};
pub use signal::TaskSignal;
pub use writer::{DEFAULT_BUFFER_TIMEOUT, RecordWriter};

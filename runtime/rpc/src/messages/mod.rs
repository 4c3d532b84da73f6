//! What the processes of a cluster say to one another, a module per pair of roles.
//!
//! Encoded with postcard: fields and variants are only ever appended, and a change that cannot be one bumps
//! [`PROTOCOL_VERSION`].

mod client;
mod coordination;
mod program;
mod startup;
mod task_manager;
mod worker;

pub use client::{
    AttachMode, ChannelDetails, ClientRequest, ClusterStatus, Fault, HostFault, JobDetails, JobEvent, JobReport,
    JobSubmission, JobSummary, OutputChunk, ProvisioningEvent, ProvisioningStage, SubtaskDetails, TaskManagerDetails,
    VertexDetails,
};
pub use coordination::{
    COORDINATOR_WINDOW, CoordinatorStartup, EventPayload, EventTooLong, EventsHandled, FromCoordinator,
    MAX_OPERATOR_EVENT, MAX_WAITING_BYTES, MAX_WAITING_EVENTS, OperatorEvent, SUBTASK_WINDOW, ToCoordinator,
    coordinator_queue,
};
pub use program::{DriverFailure, FromProgram, JobTermination, ToProgram, program_marker, protocol_of_program};
pub use startup::TaskManagerStartup;
pub use task_manager::{
    BlobHeader, BlobRequest, FromTaskManager, JobSpec, Registered, Registration, SlotRequest, TaskManagerRequest,
    ToTaskManager,
};
pub use worker::{
    ChannelMetrics, CollectAck, CollectHeader, FromWorker, MetricValue, OperatorMetric, TaskMetrics, ToWorker,
    Transport, UMASK_VARIABLE, WorkerMetrics, WorkerRequest, WorkerStartup,
};

use serde::{Deserialize, Serialize};

/// Version of everything in this module. Processes of different versions refuse one another.
pub const PROTOCOL_VERSION: u32 = 2;

/// SHA-256 of a blob's bytes: its name everywhere. Prints as 64 lower-case hex digits, as `sha256sum` does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlobDigest(pub [u8; 32]);

impl std::fmt::Display for BlobDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for BlobDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobDigest({self})")
    }
}

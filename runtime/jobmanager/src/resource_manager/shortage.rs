//! What there is and what is missing, in numbers.

use std::time::Duration;

use flink_graph::JobId;

/// What can be had beside the TaskManagers that are there or on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Capacity {
    /// Hosts on which a TaskManager can be started now.
    pub(super) startable_hosts: u32,
    /// Slots of these.
    pub(super) startable_slots: u32,
    /// Slots of hosts whose last TaskManager is just ending in good order.
    pub(super) returning_slots: u32,
    /// TaskManagers may come by themselves: no demand is too high.
    pub(super) unbounded: bool,
}

/// Why a job does not get its slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// Slots that the job needs.
    pub(crate) required: u32,
    /// Slots that it could have.
    pub(crate) offer: u32,
    /// TaskManagers that are there or on their way.
    pub(crate) task_managers: u32,
    /// Their slots.
    pub(crate) slots: u32,
    /// Slots that other jobs have.
    pub(crate) used_by_others: Vec<(JobId, u32)>,
    /// Hosts that can still be started.
    pub(crate) startable: u32,
    /// TaskManagers are started by somebody else: more may come, and none can be asked for.
    pub(crate) standalone: bool,
    /// How long the job has waited.
    pub(crate) waited: Duration,
}

//! Slots, and which task is where.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{AllocationId, TaskManagerId};

/// A slot that a TaskManager holds ready for the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotOffer {
    /// The slot's assignment to the job.
    pub allocation: AllocationId,
    /// The TaskManager.
    pub task_manager: TaskManagerId,
    /// Its host's name.
    pub host: String,
    /// Where the job's worker there takes data connections.
    pub data_address: SocketAddr,
}

/// The job's worker on one TaskManager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerAddress {
    /// The TaskManager.
    pub task_manager: TaskManagerId,
    /// Its host's name.
    pub host: String,
    /// Where the worker takes data connections.
    pub data_address: SocketAddr,
}

/// Where each task of a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The job's workers.
    pub workers: Vec<WorkerAddress>,
    /// By vertex and subtask: index into `workers`.
    pub assignment: Vec<Vec<u32>>,
    /// By vertex and subtask: the number of the attempt that is placed.
    pub attempts: Vec<Vec<u32>>,
}

impl Placement {
    /// The worker of a subtask; `None` when there is no such subtask.
    pub fn worker(&self, vertex: u32, subtask: u32) -> Option<&WorkerAddress> {
        let worker = self.assignment.get(vertex as usize)?.get(subtask as usize)?;
        self.workers.get(*worker as usize)
    }

    /// The attempt of a subtask; `None` when there is no such subtask.
    pub fn attempt(&self, vertex: u32, subtask: u32) -> Option<u32> {
        self.attempts.get(vertex as usize)?.get(subtask as usize).copied()
    }
}

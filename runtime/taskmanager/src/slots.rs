//! Which slots a TaskManager has given to which worker.

use std::collections::BTreeMap;

use flink_graph::{AllocationId, JobId};

use crate::supervision::WorkerId;

/// What a slot that is not free is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// Promised to a job whose worker is not ready yet.
    Allocated,
    /// Offered to the job: its worker takes tasks.
    Active,
}

/// A slot that is not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The job that has it.
    pub job: JobId,
    /// The worker that runs its tasks. A slot lives and dies with its worker.
    pub worker: WorkerId,
    /// How far it is.
    pub state: SlotState,
}

/// The slots of one TaskManager: at most `capacity`, each free or of one job.
#[derive(Debug)]
pub struct SlotTable {
    capacity: usize,
    taken: BTreeMap<AllocationId, Slot>,
}

impl SlotTable {
    /// `capacity` free slots.
    pub fn new(capacity: u32) -> Self {
        Self {
            capacity: capacity as usize,
            taken: BTreeMap::new(),
        }
    }

    /// Number of free slots.
    pub fn free(&self) -> usize {
        self.capacity.saturating_sub(self.taken.len())
    }

    /// The slot with this id, if it is taken.
    pub fn get(&self, allocation: AllocationId) -> Option<&Slot> {
        self.taken.get(&allocation)
    }

    /// Promises a slot to a worker. Returns false, and changes nothing, when none is free or the id is in use.
    pub fn allocate(&mut self, allocation: AllocationId, job: JobId, worker: WorkerId) -> bool {
        if self.free() == 0 || self.taken.contains_key(&allocation) {
            return false;
        }
        self.taken.insert(
            allocation,
            Slot {
                job,
                worker,
                state: SlotState::Allocated,
            },
        );
        true
    }

    /// Makes the worker's promised slots active and returns those that were not yet.
    pub fn activate(&mut self, worker: WorkerId) -> Vec<AllocationId> {
        let promised = self.taken.iter_mut().filter(|(_, slot)| slot.worker == worker);
        promised
            .filter(|(_, slot)| slot.state == SlotState::Allocated)
            .map(|(allocation, slot)| {
                slot.state = SlotState::Active;
                *allocation
            })
            .collect()
    }

    /// Frees one slot; returns whose it was.
    pub fn release(&mut self, allocation: AllocationId) -> Option<Slot> {
        self.taken.remove(&allocation)
    }

    /// Frees all slots of a worker and returns them.
    pub fn release_worker(&mut self, worker: WorkerId) -> Vec<AllocationId> {
        let gone: Vec<_> = self
            .taken
            .iter()
            .filter(|(_, slot)| slot.worker == worker)
            .map(|(allocation, _)| *allocation)
            .collect();
        for allocation in &gone {
            self.taken.remove(allocation);
        }
        gone
    }

    /// True while a worker has a slot.
    pub fn has_worker(&self, worker: WorkerId) -> bool {
        self.taken.values().any(|slot| slot.worker == worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocation(number: u8) -> AllocationId {
        AllocationId::from_bytes([number; 16])
    }

    #[test]
    fn a_slot_goes_from_free_to_allocated_to_active_and_back() {
        let (job, worker) = (JobId::from_bytes([1; 16]), WorkerId(7));
        let mut slots = SlotTable::new(2);
        assert!(slots.allocate(allocation(1), job, worker));
        assert_eq!(
            slots.get(allocation(1)).map(|slot| slot.state),
            Some(SlotState::Allocated)
        );
        assert_eq!(slots.activate(worker), [allocation(1)]);
        assert_eq!(slots.activate(worker), [], "each slot is offered once");
        assert_eq!(slots.release(allocation(1)).map(|slot| slot.worker), Some(worker));
        assert!(!slots.has_worker(worker));
        assert_eq!(slots.free(), 2);
    }

    #[test]
    fn no_more_slots_are_given_than_there_are_and_none_twice() {
        let job = JobId::from_bytes([1; 16]);
        let mut slots = SlotTable::new(2);
        assert!(slots.allocate(allocation(1), job, WorkerId(1)));
        assert!(!slots.allocate(allocation(1), job, WorkerId(2)));
        assert!(slots.allocate(allocation(2), job, WorkerId(2)));
        assert!(!slots.allocate(allocation(3), job, WorkerId(2)));
        assert_eq!(slots.release_worker(WorkerId(1)), [allocation(1)]);
        assert_eq!(slots.free(), 1);
    }
}

//! The slots of a job: which are held, and which subtasks share which.

use std::collections::BTreeMap;

use super::{SlotOffer, WorkerAddress};
use crate::{AllocationId, JobGraph, TaskManagerId};

/// The slots that a job holds.
#[derive(Debug)]
pub(super) struct Slots {
    required: usize,
    /// By vertex: the slot of its subtask 0; subtask i has the i-th after it.
    first_slots: Vec<usize>,
    held: BTreeMap<AllocationId, SlotOffer>,
}

impl Slots {
    /// Subtask i of each vertex of a slot sharing group is in slot i of the group, so that along pointwise edges
    /// between equal parallelisms all channels stay in one worker (the effect of Flink's
    /// `LocalInputPreferredSlotSharingStrategy`).
    pub(super) fn of(graph: &JobGraph) -> Self {
        let mut first_of_group = BTreeMap::new();
        let mut required = 0;
        for (group, width) in graph.slot_sharing_groups() {
            first_of_group.insert(group, required);
            required += width as usize;
        }
        let first_slots = graph
            .vertices
            .iter()
            .map(|vertex| first_of_group[vertex.slot_sharing_group.as_str()]);
        Self {
            required,
            first_slots: first_slots.collect(),
            held: BTreeMap::new(),
        }
    }

    /// How many slots the job needs.
    pub(super) fn required(&self) -> u32 {
        self.required as u32
    }

    /// Whether all needed slots are held.
    pub(super) fn are_complete(&self) -> bool {
        self.held.len() == self.required
    }

    /// Takes what is needed of an offer; the rest is returned. An offer of a slot that is held already is a repetition.
    pub(super) fn take(&mut self, offers: Vec<SlotOffer>) -> Vec<SlotOffer> {
        let mut surplus = Vec::new();
        for offer in offers {
            if self.holds(offer.allocation) {
                continue;
            } else if self.are_complete() {
                surplus.push(offer);
            } else {
                self.held.insert(offer.allocation, offer);
            }
        }
        surplus
    }

    pub(super) fn holds(&self, allocation: AllocationId) -> bool {
        self.held.contains_key(&allocation)
    }

    /// Lets go of the slots of one TaskManager.
    pub(super) fn remove(&mut self, task_manager: TaskManagerId) -> Vec<AllocationId> {
        self.held
            .extract_if(.., |_, slot| slot.task_manager == task_manager)
            .map(|(allocation, _)| allocation)
            .collect()
    }

    /// Lets go of all slots.
    pub(super) fn remove_all(&mut self) -> Vec<AllocationId> {
        std::mem::take(&mut self.held).into_keys().collect()
    }

    /// The workers that the slots are in, and by slot the index of its worker. Slots are ordered so that neighbours are
    /// in one TaskManager, then on one host: rescale edges connect neighbours.
    pub(super) fn workers(&self) -> (Vec<WorkerAddress>, Vec<u32>) {
        let mut slots: Vec<&SlotOffer> = self.held.values().collect();
        slots.sort_by(|a, b| (&a.host, a.task_manager, a.allocation).cmp(&(&b.host, b.task_manager, b.allocation)));
        let mut workers: Vec<WorkerAddress> = Vec::new();
        let mut worker_of_slot = Vec::with_capacity(slots.len());
        for slot in slots {
            if workers
                .last()
                .is_none_or(|worker| worker.task_manager != slot.task_manager)
            {
                let SlotOffer {
                    allocation: _,
                    task_manager,
                    host,
                    data_address,
                } = slot.clone();
                workers.push(WorkerAddress {
                    task_manager,
                    host,
                    data_address,
                });
            }
            worker_of_slot.push(workers.len() as u32 - 1);
        }
        (workers, worker_of_slot)
    }

    /// The slot of a subtask, as an index into what [`Self::workers`] returns.
    pub(super) fn index(&self, vertex: usize, subtask: usize) -> usize {
        self.first_slots[vertex] + subtask
    }
}

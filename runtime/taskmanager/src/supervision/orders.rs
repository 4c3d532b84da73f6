//! What the JobManager orders.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use flink_graph::{AllocationId, ExecutionAttemptId, ExecutionState, JobId, TaskFailure};
use flink_process::life::Manner;
use flink_rpc::messages::{FromTaskManager, JobSpec, SlotRequest, ToTaskManager, ToWorker};
use tracing::{debug, info};

use super::{Action, Outcome, Phase, TaskManagerState, Worker, WorkerId, sort_allocations};
use crate::failure;

impl TaskManagerState {
    pub(super) fn ordered(&mut self, now: Instant, order: ToTaskManager) {
        if self.closing.is_some() || !self.link.is_joined() {
            return;
        }
        match order {
            ToTaskManager::RequestSlots(request) => self.request_slots(request),
            ToTaskManager::FreeSlots(allocations) => self.free_allocations(now, &allocations),
            ToTaskManager::Deploy { job, placement, tasks } => match self.ready_worker(job) {
                Some(worker) => self.do_(Action::Send {
                    worker,
                    message: ToWorker::Deploy { placement, tasks },
                }),
                None => self.answer_for_tasks(tasks, ExecutionState::Failed),
            },
            ToTaskManager::CancelTasks(tasks) => self.cancel_tasks(tasks),
            ToTaskManager::OperatorEvent(event) => {
                self.pass_on(event.attempt.job, ToWorker::OperatorEvent(event));
            }
            ToTaskManager::EventsHandled(handled) => {
                self.pass_on(handled.attempt.job, ToWorker::EventsHandled(handled));
            }
            ToTaskManager::Shutdown => self.close(now, Outcome::ShutDown, Manner::Orderly),
        }
    }

    /// To a job's worker, from its coordinator. Without a worker it is dropped: the JobManager knows of the worker's end
    /// by then, or hears of it next, and drops what it had sent there.
    fn pass_on(&mut self, job: JobId, message: ToWorker) {
        if let Some(worker) = self.ready_worker(job) {
            self.do_(Action::Send { worker, message });
        }
    }

    /// All slots of a request are given, or none. Ids that the job has here already are passed over.
    fn request_slots(&mut self, request: SlotRequest) {
        let SlotRequest { job, allocations, spec } = request;
        let (fresh, foreign) = sort_allocations(&self.slots, job, allocations);
        let free = self.slots.free();
        let obstacle = if foreign {
            Some("a requested slot is another job's".to_owned())
        } else if fresh.len() > free {
            Some(format!(
                "{} slots were requested, {free} of {} are free",
                fresh.len(),
                self.limits.slots
            ))
        } else {
            None
        };
        if let Some(reason) = obstacle {
            let failure = failure::no_slots(&self.limits.host, &reason);
            return self.report(FromTaskManager::SlotsRefused {
                job,
                allocations: fresh,
                failure,
            });
        }
        if fresh.is_empty() {
            return;
        }
        let worker = self.current_worker(job).unwrap_or_else(|| self.add_worker(job, spec));
        for allocation in fresh {
            self.slots.allocate(allocation, job, worker);
        }
        self.offer(worker);
    }

    fn add_worker(&mut self, job: JobId, spec: Arc<JobSpec>) -> WorkerId {
        self.next_worker += 1;
        let id = WorkerId(self.next_worker);
        let artifact = spec.artifact;
        info!(%job, worker = %id, %artifact, "starting a worker");
        if !self.workers.values().any(|worker| worker.fetches(artifact)) {
            self.do_(Action::Fetch(artifact));
        }
        self.workers.insert(
            id,
            Worker {
                job,
                phase: Phase::Fetching { spec },
            },
        );
        id
    }

    fn free_allocations(&mut self, now: Instant, allocations: &[AllocationId]) {
        let mut touched = BTreeSet::new();
        for allocation in allocations {
            match self.slots.release(*allocation) {
                Some(slot) => {
                    touched.insert(slot.worker);
                }
                // Its worker was lost while the order travelled.
                None => debug!(%allocation, "slot to free is free already"),
            }
        }
        for worker in touched {
            if !self.slots.has_worker(worker) {
                self.end_worker(now, worker, Manner::Orderly);
            }
        }
    }

    fn cancel_tasks(&mut self, tasks: Vec<ExecutionAttemptId>) {
        let jobs: BTreeSet<JobId> = tasks.iter().map(|task| task.job).collect();
        for job in jobs {
            let tasks = tasks.iter().filter(|task| task.job == job).copied().collect();
            match self.ready_worker(job) {
                Some(worker) => self.do_(Action::Send {
                    worker,
                    message: ToWorker::CancelTasks(tasks),
                }),
                None => self.answer_for_tasks(tasks, ExecutionState::Canceled),
            }
        }
    }

    /// The last state of tasks that no worker is there for: no order is ever swallowed. When the worker was lost
    /// while the order travelled, the JobManager has learnt of the tasks' end before and pays no heed to this.
    fn answer_for_tasks(&mut self, tasks: Vec<ExecutionAttemptId>, state: ExecutionState) {
        for attempt in tasks {
            let failure: Option<TaskFailure> =
                (state == ExecutionState::Failed).then(|| failure::no_worker(&self.limits.host));
            self.report(FromTaskManager::TaskStateChanged {
                attempt,
                state,
                failure,
            });
        }
    }
}

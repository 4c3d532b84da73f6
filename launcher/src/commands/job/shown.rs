//! What is shown while jobs start and run: of one job, or of all that a program has submitted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use flink_graph::{ExecutionState, JobId};
use flink_rpc::messages::{JobDetails, ProvisioningEvent, ProvisioningStage, VertexDetails};

use crate::progress::{Event, Phase, Progress, Vertex};

/// The jobs that are shown, and the hosts that start for them.
pub(super) struct Shown {
    progress: Progress,
    /// Whether the vertices bear the name of their job.
    with_names: bool,
    /// How far each host is with its TaskManager.
    hosts: BTreeMap<String, Stage>,
    slots_begun: bool,
    /// Those that have no slots yet.
    waiting: BTreeSet<JobId>,
    waiting_shown: bool,
    /// Those that run.
    jobs: BTreeMap<JobId, ShownJob>,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// What it is doing.
    Starting(String),
    Ready,
    Failed,
}

struct ShownJob {
    /// What its vertices' names begin with.
    label: String,
    vertices: Vec<Vertex>,
    last: (Instant, Arc<JobDetails>),
}

impl Shown {
    /// One job.
    pub(super) fn one(progress: Progress) -> Self {
        Self::new(progress, false)
    }

    /// Any number of jobs, which are told apart by their names.
    pub(super) fn several(progress: Progress) -> Self {
        Self::new(progress, true)
    }

    fn new(progress: Progress, with_names: bool) -> Self {
        Self {
            progress,
            with_names,
            hosts: BTreeMap::new(),
            slots_begun: false,
            waiting: BTreeSet::new(),
            waiting_shown: false,
            jobs: BTreeMap::new(),
        }
    }

    pub(super) fn provisioning(&mut self, event: ProvisioningEvent) {
        if !self.slots_begun {
            self.slots_begun = true;
            self.progress.begin(Phase::Slots, 0);
        }
        let host = event.host;
        let stage = match event.stage {
            ProvisioningStage::Connecting => Stage::Starting("connecting".to_owned()),
            ProvisioningStage::Uploading { sent, total } => {
                Stage::Starting(format!("uploading flinkctl {}%", sent * 100 / total.max(1)))
            }
            ProvisioningStage::Starting => Stage::Starting("starting".to_owned()),
            ProvisioningStage::Registered { .. } => {
                self.progress.done(Phase::Slots, &host);
                Stage::Ready
            }
            ProvisioningStage::Failed(fault) => {
                self.progress.failed(Phase::Slots, &host, &fault.message);
                Stage::Failed
            }
        };
        if let Stage::Starting(step) = &stage {
            self.progress.step(Phase::Slots, &host, step);
        }
        self.hosts.insert(host, stage);
        let ready = self.hosts.values().filter(|stage| **stage == Stage::Ready).count();
        self.progress
            .report(Event::Count(Phase::Slots, ready, self.hosts.len()));
        self.show_waiting();
    }

    /// The hosts whose TaskManagers are on their way.
    pub(super) fn starting(&self) -> Vec<String> {
        let starting = self.hosts.iter().filter_map(|(host, stage)| match stage {
            Stage::Starting(step) => Some(format!("{host} ({step})")),
            Stage::Ready | Stage::Failed => None,
        });
        starting.collect()
    }

    /// A job is so far.
    pub(super) fn progress(&mut self, details: &Arc<JobDetails>) {
        let job = details.summary.id;
        let subtasks = details.vertices.iter().flat_map(|vertex| &vertex.subtasks);
        let is_deployed = subtasks.into_iter().any(|subtask| subtask.host.is_some());
        if !is_deployed && !self.jobs.contains_key(&job) {
            self.waiting.insert(job);
            self.show_waiting();
            return;
        }
        self.waiting.remove(&job);
        let now = Instant::now();
        let before = self.jobs.remove(&job);
        if before.is_none() {
            self.end_slots();
            if self.jobs.is_empty() {
                self.progress.begin(Phase::Running, details.vertices.len());
            }
        }
        let label = match &before {
            Some(before) => before.label.clone(),
            None => self.label(&details.summary.name),
        };
        let vertices = details.vertices.iter().enumerate().map(|(index, vertex)| {
            let before = before.as_ref().and_then(
                |ShownJob {
                     last: (then, details), ..
                 }| { Some((now.duration_since(*then).as_secs_f64(), details.vertices.get(index)?)) },
            );
            vertex_line(&label, vertex, before)
        });
        let vertices = vertices.collect();
        let last = (now, Arc::clone(details));
        self.jobs.insert(job, ShownJob { label, vertices, last });
        self.show();
    }

    /// A job has ended.
    pub(super) fn end(&mut self, job: JobId) {
        self.waiting.remove(&job);
        let ran = self.jobs.remove(&job).is_some();
        if !self.jobs.is_empty() {
            self.show();
        } else if ran {
            self.progress.end(Phase::Running);
        }
        if !ran {
            self.end_slots();
        }
    }

    /// Hosts that start say it better.
    fn show_waiting(&mut self) {
        let is_starting = self.hosts.values().any(|stage| matches!(stage, Stage::Starting(_)));
        let waits = !self.waiting.is_empty() && !is_starting;
        if waits != self.waiting_shown {
            self.waiting_shown = waits;
            if waits {
                self.progress.begin(Phase::Waiting, 0);
            } else {
                self.progress.end(Phase::Waiting);
            }
        }
    }

    /// A job has its slots, or needs none any more: others may still wait for hosts.
    fn end_slots(&mut self) {
        if self.slots_begun && self.waiting.is_empty() {
            self.progress.end(Phase::Slots);
            self.slots_begun = false;
            self.hosts.clear();
        }
        self.show_waiting();
    }

    /// A label that no other job has: with a number, if there are others of that name.
    fn label(&self, name: &str) -> String {
        if !self.with_names {
            return String::new();
        }
        let is_free = |label: &String| self.jobs.values().all(|job| job.label != *label);
        let numbered = (2..).map(|number| format!("{name} ({number}): "));
        std::iter::once(format!("{name}: "))
            .chain(numbered)
            .find(is_free)
            .unwrap_or_default()
    }

    fn show(&self) {
        let vertices: Vec<Vertex> = self.jobs.values().flat_map(|job| &job.vertices).cloned().collect();
        let is_finished = |vertex: &&Vertex| vertex.state == ExecutionState::Finished.to_string();
        let finished = vertices.iter().filter(is_finished).count();
        self.progress
            .report(Event::Count(Phase::Running, finished, vertices.len()));
        self.progress.report(Event::Vertices(vertices));
    }
}

/// A vertex's line: the state that says most about it, and records per second since `before` (seconds ago).
fn vertex_line(label: &str, vertex: &VertexDetails, before: Option<(f64, &VertexDetails)>) -> Vertex {
    let sum = |vertex: &VertexDetails| {
        let records = vertex
            .subtasks
            .iter()
            .map(|subtask| (subtask.records_in, subtask.records_out));
        records.fold((0, 0), |sum, (taken, sent)| (sum.0 + taken, sum.1 + sent))
    };
    let (taken, sent) = sum(vertex);
    let rate = |now: u64, before: u64, seconds: f64| {
        #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
        let difference = now.saturating_sub(before) as f64;
        if seconds > 0.0 { difference / seconds } else { 0.0 }
    };
    let (records_in, records_out) = before.map_or((0.0, 0.0), |(seconds, then)| {
        let (taken_then, sent_then) = sum(then);
        (rate(taken, taken_then, seconds), rate(sent, sent_then, seconds))
    });
    let state = vertex
        .subtasks
        .iter()
        .map(|subtask| subtask.state)
        .max_by_key(|state| weight(*state));
    let state = state.unwrap_or(ExecutionState::Created);
    let subtasks = vertex.subtasks.iter().filter(|subtask| subtask.state == state).count();
    Vertex {
        name: format!("{label}{}", vertex.name),
        state: state.to_string(),
        subtasks: u32::try_from(subtasks).unwrap_or(u32::MAX),
        parallelism: vertex.parallelism,
        records_in,
        records_out,
    }
}

/// What is worth saying first: trouble, then work in progress, then what is done.
const fn weight(state: ExecutionState) -> u8 {
    match state {
        ExecutionState::Failed => 8,
        ExecutionState::Canceling => 7,
        ExecutionState::Canceled => 6,
        ExecutionState::Running => 5,
        ExecutionState::Initializing => 4,
        ExecutionState::Deploying => 3,
        ExecutionState::Scheduled => 2,
        ExecutionState::Created => 1,
        ExecutionState::Finished => 0,
    }
}

#[cfg(test)]
mod tests {
    use flink_graph::{Accumulators, JobStatus};
    use flink_rpc::messages::{JobSummary, SubtaskDetails};

    use super::*;

    fn details(id: JobId, name: &str, host: Option<&str>) -> Arc<JobDetails> {
        let subtask = SubtaskDetails {
            state: ExecutionState::Running,
            attempt: 0,
            host: host.map(str::to_owned),
            records_in: 0,
            records_out: 0,
            records_skipped: 0,
            late_records_dropped: 0,
            bytes_in: 0,
            bytes_out: 0,
        };
        let vertex = VertexDetails {
            name: "map".to_owned(),
            parallelism: 1,
            subtasks: vec![subtask],
            metrics: Vec::new(),
        };
        let summary = JobSummary {
            id,
            name: name.to_owned(),
            status: JobStatus::Running,
            start_ms: 0,
            end_ms: None,
            tasks: Vec::new(),
        };
        Arc::new(JobDetails {
            summary,
            outcome: None,
            vertices: vec![vertex],
            channels: Vec::new(),
            accumulators: Accumulators::default(),
        })
    }

    /// The names of the vertices that are shown, sorted.
    fn shown(shown: &Shown) -> Vec<&str> {
        let vertices = shown.jobs.values().flat_map(|job| &job.vertices);
        let mut names: Vec<&str> = vertices.map(|vertex| vertex.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn jobs_of_one_name_are_told_apart_as_long_as_they_run() {
        let mut jobs = Shown::several(Progress::default());
        let (first, second, third) = (JobId::random(), JobId::random(), JobId::random());
        jobs.progress(&details(first, "load", Some("h1")));
        jobs.progress(&details(second, "load", Some("h1")));
        jobs.progress(&details(first, "load", Some("h1")));
        assert_eq!(shown(&jobs), ["load (2): map", "load: map"]);
        jobs.end(first);
        assert_eq!(shown(&jobs), ["load (2): map"]);
        jobs.progress(&details(third, "load", Some("h1")));
        assert_eq!(shown(&jobs), ["load (2): map", "load: map"]);
    }

    #[test]
    fn one_job_is_shown_without_its_name_once_it_has_slots() {
        let mut jobs = Shown::one(Progress::default());
        let job = JobId::random();
        jobs.progress(&details(job, "load", None));
        assert_eq!(shown(&jobs), [""; 0]);
        jobs.progress(&details(job, "load", Some("h1")));
        assert_eq!(shown(&jobs), ["map"]);
        jobs.end(job);
        assert_eq!(shown(&jobs), [""; 0]);
    }

    #[test]
    fn a_job_waits_for_slots_while_no_host_starts() {
        let mut jobs = Shown::several(Progress::default());
        let job = JobId::random();
        let event = |stage| ProvisioningEvent {
            host: "h1".to_owned(),
            stage,
        };
        jobs.progress(&details(job, "load", None));
        assert!(jobs.waiting_shown);
        jobs.provisioning(event(ProvisioningStage::Starting));
        assert!(!jobs.waiting_shown);
        jobs.provisioning(event(ProvisioningStage::Registered { slots: 2 }));
        assert!(jobs.waiting_shown);
        jobs.progress(&details(job, "load", Some("h1")));
        assert!(!jobs.waiting_shown);
    }

    #[test]
    fn hosts_that_start_for_another_job_stay() {
        let mut jobs = Shown::several(Progress::default());
        let (first, second) = (JobId::random(), JobId::random());
        jobs.progress(&details(first, "load", None));
        jobs.progress(&details(second, "load", None));
        jobs.provisioning(ProvisioningEvent {
            host: "h2".to_owned(),
            stage: ProvisioningStage::Starting,
        });
        jobs.progress(&details(first, "load", Some("h1")));
        assert_eq!(jobs.starting(), ["h2 (starting)"]);
        assert!(!jobs.waiting_shown);
        jobs.end(second);
        assert_eq!(jobs.starting(), [""; 0]);
    }

    #[test]
    fn hosts_are_starting_until_their_slots_are_there_or_a_job_runs() {
        let mut jobs = Shown::several(Progress::default());
        let event = |stage| ProvisioningEvent {
            host: "h1".to_owned(),
            stage,
        };
        jobs.provisioning(event(ProvisioningStage::Starting));
        assert_eq!(jobs.starting(), ["h1 (starting)"]);
        jobs.provisioning(event(ProvisioningStage::Registered { slots: 2 }));
        assert_eq!(jobs.starting(), [""; 0]);
        jobs.provisioning(event(ProvisioningStage::Connecting));
        jobs.progress(&details(JobId::random(), "load", Some("h2")));
        assert_eq!(jobs.starting(), [""; 0]);
    }
}

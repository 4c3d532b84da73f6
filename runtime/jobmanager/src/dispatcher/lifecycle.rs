//! When a cluster ends, and how: first its jobs, then its TaskManagers, then the JobManager.
//!
//! ```text
//! RUNNING -> CANCELLING JOBS -> STOPPING TASKMANAGERS -> over
//! ```
//! Jobs that do not end although their workers were ended, and TaskManagers that nobody can vouch for, do not
//! keep the cluster from ending: each phase has a time limit, and what may be left is named.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use flink_graph::TaskManagerId;
use flink_rpc::messages::HostFault;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{ClusterEnd, Dispatcher, Reply, Work, faults, task_managers::host_fault};
use crate::{
    clock::Now,
    config::{ClusterMode, FIRST_CONTACT_TIMEOUT},
    job_manager::{ClusterExit, EndedJob, ExitCause},
    resource_manager::{ResourceEvent, provider::ProviderEvent},
};

/// How much longer than `stop_grace` jobs may take to end: workers are ended after it, and output is written.
const JOBS_SLACK: Duration = Duration::from_secs(10);

/// How much longer than `stop_grace` TaskManagers may take to end: the provider stops them after it, over a network.
const PROVIDER_SLACK: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    CancellingJobs { until: Instant },
    StoppingTaskManagers { until: Instant },
    Over,
}

/// Whether a client ties the cluster's life to its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// Nobody may: the cluster lives on its own.
    Refused,
    /// Nobody does; the cluster ends unless something happens in time.
    Awaited { until: Instant },
    /// A client does.
    Held,
}

/// Where a cluster is between its beginning and its end.
pub(super) struct Lifecycle {
    mode: ClusterMode,
    phase: Phase,
    hold: Hold,
    cause: Option<ExitCause>,
    had_job: bool,
    left_behind: BTreeMap<TaskManagerId, HostFault>,
    callers: Vec<Reply<()>>,
    /// Cancelled when it is over: calls that wait for nothing else end then.
    closing: CancellationToken,
}

impl Lifecycle {
    pub(super) fn new(mode: ClusterMode, now: Instant, closing: CancellationToken) -> Self {
        let hold = match mode {
            ClusterMode::Session { attached: false } => Hold::Refused,
            ClusterMode::PerJob | ClusterMode::Session { attached: true } => Hold::Awaited {
                until: now + FIRST_CONTACT_TIMEOUT,
            },
        };
        Self {
            mode,
            phase: Phase::Running,
            hold,
            cause: None,
            had_job: false,
            left_behind: BTreeMap::new(),
            callers: Vec::new(),
            closing,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match (self.phase, self.hold) {
            (Phase::CancellingJobs { until } | Phase::StoppingTaskManagers { until }, _) => Some(until),
            (Phase::Running, Hold::Awaited { until }) => Some(until),
            (Phase::Running | Phase::Over, _) => None,
        }
    }

    pub(super) fn left_behind(&mut self, id: TaskManagerId, fault: HostFault) {
        self.left_behind.insert(id, fault);
    }

    /// The host is back and in use again: what was left there ended with it, or has ended itself for want of its
    /// JobManager long before anybody asks.
    pub(super) fn host_is_back(&mut self, host: &str) {
        self.left_behind.retain(|_, fault| fault.host != host);
    }

    /// Whether a job may be submitted; notes that one is.
    pub(super) fn admit_job(&mut self) -> Result<(), flink_rpc::messages::Fault> {
        if self.phase != Phase::Running {
            return Err(faults::stopping());
        }
        if self.mode == ClusterMode::PerJob {
            if self.had_job {
                return Err(faults::one_job_only());
            }
            // From now on the cluster's life is the job's.
            self.hold = Hold::Refused;
        }
        self.had_job = true;
        Ok(())
    }
}

impl Dispatcher {
    pub(super) fn is_stopping(&self) -> bool {
        self.lifecycle.phase != Phase::Running
    }

    pub(super) fn is_over(&self) -> bool {
        self.lifecycle.phase == Phase::Over
    }

    pub(super) fn stop_asked(&mut self, now: Now) {
        self.stop(now, ExitCause::ShutDown);
    }

    pub(super) fn stop_cluster(&mut self, now: Now, reply: Reply<()>) {
        self.lifecycle.callers.push(reply);
        self.stop(now, ExitCause::Stopped);
    }

    pub(super) fn hold(&mut self, reply: Reply<ClusterEnd>) {
        let answer = match self.lifecycle.hold {
            _ if self.is_stopping() => Err(faults::stopping()),
            Hold::Refused => Err(faults::not_held()),
            Hold::Held => Err(faults::already_held()),
            Hold::Awaited { .. } => {
                self.lifecycle.hold = Hold::Held;
                let (caller, end) = oneshot::channel();
                self.lifecycle.callers.push(caller);
                Ok(end)
            }
        };
        // When the caller is gone, its call says so as any other.
        let _gone = reply.send(answer);
    }

    pub(super) fn hold_ended(&mut self, now: Now) {
        if self.lifecycle.hold == Hold::Held {
            self.stop(now, ExitCause::LeaseLost);
        }
    }

    /// Begins the end. Asking again changes nothing.
    pub(super) fn stop(&mut self, now: Now, cause: ExitCause) {
        if self.is_stopping() {
            return;
        }
        info!(?cause, jobs = self.jobs.len(), "the cluster is ending");
        self.lifecycle.cause = Some(cause);
        self.lifecycle.phase = Phase::CancellingJobs {
            until: now.instant + self.config.stop_grace + JOBS_SLACK,
        };
        for (id, job) in &mut self.jobs {
            self.work
                .extend(job.cancel(now).into_iter().map(|action| Work::Job(*id, action)));
        }
    }

    /// Goes on to the next phase when its time has come; whether it had.
    pub(super) fn advance(&mut self, now: Now) -> bool {
        let before = self.lifecycle.phase;
        match before {
            Phase::Running => self.stop_if_useless(now),
            Phase::CancellingJobs { until } => {
                let are_ended = self.jobs.is_empty() && self.background.is_empty();
                if are_ended || until <= now.instant {
                    if !are_ended {
                        warn!(
                            jobs = self.jobs.len(),
                            "jobs have not ended in time; ending without them"
                        );
                    }
                    let until = now.instant + self.config.stop_grace + PROVIDER_SLACK;
                    self.lifecycle.phase = Phase::StoppingTaskManagers { until };
                    self.resource(now, ResourceEvent::ReleaseAll);
                }
            }
            Phase::StoppingTaskManagers { until } => {
                let left = self.resource_manager.task_managers();
                if left.is_empty() || until <= now.instant {
                    let fault = |id| {
                        let message = "its TaskManager could not be verified to be gone".to_owned();
                        (id, host_fault(&self.host_name(id), "taskmanager.left-behind", message))
                    };
                    let left: Vec<_> = left.into_iter().map(fault).collect();
                    self.lifecycle.left_behind.extend(left);
                    self.lifecycle.phase = Phase::Over;
                }
            }
            Phase::Over => {}
        }
        self.lifecycle.phase != before
    }

    /// A cluster that nobody will need again ends by itself.
    fn stop_if_useless(&mut self, now: Now) {
        if let Hold::Awaited { until } = self.lifecycle.hold
            && until <= now.instant
        {
            return self.stop(now, ExitCause::NoContact);
        }
        let is_per_job = self.lifecycle.mode == ClusterMode::PerJob;
        let is_idle = self.jobs.is_empty() && self.background.is_empty();
        let is_anybody_coming = self.finished.values().any(|job| job.attachments.is_lease_open());
        if is_per_job && self.lifecycle.had_job && is_idle && !is_anybody_coming {
            self.stop(now, ExitCause::JobEnded);
        }
    }

    /// The last things: lets the provider go, then tells those who asked for the end.
    pub(super) async fn finish(mut self, mut provider_events: mpsc::Receiver<ProviderEvent>) -> ClusterExit {
        if let Some(provider) = self.provider.take() {
            let mut ending = provider.shutdown();
            loop {
                // Its events are taken to the last: it may wait for that.
                tokio::select! {
                    () = &mut ending => break,
                    Some(event) = provider_events.recv() => {
                        if let ProviderEvent::Stopped { id, left_behind: Some(fault) } = event {
                            self.lifecycle.left_behind(id, fault);
                        }
                    }
                }
            }
        }
        // All have ended, unless the cluster ends without waiting for its jobs: those are killed.
        self.coordinators.tasks.shutdown().await;
        self.background.shutdown().await;
        let Lifecycle {
            callers,
            left_behind,
            cause,
            closing,
            ..
        } = self.lifecycle;
        let left_behind: Vec<HostFault> = left_behind.into_values().collect();
        for caller in callers {
            let answer = if left_behind.is_empty() {
                Ok(())
            } else {
                Err(faults::left_behind(left_behind.clone()))
            };
            let _gone = caller.send(answer);
        }
        closing.cancel();
        let running = self.jobs.values().map(|job| EndedJob {
            summary: job.summary(),
            outcome: None,
        });
        let finished = self.finished.values().map(|job| EndedJob {
            summary: job.report.details.summary.clone(),
            outcome: Some(job.report.outcome.clone()),
        });
        let jobs = finished.chain(running).collect();
        ClusterExit {
            cause: cause.unwrap_or(ExitCause::ShutDown),
            jobs,
            left_behind,
        }
    }
}

//! Who watches a job, and who holds the lease that an attached job lives by.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use flink_graph::JobId;
use flink_rpc::messages::{AttachMode, Fault, JobDetails, JobReport};
use tokio::sync::watch;

use super::output::OutputReceiver;
use crate::config::LEASE_TIMEOUT;

/// Changes of state are told to watchers at most this often.
const STATE_INTERVAL: Duration = Duration::from_millis(20);

/// Changes of counters are told to watchers this often.
const METRICS_INTERVAL: Duration = Duration::from_millis(250);

/// A job as its watchers see it. They get the latest one; what they are too slow for, they do not see.
#[derive(Debug, Clone)]
pub(crate) struct JobView {
    /// The job as it is, without channels.
    pub(crate) details: Arc<JobDetails>,
    /// The last word about it, once there is one.
    pub(crate) report: Option<JobReport>,
    /// The provisioning events that are of interest to it: those up to this number; all when it still waits for slots.
    pub(crate) provisioned_at: Option<u64>,
}

/// What a watcher is given.
#[derive(Debug)]
pub(crate) struct Attachment {
    /// The job.
    pub(crate) view: watch::Receiver<JobView>,
    /// What it prints; with the lease only.
    pub(crate) output: Option<OutputReceiver>,
    /// The provisioning events that are of interest to it: those after this number.
    pub(crate) provisioning_since: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lease {
    /// The job is a detached one.
    None,
    /// Nobody has come for it.
    Awaited { until: Instant },
    /// A client has it.
    Held,
    /// It was given back, lost, or never taken in time.
    Over,
}

/// The watchers of one job. Outlives its JobMaster.
#[derive(Debug)]
pub(crate) struct Attachments {
    job: JobId,
    view: watch::Sender<JobView>,
    lease: Lease,
    output: Option<OutputReceiver>,
    provisioning_since: u64,
    last_published: Instant,
    publish_at: Option<Instant>,
}

impl Attachments {
    /// `output` is what the job prints, when the client with the lease is to have it: the job is an attached one.
    pub(super) fn new(
        job: JobId,
        now: Instant,
        details: JobDetails,
        output: Option<OutputReceiver>,
        provisioning_since: u64,
    ) -> Self {
        let view = JobView {
            details: Arc::new(details),
            report: None,
            provisioned_at: None,
        };
        let lease = match output {
            Some(_) => Lease::Awaited {
                until: now + LEASE_TIMEOUT,
            },
            None => Lease::None,
        };
        Self {
            job,
            view: watch::Sender::new(view),
            lease,
            output,
            provisioning_since,
            last_published: now,
            publish_at: None,
        }
    }

    /// A client comes to watch.
    pub(crate) fn attach(&mut self, mode: AttachMode) -> Result<Attachment, Fault> {
        let output = match (mode, self.lease) {
            (AttachMode::Watch, _) => None,
            (AttachMode::Lease, Lease::Awaited { .. }) => {
                self.lease = Lease::Held;
                self.output.take()
            }
            (AttachMode::Lease, lease) => return Err(self.refuse(lease)),
        };
        Ok(Attachment {
            view: self.view.subscribe(),
            output,
            provisioning_since: self.provisioning_since,
        })
    }

    fn refuse(&self, lease: Lease) -> Fault {
        let job = self.job;
        let fault = match lease {
            Lease::None => Fault::new(
                "job.detached",
                format!("job {job} is a detached one: no client can hold it"),
            ),
            _ => Fault::new(
                "job.already-attached",
                format!("a client is, or was, attached to job {job}"),
            ),
        };
        fault.with_help(format!("flinkctl job status {job} --watch"))
    }

    /// The client with the lease is gone.
    pub(crate) fn lease_ended(&mut self) {
        self.lease = Lease::Over;
    }

    /// Whether a client has the lease, or may still come for it.
    pub(crate) fn is_lease_open(&self) -> bool {
        matches!(self.lease, Lease::Awaited { .. } | Lease::Held)
    }

    /// Whether nobody came for the lease in time. Says so once.
    pub(crate) fn lease_timed_out(&mut self, now: Instant) -> bool {
        let timed_out = matches!(self.lease, Lease::Awaited { until } if until <= now);
        if timed_out {
            self.lease = Lease::Over;
            self.output = None;
        }
        timed_out
    }

    /// When [`Self::lease_timed_out`] or [`Self::is_due`] can change their answers by time alone.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let lease = match self.lease {
            Lease::Awaited { until } => Some(until),
            _ => None,
        };
        let publish = self.publish_at.filter(|_| self.has_watchers());
        [lease, publish].into_iter().flatten().min()
    }

    /// A state has changed.
    pub(super) fn state_changed(&mut self, now: Instant) {
        self.publish_by(now.max(self.last_published + STATE_INTERVAL));
    }

    /// A counter has changed.
    pub(super) fn metrics_changed(&mut self, now: Instant) {
        self.publish_by(now.max(self.last_published + METRICS_INTERVAL));
    }

    fn publish_by(&mut self, at: Instant) {
        self.publish_at = Some(self.publish_at.map_or(at, |set| set.min(at)));
    }

    /// Whether there is news, and somebody to tell.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.has_watchers() && self.publish_at.is_some_and(|at| at <= now)
    }

    /// Whether what watchers would get now is out of date.
    pub(super) fn is_stale(&self) -> bool {
        self.publish_at.is_some()
    }

    fn has_watchers(&self) -> bool {
        self.view.receiver_count() > 0
    }

    /// Tells the watchers.
    pub(super) fn publish(&mut self, now: Instant, view: JobView) {
        self.publish_at = None;
        self.last_published = now;
        self.view.send_replace(view);
    }
}

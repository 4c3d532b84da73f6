//! The Dispatcher's dealings with clients, and the lives of jobs.

use std::{path::PathBuf, sync::Arc, time::Duration};

use flink_graph::{ExecutionAttemptId, JobId};
use flink_process::life::{LifeLimits, READY_TIMEOUT, SHUTDOWN_PATIENCE};
use flink_rpc::{
    Role,
    messages::{AttachMode, Fault, JobDetails, JobSpec, JobSubmission},
};
use tracing::{info, warn};

use super::{ClientCall, Dispatcher, FINISHED_JOBS, Reply, Watch, Work, faults};
use crate::{
    archive::{self, ArchivedJob},
    clock::Now,
    job_master::{
        FinishedJob, JobMaster, JobSetup,
        output::{OutputSender, OutputSource, write_file},
    },
};

impl Dispatcher {
    pub(super) fn client_call(&mut self, now: Now, call: ClientCall) {
        match call {
            ClientCall::Submit { submission, reply } => answer(reply, self.submit(now, *submission)),
            ClientCall::ListJobs { reply } => answer(reply, Ok(self.summaries())),
            ClientCall::DescribeJob { job, reply } => answer(reply, self.describe(job)),
            ClientCall::Watch { job, mode, reply } => self.watch(now, job, mode, reply),
            ClientCall::LeaseEnded { job } => self.lease_ended(now, job),
            ClientCall::CancelJob { job, reply } => answer(reply, self.cancel(now, job)),
            ClientCall::JobOutput { job, reply } => answer(reply, self.output(job)),
            ClientCall::ClusterStatus { reply } => answer(reply, Ok(self.status())),
            ClientCall::StopCluster { reply } => self.stop_cluster(now, reply),
            ClientCall::Hold { reply } => self.hold(reply),
            ClientCall::HoldEnded => self.hold_ended(now),
        }
    }

    fn submit(&mut self, now: Now, submission: JobSubmission) -> Result<JobId, Fault> {
        self.lifecycle.admit_job()?;
        let id = JobId::random();
        let JobSubmission {
            graph,
            artifact,
            args,
            attached,
            slot_timeout_ms,
        } = submission;
        let identity = self.ca.issue(Role::Worker(id));
        let identity = identity
            .map_err(|error| Fault::new("internal", format!("no certificate for the job's workers: {error}")))?;
        info!(job = %id, name = graph.name, attached, slots = graph.slots_required(), "job submitted");
        let spec = Arc::new(JobSpec {
            graph: graph.clone(),
            artifact,
            args,
            identity,
        });
        let setup = JobSetup {
            id,
            graph,
            spec,
            attached,
            slot_timeout: Duration::from_millis(slot_timeout_ms),
            cancellation_timeout: self.config.stop_grace,
            host: self.config.host.clone(),
            coordinator_limits: LifeLimits {
                ready_timeout: READY_TIMEOUT,
                shutdown_patience: SHUTDOWN_PATIENCE,
                stop_grace: self.config.stop_grace,
            },
            provisioning_since: self.provisioning.borrow().latest(),
            output_paths: [self.output_path(id), archive::output_path(&self.config.archive_dir, id)],
        };
        let (mut job, writer) = JobMaster::new(now, setup);
        if let Some(writer) = writer {
            self.background.spawn(write_file(writer));
        }
        self.work
            .extend(job.start(now).into_iter().map(|action| Work::Job(id, action)));
        self.jobs.insert(id, job);
        Ok(id)
    }

    /// `<session_dir>/jobs/<job>/output`.
    fn output_path(&self, job: JobId) -> PathBuf {
        self.config
            .session_dir
            .join("jobs")
            .join(job.to_string())
            .join("output")
    }

    fn describe(&self, job: JobId) -> Result<JobDetails, Fault> {
        match (self.jobs.get(&job), self.finished.get(&job)) {
            (Some(job), _) => Ok(job.details()),
            (None, Some(finished)) => Ok(JobDetails::clone(&finished.report.details)),
            (None, None) => Err(faults::job_not_found(job)),
        }
    }

    fn watch(&mut self, now: Now, job: JobId, mode: AttachMode, reply: Reply<Watch>) {
        let attachment = match (self.jobs.get_mut(&job), self.finished.get_mut(&job)) {
            (Some(job), _) => job.attach(now, mode),
            (None, Some(finished)) => finished.attachments.attach(mode),
            (None, None) => Err(faults::job_not_found(job)),
        };
        let watch = attachment.map(|attachment| Watch {
            attachment,
            provisioning: self.provisioning.subscribe(),
        });
        let took_lease = mode == AttachMode::Lease && watch.is_ok();
        if reply.send(watch).is_err() && took_lease {
            self.lease_ended(now, job);
        }
    }

    fn lease_ended(&mut self, now: Now, job: JobId) {
        if let Some(master) = self.jobs.get_mut(&job) {
            self.work
                .extend(master.lease_ended(now).into_iter().map(|action| Work::Job(job, action)));
        } else if let Some(finished) = self.finished.get_mut(&job) {
            finished.attachments.lease_ended();
        }
    }

    fn cancel(&mut self, now: Now, job: JobId) -> Result<(), Fault> {
        if let Some(master) = self.jobs.get_mut(&job) {
            info!(%job, "a client cancels the job");
            self.work
                .extend(master.cancel(now).into_iter().map(|action| Work::Job(job, action)));
            return Ok(());
        }
        let finished = self.finished.get(&job).ok_or_else(|| faults::job_not_found(job))?;
        let status = finished.report.outcome.status;
        Err(Fault::new(
            "job.ended",
            format!("job {job} has ended already: {status}"),
        ))
    }

    fn output(&self, job: JobId) -> Result<OutputSource, Fault> {
        let source = match (self.jobs.get(&job), self.finished.get(&job)) {
            (Some(job), _) => job.output_source(),
            (None, Some(finished)) => finished.output.as_ref(),
            (None, None) => return Err(faults::job_not_found(job)),
        };
        source.cloned().ok_or_else(|| faults::output_not_kept(job))
    }

    pub(super) fn collect(&self, attempt: ExecutionAttemptId, reply: Reply<OutputSender>) {
        let output = self.jobs.get(&attempt.job).and_then(|job| job.output(attempt));
        let refuse = || Fault::new("job.no-such-task", format!("task {attempt} is not running"));
        answer(reply, output.ok_or_else(refuse));
    }

    pub(super) fn job_ended(&mut self, now: Now, id: JobId) {
        let Some(finished) = self.jobs.remove(&id).and_then(|job| job.finish(now)) else {
            return;
        };
        match &finished.report.outcome.failure {
            Some(failure) => warn!(job = %id, status = %finished.report.outcome.status, %failure, "job ended"),
            None => info!(job = %id, status = %finished.report.outcome.status, "job ended"),
        }
        if !finished.attached {
            self.archive(&finished);
        }
        self.finished.insert(id, finished);
        self.finished_order.push_back(id);
        if self.finished.len() > FINISHED_JOBS
            && let Some(oldest) = self.finished_order.pop_front()
        {
            self.finished.remove(&oldest);
        }
    }

    /// Writes the record of a detached job once the writer of its output is done.
    fn archive(&mut self, finished: &FinishedJob) {
        let Some(OutputSource { paths, mut written }) = finished.output.clone() else {
            return;
        };
        let record = ArchivedJob {
            cluster: self.config.cluster_name.clone(),
            session: self.config.session_name.clone(),
            report: finished.report.clone(),
        };
        let archive_dir = self.config.archive_dir.clone();
        self.background.spawn(async move {
            // The writer drops its end when it is done.
            while written.changed().await.is_ok() {}
            if let Err(error) = archive::write(&archive_dir, &paths[0], &record).await {
                warn!(job = %record.report.details.summary.id, %error, "the ended job could not be archived");
            }
            if let Some(directory) = paths[0].parent() {
                // It is not there when the job printed nothing, and not empty when the output could not be moved.
                let _left = tokio::fs::remove_dir(directory).await;
            }
        });
    }
}

/// Answers a caller; one that is gone needs no answer.
fn answer<T>(reply: Reply<T>, result: Result<T, Fault>) {
    let _gone = reply.send(result);
}

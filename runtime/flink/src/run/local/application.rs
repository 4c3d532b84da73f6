//! The jobs of an application in this process: a local cluster for each.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use flink_graph::{Accumulators, JobId, JobStatus};
use flink_rpc::messages::{Fault, JobTermination};
use flink_worker::JobProgram;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    cluster::{Ending, Interrupts, LocalCluster, Stops, end_at_once},
    reason,
    stdout::Stdout,
    tell_accumulators,
};
use crate::{
    application::calls::{Accepted, Call, JobState},
    run::tell,
};

/// Runs the jobs that an application's driver submits.
pub(super) struct LocalJobs {
    stdout: Arc<Stdout>,
    interrupts: Interrupts,
    interrupted: bool,
    /// The ways to cancel those that run.
    active: BTreeMap<JobId, mpsc::Sender<()>>,
    /// Their clusters, each on a thread.
    clusters: JoinSet<JobId>,
}

impl LocalJobs {
    pub(super) fn new(stdout: Arc<Stdout>, interrupts: Interrupts) -> Self {
        Self {
            stdout,
            interrupts,
            interrupted: false,
            active: BTreeMap::new(),
            clusters: JoinSet::new(),
        }
    }

    /// Answers calls until the driver is over, when its jobs have ended too. Whether the user has interrupted it.
    pub(super) async fn serve(mut self, mut calls: mpsc::Receiver<Call>, mut over: oneshot::Receiver<()>) -> bool {
        loop {
            tokio::select! {
                _ = &mut over => return self.interrupted,
                Some(call) = calls.recv() => self.call(call),
                Some(ended) = self.clusters.join_next() => {
                    // One that panicked has dropped what its client listens to.
                    if let Ok(job) = ended {
                        self.active.remove(&job);
                    }
                }
                () = self.interrupts.next() => self.interrupt(),
            }
        }
    }

    fn call(&mut self, call: Call) {
        match call {
            Call::Submit { program, reply, .. } => {
                let answer = if self.interrupted {
                    Err(Fault::new("interrupted", "the program was interrupted"))
                } else {
                    Ok(self.start(*program))
                };
                // A driver that waits for the answer is there to take it.
                let _taken = reply.send(answer);
            }
            Call::Cancel(job) => self.cancel(job),
        }
    }

    fn start(&mut self, program: JobProgram) -> Accepted {
        let job = JobId::random();
        let (cancel, cancels) = mpsc::channel(1);
        let (changes, state) = watch::channel(JobState::Active(JobStatus::Created));
        self.active.insert(job, cancel);
        let stdout = Arc::clone(&self.stdout);
        self.clusters.spawn_blocking(move || {
            let termination = run(job, program, stdout, cancels, &changes);
            changes.send_replace(JobState::Ended(termination));
            job
        });
        Accepted { job, state }
    }

    fn cancel(&self, job: JobId) {
        if let Some(cancel) = self.active.get(&job) {
            // When it is full or closed, the job was told before, or has ended.
            let _told = cancel.try_send(());
        }
    }

    fn interrupt(&mut self) {
        if self.interrupted {
            end_at_once("interrupted again");
        }
        if self.active.is_empty() {
            end_at_once("interrupted while no job was running");
        }
        self.interrupted = true;
        tell("cancelling the jobs (interrupt again to end at once)");
        self.active.keys().for_each(|job| self.cancel(*job));
    }
}

/// Runs one job to its end.
fn run(
    job: JobId,
    program: JobProgram,
    stdout: Arc<Stdout>,
    cancels: mpsc::Receiver<()>,
    changes: &watch::Sender<JobState>,
) -> JobTermination {
    let (name, started) = (program.graph().name.clone(), Instant::now());
    let on_status = |status| {
        changes.send_replace(JobState::Active(status));
    };
    let ending = LocalCluster::run(job, program, stdout.clone(), Stops::Requests(cancels), on_status);
    let (status, message, accumulators) = match ending {
        Ok(Ending {
            outcome, accumulators, ..
        }) => (
            outcome.status,
            outcome.failure.as_ref().map(|failure| reason(Some(failure))),
            accumulators,
        ),
        Err(error) => (
            JobStatus::Failed,
            Some(format!("the local cluster could not run it: {error}")),
            Accumulators::default(),
        ),
    };
    let took = started.elapsed();
    match status {
        // As a program that SIGPIPE ends: without a word.
        _ if stdout.is_closed() => {}
        JobStatus::Finished => {
            tell(&format!("job `{name}` finished in {:.1} s", took.as_secs_f64()));
            tell_accumulators(&accumulators);
        }
        JobStatus::Canceled => tell(&format!("job `{name}` was cancelled")),
        _ => tell(&format!("job `{name}` failed")),
    }
    JobTermination {
        status,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        message,
        accumulators,
    }
}

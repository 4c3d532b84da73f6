//! The jobs of an application in the launcher's cluster.

use std::collections::BTreeMap;

use flink_graph::{JobId, JobStatus};
use flink_rpc::{
    FrameError,
    messages::{Fault, FromProgram, JobTermination, ToProgram},
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Reader, Writer, unexpected};
use crate::{
    application::calls::{Accepted, Call, JobState},
    run::{exit_code, tell},
};

/// Passes a driver's calls to the launcher, and its news back.
pub(super) struct LaunchedJobs {
    reader: Reader,
    writer: Writer,
    /// Who waits for the answer to the submission that is under way: one at a time.
    submitting: Option<oneshot::Sender<Result<Accepted, Fault>>>,
    /// Those that have not ended.
    active: BTreeMap<JobId, watch::Sender<JobState>>,
}

impl LaunchedJobs {
    pub(super) fn new(reader: Reader, writer: Writer) -> Self {
        Self {
            reader,
            writer,
            submitting: None,
            active: BTreeMap::new(),
        }
    }

    /// Serves until the driver is over, when its jobs have ended too. Ends the process when the launcher is gone: its
    /// cluster is, too, and the driver must not go on without it.
    pub(super) async fn serve(mut self, mut calls: mpsc::Receiver<Call>, mut over: oneshot::Receiver<()>) -> Writer {
        loop {
            let served = tokio::select! {
                _ = &mut over => return self.writer,
                Some(call) = calls.recv(), if self.submitting.is_none() => self.call(call).await,
                message = self.reader.expect() => message.and_then(|message| self.heard(message)),
            };
            if let Err(error) = served {
                end_without_launcher(&error);
            }
        }
    }

    async fn call(&mut self, call: Call) -> Result<(), FrameError> {
        let message = match call {
            Call::Submit { program, args, reply } => {
                self.submitting = Some(reply);
                let graph = Box::new(program.graph().as_ref().clone());
                FromProgram::Submit { graph, args }
            }
            Call::Cancel(job) => FromProgram::Cancel(job),
        };
        self.writer.send(&message).await
    }

    fn heard(&mut self, message: ToProgram) -> Result<(), FrameError> {
        match message {
            ToProgram::Submitted(answer) => self.submitted(answer)?,
            ToProgram::JobStatusChanged { job, status } => {
                if let Some(state) = self.active.get(&job) {
                    state.send_replace(JobState::Active(status));
                }
            }
            ToProgram::JobTerminated { job, termination } => self.terminated(job, termination),
            ToProgram::Plan { .. } | ToProgram::Drive => return Err(unexpected()),
        }
        Ok(())
    }

    fn submitted(&mut self, answer: Result<JobId, Fault>) -> Result<(), FrameError> {
        let reply = self.submitting.take().ok_or_else(unexpected)?;
        let answer = answer.map(|job| {
            let (changes, state) = watch::channel(JobState::Active(JobStatus::Created));
            self.active.insert(job, changes);
            Accepted { job, state }
        });
        // A driver that waits for the answer is there to take it.
        let _taken = reply.send(answer);
        Ok(())
    }

    fn terminated(&mut self, job: JobId, termination: JobTermination) {
        if let Some(state) = self.active.remove(&job) {
            state.send_replace(JobState::Ended(termination));
        }
    }
}

#[expect(
    clippy::exit,
    reason = "the driver is the user's code and cannot be stopped otherwise"
)]
fn end_without_launcher(error: &FrameError) -> ! {
    tell(&format!("error[application.failed]: flinkctl is gone: {error}"));
    std::process::exit(exit_code::INTERNAL.into())
}

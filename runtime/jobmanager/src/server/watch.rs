//! Watching a job: from its present state to its end.

use flink_graph::JobId;
use flink_rpc::{
    FrameError, Responder,
    messages::{AttachMode, JobEvent},
};
use quinn::SendStream;
use tokio::{io::AsyncWrite, sync::watch};
use tokio_util::sync::CancellationToken;

use super::{Door, answer, deliver};
use crate::{
    dispatcher::{ClientCall, Event, ProvisioningBoard, Watch},
    job_master::{
        Attachment, JobView,
        output::{OutputItem, OutputReceiver},
    },
};

pub(super) async fn serve(door: &Door, job: JobId, mode: AttachMode, responder: Responder<SendStream>) {
    let Watch {
        attachment,
        provisioning,
    } = match door
        .ask(|reply| Event::Client(ClientCall::Watch { job, mode, reply }))
        .await
    {
        Ok(watch) => watch,
        Err(fault) => return answer(responder, &Err::<(), _>(fault)).await,
    };
    let Attachment {
        view,
        output,
        provisioning_since,
    } = attachment;
    let mut watcher = Watcher {
        responder,
        view,
        provisioning,
        provisioning_seen: provisioning_since,
        output,
    };
    let broken_off = watcher.responder.get_mut().stopped();
    let is_over = tokio::select! {
        result = watcher.run(&door.closing) => result.is_ok(),
        _ = broken_off => false,
    };
    if is_over {
        deliver(watcher.responder).await;
    }
    if mode == AttachMode::Lease {
        door.tell(Event::Client(ClientCall::LeaseEnded { job })).await;
    }
}

struct Watcher<W> {
    responder: Responder<W>,
    view: watch::Receiver<JobView>,
    provisioning: watch::Receiver<ProvisioningBoard>,
    /// Number of the last provisioning event that was told, or is of no interest.
    provisioning_seen: u64,
    output: Option<OutputReceiver>,
}

impl<W: AsyncWrite + Unpin> Watcher<W> {
    /// Tells everything up to the job's end, or the cluster's. A client that does not take what it is told holds up
    /// its output only.
    async fn run(&mut self, closing: &CancellationToken) -> Result<(), FrameError> {
        let mut is_view_new = true;
        loop {
            // Looked at first: the last states are there before it is set.
            let is_last = closing.is_cancelled();
            if self.tell_state(is_view_new).await? || is_last {
                return Ok(());
            }
            is_view_new = false;
            tokio::select! {
                // Closed when the Dispatcher has ended; `closing` tells the same.
                Ok(()) = self.view.changed() => is_view_new = true,
                Ok(()) = self.provisioning.changed() => {}
                item = next(&mut self.output) => self.pass_on(item).await?,
                () = closing.cancelled() => {}
            }
        }
    }

    /// Tells what is new; true when that was the last there is.
    async fn tell_state(&mut self, is_view_new: bool) -> Result<bool, FrameError> {
        // What came since it was looked at is news too.
        let is_view_new = is_view_new || self.view.has_changed().unwrap_or(false);
        let JobView {
            details,
            report,
            provisioned_at,
        } = self.view.borrow_and_update().clone();
        let until = provisioned_at.unwrap_or(u64::MAX);
        let (news, latest) = {
            let board = self.provisioning.borrow_and_update();
            (board.changes(self.provisioning_seen, until), board.latest())
        };
        self.provisioning_seen = latest.min(until).max(self.provisioning_seen);
        for event in news {
            self.responder.send(&JobEvent::Provisioning(event)).await?;
        }
        if let Some(report) = report {
            // A job that has finished has nothing in the queue that is not acknowledged; one that failed has what it
            // got to.
            while let Some(item) = self.output.as_mut().and_then(OutputReceiver::try_recv) {
                self.pass_on(item).await?;
            }
            self.responder.send(&JobEvent::Terminated(report)).await?;
            return Ok(true);
        }
        if is_view_new {
            self.responder.send(&JobEvent::Progress(details)).await?;
        }
        Ok(false)
    }

    async fn pass_on(&mut self, item: OutputItem) -> Result<(), FrameError> {
        match item {
            OutputItem::Chunk(chunk) => self.responder.send(&JobEvent::Output(chunk)).await,
            OutputItem::Flush(reply) => {
                // A worker that is gone needs no acknowledgement.
                let _gone = reply.send(());
                Ok(())
            }
        }
    }
}

/// The next piece of output; waits for ever where none is to be had.
async fn next(output: &mut Option<OutputReceiver>) -> OutputItem {
    if let Some(receiver) = output
        && let Some(item) = receiver.recv().await
    {
        return item;
    }
    *output = None;
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flink_graph::{Accumulators, JobOutcome, JobStatus};
    use flink_rpc::{
        FrameReader,
        messages::{JobDetails, JobReport, JobSummary, OutputChunk},
        read_reply,
    };

    use super::*;
    use crate::job_master::output;

    #[tokio::test]
    async fn what_was_printed_before_the_job_ended_is_told_before_its_end() {
        let summary = JobSummary {
            id: JobId::random(),
            name: "numbers".into(),
            status: JobStatus::Failed,
            start_ms: 1,
            end_ms: Some(2),
            tasks: Vec::new(),
        };
        let details = Arc::new(JobDetails {
            summary,
            outcome: None,
            vertices: Vec::new(),
            channels: Vec::new(),
            accumulators: Accumulators::default(),
        });
        let outcome = JobOutcome {
            status: JobStatus::Failed,
            failure: None,
        };
        let report = JobReport {
            details: Arc::clone(&details),
            outcome,
            fault: None,
        };
        let (sender, receiver) = output::channel();
        let chunk = OutputChunk { bytes: b"1\n".to_vec() };
        sender.send(chunk.clone()).await.unwrap();
        let view = watch::Sender::new(JobView {
            details,
            report: Some(report.clone()),
            provisioned_at: None,
        });
        let provisioning = watch::Sender::new(ProvisioningBoard::default());
        let (near, far) = tokio::io::duplex(4096);
        let mut watcher = Watcher {
            responder: Responder::new(near),
            view: view.subscribe(),
            provisioning: provisioning.subscribe(),
            provisioning_seen: 0,
            output: Some(receiver),
        };
        watcher.run(&CancellationToken::new()).await.unwrap();
        drop(watcher);
        let mut reader = FrameReader::new(far);
        for expected in [JobEvent::Output(chunk), JobEvent::Terminated(report)] {
            assert_eq!(read_reply(&mut reader).await.unwrap(), Some(expected));
        }
        assert_eq!(read_reply::<JobEvent>(&mut reader).await.unwrap(), None);
    }
}

//! Clients: a call per stream.

use flink_rpc::{
    FrameReader, Responder,
    messages::{ClientRequest, Fault, JobSubmission},
};
use quinn::{RecvStream, SendStream};
use serde::Serialize;

use super::{Door, Peer, answer, deliver, output, watch};
use crate::dispatcher::{ClientCall, Event, Reply};

pub(super) async fn handle(
    door: &Door,
    peer: &Peer,
    mut reader: FrameReader<RecvStream>,
    responder: Responder<SendStream>,
) {
    let Some(request) = peer.request(&mut reader).await else {
        return;
    };
    match request {
        ClientRequest::Submit(submission) => match check(door, &submission).await {
            Ok(()) => forward(door, responder, |reply| ClientCall::Submit { submission, reply }).await,
            Err(fault) => answer(responder, &Err::<(), _>(fault)).await,
        },
        ClientRequest::ListJobs => forward(door, responder, |reply| ClientCall::ListJobs { reply }).await,
        ClientRequest::DescribeJob(job) => {
            forward(door, responder, |reply| ClientCall::DescribeJob { job, reply }).await;
        }
        ClientRequest::WatchJob { job, mode } => watch::serve(door, job, mode, responder).await,
        ClientRequest::CancelJob(job) => forward(door, responder, |reply| ClientCall::CancelJob { job, reply }).await,
        ClientRequest::JobOutput { job, follow } => {
            let call = |reply| Event::Client(ClientCall::JobOutput { job, reply });
            match door.ask(call).await {
                Ok(source) => output::serve(source, follow, responder).await,
                Err(fault) => answer(responder, &Err::<(), _>(fault)).await,
            }
        }
        ClientRequest::ClusterStatus => forward(door, responder, |reply| ClientCall::ClusterStatus { reply }).await,
        ClientRequest::StopCluster => forward(door, responder, |reply| ClientCall::StopCluster { reply }).await,
        ClientRequest::HoldCluster => hold(door, responder).await,
    }
}

/// Has the Dispatcher answer a call that has one reply.
async fn forward<T: Serialize>(
    door: &Door,
    responder: Responder<SendStream>,
    call: impl FnOnce(Reply<T>) -> ClientCall,
) {
    let result = door.ask(|reply| Event::Client(call(reply))).await;
    answer(responder, &result).await;
}

/// What can be wrong with a submission before the Dispatcher sees it.
async fn check(door: &Door, submission: &JobSubmission) -> Result<(), Fault> {
    submission
        .graph
        .validate()
        .map_err(|error| Fault::new("job.graph", format!("not a valid job: {error}")))?;
    door.blobs.require(submission.artifact).await
}

/// Holds the cluster while the call lasts, and tells how the cluster ended.
async fn hold(door: &Door, mut responder: Responder<SendStream>) {
    let end = match door.ask(|reply| Event::Client(ClientCall::Hold { reply })).await {
        Ok(end) => end,
        Err(fault) => return answer(responder, &Err::<(), _>(fault)).await,
    };
    let broken_off = responder.get_mut().stopped();
    let is_told = responder.send(&()).await.is_ok();
    if is_told {
        tokio::select! {
            end = end => match end {
                Ok(Err(left_behind)) => answer(responder, &Err::<(), _>(left_behind)).await,
                Ok(Ok(())) | Err(_) => drop(deliver(responder).await),
            },
            _ = broken_off => {}
        }
    }
    door.tell(Event::Client(ClientCall::HoldEnded)).await;
}

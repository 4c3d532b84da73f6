//! Workers: what a job prints.

use flink_rpc::{
    FrameReader, Responder, Role,
    messages::{CollectAck, Fault, OutputChunk, WorkerRequest},
};
use quinn::{RecvStream, SendStream};
use rustls::pki_types::CertificateDer;

use super::{Door, Peer, answer};
use crate::{dispatcher::Event, job_master::output::OutputSender};

pub(super) async fn handle(
    door: &Door,
    peer: &Peer,
    certificate: &CertificateDer<'static>,
    mut reader: FrameReader<RecvStream>,
    responder: Responder<SendStream>,
) {
    let Some(WorkerRequest::Collect(header)) = peer.request(&mut reader).await else {
        return;
    };
    let attempt = header.attempt;
    if !Role::Worker(attempt.job).matches(certificate) {
        return peer.expel("a worker may speak for its own job only");
    }
    match door.ask(|reply| Event::Collect { attempt, reply }).await {
        Ok(output) => {
            if let Some(result) = collect(peer, &mut reader, &output).await {
                answer(responder, &result).await;
            }
        }
        Err(fault) => answer(responder, &Err::<CollectAck, _>(fault)).await,
    }
}

/// Passes all of a stream on; `None` when it broke off, and nobody waits for an answer.
async fn collect(
    peer: &Peer,
    reader: &mut FrameReader<RecvStream>,
    output: &OutputSender,
) -> Option<Result<CollectAck, Fault>> {
    loop {
        match reader.next::<OutputChunk>().await {
            Ok(Some(chunk)) => {
                if let Err(fault) = output.send(chunk).await {
                    return Some(Err(fault));
                }
            }
            Ok(None) => return Some(output.flush().await.map(|()| CollectAck)),
            Err(error) => {
                peer.refuse(&error);
                return None;
            }
        }
    }
}

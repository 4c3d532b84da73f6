//! The I/O side: one thread, one endpoint, one connection per other worker. It moves encoded bytes only.

mod congestion;
mod connection;
mod endpoint;
mod hello;
mod io;
mod socket;

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
};

use flink_graph::JobId;
use flink_rpc::Identity;
use quinn::SendStream;
use tokio::sync::{Notify, oneshot};

pub(crate) use self::{
    connection::{RESET_PRODUCER_FAILED, lost},
    io::Io,
};
use crate::{channel::ChannelId, config::NetworkConfig, environment::Core, error::ExchangeError, error::StartError};

/// Version of the data plane's protocol; part of the TLS handshake.
const ALPN: &[u8] = b"flink-exchange/1";

/// What a producer waits for.
pub(crate) type Opened = Result<SendStream, ExchangeError>;

/// What task threads ask of the I/O thread.
pub(crate) enum Request {
    /// Connect to `peer` if need be and open the stream of `channel`.
    Open {
        channel: ChannelId,
        peer: SocketAddr,
        reply: oneshot::Sender<Opened>,
    },
    /// Tell `peer` that the producer of `channel` failed.
    Abort { channel: ChannelId, peer: SocketAddr },
    /// That many more streams are expected from `peer`.
    Expect { peer: SocketAddr, channels: u32 },
    /// That many fewer.
    Unexpect { peer: SocketAddr, channels: u32 },
    /// Do not shut down before this is done: the peer acknowledges a finished stream.
    Linger(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// Wait for what lingers, close, end.
    ShutDown,
}

/// The way of requests to the I/O thread.
///
/// Not a bounded channel, because requests also come from destructors, which can neither wait nor fail. Its bound: a task
/// thread makes at most four requests per channel in the life of the channel, and the I/O thread takes all at once.
#[derive(Default)]
pub(crate) struct Inbox {
    requests: Mutex<Requests>,
    notify: Notify,
}

#[derive(Default)]
struct Requests {
    waiting: Vec<Request>,
    closed: bool,
}

impl Inbox {
    /// Hands over a request. After the I/O thread's end it is dropped, and with it the sender it may hold.
    pub(crate) fn push(&self, request: Request) {
        let mut requests = self.lock();
        if !requests.closed {
            requests.waiting.push(request);
            drop(requests);
            self.notify.notify_one();
        }
    }

    /// Waits for requests and takes all. Cancel-safe.
    async fn take(&self) -> Vec<Request> {
        loop {
            let waiting = std::mem::take(&mut self.lock().waiting);
            if !waiting.is_empty() {
                return waiting;
            }
            self.notify.notified().await;
        }
    }

    fn close(&self) {
        let mut requests = self.lock();
        requests.closed = true;
        let waiting = std::mem::take(&mut requests.waiting);
        drop(requests);
        drop(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Binds the socket and makes ready what the I/O thread will run.
pub(crate) fn prepare(config: &NetworkConfig, identity: &Identity, job: JobId, core: Core) -> Result<Io, StartError> {
    config.check()?;
    Io::new(config, identity, job, core)
}

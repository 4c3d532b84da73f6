//! The I/O thread: one actor that owns the links to all peers.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use flink_graph::JobId;
use flink_rpc::{Identity, Role};
use quinn::{ClientConfig, Connection, Endpoint, VarInt};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Opened, Request,
    connection::{
        CLOSE_DUPLICATE, CLOSE_SHUT_DOWN, DialError, Greeting, UNCLAIMED_STREAMS, dial, greet, open_channel,
        send_notice, serve,
    },
    endpoint,
    hello::{Decision, Existing, Hello, decide},
};
use crate::{
    channel::ChannelId,
    config::NetworkConfig,
    environment::Core,
    error::{ExchangeError, StartError},
};

/// Pause before connecting again after the peer said that it prefers another connection, and none has come.
const REDIAL_PAUSE: Duration = Duration::from_millis(100);

/// Time for the closing packets to get out.
const CLOSE_TIME: Duration = Duration::from_millis(20);

/// What the I/O thread runs.
pub(crate) struct Io {
    runtime: Runtime,
    network: Network,
}

impl Io {
    pub(super) fn new(config: &NetworkConfig, identity: &Identity, job: JobId, core: Core) -> Result<Self, StartError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let guard = runtime.enter();
        let opened = endpoint::open(config, identity);
        drop(guard);
        let (endpoint, client, address) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // The caller may be a task of another runtime, where dropping this one is not allowed.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let network = Network {
            endpoint,
            client,
            server_name: Role::Worker(job).server_name(),
            hello: Hello { job, address },
            connect_timeout: config.connect_timeout,
            linger: config.linger,
            core,
            links: HashMap::new(),
            expected: HashMap::new(),
            tasks: JoinSet::new(),
            lingering: 0,
        };
        Ok(Self { runtime, network })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.network.hello.address
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.network.endpoint.clone()
    }

    /// Runs until shut down.
    pub(crate) fn run(self) {
        let Self { runtime, network } = self;
        runtime.block_on(network.run());
    }
}

struct Network {
    endpoint: Endpoint,
    client: ClientConfig,
    server_name: String,
    hello: Hello,
    connect_timeout: Duration,
    linger: Duration,
    core: Core,
    /// By listen address. A link whose connection has ended counts as absent.
    links: HashMap<SocketAddr, Link>,
    /// Streams that consumers here expect per peer.
    expected: HashMap<SocketAddr, u32>,
    tasks: JoinSet<Done>,
    /// Tasks that shutting down waits for.
    lingering: usize,
}

/// A peer, as far as we have to do with it.
enum Link {
    Dialing { waiting: Vec<Waiting>, until: Instant },
    Up { connection: Connection, by_us: bool },
}

/// What waits for a connection; at most one of each kind per channel.
enum Waiting {
    Open {
        channel: ChannelId,
        reply: oneshot::Sender<Opened>,
    },
    Abort {
        channel: ChannelId,
    },
}

/// How tasks end.
enum Done {
    /// Nothing to do about it.
    Quiet,
    Dialed {
        peer: SocketAddr,
        result: Result<Connection, DialError>,
    },
    Greeted(Option<Greeting>),
    Acknowledged,
}

impl Network {
    async fn run(mut self) {
        let start = Instant::now();
        let mut tick = Box::pin(sleep(Duration::ZERO));
        loop {
            tokio::select! {
                requests = self.core.inbox.take() => {
                    if !requests.into_iter().all(|request| self.handle(request)) {
                        break;
                    }
                }
                Some(incoming) = self.endpoint.accept() => {
                    let (job, limit) = (self.hello.job, self.connect_timeout);
                    self.tasks.spawn(async move { Done::Greeted(greet(incoming, job, limit).await) });
                }
                Some(done) = self.tasks.join_next() => {
                    // A task that panicked has taken its own stream or connection with it; it is a bug, not an outage.
                    match done {
                        Ok(done) => self.done(done),
                        Err(error) => tracing::error!("a network task failed: {error}"),
                    }
                }
                () = &mut tick => {
                    let next = self.core.clock.tick(start.elapsed());
                    tick.as_mut().reset(tokio::time::Instant::now() + next);
                }
            }
        }
        self.close().await;
    }

    /// False when it is time to end.
    fn handle(&mut self, request: Request) -> bool {
        match request {
            Request::Open { channel, peer, reply } => self.with_link(peer, Waiting::Open { channel, reply }),
            Request::Abort { channel, peer } => self.with_link(peer, Waiting::Abort { channel }),
            Request::Expect { peer, channels } => {
                *self.expected.entry(peer).or_default() += channels;
                self.allow_streams(peer);
            }
            Request::Unexpect { peer, channels } => {
                let expected = self.expected.entry(peer).or_default();
                *expected = expected.saturating_sub(channels);
                self.allow_streams(peer);
            }
            Request::Linger(acknowledged) => {
                self.lingering += 1;
                self.tasks.spawn(async move {
                    acknowledged.await;
                    Done::Acknowledged
                });
            }
            Request::ShutDown => return false,
        }
        true
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Quiet => {}
            Done::Acknowledged => self.lingering -= 1,
            Done::Dialed { peer, result } => self.dialed(peer, result),
            Done::Greeted(None) => {}
            Done::Greeted(Some(greeting)) => self.greeted(greeting),
        }
    }

    /// Does `waiting` on the connection to `peer`, now or when there is one.
    fn with_link(&mut self, peer: SocketAddr, waiting: Waiting) {
        self.forget_ended(peer);
        match self.links.get_mut(&peer) {
            Some(Link::Up { connection, .. }) => {
                let connection = connection.clone();
                self.start(connection, peer, waiting);
            }
            Some(Link::Dialing { waiting: others, .. }) => others.push(waiting),
            // Without a connection the peer has either heard of its end or never had a stream of the channel.
            None if matches!(waiting, Waiting::Abort { .. }) => {}
            None => {
                let until = Instant::now() + self.connect_timeout;
                self.links.insert(
                    peer,
                    Link::Dialing {
                        waiting: vec![waiting],
                        until,
                    },
                );
                self.dial(peer, Duration::ZERO, self.connect_timeout);
            }
        }
    }

    fn dial(&mut self, peer: SocketAddr, pause: Duration, limit: Duration) {
        let (endpoint, client) = (self.endpoint.clone(), self.client.clone());
        let (server_name, hello) = (self.server_name.clone(), self.hello.clone());
        self.tasks.spawn(async move {
            sleep(pause).await;
            let result = match endpoint.connect_with(client, peer, &server_name) {
                Err(error) => Err(error.into()),
                Ok(connecting) => timeout(limit, dial(connecting, hello))
                    .await
                    .unwrap_or_else(|_| Err(DialError::Failed(format!("no answer within {limit:?}")))),
            };
            Done::Dialed { peer, result }
        });
    }

    fn dialed(&mut self, peer: SocketAddr, result: Result<Connection, DialError>) {
        let Some(Link::Dialing { until, .. }) = self.links.get(&peer) else {
            // The peer's own connection came first and is used.
            if let Ok(connection) = result {
                connection.close(CLOSE_DUPLICATE, b"duplicate");
            }
            return;
        };
        let left = until.saturating_duration_since(Instant::now());
        let cause = match result {
            Ok(connection) => return self.install(peer, connection, true),
            Err(DialError::Duplicate) if !left.is_zero() => return self.dial(peer, REDIAL_PAUSE, left),
            Err(DialError::Duplicate) => "it prefers another connection but opens none".to_owned(),
            Err(DialError::Failed(cause)) => cause,
        };
        if let Some(Link::Dialing { waiting, .. }) = self.links.remove(&peer) {
            for waiting in waiting {
                if let Waiting::Open { reply, .. } = waiting {
                    let _ = reply.send(Err(ExchangeError::Connect {
                        peer,
                        cause: cause.clone(),
                    }));
                }
            }
        }
    }

    fn greeted(&mut self, greeting: Greeting) {
        let peer = greeting.hello.address;
        self.forget_ended(peer);
        let existing = match self.links.get(&peer) {
            None => Existing::None,
            Some(Link::Dialing { .. }) => Existing::Dialing,
            Some(Link::Up { by_us: true, .. }) => Existing::ByUs,
            Some(Link::Up { by_us: false, .. }) => Existing::ByThem,
        };
        match decide(self.hello.address, peer, existing) {
            Decision::Accept | Decision::Replace => {
                let connection = greeting.connection.clone();
                self.tasks.spawn(async move {
                    // An answer that does not get through ends with its connection.
                    let _ = greeting.accept().await;
                    Done::Quiet
                });
                self.install(peer, connection, false);
            }
            Decision::Refuse => {
                self.tasks.spawn(async move {
                    greeting.refuse().await;
                    Done::Quiet
                });
            }
        }
    }

    /// From now on `connection` is the one to `peer`.
    fn install(&mut self, peer: SocketAddr, connection: Connection, by_us: bool) {
        tracing::debug!(%peer, by_us, "connected to a worker");
        let before = self.links.insert(
            peer,
            Link::Up {
                connection: connection.clone(),
                by_us,
            },
        );
        self.allow_streams(peer);
        let registry = Arc::clone(&self.core.registry);
        let served = connection.clone();
        self.tasks.spawn(async move {
            serve(served, peer, registry).await;
            Done::Quiet
        });
        match before {
            Some(Link::Up { connection: old, .. }) => old.close(CLOSE_DUPLICATE, b"superseded"),
            Some(Link::Dialing { waiting, .. }) => {
                for waiting in waiting {
                    self.start(connection.clone(), peer, waiting);
                }
            }
            None => {}
        }
    }

    fn start(&mut self, connection: Connection, peer: SocketAddr, waiting: Waiting) {
        self.tasks.spawn(async move {
            match waiting {
                Waiting::Open { channel, reply } => open_channel(connection, channel, peer, reply).await,
                Waiting::Abort { channel } => send_notice(connection, channel).await,
            }
            Done::Quiet
        });
    }

    fn forget_ended(&mut self, peer: SocketAddr) {
        if let Some(Link::Up { connection, .. }) = self.links.get(&peer)
            && connection.close_reason().is_some()
        {
            self.links.remove(&peer);
        }
    }

    fn allow_streams(&self, peer: SocketAddr) {
        if let Some(Link::Up { connection, .. }) = self.links.get(&peer) {
            let expected = self.expected.get(&peer).copied().unwrap_or(0);
            connection.set_max_concurrent_uni_streams(VarInt::from_u32(UNCLAIMED_STREAMS.saturating_add(expected)));
        }
    }

    async fn close(mut self) {
        let drained = timeout(self.linger, async {
            while self.lingering > 0 {
                match self.tasks.join_next().await {
                    Some(Ok(Done::Acknowledged)) => self.lingering -= 1,
                    Some(_) => {}
                    None => break,
                }
            }
        });
        if drained.await.is_err() {
            tracing::warn!(
                "shut down with {} finished channels not yet acknowledged by their peers",
                self.lingering
            );
        }
        self.core.inbox.close();
        self.core.registry.shut_down();
        self.endpoint.close(CLOSE_SHUT_DOWN, b"worker shut down");
        let _ = timeout(CLOSE_TIME, self.endpoint.wait_idle()).await;
        self.tasks.shutdown().await;
    }
}

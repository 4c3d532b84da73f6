//! The measures: one TCP stream with TLS 1.3, the same certificates and crypto, blocking threads, 32 KiB at a time.
//! Of one source, or of many that [`mux`] multiplexes.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Instant,
};

use flink_rpc::Role;
use quinn::rustls::{ClientConnection, ServerConnection, StreamOwned, pki_types::ServerName};

use crate::{
    case::{Kind, Outcome, Setup},
    clock::cpu,
    mux,
};

const ALPN: &[u8] = b"transport-bench";
pub(crate) const BUFFER: usize = 32 << 10;

/// A process of the case.
pub(crate) trait Side {
    fn address(&self) -> io::Result<SocketAddr>;
    fn run(self, peer: SocketAddr) -> io::Result<Outcome>;
}

/// Accepts and reads to the end.
pub(crate) struct Receiver {
    setup: Setup,
    listener: TcpListener,
}

/// Connects and writes for the duration.
pub(crate) struct Sender {
    setup: Setup,
}

impl Receiver {
    pub(crate) fn listen(setup: &Setup) -> io::Result<Self> {
        Ok(Self {
            setup: setup.clone(),
            listener: TcpListener::bind((setup.bind, 0))?,
        })
    }
}

impl Sender {
    pub(crate) fn listen(setup: &Setup) -> io::Result<Self> {
        Ok(Self { setup: setup.clone() })
    }
}

impl Side for Receiver {
    fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn run(self, _: SocketAddr) -> io::Result<Outcome> {
        let (socket, _) = self.listener.accept()?;
        let config = self.setup.identity.server_config(ALPN).map_err(io::Error::other)?;
        let connection = ServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        if self.setup.kind == Kind::TlsLatency {
            return mux::receive(&mut stream);
        }
        let mut buffer = vec![0; BUFFER];
        let mut bytes = stream.read(&mut buffer)? as u64;
        let (start, cpu_before) = (Instant::now(), cpu());
        loop {
            match stream.read(&mut buffer)? {
                0 => break,
                count => bytes += count as u64,
            }
        }
        Ok(Outcome {
            bytes,
            elapsed: start.elapsed(),
            cpu: cpu() - cpu_before,
            ..Outcome::default()
        })
    }
}

impl Side for Sender {
    fn address(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::new(self.setup.bind, 0))
    }

    fn run(self, peer: SocketAddr) -> io::Result<Outcome> {
        let socket = TcpStream::connect(peer)?;
        // A message must not wait for the acknowledgement of what was sent before it.
        socket.set_nodelay(self.setup.kind == Kind::TlsLatency)?;
        let config = self.setup.identity.client_config(ALPN).map_err(io::Error::other)?;
        let name = ServerName::try_from(Role::Worker(self.setup.job).server_name()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        let (start, cpu_before) = match self.setup.kind {
            Kind::TlsLatency => {
                let before = (Instant::now(), cpu());
                mux::send(&mut stream, self.setup.duration)?;
                before
            }
            _ => {
                let buffer = vec![7; BUFFER];
                stream.write_all(&buffer)?;
                let before = (Instant::now(), cpu());
                while before.0.elapsed() < self.setup.duration {
                    stream.write_all(&buffer)?;
                }
                before
            }
        };
        stream.conn.send_close_notify();
        stream.flush()?;
        // Closing with unread bytes (session tickets) would reset the connection under the receiver.
        io::copy(&mut stream.sock, &mut io::sink())?;
        Ok(Outcome {
            elapsed: start.elapsed(),
            cpu: cpu() - cpu_before,
            ..Outcome::default()
        })
    }
}

//! A connection whose every wait can be ended from another thread.

use std::{
    io::{self, Read},
    net::ToSocketAddrs,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pipe::{PipeFlags, pipe_with},
};
use socket2::{Domain, Socket, Type};

/// Ends all waits of its [`Stop`] when it is dropped.
pub(super) struct Stopper {
    _writer: OwnedFd,
}

/// Waits that can be ended: they fail as interrupted.
pub(super) struct Stop(OwnedFd);

pub(super) fn stop_pair() -> io::Result<(Stopper, Stop)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((Stopper { _writer: writer }, Stop(reader)))
}

impl Stop {
    /// Waits so long.
    pub(super) fn wait(&self, time: Duration) -> io::Result<()> {
        self.poll(None, Some(time)).map(|_| ())
    }

    /// Waits until a socket is ready; false when that took too long.
    fn poll(&self, socket: Option<(&Socket, PollFlags)>, time: Option<Duration>) -> io::Result<bool> {
        let timeout = time.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let stop = PollFd::new(&self.0, PollFlags::IN);
        let mut fds = vec![stop];
        fds.extend(socket.map(|(socket, events)| PollFd::from_borrowed_fd(socket.as_fd(), events)));
        loop {
            match poll(&mut fds, timeout.as_ref()) {
                // A signal: to wait a little longer does no harm.
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) if !fds[0].revents().is_empty() => return Err(io::ErrorKind::Interrupted.into()),
                Ok(ready) => return Ok(ready > 0),
            }
        }
    }
}

/// A TCP connection.
pub(super) struct Connection(Socket);

/// How long a connection may take to be made, to each address of the host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Connection {
    /// Connects to the first address of the host that can be reached. (Looking up the host's name cannot be ended.)
    pub(super) fn open(host: &str, port: u16, stop: &Stop) -> io::Result<Self> {
        let mut result = Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
        for address in (host, port).to_socket_addrs()? {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            match socket.connect(&address.into()) {
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                    let ready = stop.poll(Some((&socket, PollFlags::OUT)), Some(CONNECT_TIMEOUT))?;
                    let error = socket.take_error()?;
                    let error = error.or_else(|| (!ready).then(|| io::ErrorKind::TimedOut.into()));
                    result = error.map_or(Ok(()), Err);
                }
                connected => result = connected,
            }
            if result.is_ok() {
                return Ok(Self(socket));
            }
        }
        result.and(Err(io::ErrorKind::NotConnected.into()))
    }

    /// Reads what there is, waiting for some; 0 at the end.
    pub(super) fn read(&mut self, text: &mut Vec<u8>, stop: &Stop) -> io::Result<usize> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.0.read(&mut buffer) {
                Ok(read) => {
                    text.extend_from_slice(&buffer[..read]);
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stop.poll(Some((&self.0, PollFlags::IN)), None)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

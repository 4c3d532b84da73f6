//! The started side of a launch: receives its secret configuration and says when it is ready.
//!
//! A process that the agent launches has one end of a socket pair as its stdin. The agent writes the payload (u32 LE length,
//! bytes); once the process serves, it writes a message of the same form back, for example its addresses. The payload is
//! in neither argv nor the environment, both of which other users of the host may read.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use thiserror::Error;

/// Longest payload and longest ready message, in bytes.
pub const MAX_STARTUP_MESSAGE: usize = 1 << 20;

/// Why the hand-over between a starter and the started process failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartupError {
    /// Standard input is no socket: the process was not started by an agent.
    #[error(
        "standard input is not a launch channel (start this process with `flinkctl`, or give it a configuration file)"
    )]
    NotLaunched,
    /// The starter went away before it had handed everything over, or before it heard that we are ready.
    #[error("the process that started this one is gone: {0}")]
    StarterGone(io::Error),
    /// A length beyond [`MAX_STARTUP_MESSAGE`].
    #[error("a start-up message of {0} bytes is longer than {MAX_STARTUP_MESSAGE}")]
    TooLong(usize),
    /// Standard input could not be replaced.
    #[error("replace standard input: {0}")]
    Stdin(io::Error),
}

/// The channel to the starter, from the payload's arrival until readiness was reported.
#[derive(Debug)]
pub struct Startup {
    channel: UnixStream,
}

impl Startup {
    /// Takes the launch channel away from standard input (which becomes `/dev/null`, so that no child inherits the channel)
    /// and reads the payload. Call it once, first thing in `main`, before any thread is started. Blocks.
    ///
    /// # Errors
    /// See [`StartupError`].
    pub fn receive() -> Result<(Self, Vec<u8>), StartupError> {
        let stdin = io::stdin();
        if rustix::net::sockopt::socket_type(stdin.as_fd()).is_err() {
            return Err(StartupError::NotLaunched);
        }
        let owned = stdin.as_fd().try_clone_to_owned().map_err(StartupError::Stdin)?;
        let null = std::fs::File::open("/dev/null").map_err(StartupError::Stdin)?;
        rustix::stdio::dup2_stdin(&null).map_err(|errno| StartupError::Stdin(errno.into()))?;
        Self::receive_on(UnixStream::from(owned))
    }

    fn receive_on(mut channel: UnixStream) -> Result<(Self, Vec<u8>), StartupError> {
        let payload = read_message(&mut channel)?;
        Ok((Self { channel }, payload))
    }

    /// Reports readiness with a message for the starter and closes the channel.
    ///
    /// # Errors
    /// [`StartupError::StarterGone`] when nobody listens any more: an attached process should end then.
    pub fn ready(mut self, message: &[u8]) -> Result<(), StartupError> {
        self.channel
            .write_all(&encode_message(message)?)
            .map_err(StartupError::StarterGone)
    }
}

/// One message as it stands on the launch channel.
pub(crate) fn encode_message(message: &[u8]) -> Result<Vec<u8>, StartupError> {
    let length = u32::try_from(message.len())
        .ok()
        .filter(|_| message.len() <= MAX_STARTUP_MESSAGE)
        .ok_or(StartupError::TooLong(message.len()))?;
    let mut bytes = Vec::with_capacity(4 + message.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(message);
    Ok(bytes)
}

/// Reads exactly one message and not a byte more: what follows belongs to whoever reads the channel next.
pub(crate) fn read_message(channel: &mut impl Read) -> Result<Vec<u8>, StartupError> {
    let mut length = [0; 4];
    channel.read_exact(&mut length).map_err(StartupError::StarterGone)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_STARTUP_MESSAGE {
        return Err(StartupError::TooLong(length));
    }
    let mut message = vec![0; length];
    channel.read_exact(&mut message).map_err(StartupError::StarterGone)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_in_ready_message_out() {
        let (mut starter, started) = UnixStream::pair().expect("pair");
        starter
            .write_all(&encode_message(b"secret").expect("short"))
            .expect("write");
        let (startup, payload) = Startup::receive_on(started).expect("payload");
        assert_eq!(payload, b"secret");
        startup.ready(b"127.0.0.1:1").expect("ready");
        assert_eq!(read_message(&mut starter).expect("ready"), b"127.0.0.1:1");
    }

    #[test]
    fn starter_that_vanishes_is_an_error_on_both_ways() {
        let (starter, started) = UnixStream::pair().expect("pair");
        drop(starter);
        assert!(matches!(
            Startup::receive_on(started),
            Err(StartupError::StarterGone(_))
        ));
    }

    #[test]
    fn absurd_length_is_refused_before_it_is_allocated() {
        let (mut starter, started) = UnixStream::pair().expect("pair");
        starter.write_all(&u32::MAX.to_le_bytes()).expect("write");
        assert!(matches!(Startup::receive_on(started), Err(StartupError::TooLong(_))));
    }
}

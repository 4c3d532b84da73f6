//! Standard input and output as an asynchronous byte channel.
//!
//! tokio's own `stdin()` parks a thread in a blocking read, which copies through 8 KiB and outlives the runtime. What sshd and
//! our own `Local` transport give us are sockets and pipes, which epoll can watch.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// Standard input.
#[derive(Debug)]
pub struct ChannelReader(Reader);

#[derive(Debug)]
enum Reader {
    Socket(UnixStream),
    Pipe(pipe::Receiver),
}

/// Standard output.
#[derive(Debug)]
pub struct ChannelWriter(Writer);

#[derive(Debug)]
enum Writer {
    Socket(UnixStream),
    Pipe(pipe::Sender),
}

/// Takes standard input and output for binary frames; nothing else may use them from here on.
///
/// # Errors
/// When one of them is neither a pipe nor a socket.
pub fn channel() -> io::Result<(ChannelReader, ChannelWriter)> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let reader = if is_socket(&stdin)? {
        Reader::Socket(socket(stdin)?)
    } else {
        Reader::Pipe(pipe::Receiver::from_owned_fd(stdin)?)
    };
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    let writer = if is_socket(&stdout)? {
        Writer::Socket(socket(stdout)?)
    } else {
        Writer::Pipe(pipe::Sender::from_owned_fd(stdout)?)
    };
    Ok((ChannelReader(reader), ChannelWriter(writer)))
}

fn is_socket(fd: &OwnedFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Socket)
}

fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let flags = fcntl_getfl(&fd)?;
    fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
    UnixStream::from_std(fd.into())
}

impl AsyncRead for ChannelReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Reader::Socket(socket) => Pin::new(socket).poll_read(context, buffer),
            Reader::Pipe(pipe) => Pin::new(pipe).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for ChannelWriter {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Writer::Socket(socket) => Pin::new(socket).poll_write(context, bytes),
            Writer::Pipe(pipe) => Pin::new(pipe).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is buffered on this side of the kernel.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

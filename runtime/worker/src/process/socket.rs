//! What a process does before anything else: binds its life to its parent's and takes its standard
//! streams away from the job's code.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use rustix::process::Signal;

use super::{PARENT_PID_VARIABLE, load::Role};

/// Takes the control socket off the standard input. Afterwards standard input is empty and standard output is standard
/// error, so that nothing the job's code reads or prints can disturb the protocol.
///
/// # Errors
/// When the parent is gone already, or this process was not started by one.
pub(super) fn take_control_socket(role: Role) -> io::Result<UnixStream> {
    let Role { name, parent: starter } = role;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before that call; then nobody would tell.
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    let expected = std::env::var(PARENT_PID_VARIABLE)
        .ok()
        .and_then(|text| text.parse().ok());
    if expected.is_none() || parent != expected {
        return Err(io::Error::other(format!(
            "role `{name}` is for {starter}s to start: {PARENT_PID_VARIABLE} is not the parent process"
        )));
    }
    let socket: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    if !rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode).is_socket() {
        return Err(io::Error::other(format!(
            "role `{name}` needs a socket as its standard input"
        )));
    }
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    let socket = UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

//! Lines of text from a TCP connection.
//!
//! A thread of its own reads them, so that the task's thread never waits for the network. Between the two is a bounded
//! queue of batches. The thread is ended through a pipe that it looks at whenever it waits: at once, whatever it waits for.

mod connection;

use std::{
    io,
    path::Path,
    string::FromUtf8Error,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
    vec,
};

use flink_worker::TaskError;

use crate::{
    files::{MAX_LINE_BYTES, MalformedRecord, OnParseError, ParseErrors},
    generated::SubtaskSplit,
    source::{
        Availability, Boundedness, Enumeration, SequentialReader, Source, SourceOutput, SourceReaderContext,
        SplitReader, Waker,
    },
};
use connection::{Connection, Stop};

/// Lines of text that a TCP server sends, without their ends (`\n` or `\r\n`), read by one subtask. For trying things out: what
/// was sent and got lost cannot be read again.
///
/// When the server closes the connection the source ends, unless it is told to [connect again](Self::max_retries). A line
/// that is not UTF-8 is a record that cannot be parsed (see [`on_error`](Self::on_error)); one of more than 64 MiB fails the job.
///
/// ```no_run
/// use flink_connectors::SocketTextSource;
///
/// // `nc -lk 9999` on the other side.
/// let lines = SocketTextSource::new("localhost", 9999).max_retries(10);
/// ```
#[derive(Debug, Clone)]
pub struct SocketTextSource {
    host: String,
    port: u16,
    max_retries: u32,
    retry_delay: Duration,
    on_error: OnParseError,
}

impl SocketTextSource {
    /// Lines from this server.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            max_retries: 0,
            retry_delay: Duration::from_millis(500),
            on_error: OnParseError::Fail,
        }
    }

    /// Sets what becomes of a line that is not UTF-8. Default: [`OnParseError::Fail`]. What is said of it has the server in the
    /// place of the file, and lines are counted from the first that this task has read.
    #[must_use]
    pub fn on_error(mut self, on_error: OnParseError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Sets how often to connect again, one after another, when the connection is lost or cannot be made. Default: never. After the last
    /// try a connection that was lost ends the source, and one that could not be made fails the job. A line that comes starts the count anew.
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// Sets how long to wait before connecting again. Default: 500 ms.
    #[must_use]
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = delay;
        self
    }
}

impl Source for SocketTextSource {
    type Record = String;
    type Split = SubtaskSplit;
    type Reader = SequentialReader<SocketReader>;

    fn name(&self) -> String {
        "socket".to_owned()
    }

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn fixed_parallelism(&self) -> Option<u32> {
        Some(1)
    }

    fn enumeration(&self) -> Enumeration<Self> {
        SubtaskSplit::enumeration()
    }

    fn create_reader(&self, context: &SourceReaderContext) -> Result<Self::Reader, TaskError> {
        let (source, context) = (self.clone(), context.clone());
        Ok(SequentialReader::new(move |_| SocketReader::start(&source, &context)))
    }
}

/// Batches that wait for the task; then the thread waits, and with it the server.
const QUEUED_BATCHES: usize = 16;

/// What the thread has read; an error is its last word.
type Batch = io::Result<Vec<Vec<u8>>>;

/// Takes what the thread has read.
pub struct SocketReader {
    batches: Receiver<Batch>,
    lines: vec::IntoIter<Vec<u8>>,
    /// Lines that were taken.
    taken: u64,
    errors: ParseErrors,
    server: String,
    /// Dropped before the thread is waited for: that ends it.
    stop: Option<connection::Stopper>,
    thread: Option<JoinHandle<()>>,
}

impl SocketReader {
    fn start(source: &SocketTextSource, context: &SourceReaderContext) -> Result<Self, TaskError> {
        let waker = context.waker();
        let (sender, batches) = sync_channel(QUEUED_BATCHES);
        let (stopper, stop) = connection::stop_pair().map_err(TaskError::runtime)?;
        let server = format!("{}:{}", source.host, source.port);
        let thread = thread::Builder::new().name(format!("socket {server}")).spawn({
            let source = source.clone();
            move || {
                let mut feeder = Feeder {
                    source,
                    stop,
                    sender,
                    waker,
                };
                if let Err(Ended::Failed(error)) = feeder.run() {
                    // Without the task there is nobody to tell.
                    let _gone = feeder.sender.send(Err(error));
                }
                let Feeder { sender, waker, .. } = feeder;
                drop(sender);
                waker.wake();
            }
        });
        Ok(Self {
            batches,
            lines: Vec::new().into_iter(),
            taken: 0,
            errors: ParseErrors::new(Path::new(&server), source.on_error, context.clone()),
            server,
            stop: Some(stopper),
            thread: Some(thread.map_err(TaskError::runtime)?),
        })
    }
}

impl SplitReader for SocketReader {
    type Record = String;
    type Split = SubtaskSplit;

    fn poll_next(&mut self, output: &mut SourceOutput<'_, String>) -> Result<Availability, TaskError> {
        while output.wants_more() {
            if let Some(line) = self.lines.next() {
                self.taken += 1;
                match String::from_utf8(line) {
                    Ok(line) => output.collect(line)?,
                    Err(error) => self.malformed(&error, output)?,
                }
                continue;
            }
            match self.batches.try_recv() {
                Ok(Ok(lines)) => self.lines = lines.into_iter(),
                Ok(Err(error)) => {
                    return Err(TaskError::operator(format!(
                        "could not read from {}: {error}",
                        self.server
                    )));
                }
                Err(TryRecvError::Empty) => return Ok(Availability::Later(None)),
                Err(TryRecvError::Disconnected) => return Ok(Availability::End),
            }
        }
        Ok(Availability::Now)
    }
}

impl SocketReader {
    #[cold]
    fn malformed(&mut self, error: &FromUtf8Error, output: &mut SourceOutput<'_, String>) -> Result<(), TaskError> {
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let record = MalformedRecord {
            file: self.server.clone(),
            line: self.taken,
            column: String::from_utf8_lossy(valid).chars().count() as u64 + 1,
            message: "invalid UTF-8".to_owned(),
            record: text,
        };
        self.errors.handle_record(record, output)
    }
}

impl Drop for SocketReader {
    fn drop(&mut self) {
        self.stop = None;
        // One that waits for room in the queue is let go, too.
        let (_, none) = sync_channel(0);
        self.batches = none;
        if let Some(thread) = self.thread.take() {
            // It has nothing left to do but to end; that it panicked is told by its own hook.
            let _panicked = thread.join();
        }
    }
}

/// The thread's work.
struct Feeder {
    source: SocketTextSource,
    stop: Stop,
    sender: SyncSender<Batch>,
    waker: Waker,
}

/// Why the thread ends before the server has nothing more to say.
enum Ended {
    /// The task wants no more.
    Stopped,
    Failed(io::Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::Interrupted {
            Self::Stopped
        } else {
            Self::Failed(error)
        }
    }
}

impl Feeder {
    fn run(&mut self) -> Result<(), Ended> {
        let mut retries = 0;
        loop {
            let lost = match Connection::open(&self.source.host, self.source.port, &self.stop) {
                Ok(mut connection) => self.read(&mut connection, &mut retries),
                Err(error) => Err(error.into()),
            };
            match lost {
                Err(Ended::Stopped) => return Err(Ended::Stopped),
                Err(Ended::Failed(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(Ended::Failed(error));
                }
                lost if retries == self.source.max_retries => return lost,
                _ => retries += 1,
            }
            self.stop.wait(self.source.retry_delay)?;
        }
    }

    /// Reads until the connection is closed, or lost: then what came last is a line, too.
    fn read(&self, connection: &mut Connection, retries: &mut u32) -> Result<(), Ended> {
        let mut text = Vec::new();
        loop {
            // What is left of the read before has no line end.
            let searched = text.len();
            let read = connection.read(&mut text, &self.stop);
            let ended = matches!(read, Ok(0) | Err(_));
            let lines = take_lines(&mut text, searched, ended);
            if text.len() > MAX_LINE_BYTES {
                let message = format!("a line is longer than {} MiB", MAX_LINE_BYTES >> 20);
                return Err(Ended::Failed(io::Error::new(io::ErrorKind::InvalidData, message)));
            }
            if !lines.is_empty() {
                *retries = 0;
                self.sender.send(Ok(lines)).map_err(|_gone| Ended::Stopped)?;
                self.waker.wake();
            }
            match read {
                Ok(0) => return Ok(()),
                // A connection that the server breaks off is lost as one that it closes.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                read => read?,
            };
        }
    }
}

/// The connection may have ended in the middle of a character: what there is of it is lost with the rest.
fn without_cut_character(text: &mut Vec<u8>) {
    let begin = memchr::memrchr(b'\n', text).map_or(0, |found| found + 1);
    if let Err(error) = std::str::from_utf8(&text[begin..])
        && error.error_len().is_none()
    {
        text.truncate(begin + error.valid_up_to());
    }
}

/// Takes the lines that are complete; at the end, what is left is one. The first `searched` bytes have no line end.
fn take_lines(text: &mut Vec<u8>, searched: usize, ended: bool) -> Vec<Vec<u8>> {
    let complete = if ended {
        without_cut_character(text);
        text.len()
    } else {
        memchr::memrchr(b'\n', &text[searched..]).map_or(0, |found| searched + found + 1)
    };
    let lines = text[..complete].split_inclusive(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line).to_vec()
    });
    let lines = lines.collect();
    text.drain(..complete);
    lines
}

#[cfg(test)]
#[path = "socket/tests.rs"]
mod tests;

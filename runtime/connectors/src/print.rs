//! Sinks whose records come to the standard output of who runs the job.

use std::{
    fmt::{Debug, Display},
    io::{self, Write},
};

use flink_worker::{OutputStream, TaskError};

use crate::sink::{NoCommitter, Sink, SinkWriter, SinkWriterContext, WriteContext};

/// Lines are passed on when they amount to this many bytes, or when the task has nothing else to do.
const CHUNK_BYTES: usize = 32 << 10;

type Format<T> = fn(&mut Vec<u8>, &T) -> io::Result<()>;

/// Prints records as [`Display`] writes them, one per line.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrintSink;

impl<T: Display + 'static> Sink<T> for PrintSink {
    type Writer = LineWriter<T>;
    type Committer = NoCommitter;

    fn name(&self) -> String {
        "print".to_owned()
    }

    fn create_writer(&self, context: &SinkWriterContext<'_>) -> Result<LineWriter<T>, TaskError> {
        LineWriter::open(context, |buffer, record| writeln!(buffer, "{record}"))
    }
}

/// Prints records as [`Debug`] writes them, one per line.
#[derive(Debug, Clone, Copy, Default)]
pub struct CollectSink;

impl<T: Debug + 'static> Sink<T> for CollectSink {
    type Writer = LineWriter<T>;
    type Committer = NoCommitter;

    fn name(&self) -> String {
        "collect".to_owned()
    }

    fn create_writer(&self, context: &SinkWriterContext<'_>) -> Result<LineWriter<T>, TaskError> {
        LineWriter::open(context, |buffer, record| writeln!(buffer, "{record:?}"))
    }
}

/// Writes lines to where the job prints.
pub struct LineWriter<T> {
    format: Format<T>,
    buffer: Vec<u8>,
    stream: Box<dyn OutputStream>,
}

impl<T> SinkWriter<T> for LineWriter<T> {
    type Committable = ();

    fn write(&mut self, record: T, _: WriteContext) -> Result<(), TaskError> {
        (self.format)(&mut self.buffer, &record).map_err(TaskError::operator)?;
        if self.buffer.len() >= CHUNK_BYTES {
            self.pass_on()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self, end_of_input: bool) -> Result<(), TaskError> {
        self.pass_on()?;
        if end_of_input { self.stream.finish() } else { Ok(()) }
    }
}

impl<T> LineWriter<T> {
    fn open(context: &SinkWriterContext<'_>, format: Format<T>) -> Result<Self, TaskError> {
        Ok(Self {
            format,
            buffer: Vec::new(),
            stream: context.open_job_output()?,
        })
    }

    fn pass_on(&mut self) -> Result<(), TaskError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let lines = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK_BYTES));
        self.stream.write(lines)
    }
}

//! Sinks whose records come to the standard output of who runs the job.

use std::{
    fmt::{Debug, Display},
    io::Write,
    marker::PhantomData,
};

use flink_worker::{NodeFactory, OutputStream, SinkWriter, TaskError};

use crate::Sink;

/// Lines are passed on when they amount to this many bytes, or when the task has nothing else to do.
const CHUNK_BYTES: usize = 32 << 10;

/// Prints records as [`Display`] writes them, one per line.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrintSink;

impl<T: Display + 'static> Sink<T> for PrintSink {
    fn name(&self) -> String {
        "print".to_owned()
    }

    fn into_factory(self) -> NodeFactory {
        lines_factory(|buffer: &mut Vec<u8>, record: &T| writeln!(buffer, "{record}"))
    }
}

/// Prints records as [`Debug`] writes them, one per line.
#[derive(Debug, Clone, Copy, Default)]
pub struct CollectSink;

impl<T: Debug + 'static> Sink<T> for CollectSink {
    fn name(&self) -> String {
        "collect".to_owned()
    }

    fn into_factory(self) -> NodeFactory {
        lines_factory(|buffer: &mut Vec<u8>, record: &T| writeln!(buffer, "{record:?}"))
    }
}

fn lines_factory<T: 'static, F>(format: F) -> NodeFactory
where
    F: Fn(&mut Vec<u8>, &T) -> std::io::Result<()> + Copy + Send + 'static,
{
    NodeFactory::sink::<T, _>(move |context| {
        let stream = context.open_job_output()?;
        Ok(LineWriter {
            format,
            buffer: Vec::new(),
            stream,
            records: PhantomData,
        })
    })
}

struct LineWriter<T, F> {
    format: F,
    buffer: Vec<u8>,
    stream: Box<dyn OutputStream>,
    records: PhantomData<fn(T)>,
}

impl<T, F: Fn(&mut Vec<u8>, &T) -> std::io::Result<()>> SinkWriter<T> for LineWriter<T, F> {
    fn write(&mut self, record: T) -> Result<(), TaskError> {
        (self.format)(&mut self.buffer, &record).map_err(TaskError::operator)?;
        if self.buffer.len() >= CHUNK_BYTES {
            self.pass_on()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), TaskError> {
        self.pass_on()
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        self.pass_on()?;
        self.stream.finish()
    }
}

impl<T, F> LineWriter<T, F> {
    fn pass_on(&mut self) -> Result<(), TaskError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let lines = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK_BYTES));
        self.stream.write(lines)
    }
}

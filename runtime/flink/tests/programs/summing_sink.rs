//! A sink with a coordinator: each subtask adds up its records and reports the sum, and the coordinator tells all of them what the
//! sums come to.

use flink::sink::{MakeCoordinator, NoCommitter, Sink, SinkWriter, SinkWriterContext, WriteContext};
use flink_worker::{CoordinatorContext, OperatorCoordinator, OutputStream, SubtaskGateway, TaskError};

/// How the coordinator behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mood {
    Good,
    FailsToStart,
    Fails,
    Panics,
    Hangs,
    FailsAtTheEnd,
}

pub(crate) struct SummingSink(pub(crate) Mood);

impl Sink<u64> for SummingSink {
    type Writer = Writer;
    type Committer = NoCommitter;

    fn name(&self) -> String {
        "sums".to_owned()
    }

    fn create_writer(&self, context: &SinkWriterContext<'_>) -> Result<Writer, TaskError> {
        Ok(Writer {
            sum: 0,
            gateway: context.coordinator()?,
            output: context.open_job_output()?,
        })
    }

    fn coordinator(&self) -> Option<MakeCoordinator> {
        let mood = self.0;
        Some(Box::new(move || {
            Ok(Box::new(Summing {
                mood,
                reported: 0,
                sum: 0,
            }))
        }))
    }
}

pub(crate) struct Writer {
    sum: u64,
    gateway: SubtaskGateway,
    output: Box<dyn OutputStream>,
}

impl SinkWriter<u64> for Writer {
    type Committable = ();

    fn write(&mut self, record: u64, _: WriteContext) -> Result<(), TaskError> {
        self.sum += record;
        Ok(())
    }

    fn flush(&mut self, end_of_input: bool) -> Result<(), TaskError> {
        if !end_of_input {
            return Ok(());
        }
        self.gateway.send(self.sum.to_le_bytes().to_vec())?;
        let total = loop {
            if let Some(event) = self.gateway.try_receive() {
                break u64::from_le_bytes(event.try_into().map_err(|_| TaskError::operator("not a sum"))?);
            }
            // Waits when it has asked often enough, and ends when the task is cancelled.
            self.gateway.send(Vec::new())?;
        };
        self.output.write(format!("{total}\n").into_bytes())?;
        self.output.finish()
    }
}

struct Summing {
    mood: Mood,
    reported: u32,
    sum: u64,
}

impl OperatorCoordinator for Summing {
    fn start(&mut self, _: &mut CoordinatorContext) -> Result<(), TaskError> {
        match self.mood {
            Mood::FailsToStart => Err(TaskError::operator("nowhere to begin")),
            _ => Ok(()),
        }
    }

    fn handle_event(&mut self, _: u32, event: Vec<u8>, context: &mut CoordinatorContext) -> Result<(), TaskError> {
        match self.mood {
            Mood::Fails => return Err(TaskError::operator("cannot count")),
            Mood::Panics => panic!("cannot stand counting"),
            Mood::Hangs => loop {
                std::thread::park();
            },
            Mood::Good | Mood::FailsToStart | Mood::FailsAtTheEnd => {}
        }
        let Ok(sum) = event.try_into().map(u64::from_le_bytes) else {
            // It only asks.
            return Ok(());
        };
        self.sum += sum;
        self.reported += 1;
        if self.reported == context.parallelism() {
            for subtask in 0..context.parallelism() {
                context.send_event(subtask, self.sum.to_le_bytes().to_vec())?;
            }
        }
        Ok(())
    }

    fn subtask_ended(&mut self, _: u32, _: &mut CoordinatorContext) -> Result<(), TaskError> {
        match self.mood {
            Mood::FailsAtTheEnd => Err(TaskError::operator("could not commit")),
            _ => Ok(()),
        }
    }
}

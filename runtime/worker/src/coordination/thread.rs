//! The one thread that all coordinators of a job run on.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Instant,
};

use flink_graph::{JobId, TaskFailure};
use flink_rpc::messages::{COORDINATOR_WINDOW, FromCoordinator, ToCoordinator, coordinator_queue};
use tokio::sync::mpsc;

use super::{Coordinators, Flow};
use crate::{
    error::TaskError,
    panics,
    program::JobProgram,
    task::{failure_of, failure_of_panic},
};

/// Runs the coordinators of one job: the same in the coordinator process as in a local cluster.
///
/// It says [`FromCoordinator::Ready`] first, or [`FromCoordinator::Failed`]. It ends after `Failed`, after
/// [`FromCoordinator::Done`], and after [`stop`](Self::stop); then the channel that it says things on is closed.
pub struct CoordinatorThread {
    input: SyncSender<ToCoordinator>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// There was no room for a message: more was sent than the windows allow.
#[derive(Debug, thiserror::Error)]
#[error("the coordinators were sent more than they may be sent at a time")]
pub struct QueueFull;

impl CoordinatorThread {
    /// Starts the coordinators of a job. Its owner must take what they say from `output`, for they wait for that.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(program: Arc<JobProgram>, job: JobId, output: mpsc::Sender<FromCoordinator>) -> io::Result<Self> {
        let (input, messages) = sync_channel(coordinator_queue(program.graph()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("coordinator".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            move || run(&program, job, &stop, &messages, &output)
        })?;
        Ok(Self { input, stop, thread })
    }

    /// How many messages of it may wait: the capacity for the channel that it says things on.
    pub const fn output_capacity() -> usize {
        COORDINATOR_WINDOW as usize
    }

    /// Tells the coordinators something. Never waits.
    ///
    /// # Errors
    /// When there is no room. One that has ended takes everything.
    pub fn send(&self, message: ToCoordinator) -> Result<(), QueueFull> {
        match self.input.try_send(message) {
            Err(std::sync::mpsc::TrySendError::Full(_)) => Err(QueueFull),
            Ok(()) | Err(std::sync::mpsc::TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// Has it end after the call of a coordinator that is being made, if there is one.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // One that is waiting looks up; one whose queue is full is not waiting.
        let _awake = self.input.try_send(ToCoordinator::Shutdown);
    }

    /// Waits for its end: to be called when its channel is closed.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the coordinators' thread panicked outside of the coordinators");
        }
    }
}

fn run(
    program: &JobProgram,
    job: JobId,
    stop: &AtomicBool,
    messages: &Receiver<ToCoordinator>,
    output: &mpsc::Sender<FromCoordinator>,
) {
    let last = match panics::catch(|| coordinate(program, job, stop, messages, output)) {
        Ok(Ok(Flow::Finished)) => FromCoordinator::Done,
        // Stopped: nobody wants to know more.
        Ok(Ok(Flow::Continue)) => return,
        Ok(Err(error)) => FromCoordinator::Failed(failure_of(&error)),
        Err(panic) => FromCoordinator::Failed(failure_of_panic(panic)),
    };
    let _gone = output.blocking_send(last);
}

fn coordinate(
    program: &JobProgram,
    job: JobId,
    stop: &AtomicBool,
    messages: &Receiver<ToCoordinator>,
    output: &mpsc::Sender<FromCoordinator>,
) -> Result<Flow, TaskError> {
    let mut coordinators = Coordinators::make(program, job, Instant::now())?;
    coordinators.start(Instant::now())?;
    if output.blocking_send(FromCoordinator::Ready).is_err() {
        return Ok(Flow::Continue);
    }
    loop {
        while let Some(message) = coordinators.next_message() {
            if output.blocking_send(message).is_err() {
                return Ok(Flow::Continue);
            }
        }
        let received = match coordinators.deadline() {
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(deadline) => messages.recv_timeout(deadline.saturating_duration_since(Instant::now())),
        };
        if stop.load(Ordering::Acquire) {
            return Ok(Flow::Continue);
        }
        let now = Instant::now();
        match received {
            Ok(message) => {
                if coordinators.handle(now, message)? == Flow::Finished {
                    return Ok(Flow::Finished);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(Flow::Continue),
        }
        coordinators.wake(now)?;
    }
}

/// Why coordinators could not be started at all.
pub(crate) fn no_thread(error: &io::Error) -> TaskFailure {
    let message = format!("could not start the coordinators' thread: {error}");
    TaskFailure::new(flink_graph::TaskFailureKind::Runtime, message)
}
